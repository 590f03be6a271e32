"""What monitoring keeps of an analysis, and what it leaves out rather than guess."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_ingest.model import MrContrast, Volume
from federated.ports import Prediction
from fhir_adapter.errors import FhirUnavailableError
from plugin.services.governance.observing import Observed, observe
from plugin.services.values import AnalysisState, Patient
from tests.fakes.hospital import a_result
from tests.fakes.whole_hospital import WholeHospital

US_CORE = Path(__file__).parents[3] / "fhir_adapter" / "data"
SHAPE = (6, 24, 20)
VOXELS = np.random.default_rng(1).gamma(4.0, 50.0, SHAPE).astype(np.float32)


@pytest.fixture
def hospital():
    return WholeHospital()


def volume(voxels, spacing=(3.0, 1.0, 1.0)):
    return Volume(voxels, np.diag([*spacing, 1.0]), "2.25.1", "2.25.2", ("2.25.3",) * len(voxels))


def watch(hospital, *, race=None, header=None, patient=None, voxels=VOXELS, study_date="20260303", **changes):
    """Observe one analysis, and give what was kept."""
    stored = hospital.fhir.create({"resourceType": "Patient", "extension": race or []})
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:4, 5:10, 5:10] = 3
    quiet = np.full(SHAPE, 0.2, np.float32)
    scanner = Dataset()
    scanner.update({} if header is None else header)
    observed = Observed(
        analysis_id="a1",
        model_version="m1",
        patient=patient or Patient("Meier^Anna", "MRN-1", "19620304", "F"),
        patient_reference=f"Patient/{stored['id']}",
        study_date=study_date,
        header=scanner,
        volumes={MrContrast.T1CE: volume(voxels)},
        prediction=Prediction(labels, np.zeros((3, *SHAPE), np.float32), quiet, 0.8, ()),
        result=a_result(),
    )
    observe(hospital.services, replace(observed, **changes))
    (found,) = hospital.governance.observations("m1", limit=10)
    return found


def scanner(**values):
    found = Dataset()
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


def extension(name):
    return json.loads((US_CORE / f"us-core-{name}.json").read_text())["extension"]


def test_groups_come_from_images_and_ehr(hospital):
    made = scanner(Manufacturer="SIEMENS", ManufacturerModelName="Aera", StationName="MR2")
    found = watch(hospital, race=extension("child"), header=made)
    assert found.groups == {"sex": "F", "age": "60-79", "ethnicity": "asian", "site": "SIEMENS Aera MR2"}
    assert (found.accepted, found.confidence, found.at) == (None, 0.8, hospital.clock())


@pytest.mark.parametrize(
    ("birth_date", "band"),
    [
        pytest.param("19660304", "40-59", id="the day before the sixtieth birthday"),
        pytest.param("19660303", "60-79", id="the sixtieth birthday"),
        pytest.param("20270101", None, id="born after the study"),
        pytest.param("18000101", None, id="too long ago"),
        pytest.param("1962", None, id="a year alone"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_the_age_is_that_at_the_study(hospital, birth_date, band):
    found = watch(hospital, patient=Patient("Meier^Anna", "MRN-1", birth_date, "F"))
    assert found.groups.get("age") == band


def test_several_races_are_other_and_the_ehr_may_know_the_sex(hospital):
    found = watch(hospital, race=extension("patient"), patient=Patient("X", "1", "19620304", "O"))
    assert found.groups == {"ethnicity": "other", "sex": "F", "age": "60-79"}


def test_what_is_unknown_is_left_out(hospital):
    found = watch(hospital, patient=Patient("", "", "", ""), study_date="", patient_reference=None)
    assert found.groups == {}


def test_only_what_the_policy_watches_is_asked_for(hospital, monkeypatch):
    desk = hospital.services.governance
    policy = desk.policy()
    less = replace(policy, fairness=replace(policy.fairness, attributes=("site",)))
    monkeypatch.setattr(type(desk), "policy", lambda _self: less)
    monkeypatch.setattr(hospital.fhir, "read", lambda _reference: pytest.fail("The EHR was asked."))
    found = watch(hospital, race=extension("child"), header=scanner(Manufacturer="GE"))
    assert found.groups == {"site": "GE"}


def test_an_ehr_that_does_not_tell_the_patient_costs_no_study(hospital, monkeypatch):
    def refuse(_reference):
        raise FhirUnavailableError("The server does not answer.")

    monkeypatch.setattr(hospital.fhir, "read", refuse)
    found = watch(hospital)
    assert found.groups["sex"] == "F"
    assert "ethnicity" not in found.groups


def test_features_do_not_depend_on_the_scale_of_intensities(hospital):
    found, brighter = watch(hospital).features, watch(hospital, voxels=VOXELS * 7).features
    assert brighter == pytest.approx(found, rel=1e-3)
    assert found["slice spacing (mm)"] == 3.0
    assert found["uncertainty"] == pytest.approx(0.2)


def test_noise_of_a_degraded_scanner_shows(hospital):
    smooth = np.broadcast_to(np.linspace(100, 200, SHAPE[2]), SHAPE).astype(np.float32)
    noisy = smooth + np.random.default_rng(2).normal(0, 40, SHAPE).astype(np.float32)
    assert (
        watch(hospital, voxels=noisy).features["T1ce noise"] > 3 * watch(hospital, voxels=smooth).features["T1ce noise"]
    )


def test_an_image_without_signal_has_no_image_features(hospital):
    found = watch(hospital, voxels=np.zeros(SHAPE, np.float32)).features
    assert not [name for name in found if name.startswith("T1ce")]


def test_an_analysis_is_observed_with_its_result_and_again_when_it_is_tried_again(hospital, monkeypatch):
    save = hospital.store.save_result
    faults = [RuntimeError("the worker dies here")]

    def die_once(*arguments, **named):
        if faults:
            raise faults.pop()
        return save(*arguments, **named)

    monkeypatch.setattr(hospital.store, "save_result", die_once)
    hospital.scan()
    first = hospital.ask()
    hospital.work()
    assert hospital.get(first).state is AnalysisState.FAILED
    hospital.clock.advance(timedelta(minutes=1))
    second = hospital.ask()
    hospital.work()
    assert hospital.get(second).state is AnalysisState.AWAITING_REVIEW
    kept = {each.analysis_id for each in hospital.governance.observations(hospital.segmenter.identity.version, limit=9)}
    assert second in kept
