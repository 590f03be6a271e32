"""Evidence, reports, bundles and erasure on PostgreSQL: the same as on SQLite, where the unit tests run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from governance import sealed_keys
from governance.compliance.judging import Status
from governance.evidence.verification import parse_keys, verify_evidence
from plugin.adapters import sql_engine
from plugin.services.governance.coverage import coverage_of
from plugin.services.governance.evidence_bundle import build_bundle
from plugin.services.governance.reports import assess_period, issue_scheduled, present_period
from plugin.services.governance.subjects import answer_subject, erase_subject
from tests.fakes.reporting_site import ANNA, BERT, DAN, ReportingSite, full_site, make_template
from tests.servers.postgres import postgres


def statuses(site: ReportingSite) -> dict[str, Status]:
    site.services.governance.ledger.sign()
    return {each.control.id: each.status for each in assess_period(site.desk, present_period(site.desk)).results}


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every engine that is made, closed in the end."""
    made: list[Engine] = []
    connect = sql_engine.connect

    def remember(url: str) -> Engine:
        made.append(connect(url))
        return made[-1]

    monkeypatch.setattr(sql_engine, "connect", remember)
    yield
    for each in made:
        each.dispose()


@pytest.mark.server
@pytest.mark.usefixtures("engines")
def test_postgresql_gives_what_sqlite_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_keys, "WORK_FACTOR", 2)
    monkeypatch.setattr("plugin.services.governance.report_plots.draw_plots", lambda _: {})
    lite = full_site(make_template(tmp_path / "lite-template"), tmp_path / "lite")
    with postgres() as url:
        template = make_template(tmp_path / "template", QFL_DATABASE_URL=url)
        site = full_site(template, tmp_path / "site", QFL_DATABASE_URL=url)
        assert statuses(site) == statuses(lite)
        period = present_period(site.desk)
        assert issue_scheduled(site.desk, period) is not None
        assert issue_scheduled(site.desk, period) is None
        found = verify_evidence(build_bundle(site.desk), parse_keys(site.first_key.read_text()))
        assert found.is_intact, found.story()
        told, same = (answer_subject(each.services, each.subjects, ANNA.patient_id) for each in (site, lite))
        assert told.holdings.rows == same.holdings.rows
        assert told.holdings.file_bytes == same.holdings.file_bytes
        for each in (site, lite):
            removed = erase_subject(
                each.services, each.subjects, each.services.store, patient_id=ANNA.patient_id, by=DAN
            ).removed
            assert removed["analyses"] == 2
            assert coverage_of(each.desk.database).is_complete
            assert answer_subject(each.services, each.subjects, ANNA.patient_id).holdings.is_empty
            assert not answer_subject(each.services, each.subjects, BERT.patient_id).holdings.is_empty
