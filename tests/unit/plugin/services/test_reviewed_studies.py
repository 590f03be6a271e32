"""Reviewed studies of consenting patients: who is in the cohort, who is not and why, and what a case is made of."""

import logging
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from dicom_ingest.errors import ArchiveUnavailableError
from federated.errors import TrainingDataError
from fhir_adapter.errors import FhirUnavailableError
from fhir_adapter.model import ReviewDecision
from fhir_adapter.research_use import ResearchUse
from plugin.services import review
from plugin.services.research_cohort import is_held_out
from plugin.services.reviewed_studies import ReviewedCohort
from plugin.services.values import DeliveryKind, EventState, Patient, Role, User
from tests.fakes.consents import consent_r4, patient_consents, purposes
from tests.fakes.hospital import a_result
from tests.fakes.mr_series import study_uid
from tests.fakes.segmenter import ThresholdSegmenter
from tests.fakes.whole_hospital import WholeHospital

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
KEY = bytes(32)
READER = User("dr.house", "Dr House", Role.RADIOLOGIST, None, "")


@pytest.fixture
def hospital():
    return WholeHospital()


@pytest.fixture(scope="module")
def whole_case():
    """A hospital with one study that went the whole way, and its case: that takes seconds."""
    hospital = WholeHospital()
    study = hospital.scan()
    analysis_id = hospital.ask()
    hospital.work()
    decided(hospital, analysis_id, ReviewDecision.ACCEPTED)
    consents(hospital, study["subject"]["reference"], "active")
    (case,) = everyone(drawn(hospital))
    return hospital, case


def scanned(hospital, key, *, patient=None, decision=ReviewDecision.ACCEPTED, tumour=True):
    """A study whose result is published and reviewed; gives "Patient/id"."""
    if patient is None:
        created = hospital.fhir.create({"resourceType": "Patient", "identifier": [{"value": f"MRN-{key}"}]})
        patient = f"Patient/{created['id']}"
    uid = {"system": "urn:dicom:uid", "value": f"urn:oid:{study_uid(key)}"}
    study = hospital.fhir.create(
        {"resourceType": "ImagingStudy", "status": "available", "identifier": [uid], "subject": {"reference": patient}}
    )
    store, now = hospital.store, hospital.clock()
    _, analysis_id = store.add_event(
        subscription="ehr",
        event_key=key,
        state=EventState.ACCEPTED,
        detail="",
        imaging_study_reference=f"ImagingStudy/{study['id']}",
        study_instance_uid=study_uid(key),
        requested_by="subscription ehr",
        open_analysis=True,
        now=now,
    )
    store.claim(analysis_id, owner="w", now=now, lease=timedelta(minutes=1))
    store.identify(
        analysis_id,
        study_instance_uid=study_uid(key),
        work_key=f"work-{key}",
        model_version="0" * 64,
        patient=Patient("Doe^Jane", f"MRN-{key}", "19600615", "F"),
        accession_number=None,
        study_date="20260301",
        study_description=None,
        now=now,
    )
    deliveries = [(DeliveryKind.REPORT, "https://ehr.example/fhir")]
    result = a_result(tumour_found=tumour)
    store.save_result(analysis_id, owner="w", result=result, artefacts=[], deliveries=deliveries, now=now)
    for delivery in store.deliveries(analysis_id):
        store.mark_sent(delivery.id, receipt={}, now=now)
    if decision:
        decided(hospital, analysis_id, decision)
    return patient


def decided(hospital, analysis_id, decision):
    review.review_result(
        hospital.services, analysis_id=analysis_id, decision=decision, reviewer=READER, comment="because"
    )
    hospital.queue.hints.clear()


def consents(hospital, patient, *statuses):
    for consent in patient_consents(patient.removeprefix("Patient/"), *statuses):
        hospital.fhir.create({name: value for name, value in consent.items() if name != "id"})


def drawn(hospital, use=None):
    return ReviewedCohort(hospital.services, lambda: use or ResearchUse(), KEY).draw(now=NOW)


def everyone(cohort):
    return [*cohort.training, *cohort.held_out]


def test_the_cohort_is_of_accepted_studies_of_consenting_patients(hospital):
    consents(hospital, scanned(hospital, "yes"), "active")
    scanned(hospital, "silent")
    consents(hospital, scanned(hospital, "left"), "inactive")
    consents(hospital, scanned(hospital, "waiting", decision=None), "active")
    consents(hospital, scanned(hospital, "wrong", decision=ReviewDecision.REJECTED), "active")
    consents(hospital, scanned(hospital, "healthy", tumour=False), "active")
    cohort = drawn(hospital)
    assert [case.analysis.study_instance_uid for case in everyone(cohort)] == [study_uid("yes")]
    assert cohort.left_out == {
        "no consent": 1,
        "withdrawn": 1,
        "not reviewed": 1,
        "rejected by a radiologist": 1,
        "no tumour found": 1,
    }


def test_a_withdrawal_is_honoured_at_the_next_draw(hospital):
    patient = scanned(hospital, "one")
    consents(hospital, patient, "active")
    before = drawn(hospital)
    (consent,) = hospital.fhir.all("Consent")
    hospital.fhir.update({**consent, "status": "inactive"})
    after = drawn(hospital)
    assert (len(everyone(before)), len(everyone(after)), after.left_out) == (1, 0, {"withdrawn": 1})
    assert before.digest != after.digest


