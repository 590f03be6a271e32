"""Reports: issued once a period by the timer, escaped, without a patient, and never by a clock that was set back."""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from governance import sealed_keys
from governance.canonical import canonical_bytes
from governance.compliance.catalogue import CONTROLS
from governance.compliance.frameworks import Framework
from governance.compliance.periods import Schedule, parse_period
from governance.errors import ClockSetBackError, ReportError
from plugin.services.governance.coverage import coverage_of
from plugin.services.governance.reports import SCHEDULED, issue_due, issue_report, issue_scheduled, present_period
from tests.fakes.reporting_site import ANNA, ReportingSite, full_site, make_template, open_site


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_template(tmp_path_factory.mktemp("site") / "template")


@pytest.fixture
def site(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReportingSite:
    monkeypatch.setattr(sealed_keys, "WORK_FACTOR", 2)
    return full_site(template, tmp_path / "site")


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without plots, where a test is not about them: drawing takes a second."""
    monkeypatch.setattr("plugin.services.governance.report_plots.draw_plots", lambda _: {})
    monkeypatch.setattr("plugin.services.governance.report_pdf.build_pdf", lambda *_: b"%PDF-")


def test_a_report_is_stored_recorded_and_signed(site: ReportingSite, light: None) -> None:
    report = issue_report(site.desk, present_period(site.desk))
    stored = site.services.governance.store.report(report.digest)
    assert stored is not None
    assert hashlib.sha256(canonical_bytes(dict(stored.summary))).hexdigest() == report.digest
    ((_, entry),) = site.services.governance.ledger.last(1)
    assert entry.kind == "report-issued"
    assert entry.facts["html"] == hashlib.sha256(stored.html).hexdigest()
    assert entry.facts["pdf"] == hashlib.sha256(stored.pdf).hexdigest()
    found = site.services.governance.ledger.verify()
    assert found.is_intact
    assert found.signed_size == found.size
    assert coverage_of(site.desk.database).is_complete


def test_html_and_pdf_are_escaped_complete_and_hold_no_patient(site: ReportingSite) -> None:
    report = issue_report(site.desk, present_period(site.desk))
    page = report.html.decode()
    assert "St. Anna &lt;Hospital&gt; &amp; Söhne" in page
    assert "<Hospital>" not in page
    assert "<script" not in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    for each in CONTROLS:
        assert f'id="{each.id}"' in page
    for framework in Framework:
        assert str(framework) in page
    assert "no certification" in page
    assert report.pdf.startswith(b"%PDF-")
    for secret in (ANNA.name, ANNA.patient_id, "Anna Meier", "1.2.826.0.1.4711", "ACC-77", "eve.ethics", "ron.reader"):
        assert secret not in page
        assert secret.encode() not in report.pdf
        assert secret not in str(report.summary)


def test_the_timer_issues_one_report_a_period(template: Path, tmp_path: Path, light: None) -> None:
    site = open_site(template, tmp_path / "site", QFL_GOVERNANCE_REPORTS="monthly")
    assert site.desk.schedule is Schedule.MONTHLY
    assert issue_due(site.desk) is None  # the month before the log was opened
    site.clock.now = (site.clock.now.replace(day=1) + timedelta(days=40)).replace(day=1, hour=0, minute=5)
    first = issue_due(site.desk)
    assert first is not None
    assert first.kind == SCHEDULED
    assert issue_due(site.desk) is None
    # A second timer that has looked before the first one has stored.
    assert issue_scheduled(site.desk, parse_period(first.period)) is None
    assert len(site.services.governance.store.reports(limit=10)) == 1
    site.clock.now += timedelta(days=32)
    second = issue_due(site.desk)
    assert second is not None
    assert second.period > first.period
    assert coverage_of(site.desk.database).is_complete


def test_reports_on_request_do_not_stand_for_the_timers(template: Path, tmp_path: Path, light: None) -> None:
    site = open_site(template, tmp_path / "site", QFL_GOVERNANCE_REPORTS="biannual")
    site.clock.now = datetime(site.clock.now.year + 1, 7, 1, 1, tzinfo=UTC)
    period = parse_period(f"{site.clock.now.year}-H1")
    issue_report(site.desk, period)
    site.wait()
    issued = issue_due(site.desk)
    assert issued is not None
    assert issued.period == period.name


def test_reports_can_be_off(template: Path, tmp_path: Path) -> None:
    site = open_site(template, tmp_path / "site", QFL_GOVERNANCE_REPORTS="off")
    site.clock.now += timedelta(days=400)
    assert issue_due(site.desk) is None


def test_a_clock_that_was_set_back_makes_no_report(site: ReportingSite, light: None) -> None:
    issue_report(site.desk, present_period(site.desk))
    site.clock.now -= timedelta(days=3)
    with pytest.raises(ClockSetBackError):
        issue_report(site.desk, present_period(site.desk))
    assert len(site.services.governance.store.reports(limit=10)) == 1


def test_a_period_that_has_not_begun_is_refused(site: ReportingSite) -> None:
    with pytest.raises(ReportError, match="begins on"):
        issue_report(site.desk, parse_period("2099-01"))


def test_a_period_before_the_site_shows_nothing(site: ReportingSite, light: None) -> None:
    report = issue_report(site.desk, parse_period("2020-H1"))
    by_id = {row["id"]: row for row in report.summary["controls"]}
    assert by_id["DEC-2"]["status"] == "insufficient-evidence"
    assert not any(sum(values) for values in report.summary["series"].values())
