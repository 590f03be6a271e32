"""What a hospital decides and looks up on the command line."""

import json
from datetime import UTC, datetime, timedelta

import click
import pytest
from click.testing import CliRunner

from federated.rounds.messages import Stage
from federated.rounds.ports import Finding
from federated.rounds.terms import Aggregation, Learning, Privacy, describe_terms
from plugin.bootstrap.federation import build_site_records
from plugin.bootstrap.ledger import migrate_database
from plugin.cli.federation_site import COMMANDS
from plugin.services.policy_model import CohortCount
from plugin.services.site_policy import default_policy_text
from plugin.settings import load_settings
from tests.fakes.round_terms import example_terms

GROUP = click.Group("federation", commands={str(command.name): command for command in COMMANDS})
NOW = datetime.now(UTC)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("QFL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("QFL_FEDERATION_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("QFL_FEDERATION_COHORT", "phantom:site-01")
    monkeypatch.setenv("QFL_FHIR_URL", "http://127.0.0.1:9/fhir")
    monkeypatch.setenv("QFL_ARCHIVE_URL", "http://127.0.0.1:9/dicom-web")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "policy.yaml").write_text(default_policy_text())
    settings = load_settings()
    migrate_database(settings)
    return settings


def run(*arguments, text=None):
    result = CliRunner().invoke(GROUP, arguments, input=text)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def terms(**changes):
    given = {
        "deadline": NOW + timedelta(hours=1),
        "network": {"architecture": "unet"},
        "privacy": Privacy(record_noise=4.0, record_epsilon=1.0, delta=1e-5),
        "learning": Learning(steps=5, batch=2),
        **changes,
    }
    return example_terms(**given)


def test_the_example_is_a_policy_that_can_be_used(settings, tmp_path):
    code, text = run("policy", "example")
    assert (code, text) == (0, default_policy_text())
    (tmp_path / "mine.yaml").write_text(text)
    code, told = run("policy", "check", str(tmp_path / "mine.yaml"), "--json")
    assert (code, json.loads(told)["usable"]) == (0, True)
    assert run("policy", "check")[0] == 0


def test_a_policy_that_cannot_be_used_is_one_line_and_an_exit_code(settings, tmp_path):
    (tmp_path / "mine.yaml").write_text("version: 1\n")
    code, told = run("policy", "check", str(tmp_path / "mine.yaml"))
    assert code == 78
    assert told.startswith(f"qfl: {tmp_path / 'mine.yaml'}: leaves: expected")
    assert len(told.splitlines()) == 1


def test_shows_the_policy_in_force(settings):
    code, told = run("policy", "show")
    assert code == 0
    assert "rounds.minimum_participants        3" in told
    described = json.loads(run("policy", "show", "--json")[1])
    assert described["privacy"]["epsilon_per_year"] == 10.0


def test_says_what_it_would_answer_to_a_round(settings, tmp_path):
    path = tmp_path / "terms.json"
    path.write_text(json.dumps(describe_terms(terms())))
    code, told = run("policy", "check", "--terms", str(path))
    assert code == 0, told
    assert told.count("allowed  ") >= 18
    path.write_text(json.dumps(describe_terms(terms(aggregation=Aggregation(rule="mean")))))
    code, told = run("policy", "check", "--terms", str(path), "--json")
    refused = [finding for line in told.splitlines() if not (finding := json.loads(line))["allowed"]]
    assert (code, [finding["rule"] for finding in refused]) == (77, ["aggregation"])
    assert run("rounds")[1] == "This hospital was asked for no round yet.\n"


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_terms_that_cannot_be_read_are_said_so(settings, tmp_path, text):
    path = tmp_path / "terms.json"
    path.write_text(text)
    code, told = run("policy", "check", "--terms", str(path))
    assert (code, len(told.splitlines())) == (65, 1), told


