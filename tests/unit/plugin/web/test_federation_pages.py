"""The pages about federated rounds, for both sides, and for those who have neither."""

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from federated.privacy.budget import Spending
from plugin.errors import SitePolicyError
from plugin.services.federation_desk import FederationDesk, SiteDesk
from plugin.services.federation_runs import RunViews
from plugin.services.policy_model import Participation, PrivacyLimits
from plugin.services.round_records import ChargeRow, Departure, Outcome, Refusal, RoundRow
from tests.fakes.hospital import NOW, sign_in
from tests.fakes.run_events import REFUSED, append, run_events, write_run

LIMITS = PrivacyLimits(required=True, epsilon_per_round=2, epsilon_per_run=8, epsilon_per_year=10, delta=1e-4)


def records():
    """RoundRecords that answer what the page asks."""
    spending = Spending("run-9", 1, 0.0, 1.0, 1, 1e-6, 0.75)
    row = RoundRow(
        "f", "run-9", 1, "7e" * 32, Outcome.SENT, "m", 3, "masked", "fedavg", "tiny", None, None, 12, {"no consent": 2},
        NOW, NOW,
    )  # fmt: skip
    finding = {"rule": "hours", "reason": "expected <b>night</b>"}
    return SimpleNamespace(
        participation=lambda federation: Participation(),
        rounds=lambda limit: [row],
        refusals=lambda limit: [Refusal("f", "run-9", 2, [finding], 3, NOW, NOW)],
        departures=lambda limit: [Departure(NOW, "f", "run-9", 1, "train", "masked update", "d1" * 32, 640_000, 0.75)],
        charges=lambda: [ChargeRow("f", spending, NOW)],
    )


def with_desk(app, **parts):
    services = app.extensions["qfl"]
    app.extensions["qfl"] = replace(services, federation=FederationDesk(**parts))


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path, run_events(finished=2))


@pytest.fixture
def client(app, folder):
    with_desk(app, runs=RunViews(folder.parents[1]))
    client = app.test_client()
    sign_in(client, "reader")
    return client


def words(response):
    assert response.status_code == 200, response.text
    return " ".join(re.sub(r"<[^>]*>", " ", response.text).split())


def test_an_installation_with_no_part_says_so(radiologist):
    text = words(radiologist.get("/federation"))
    assert "coordinates no federation" in text
    assert "has joined no federation" in text
    assert radiologist.get("/federation/runs/run-1").status_code == 404


def test_the_runs_are_listed(client):
    text = words(client.get("/federation"))
    assert "run-1 brain-tumours Running 2 of 4" in text
    assert words(client.get("/federation/runs")).startswith("Run State Rounds")


def test_a_run_shows_sites_with_the_worst_first(client):
    response = client.get("/federation/runs/run-1")
    text = words(response)
    assert "Round 3 of 4, 5 sites" in text
    assert "step 3 of 8" in text
    assert "nothing was heard of it for 30 s" in text
    rows = re.findall(r'<th scope="row" class="nowrap">(site-\d\d)', response.text)
    assert len(rows) == 5
    assert re.search(rf"Worst site\s*{rows[0]}", text)
    assert f"{rows[0]} worst" in text


def test_the_live_part_follows_the_file_and_stops_with_the_run(client, folder):
    page = client.get("/federation/runs/run-1").text
    assert 'data-live="on"' in page
    assert 'data-live-url="/federation/runs/run-1/live"' in page
    offset = (folder / "events.jsonl").stat().st_size
    assert f'data-live-feed="/api/federation/runs/run-1/events?after={offset}"' in page
    append(folder, [{"event": "run-finished", "reason": "stopped"}])
    live = client.get("/federation/runs/run-1/live").text
    assert "Stopped" in live
    assert 'data-live="on"' not in live
    assert "<html" not in live


def test_pages_keep_to_the_policy_of_the_browser(client, folder):
    (folder / "report.html").write_text("<style>p{}</style><p>Report</p>")
    for path in ("/federation", "/federation/runs/run-1", "/federation/runs/run-1/live"):
        response = client.get(path)
        assert "unsafe" not in response.headers["Content-Security-Policy"]
        assert not re.search(r"<script>|<style|\sstyle=|\son\w+=", response.text)
        assert not re.findall(r'(?:src|href)="(?!/)[^"#]', response.text), "nothing from elsewhere"


def test_charts_are_told_to_those_who_do_not_see_them(client):
    page = client.get("/federation/runs/run-1").text
    labels = re.findall(r'role="img" aria-label="([^"]*)"', page)
    assert len(labels) == 5, "of the sixth chart, the loss, nothing is known"
    assert "The worst site is" in labels[0]
    assert all(re.search(r'aria-label="[^"]+"', bar) for bar in re.findall(r"<progress[^>]*>", page))


def test_what_sites_tell_is_escaped(client, folder):
    told = {"event": "site", "round": 3, "site": "<img src=x>", "stage": "join", "state": "refused", "reason": "<b>"}
    append(folder, [told])
    page = client.get("/federation/runs/run-1").text
    assert "<img src=x>" not in page
    assert "&lt;img src=x&gt;" in page


@pytest.mark.parametrize("run", ["run-2", "..", "%2e%2e", "run-1%2f.."])
def test_other_runs_are_not_found(client, run):
    assert client.get(f"/federation/runs/{run}").status_code in {404, 308}
    assert client.get(f"/federation/runs/{run}/report").status_code in {404, 308}


def test_the_report_may_style_itself_and_do_nothing_else(client, folder):
    assert client.get("/federation/runs/run-1/report").status_code == 404
    assert "Report</a>" not in client.get("/federation/runs/run-1").text
    (folder / "report.html").write_text("<p>Report</p>")
    assert "Report</a>" in client.get("/federation/runs/run-1").text
    response = client.get("/federation/runs/run-1/report")
    assert response.text == "<p>Report</p>"
    assert response.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")


def test_a_site_sees_its_own_records_and_budget(app):
    desk = SiteDesk("north", "brain-tumours", records(), lambda: LIMITS)
    with_desk(app, site=lambda: desk)
    client = app.test_client()
    sign_in(client, "reader")
    response = client.get("/federation")
    text = words(response)
    for told in ("north in brain-tumours", "0.75 of 10", "0.75 of 8", "masked update", "640,000", "2 no consent"):
        assert told in text
    assert "d1d1d1d1d1d1d1d1" in text
    assert "expected &lt;b&gt;night&lt;/b&gt;" in response.text


def test_a_policy_that_cannot_be_read_is_told_and_hides_nothing_else(app):
    def broken():
        raise SitePolicyError("policy.yaml: expected a mapping.")

    with_desk(app, site=lambda: SiteDesk("north", "brain-tumours", records(), broken))
    client = app.test_client()
    sign_in(client, "reader")
    text = words(client.get("/federation"))
    assert "policy.yaml: expected a mapping." in text
    assert "masked update" in text
    assert REFUSED not in text