def test_silence_is_consent_where_the_policy_says_so(hospital):
    scanned(hospital, "silent")
    consents(hospital, scanned(hospital, "left"), "inactive")
    cohort = drawn(hospital, ResearchUse(is_presumed=True))
    assert len(everyone(cohort)) == 1
    assert cohort.left_out == {"withdrawn": 1}


def test_a_patient_is_in_it_once_with_the_newest_study(hospital):
    patient = scanned(hospital, "older")
    hospital.clock.advance(timedelta(days=1))
    scanned(hospital, "newer", patient=patient)
    consents(hospital, patient, "active")
    cohort = drawn(hospital)
    assert [case.analysis.study_instance_uid for case in everyone(cohort)] == [study_uid("newer")]
    assert cohort.left_out == {"older study of the same patient": 1}


def test_all_studies_of_a_patient_who_does_not_consent_are_left_out_for_that(hospital):
    patient = scanned(hospital, "older")
    scanned(hospital, "newer", patient=patient)
    assert drawn(hospital).left_out == {"no consent": 2}


def test_the_same_patient_is_held_out_whoever_else_takes_part(hospital):
    patients = [scanned(hospital, f"s{number}") for number in range(4)]
    for patient in patients:
        consents(hospital, patient, "active")
    cohort = drawn(hospital)
    held_out = [patient for patient in patients if is_held_out(KEY, patient)]
    assert len(cohort.held_out) == len(held_out)
    assert len(cohort.training) == 4 - len(held_out)


def test_a_study_that_the_ehr_took_back_is_left_out(hospital):
    consents(hospital, scanned(hospital, "one"), "active")
    (study,) = hospital.fhir.all("ImagingStudy")
    hospital.fhir.update({**study, "status": "entered-in-error"})
    assert drawn(hospital).left_out == {"study withdrawn in the EHR": 1}
    hospital.fhir.delete(f"ImagingStudy/{study['id']}")
    assert drawn(hospital).left_out == {"study not in the EHR": 1}


def test_a_patient_whom_nobody_knows_is_left_out(hospital):
    consents(hospital, scanned(hospital, "one"), "active")
    (study,) = hospital.fhir.all("ImagingStudy")
    hospital.fhir.update({**study, "subject": {"display": "somebody"}})
    hospital.fhir.create({"resourceType": "Patient", "identifier": [{"value": "MRN-one"}]})  # a second one
    assert drawn(hospital).left_out == {"patient unknown": 1}


def test_an_ehr_that_is_away_is_no_reason_to_leave_a_patient_in_or_out(hospital):
    consents(hospital, scanned(hospital, "one"), "active")
    hospital.fhir.fail_next(FhirUnavailableError("no answer"))
    with pytest.raises(FhirUnavailableError):
        drawn(hospital)


def test_a_case_is_what_the_archive_holds(whole_case):
    _, source = whole_case
    case = source.read()
    assert set(case.images) == {"T1", "T1ce", "T2", "FLAIR"}
    assert case.labels.shape == case.images["T1ce"].voxels.shape
    # The radiologist accepted what the segmenter drew: by thresholds of the T1 after contrast.
    expected = ThresholdSegmenter().segment(case.images, "T1ce", lambda _fraction: None).labels
    assert np.array_equal(case.labels, expected)
    assert (case.labels > 0).sum() == 480  # 4 slices of 12 x 10 pixels
    assert case.name == source.name


def test_names_and_messages_tell_nothing_of_the_patient(whole_case, caplog):
    hospital, source = whole_case
    hospital.archive.fail_next(ArchiveUnavailableError(f"study {study_uid()} cannot be had"))
    with caplog.at_level(logging.WARNING), pytest.raises(TrainingDataError) as caught:
        source.read()
    told = f"{caught.value} {source!r}"
    for secret in (study_uid(), "P0001", "Sørensen"):
        assert secret not in told
    assert source.name in caplog.text


def test_what_is_gone_from_the_archive_is_an_error(whole_case, monkeypatch):
    hospital, source = whole_case
    seg, t1ce = source.analysis.result.seg_sop_instance_uid, source.analysis.result.series[0].series_instance_uid
    places = dict(hospital.archive._places)
    monkeypatch.setattr(hospital.archive, "_places", {uid: at for uid, at in places.items() if uid != seg})
    monkeypatch.delitem(hospital.archive._instances, seg)
    with pytest.raises(TrainingDataError, match="InstanceNotFoundError"):
        source.read()
    monkeypatch.setattr(
        hospital.archive, "_places", {uid: at for uid, at in places.items() if uid != seg and at[1] != t1ce}
    )
    with pytest.raises(TrainingDataError, match=source.name):
        source.read()


def test_people_of_held_out_cases_are_known_by_pseudonym(hospital):
    for number in range(6):
        consents(hospital, scanned(hospital, f"p{number}"), "active")
    cohort = drawn(hospital)
    assert cohort.held_out, "expected one of six patients to be held out with this key"
    assert set(cohort.people) == {case.name for case in cohort.held_out}
    assert {(person.sex, person.age_years) for person in cohort.people.values()} == {("F", 65)}


def test_a_denial_beside_a_permission_wins(hospital):
    patient = scanned(hospital, "one")
    consents(hospital, patient, "active")
    denial = consent_r4(patient={"reference": patient}, provision={"type": "deny", "purpose": purposes("HRESCH")})
    hospital.fhir.create({name: value for name, value in denial.items() if name != "id"})
    assert drawn(hospital).left_out == {"denied": 1}
