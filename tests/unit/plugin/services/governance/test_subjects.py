"""What is held on a patient: told, and erased without a trace but keyed digests; the check of coverage agrees."""

import json
import logging
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import MetaData

from governance import sealed_keys
from governance.errors import NotPermittedError, OfficerKeyError
from plugin.adapters.sql_schema import analyses, metadata
from plugin.adapters.sql_subjects import _tables
from plugin.errors import SubjectNotFoundError
from plugin.services.governance.coverage import coverage_of
from plugin.services.governance.officers import Signer
from plugin.services.governance.subjects import answer_subject, erase_subject, erasure_entries
from plugin.services.values import AnalysisState
from tests.fakes.reporting_site import ANNA, BERT, DAN, EVE, ReportingSite, full_site, make_template

SECRETS = (ANNA.name, ANNA.patient_id, ANNA.birth_date, "1.2.826.0.1.4711", "1.2.826.0.1.4713", "ImagingStudy/4711")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_template(tmp_path_factory.mktemp("site") / "template")


@pytest.fixture
def site(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReportingSite:
    monkeypatch.setattr(sealed_keys, "WORK_FACTOR", 2)
    return full_site(template, tmp_path / "site")


def dump(site: ReportingSite) -> str:
    """Every row of every table, as text."""
    connection = sqlite3.connect(site.database)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    lines = []
    for table in tables:
        lines += [" ".join(map(_text, row)) for row in connection.execute(f"SELECT * FROM {table}")]
    connection.close()
    return "\n".join(lines)


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def erase(site: ReportingSite, patient_id: str = ANNA.patient_id, by: Signer = DAN) -> dict[str, int]:
    return dict(erase_subject(site.services, site.subjects, site.services.store, patient_id=patient_id, by=by).removed)


def test_what_is_held_is_told_table_by_table_and_recorded_by_digests(site: ReportingSite) -> None:
    answer = answer_subject(site.services, site.subjects, ANNA.patient_id)
    rows = answer.holdings.rows
    assert rows["analyses"] == rows["events"] == rows["artefacts"] == rows["observations"] == 2
    assert rows["deliveries"] == 4  # the reports, and the reviews that the EHR is told
    assert answer.holdings.file_bytes == 2 * len(b"<p>Meier^Anna</p>") * 500
    assert {each.destination for each in answer.holdings.sent} == {"https://ehr.example/fhir"}
    told = json.dumps(answer.to_json())
    assert ANNA.name in told
    assert BERT.name not in told
    ((_, entry),) = site.services.governance.ledger.last(1)
    assert entry.kind == "subject-answered"
    assert entry.facts["subject"] == site.services.governance.digest("patient", ANNA.patient_id)
    assert not any(secret in str(entry.facts) for secret in SECRETS)


def test_nothing_is_told_of_somebody_unknown(site: ReportingSite) -> None:
    assert answer_subject(site.services, site.subjects, "nobody").holdings.is_empty
    assert answer_subject(site.services, site.subjects, "MRN-%").holdings.is_empty


def test_erasure_leaves_no_trace_in_any_table_nor_in_the_file(
    site: ReportingSite, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert all(secret in dump(site) for secret in SECRETS)
    removed = erase(site)
    assert removed["analyses"] == removed["events"] == removed["observations"] == removed["artefacts"] == 2
    left = dump(site)
    assert not [secret for secret in SECRETS if secret in left]
    assert BERT.name in left
    for file in site.database.parent.glob("qfl.db*"):
        content = file.read_bytes()
        assert not [secret for secret in SECRETS if secret.encode() in content], file.name
    assert not [secret for secret in SECRETS if secret in caplog.text]
    assert answer_subject(site.services, site.subjects, ANNA.patient_id).holdings.is_empty


def test_the_log_says_what_was_erased_and_misses_nothing(site: ReportingSite) -> None:
    before = coverage_of(site.desk.database)
    assert before.is_complete
    removed = erase(site)
    ((_, entry),) = site.services.governance.ledger.last(1, "subject-erased")
    assert entry.facts["removed"] == sum(removed.values())
    assert len(entry.facts["analyses"]) == 2
    ((_, act),) = site.services.governance.ledger.last(1, "officer-action")
    assert (act.facts["action"], act.facts["role"]) == ("erase", "data-steward")
    after = coverage_of(site.desk.database)
    assert after.is_complete, after.gaps
    assert site.services.governance.ledger.verify().is_intact


def test_somebody_elses_rows_stay(site: ReportingSite) -> None:
    before = answer_subject(site.services, site.subjects, BERT.patient_id).to_json()
    erase(site)
    assert answer_subject(site.services, site.subjects, BERT.patient_id).to_json() == before


def test_a_study_that_is_announced_again_is_analysed_anew(site: ReportingSite) -> None:
    erase(site)
    site.wait()
    # The very same announcement: nothing remembers it.
    analysis_id = site.analyse(ANNA, "1.2.826.0.1.4711", "event-0")
    found = site.services.store.get(analysis_id)
    assert found is not None
    assert found.state is AnalysisState.AWAITING_REVIEW
    assert coverage_of(site.desk.database).is_complete
    assert erase(site)["analyses"] == 1
    assert coverage_of(site.desk.database).is_complete


def test_what_was_not_told_whose_it_is_goes_with_its_study(site: ReportingSite) -> None:
    waiting = site.announce("1.2.826.0.1.4711", "event-again")
    other = site.announce("1.2.826.0.1.9999", "event-other")
    assert erase(site)["analyses"] == 3
    assert site.services.store.get(waiting) is None
    assert site.services.store.get(other) is not None


def test_a_worker_that_is_at_it_stores_nothing_afterwards(site: ReportingSite) -> None:
    from datetime import timedelta

    from plugin.errors import LeaseLostError
    from tests.fakes.hospital import a_result

    store, running = site.services.store, site.announce("1.2.826.0.1.4711", "event-again")
    store.claim(running, owner="w", now=site.clock(), lease=timedelta(minutes=1))
    erase(site)
    with pytest.raises(LeaseLostError):
        store.save_result(running, owner="w", result=a_result(), artefacts=[], deliveries=[], now=site.clock())


def test_only_a_data_steward_may_and_a_wrong_passphrase_erases_nothing(site: ReportingSite) -> None:
    before = dump(site)
    with pytest.raises(NotPermittedError):
        erase(site, by=EVE)
    with pytest.raises(OfficerKeyError):
        erase(site, by=Signer(DAN.username, "a wrong passphrase"))
    assert dump(site) == before


def test_nobody_unknown_is_erased(site: ReportingSite) -> None:
    before = dump(site)
    with pytest.raises(SubjectNotFoundError) as fault:
        erase(site, "MRN-999999")
    assert "MRN-999999" not in str(fault.value)
    assert dump(site) == before


@pytest.mark.parametrize("patient_id", ["", "  "])
def test_patients_without_an_identifier_are_not_one_patient(site: ReportingSite, patient_id: str) -> None:
    site.analyse(replace(ANNA, patient_id=patient_id), "1.2.826.0.1.5555", "event-5")
    site.analyse(replace(BERT, patient_id=patient_id), "1.2.826.0.1.5556", "event-6")
    before = dump(site)
    with pytest.raises(SubjectNotFoundError, match="empty"):
        answer_subject(site.services, site.subjects, patient_id)
    with pytest.raises(SubjectNotFoundError, match="empty"):
        erase(site, patient_id)
    assert dump(site) == before


def test_many_analyses_are_several_entries(site: ReportingSite) -> None:
    ids = [f"{number:032x}" for number in range(1201)]
    entries = erasure_entries(site.services.governance, "a" * 64, ids, {"analyses": 1201}, at=site.clock())
    assert [len(each.facts["analyses"]) for each in entries] == [500, 500, 201]
    assert sum(each.facts["removed"] for each in entries) == 1201
    site.services.governance.ledger.append(entries)


def test_every_table_that_belongs_to_an_analysis_is_erased_from() -> None:
    """A new table with an analysis_id must have the foreign key, by which it is found."""
    assert isinstance(metadata, MetaData)
    named = {table.name for table in metadata.sorted_tables if "analysis_id" in table.columns}
    assert named == {table.name for table, _ in _tables()}
    assert analyses.name not in named
