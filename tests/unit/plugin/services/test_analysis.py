"""The analysis use case, from announcement to stored result, around fakes of everything outside."""

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_ingest.errors import ArchiveRefusedError, ArchiveUnavailableError
from dicom_ingest.instances import encode_instance, parse_instance
from dicom_ingest.model import Series
from fhir_adapter.errors import FhirUnavailableError
from plugin.services import analysis, intake
from plugin.services.values import AnalysisState, DeliveryKind, Step
from tests.fakes.mr_series import MrContrast, make_series, make_study, study_uid
from tests.fakes.whole_hospital import WholeHospital, tumour_study


@pytest.fixture
def hospital() -> WholeHospital:
    return WholeHospital()


def test_a_study_becomes_a_result_in_pacs_and_ehr(hospital: WholeHospital) -> None:
    study = hospital.scan()
    analysis_id = hospital.ask()
    hospital.work()
    done = hospital.get(analysis_id)
    assert (done.state, done.reason) == (AnalysisState.AWAITING_REVIEW, None)
    assert done.result
    assert done.result.tumour_found
    by_key = {one.key: one for one in done.result.measurements}
    # 4 slices of 12 x 10 pixels, 3 x 1 x 1.25 mm
    assert by_key["whole-tumour"].volume_ml == pytest.approx(480 * 3.75 / 1000)
    (report,) = hospital.fhir.all("DiagnosticReport")
    assert report["status"] == "preliminary"
    assert report["imagingStudy"][0]["reference"] == f"ImagingStudy/{study['id']}"
    assert len(hospital.fhir.all("Provenance")) == 1
    assert hospital.archive.stored == [done.result.seg_sop_instance_uid, done.result.sr_sop_instance_uid]
    steps = [step.step for step in hospital.store.steps(analysis_id)]
    assert steps == [Step.RESOLVE, Step.SELECT, Step.FETCH, Step.SEGMENT, Step.BUILD, Step.DELIVER]


def test_the_second_request_for_the_same_series_is_a_duplicate(hospital: WholeHospital) -> None:
    hospital.scan()
    first = hospital.ask()
    hospital.work()
    hospital.clock.advance(timedelta(minutes=1))
    second = hospital.ask()
    hospital.work()
    again = hospital.get(second)
    assert (again.state, again.duplicate_of) == (AnalysisState.DUPLICATE, first)
    assert len(hospital.segmenter.segmented) == 1
    assert len(hospital.fhir.all("DiagnosticReport")) == 1


