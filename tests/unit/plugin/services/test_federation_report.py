"""The report stands alone, escapes what sites tell, and never adds up two units of privacy."""

import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

from federated.privacy.site_level import site_epsilon
from federated.rounds.plan import parse_plan
from federated.rounds.progress import fold
from federated.rounds.terms import Privacy
from plugin.errors import FederationRunError
from plugin.services.federation_plots import draw_plots
from plugin.services.federation_report import SiteSide, build_report, write_report
from plugin.services.round_records import Departure
from tests.fakes.run_events import REFUSED, START, run_events, write_run

SIDES = {
    "site-01": SiteSide(2.5, [Departure(START, "f", "run-1", 1, "train", "masked update", "d1" * 32, 640_000, 0.7)]),
    "site-02": SiteSide(None, []),
}


class Page(HTMLParser):
    """Text, and everything that a browser could fetch or run."""

    def __init__(self, html):
        super().__init__()
        self.links, self.tags, self.text = [], set(), ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in {"src", "href", "srcset", "action", "data"}]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = write_run(tmp_path_factory.mktemp("coordinator"), run_events())
    aggregate = {"event": "aggregate", "round": 1, "terms": "7e" * 32, "update": "4d" * 32, "model": "3f" * 32}
    (found / "records.jsonl").write_text(json.dumps(aggregate) + "\n" + '{"event": "aggre')
    write_report(found, SIDES)
    return found


@pytest.fixture(scope="module")
def page(folder):
    return Page((folder / "report.html").read_text())


def test_nothing_is_fetched_and_nothing_runs(page, folder):
    assert page.tags.isdisjoint({"script", "link", "iframe", "object", "form", "base"})
    assert page.links
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert not re.search(r"https?://|@import|url\(", (folder / "report.html").read_text())


def test_the_plots_lie_beside_it_as_pictures(folder):
    for name in ("dice", "loss-and-epsilon", "costs"):
        with Image.open(io.BytesIO((folder / f"report-{name}.png").read_bytes())) as picture:
            assert picture.width > 1000
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 20


def test_it_says_what_was_agreed_who_dropped_out_and_what_left(page):
    text = " ".join(page.text.split())
    for told in ("masked (the coordinator sees sums over sites only)", "noise multiplier 1.25", REFUSED, "lost"):
        assert told in text
    for digest in ("d1" * 32, "7e" * 32, "4d" * 32, "3f" * 32, "a" * 64):
        assert digest in text
    assert "site-01: 640.0 kB, 1 \N{MULTIPLICATION SIGN} masked update" in text


def test_the_worst_site_is_the_first_row(folder):
    view = fold(run_events())
    rows = re.findall(r"<tr(?: class=\"worst\")?><th>(site-\d\d)</th>", (folder / "report.html").read_text())
    assert rows == [site.name for site in view.sites]


def test_record_level_and_site_level_stand_apart(folder):
    plan = parse_plan((folder / "plan.json").read_bytes())
    # Checked by its own constructor; here only the words matter.
    rule = replace(plan.aggregation, weighting="equal")
    plan = replace(plan, aggregation=rule, privacy=Privacy(record_noise=1.25, site_clip=1.0, site_noise=4.0))
    view = fold(run_events())
    text = Page(build_report(view, plan, {}, SIDES, [])).text
    hospital = site_epsilon(4.0, 4, 1e-5)
    assert f"{view.epsilon:.3g}" in text
    assert f"{hospital:.3g}" in text
    assert f"{view.epsilon + hospital:.3g}" not in text


def test_names_and_reasons_are_escaped():
    events = json.loads(json.dumps(run_events()).replace(REFUSED, "<script>alert(1)</script>"))
    plan = parse_plan(PLAN)
    page = Page(build_report(fold(events), plan, {}, {}, []))
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.text
    assert "written without them" in page.text


PLAN = json.dumps({"federation": "f", "run": "r", "sites": ["a", "b"], "rounds": 4, "app": "a" * 64})


def test_a_run_without_noise_says_that_nothing_is_guaranteed():
    view = fold(run_events(private=False))
    text = Page(build_report(view, parse_plan(PLAN), draw_plots(view), {}, [])).text
    assert text.count("No noise, so no guarantee.") == 2


def test_a_run_without_a_finished_round_has_no_report(tmp_path):
    folder = write_run(tmp_path, run_events(finished=0))
    with pytest.raises(FederationRunError, match="at least one finished round"):
        write_report(folder)
    assert not (folder / "report.html").exists()
