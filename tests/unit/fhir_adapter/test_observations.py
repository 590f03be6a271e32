import pytest

from fhir_adapter.model import Coding, RegionFinding
from fhir_adapter.observations import build_finding_observation, build_region_observation

REGION = RegionFinding(
    "oedema", "Oedema", Coding("http://snomed.info/sct", "79654002", "Edema"), 1.23456, 9.87, 3.21, 0.5
)
EMPTY = RegionFinding("oedema", "Oedema", REGION.finding, 0.0, None, None, None)
SHARED = {"subject": {"reference": "Patient/p-1"}}


def test_region_is_a_volume_in_millilitres():
    observation = build_region_observation(REGION, "key", SHARED)

    assert observation["valueQuantity"] == {
        "value": 1.235,
        "unit": "mL",
        "system": "http://unitsofmeasure.org",
        "code": "mL",
    }
    assert observation["identifier"][0]["value"] == "key.oedema"
    assert observation["status"] == "preliminary"
    assert observation["subject"] == {"reference": "Patient/p-1"}


def test_region_says_what_it_is_and_how_long_and_wide():
    finding, long_axis, short_axis = build_region_observation(REGION, "key", SHARED)["component"]

    assert finding["valueCodeableConcept"]["coding"][0]["code"] == "79654002"
    assert (long_axis["code"]["coding"][0]["code"], long_axis["valueQuantity"]["value"]) == ("103339001", 9.9)
    assert (short_axis["code"]["coding"][0]["code"], short_axis["valueQuantity"]["value"]) == ("103340004", 3.2)
    assert long_axis["valueQuantity"]["code"] == "mm"


def test_confidence_is_told_as_ai_transparency_asks():
    (extension,) = build_region_observation(REGION, "key", SHARED)["extension"]

    assert extension == {
        "url": "http://hl7.org/fhir/uv/aitransparency/StructureDefinition/AIconfidence",
        "valueDecimal": 0.5,
    }


def test_empty_region_has_a_volume_of_zero_and_claims_no_more():
    observation = build_region_observation(EMPTY, "key", SHARED)

    assert observation["valueQuantity"]["value"] == 0.0
    assert len(observation["component"]) == 1
    assert "extension" not in observation


@pytest.mark.parametrize(("found", "value", "interpretation"), [(True, "52101004", "POS"), (False, "272519000", "NEG")])
def test_finding_is_present_or_absent(found: bool, value: str, interpretation: str):
    observation = build_finding_observation(found, ["Observation/1"], "key", SHARED)

    assert observation["code"]["coding"][0]["code"] == "126952004"
    assert observation["valueCodeableConcept"]["coding"][0]["code"] == value
    assert observation["interpretation"][0]["coding"][0]["code"] == interpretation
    assert observation["hasMember"] == [{"reference": "Observation/1"}]


def test_finding_without_measurements_has_no_members():
    assert "hasMember" not in build_finding_observation(False, [], "key", SHARED)
