"""Evidence over a real database: what is there is found, what is not there is not guessed."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from governance import sealed_keys
from governance.audit import AuditOutcome
from governance.compliance.assessment import Assessment, check_derived, parse_document
from governance.compliance.catalogue import CONTROLS
from governance.compliance.frameworks import Framework, parse_dates
from governance.compliance.judging import Status
from governance.errors import NotPermittedError, OfficerKeyError, ReportError
from plugin.adapters import sql_engine
from plugin.services.governance.attestations import attest
from plugin.services.governance.dates import read_dates
from plugin.services.governance.evidence import EVIDENCE
from plugin.services.governance.reports import assess_period, present_period
from tests.fakes.reporting_site import AMY, DAN, EVE, RON, ReportingSite, full_site, make_template, open_site


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_template(tmp_path_factory.mktemp("site") / "template")


@pytest.fixture(autouse=True)
def cheap_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_keys, "WORK_FACTOR", 2)


@pytest.fixture
def site(template: Path, tmp_path: Path) -> ReportingSite:
    return full_site(template, tmp_path / "site")


def assessed(site: ReportingSite) -> Assessment:
    site.services.governance.ledger.sign()
    return assess_period(site.desk, present_period(site.desk))


def statuses(site: ReportingSite) -> dict[str, Status]:
    return {each.control.id: each.status for each in assessed(site).results}


def run(site: ReportingSite, statement: str) -> None:
    with sql_engine.connect(site.settings.database_url).begin() as connection:
        connection.exec_driver_sql(statement)


def test_every_control_has_its_evidence_function() -> None:
    assert {each.evidence for each in CONTROLS} == set(EVIDENCE)


def test_an_empty_site_passes_nothing_that_it_has_no_evidence_of(template: Path, tmp_path: Path) -> None:
    found = statuses(open_site(template, tmp_path / "empty"))
    passed = {name for name, status in found.items() if status is Status.PASSED}
    assert passed == {"LOG-1", "LOG-4", "LOG-6", "DEC-7", "SEC-1"}
    assert found["DEC-6"] is Status.FAILED
    assert found["AUD-2"] is Status.INSUFFICIENT
    assert found["ORG-3"] is Status.UNATTESTED


def test_a_governed_site_passes_with_proofs(site: ReportingSite) -> None:
    found = assessed(site)
    by_id = {each.control.id: each for each in found.results}
    for name in ("LOG-1", "LOG-2", "LOG-5", "DEC-1", "DEC-2", "DEC-3", "DEC-4", "DEC-5", "DEC-6", "AUD-1", "AUD-2",
                 "AUD-9", "RUN-1", "RUN-6", "SUB-2", "SEC-2"):  # fmt: skip
        assert by_id[name].status is Status.PASSED, (name, by_id[name].judgement.reason)
    assert by_id["DEC-2"].evidence.numbers["decided"] == 3
    assert by_id["RUN-3"].evidence.numbers == {"decided": 3, "rejected": 1, "limit": "0.3", "minimum": 30}
    for name, kind in (("DEC-2", "review-decided"), ("AUD-2", "audit-run"), ("DEC-3", "model-released")):
        entry = by_id[name].evidence.entry
        assert entry is not None
        assert entry.kind == kind
    assert sum(found.series["accepted"]) == 2
    assert sum(found.series["rejected"]) == 1
    assert check_derived(parse_document(found.to_bytes())) == []


@pytest.mark.parametrize(
    ("outcome", "status"),
    [(AuditOutcome.FAILED, Status.FAILED), (AuditOutcome.INSUFFICIENT_EVIDENCE, Status.INSUFFICIENT)],
)
def test_a_later_audit_counts(site: ReportingSite, outcome: AuditOutcome, status: Status) -> None:
    site.wait()
    site.audit({"bias": outcome})
    found = statuses(site)
    assert found["AUD-2"] is status
    assert found["AUD-3"] is Status.PASSED


def test_an_old_audit_is_stale(site: ReportingSite) -> None:
    site.clock.now += timedelta(days=190)
    assert statuses(site)["AUD-1"] is Status.FAILED


def test_what_was_done_by_hand_in_the_database_shows(site: ReportingSite) -> None:
    run(site, "DELETE FROM observations WHERE analysis_id = (SELECT min(analysis_id) FROM observations)")
    run(site, "UPDATE officer_acts SET signature = zeroblob(3309) WHERE id = 1")
    run(site, "UPDATE deliveries SET sent_at = NULL, state = 'pending' WHERE kind = 'report'")
    run(site, "DELETE FROM officer_acts WHERE act = 'release'")
    found = statuses(site)
    assert found["RUN-1"] is Status.FAILED
    assert found["DEC-5"] is Status.FAILED
    assert found["DEC-3"] is Status.FAILED
    assert found["LOG-2"] is Status.FAILED


def test_a_log_that_was_tampered_with_is_reported(site: ReportingSite) -> None:
    site.services.governance.ledger.sign()
    run(site, "UPDATE ledger_entries SET leaf = CAST(replace(CAST(leaf AS TEXT), 'audit-run', 'audit-rum') AS BLOB)")
    found = {each.control.id: each for each in assess_period(site.desk, present_period(site.desk)).results}
    assert found["LOG-1"].status is Status.FAILED
    assert "edited" in found["LOG-1"].judgement.reason


def test_an_audit_that_was_changed_counts_for_nothing(template: Path, tmp_path: Path) -> None:
    site = open_site(template, tmp_path / "site")
    site.appoint()
    site.audit(trained_by=("somebody",))
    site.release()
    assert statuses(site)["DEC-4"] is Status.PASSED
    row = site.services.governance.store.audits()[0]
    document = row.document.replace(b'"trained_by":["somebody"]', b'"trained_by":["nobody"]')
    run(site, f"UPDATE audits SET document = CAST('{document.decode()}' AS BLOB)")
    found = statuses(site)
    assert found["DEC-3"] is Status.FAILED
    assert found["DEC-4"] is Status.FAILED
    assert found["AUD-1"] is Status.FAILED


def test_addresses_without_tls_fail(template: Path, tmp_path: Path) -> None:
    site = open_site(template, tmp_path / "site", QFL_FHIR_URL="http://ehr.example/fhir")
    assert statuses(site)["SEC-1"] is Status.FAILED


def test_an_attestation_holds_until_its_day(site: ReportingSite) -> None:
    attest(site.services, control_id="ORG-3", document=b"the assessment", days=30, by=DAN)
    assert statuses(site)["ORG-3"] is Status.PASSED
    site.clock.now += timedelta(days=31)
    assert statuses(site)["ORG-3"] is Status.UNATTESTED


def test_an_attestation_whose_record_was_changed_does_not_count(site: ReportingSite) -> None:
    attest(site.services, control_id="ORG-3", document=b"the assessment", days=30, by=EVE)
    run(
        site, "UPDATE officer_acts SET subject = 'attestation-training' WHERE subject = 'attestation-impact-assessment'"
    )
    found = statuses(site)
    assert found["ORG-3"] is Status.UNATTESTED
    assert found["ORG-4"] is Status.UNATTESTED


def test_attestations_that_cannot_be_are_refused(site: ReportingSite) -> None:
    with pytest.raises(ReportError, match="attested"):
        attest(site.services, control_id="LOG-1", document=b"x", days=30, by=EVE)
    with pytest.raises(ReportError, match="days"):
        attest(site.services, control_id="ORG-1", document=b"x", days=4000, by=EVE)
    with pytest.raises(ReportError, match="empty"):
        attest(site.services, control_id="ORG-1", document=b"", days=30, by=EVE)
    for officer in (AMY, RON):
        with pytest.raises(NotPermittedError):
            attest(site.services, control_id="ORG-1", document=b"x", days=30, by=officer)
    with pytest.raises(OfficerKeyError):
        attest(
            site.services, control_id="ORG-1", document=b"x", days=30, by=type(EVE)(EVE.username, "a wrong passphrase")
        )


def test_dates_are_read_and_wrong_ones_refused(tmp_path: Path) -> None:
    shipped = read_dates(None)
    assert any(each.framework is Framework.AI_ACT and each.applies_from == date(2027, 12, 2) for each in shipped)
    assert {each.framework for each in shipped} == set(Framework)
    for wrong in (
        {},
        {"dates": []},
        {"dates": [{"framework": "GDPR"}]},
        {"dates": [{"framework": "Other", "part": "p", "from": None, "source": "s"}]},
        {"dates": [{"framework": "GDPR", "part": "p", "from": "soon", "source": "s"}]},
    ):
        with pytest.raises(ReportError):
            parse_dates(wrong)
    own = tmp_path / "dates.yaml"
    own.write_text("dates: [{framework: GDPR, part: all, from: 2018-05-25, source: Official Journal}]")
    assert read_dates(own)[0].applies_from == date(2018, 5, 25)
    with pytest.raises(ReportError, match="cannot be read"):
        read_dates(tmp_path / "none.yaml")
    own.write_text("dates: [")
    with pytest.raises(ReportError, match="cannot be used"):
        read_dates(own)
