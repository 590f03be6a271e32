"""`qfl federation watch` and `report` as a person and as a program see them, and the table of `up`."""

import io
import json
from datetime import timedelta

import pytest
from click.testing import CliRunner
from rich.console import Console

from federated.rounds.progress import fold
from plugin.cli import main
from plugin.cli.federation_table import draw_run, story
from plugin.cli.federation_view import RunDisplay
from tests.fakes.run_events import LOST, REFUSED, START, append, run_events, write_run

EVENTS = run_events()


def qfl(*arguments):
    return CliRunner().invoke(main, ["federation", *map(str, arguments)])


def drawn(events, width=120, **more):
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(draw_run(fold(events), width=width, now=START + timedelta(hours=1), **more))
    return console.file.getvalue()


def test_a_run_that_is_over_is_shown_in_lines(tmp_path):
    write_run(tmp_path, EVENTS)
    found = qfl("watch", tmp_path)
    assert found.exit_code == 0
    lines = found.stdout.splitlines()
    assert lines[0] == "run-1 begins"
    assert [line.split(":")[0] for line in lines if line.startswith("Round")] == [
        f"Round {n} of 4" for n in range(1, 5)
    ]
    assert f"site-05 lost in round 2: {LOST}" in lines
    assert f"site-01 refused in round 3: {REFUSED}" in lines
    assert lines[-1] == "The run has ended: done"


def test_a_program_gets_the_events_themselves(tmp_path):
    write_run(tmp_path, EVENTS)
    found = qfl("watch", tmp_path, "--json")
    assert [json.loads(line) for line in found.stdout.splitlines()] == EVENTS


def test_a_run_that_goes_on_is_followed_to_its_end(tmp_path, monkeypatch):
    folder = write_run(tmp_path, EVENTS[:30])
    rest = [EVENTS[30:60], EVENTS[60:-1], [{"event": "run-finished", "reason": "stopped"}]]
    monkeypatch.setattr("time.sleep", lambda _: append(folder, rest.pop(0)))
    found = qfl("watch", tmp_path, "--run", "run-1")
    assert found.exit_code == 1, "it did not get done"
    assert found.stdout.count("Round ") == 4
    assert found.stdout.endswith("The run has ended: stopped\n")


def test_another_run_is_not_found(tmp_path):
    write_run(tmp_path, EVENTS)
    found = qfl("watch", tmp_path, "--run", "../run-1")
    assert found.exit_code == 66
    assert "it has: run-1" in found.stderr


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_table_fits_its_terminal(width):
    assert max(map(len, drawn(run_events(sites=10, finished=2), width).splitlines())) <= width


def test_the_table_says_where_each_site_is_with_the_worst_first():
    events = run_events(finished=2)
    text, view = drawn(events), fold(events)
    assert "round 3 of 4" in text
    positions = [text.index(site.name) for site in view.sites]
    assert positions == sorted(positions)
    assert f"{view.worst_site} (worst)" in text
    assert "3/8" in text
    assert "an estimate" in text
    assert f"{view.sites[0].epsilon:.3g} / 3.6" in text


def test_processes_have_columns_of_their_own():
    text = drawn(EVENTS, 140, heads=("agent", "worker"), more={"site-01": ("4711", "starts")})
    assert "4711" in text
    assert "worker" in text


def test_what_a_site_tells_does_not_steer_the_terminal():
    told = {
        "event": "site",
        "round": 1,
        "site": "a\x1b[2J",
        "stage": "join",
        "state": "refused",
        "reason": "\x1b[31m[bold]",
    }
    events = [EVENTS[0], told]
    for text in (drawn(events), story(fold(events), told)):
        assert "\x1b" not in text
    assert "[bold]" in story(fold(events), told), "brackets are no markup"


def test_a_terminal_gets_one_table_and_only_what_is_new_as_lines(monkeypatch):
    display = RunDisplay()
    display.console = Console(width=120, file=io.StringIO(), force_terminal=True)
    display._live = type(display._live or _live(display))(console=display.console, auto_refresh=False)
    with display:
        display.show(EVENTS[:-1], is_news=False)
        display.show(EVENTS[-1:])
    shown = display.console.file.getvalue()
    assert "The run has ended: done" in shown
    assert "Round 1 of 4:" not in shown
    assert "(worst)" in shown


def _live(display):
    from rich.live import Live

    return Live(console=display.console, auto_refresh=False)


def test_the_report_is_written_beside_the_run(tmp_path):
    folder = write_run(tmp_path / "coordinator", EVENTS)
    found = qfl("report", tmp_path)
    assert found.exit_code == 0, found.output
    assert found.stdout.strip() == str(folder / "report.html")
    assert (folder / "report.html").stat().st_size > 10_000


def test_the_view_as_json(tmp_path):
    folder = write_run(tmp_path, EVENTS)
    found = json.loads(qfl("report", tmp_path, "--json").stdout)
    assert (found["state"], found["worst_site"]) == ("done", fold(EVENTS).worst_site)
    assert not (folder / "report.html").exists()