def test_shows_what_left_and_what_it_cost(settings):
    assert run("departures")[1] == "Nothing has left this hospital.\n"
    records = build_site_records(settings)
    records.charge(terms(), 0.75, now=NOW)
    records.note_departure(terms(), Stage.TRAIN, what="masked update", digest="ab" * 32, size=123456, now=NOW)
    code, told = run("departures")
    assert code == 0
    for expected in ("masked update", "123,456", "abababababab", "0.75", "run-1"):
        assert expected in told
    (line,) = run("departures", "--json", "--run", "run-1")[1].splitlines()
    found = json.loads(line)
    assert (found["size"], found["epsilon"], found["digest"]) == (123456, 0.75, "ab" * 32)
    assert datetime.fromisoformat(found["at"]) == NOW
    code, told = run("budget")
    assert "epsilon 0.75 of 10" in told
    assert "test/run-1: epsilon 0.75 of 8" in told
    spent = json.loads(run("budget", "--json")[1])
    assert (spent["year"]["epsilon"], spent["limits"]["epsilon_per_run"], spent["ahead"]) == (0.75, 8.0, 0)


def test_a_charge_of_the_future_is_pointed_out(settings):
    build_site_records(settings).charge(terms(), 0.75, now=NOW + timedelta(days=3))
    assert "1 charges are dated in the future" in run("budget")[1]


def test_shows_rounds_and_why_some_were_refused(settings):
    records = build_site_records(settings)
    count = CohortCount(16, {"no consent": 3})
    records.note_check(terms(), policy_digest="b" * 64, cohort_digest="d" * 64, cohort=count, now=NOW)
    finding = Finding("participants", "1 site", False, "Expected 3 participants, got 1.")
    records.note_refusal(terms(round=2), [finding], now=NOW)
    code, told = run("rounds")
    assert code == 0
    for expected in ("checked", "3 no consent", "refused", "participants: Expected 3 participants", "refused 1 times"):
        assert expected in told
    lines = [json.loads(line) for line in run("rounds", "--json")[1].splitlines()]
    assert lines[-1]["refusal"]["findings"][0]["rule"] == "participants"


def test_a_name_from_outside_does_not_steer_the_terminal(settings):
    records = build_site_records(settings)
    evil = terms(run="run\x1b[2J[bold]1")
    records.note_departure(evil, Stage.TRAIN, what="update", digest="a" * 64, size=1, now=NOW)
    records.note_refusal(evil, [Finding("model", "\x1b[31m", False, "\x07no")], now=NOW)
    for command in ("departures", "rounds"):
        told = run(command)[1]
        assert "\x1b" not in told
        assert "\x07" not in told
        assert "[bold]1" in told


def test_pauses_resumes_and_leaves(settings):
    assert run("pause")[0] == 64
    assert run("pause", "--federation", "brain")[0] == 64
    known = [Finding("cohort", "", False, "too few")]
    build_site_records(settings).note_refusal(terms(federation="brain"), known, now=NOW)
    code, told = run("pause", "--federation", "brain", "--reason", "audit")
    assert (code, told.startswith("brain: paused, since ")) == (0, True)
    assert run("resume")[1].startswith("brain: active")
    assert run("leave", text="n\n")[0] == 1
    work = settings.federation.work / "work" / "run.1"
    work.mkdir(parents=True)
    build_site_records(settings).keep("work/1/attempt/session", b"secret")
    code, told = run("leave", text="y\n")
    assert (code, "brain: left" in told) == (0, True)
    assert not work.exists()
    assert build_site_records(settings).load("work/1/attempt/session") is None
    code, told = run("resume")
    assert (code, "admitted again" in told) == (64, True)
    assert run("resume", "--rejoin")[1].startswith("brain: active")


def test_a_database_without_tables_is_one_line(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("QFL_DATABASE_URL", f"sqlite:///{tmp_path}/empty.db")
    code, told = run("departures")
    assert (code, "qfl migrate" in told, len(told.splitlines())) == (69, True, 1)