def test_the_patient_is_named_though_other_objects_are_listed_first(
    hospital: WholeHospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive may list a SEG or SR without the patient's attributes, and before the images."""
    hospital.scan()
    images = hospital.archive.list_series(study_uid())
    bare = Series(study_uid(), "1.2.3", "SR", 1, Dataset())
    monkeypatch.setattr(hospital.archive, "list_series", lambda _uid: [bare, *images])
    analysis_id = hospital.ask()
    hospital.work()
    found = hospital.get(analysis_id)
    assert found.patient
    assert found.patient.patient_id == tumour_study()[0].PatientID
    assert found.study_date == tumour_study()[0].StudyDate


def test_a_study_that_the_ehr_does_not_hold_is_registered_there(hospital: WholeHospital) -> None:
    hospital.archive_only(tumour_study())
    patient_id = tumour_study()[0].PatientID
    hospital.fhir.create({"resourceType": "Patient", "identifier": [{"value": patient_id}]})
    analysis_id = hospital.ask()
    hospital.work()
    assert hospital.get(analysis_id).state is AnalysisState.AWAITING_REVIEW
    (study,) = hospital.fhir.all("ImagingStudy")
    assert study["identifier"][0]["value"] == f"urn:oid:{study_uid()}"


def test_the_update_of_our_own_making_is_not_analysed_again(hospital: WholeHospital) -> None:
    hospital.scan()
    hospital.ask()
    hospital.work()
    (study,) = hospital.fhir.all("ImagingStudy")
    assert len(study["series"]) == 6
    hospital.clock.advance(timedelta(minutes=1))
    hospital.ask()
    hospital.work()
    assert len(hospital.segmenter.segmented) == 1


def test_an_archive_away_is_waited_for(hospital: WholeHospital) -> None:
    hospital.scan()
    hospital.archive.fail_next(ArchiveUnavailableError("The archive does not answer."))
    analysis_id = hospital.ask()
    hospital.work()
    waiting = hospital.get(analysis_id)
    assert waiting.state is AnalysisState.QUEUED
    assert waiting.reason == "Waiting: The archive does not answer."
    hospital.tick(timedelta(seconds=5))
    assert hospital.get(analysis_id).state is AnalysisState.AWAITING_REVIEW


def test_an_archive_that_stays_away_ends_in_a_named_state_and_can_be_run_again(hospital: WholeHospital) -> None:
    hospital.scan()
    hospital.archive.fail_next(ArchiveUnavailableError("The archive does not answer."), times=3)
    analysis_id = hospital.ask()
    hospital.work()
    for _ in range(3):
        hospital.tick(timedelta(hours=1))
    failed = hospital.get(analysis_id)
    assert (failed.state, failed.reason_code) == (AnalysisState.FAILED, "ArchiveUnavailableError")
    again = intake.restart_analysis(hospital.services, analysis_id=analysis_id, requested_by="dr.house")
    hospital.work()
    assert hospital.get(again).state is AnalysisState.AWAITING_REVIEW


def test_a_refusing_archive_is_not_asked_again(hospital: WholeHospital) -> None:
    hospital.scan()
    hospital.archive.fail_next(ArchiveRefusedError("The archive refuses (403)."))
    analysis_id = hospital.ask()
    hospital.work()
    assert hospital.get(analysis_id).state is AnalysisState.FAILED


def test_the_ehr_away_is_waited_for(hospital: WholeHospital) -> None:
    hospital.scan()
    hospital.fhir.fail_next(FhirUnavailableError("The EHR does not answer."))
    analysis_id = hospital.ask()
    hospital.work()
    assert hospital.get(analysis_id).state is AnalysisState.QUEUED
    hospital.tick(timedelta(seconds=5))
    assert hospital.get(analysis_id).state is AnalysisState.AWAITING_REVIEW


@pytest.mark.parametrize(
    ("instances", "code"),
    [
        pytest.param(make_series(Modality="CT"), "NotMagneticResonanceError", id="not-an-mr"),
        pytest.param(make_series(contrast=MrContrast.T2), "MissingReferenceSeriesError", id="no-T1ce"),
        pytest.param(make_series(shape=(1, 24, 20)), "TooFewSlicesError", id="one-slice"),
        pytest.param(make_series()[:3] + make_series()[4:], "MissingSliceError", id="missing-slice"),
        pytest.param(make_series(np.full((8, 24, 20), 7, np.uint16)), "ModelInputError", id="constant"),
    ],
)
def test_a_study_that_cannot_be_analysed_says_why(hospital: WholeHospital, instances: list, code: str) -> None:
    hospital.scan(instances)
    analysis_id = hospital.ask()
    hospital.work()
    ended = hospital.get(analysis_id)
    assert (ended.state, ended.reason_code) == (AnalysisState.NOT_ANALYSABLE, code)
    assert ended.reason
    assert "Doe" not in ended.reason
    assert str(instances[0].PatientName) not in ended.reason


def test_a_broken_file_says_so(hospital: WholeHospital, monkeypatch: pytest.MonkeyPatch) -> None:
    instances = tumour_study()
    hospital.scan(instances)
    whole = encode_instance(instances[3])

    def fetch(*_: str) -> Iterator[Dataset]:
        yield instances[0]
        yield parse_instance(whole[:-100])

    monkeypatch.setattr(hospital.archive, "fetch_instances", fetch)
    analysis_id = hospital.ask()
    hospital.work()
    ended = hospital.get(analysis_id)
    assert (ended.state, ended.reason_code) == (AnalysisState.NOT_ANALYSABLE, "BrokenInstanceError")


def test_an_unknown_study_says_so(hospital: WholeHospital) -> None:
    analysis_id = hospital.ask("1.2.3.4")
    hospital.work()
    ended = hospital.get(analysis_id)
    assert (ended.state, ended.reason_code) == (AnalysisState.NOT_ANALYSABLE, "StudyNotFoundError")
    assert "1.2.3.4" in (ended.reason or "")


def test_a_cancelled_study_is_not_analysed(hospital: WholeHospital) -> None:
    hospital.scan(status="entered-in-error")
    analysis_id = hospital.ask()
    hospital.work()
    assert hospital.get(analysis_id).reason_code == "StudyUnavailableError"


def test_images_still_on_their_way_are_waited_for(hospital: WholeHospital) -> None:
    instances = tumour_study()
    hospital.scan(instances[:-1])
    (study,) = hospital.fhir.all("ImagingStudy")
    study["series"][-1]["numberOfInstances"] += 1
    hospital.fhir.update(study)
    analysis_id = hospital.ask()
    hospital.work()
    waiting = hospital.get(analysis_id)
    assert waiting.state is AnalysisState.QUEUED
    assert "on its way" in (waiting.reason or "")
    hospital.archive_only(instances[-1:])
    hospital.tick(timedelta(seconds=5))
    assert hospital.get(analysis_id).state is AnalysisState.AWAITING_REVIEW


def test_a_missing_flair_is_warned_of_and_no_tumour_is_said(hospital: WholeHospital) -> None:
    hospital.segmenter = type(hospital.segmenter)(healthy=True)
    hospital.scan([one for one in make_study() if "FLAIR" not in one.SeriesDescription])
    analysis_id = hospital.ask()
    hospital.work()
    done = hospital.get(analysis_id)
    assert done.state is AnalysisState.AWAITING_REVIEW
    assert done.result
    assert not done.result.tumour_found
    assert any("FLAIR" in warning for warning in done.result.warnings)


def test_a_worker_that_dies_on_a_study_each_time_ends_it(hospital: WholeHospital) -> None:
    hospital.scan()
    analysis_id = hospital.ask()
    hospital.queue.hints.clear()
    for _ in range(3):
        assert hospital.store.claim(analysis_id, owner="dies", now=hospital.clock(), lease=hospital.services.site.lease)
        hospital.clock.advance(timedelta(minutes=2))
    hospital.tick(timedelta(minutes=2))
    ended = hospital.get(analysis_id)
    assert (ended.state, ended.reason_code) == (AnalysisState.FAILED, "WorkerLostError")


def test_a_lost_message_is_found_by_the_timer(hospital: WholeHospital) -> None:
    hospital.scan()
    hospital.queue.lossy = True
    analysis_id = hospital.ask()
    hospital.work()
    assert hospital.get(analysis_id).state is AnalysisState.QUEUED
    hospital.queue.lossy = False
    hospital.tick(timedelta(minutes=2))
    assert hospital.get(analysis_id).state is AnalysisState.AWAITING_REVIEW


def test_an_unforeseen_error_is_named_without_its_text(
    hospital: WholeHospital, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hospital.scan()

    def broken(*_: object) -> None:
        raise ZeroDivisionError("Doe^Jane divided by zero")

    monkeypatch.setattr(analysis, "choose_series", broken)
    analysis_id = hospital.ask()
    hospital.work()
    ended = hospital.get(analysis_id)
    assert (ended.state, ended.reason_code) == (AnalysisState.FAILED, "ZeroDivisionError")
    assert "Doe" not in (ended.reason or "")
    assert "test_analysis.py:" in caplog.text
    assert "in broken" in caplog.text
    assert "Doe" not in "".join(one.getMessage() for one in caplog.records)


def test_a_second_run_of_the_same_work_writes_the_same_uids(hospital: WholeHospital) -> None:
    other = WholeHospital()
    for one in (hospital, other):
        one.scan()
        one.ask()
        one.work()
    first, second = (one.store.list_analyses(states=None, limit=1)[0] for one in (hospital, other))
    for name in ("seg.dcm", "sr.dcm"):
        files = [one.store.artefact(done.id, name) for one, done in ((hospital, first), (other, second))]
        assert files[0]
        assert files[1]
        assert parse_instance(files[0].content).SOPInstanceUID == parse_instance(files[1].content).SOPInstanceUID
        assert files[0].content == files[1].content
    assert [one.kind for one in hospital.store.deliveries(first.id)] == [
        DeliveryKind.SEG,
        DeliveryKind.SR,
        DeliveryKind.REPORT,
    ]
