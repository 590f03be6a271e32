import pytest
from pydicom.sr.codedict import codes as dicom_codes

from fhir_adapter import codes
from fhir_adapter.model import Coding


@pytest.mark.parametrize(
    ("ours", "standard"),
    [
        pytest.param(codes.VOLUME, dicom_codes.SCT.Volume, id="volume"),
        pytest.param(codes.LONG_AXIS, dicom_codes.SCT.LongAxis, id="long-axis"),
        pytest.param(codes.SHORT_AXIS, dicom_codes.SCT.ShortAxis, id="short-axis"),
        pytest.param(codes.BRAIN, dicom_codes.SCT.Brain, id="brain"),
        pytest.param(codes.PRESENT, dicom_codes.SCT.Present, id="present"),
        pytest.param(codes.ABSENT, dicom_codes.SCT.Absent, id="absent"),
        pytest.param(codes.FINDING, dicom_codes.DCM.Finding, id="finding"),
        pytest.param(codes.SEGMENTED_VOXELS, dicom_codes.DCM.SumOfSegmentedVoxelMethodForVolume, id="method"),
        pytest.param(codes.SOURCE_ROLE, dicom_codes.DCM.SourceRoleID, id="source-role"),
        pytest.param(codes.DESTINATION_ROLE, dicom_codes.DCM.DestinationRoleID, id="destination-role"),
    ],
)
def test_codes_and_displays_are_those_of_dicom(ours: Coding, standard: object):
    uris = {"SCT": codes.SCT, "DCM": codes.DCM}

    assert (ours.system, ours.code) == (uris[standard.scheme_designator], standard.value)
    assert ours.display.lower() == standard.meaning.lower()


@pytest.mark.parametrize(
    ("ours", "code", "display"),
    [
        pytest.param(codes.MR_BRAIN, "24590-2", "MR Brain", id="loinc-mr-brain"),
        pytest.param(codes.RADIOLOGY, "LP29684-5", "Radiology", id="loinc-part-radiology"),
        pytest.param(codes.BRAIN_NEOPLASM, "126952004", "Neoplasm of brain", id="snomed-brain-neoplasm"),
        pytest.param(codes.AI_ASSERTED, "AIAST", "Artificial Intelligence asserted", id="v3-aiast"),
    ],
)
def test_codes_without_an_offline_table_are_spelt_out_twice(ours: Coding, code: str, display: str):
    assert (ours.code, ours.display) == (code, display)


def test_table_holds_each_code_once():
    table = [value for value in vars(codes).values() if isinstance(value, Coding)]
    keys = [(code.system, code.code) for code in table]

    assert len(set(keys)) == len(keys)
    assert all(code.display for code in table)


def test_writes_a_concept_with_its_text():
    assert codes.concept(codes.BRAIN, text="Brain") == {
        "coding": [{"system": "http://snomed.info/sct", "code": "12738006", "display": "Brain"}],
        "text": "Brain",
    }


def test_quantity_is_rounded_ucum():
    assert codes.quantity(41.23456, "mL", digits=3) == {
        "value": 41.235,
        "unit": "mL",
        "system": "http://unitsofmeasure.org",
        "code": "mL",
    }
