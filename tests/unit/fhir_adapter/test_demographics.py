"""Race and sex of a Patient, from US Core's own examples and from what servers may send."""

import json
from pathlib import Path

import pytest

from fhir_adapter.demographics import parse_person
from fhir_adapter.errors import MalformedResourceError

DATA = Path(__file__).parent / "data"
RACE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race"
OMB = "urn:oid:2.16.840.1.113883.6.238"


def example(name):
    return json.loads((DATA / f"us-core-{name}.json").read_text())


def patient(*parts, **elements):
    extension = [{"url": RACE, "extension": list(parts)}] if parts else []
    return {"resourceType": "Patient", "extension": extension, **elements}


def omb(code, system=OMB):
    return {"url": "ombCategory", "valueCoding": {"system": system, "code": code}}


def test_the_example_names_several_races():
    found = parse_person(example("patient"))
    assert found.races == ("white", "american indian or alaska native", "asian")
    assert found.sex == "F"


def test_the_child_has_one():
    found = parse_person(example("child"))
    assert (found.races, found.sex) == (("asian",), "M")


def test_gender_stands_in_where_there_is_no_sex():
    assert parse_person(patient(gender="female")).sex == "F"
    assert parse_person(patient(gender="other")).sex is None
    assert parse_person(patient()).sex is None


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(omb("UNK", "http://terminology.hl7.org/CodeSystem/v3-NullFlavor"), id="unknown"),
        pytest.param(omb("2106-3", "http://elsewhere.example"), id="of another system"),
        pytest.param({"url": "text", "valueString": "White"}, id="a text alone"),
        pytest.param({"url": "ombCategory"}, id="no coding"),
    ],
)
def test_what_is_not_coded_is_not_guessed(part):
    assert parse_person(patient(part)).races == ()


def test_a_race_that_comes_twice_counts_once():
    assert parse_person(patient(omb("2054-5"), omb("2054-5"))).races == ("black or african american",)


@pytest.mark.parametrize(
    "resource",
    [
        pytest.param({"resourceType": "Practitioner"}, id="another resource"),
        pytest.param({"resourceType": "Patient", "extension": {}}, id="extensions that are no list"),
        pytest.param({"resourceType": "Patient", "gender": 1}, id="a gender that is no text"),
        pytest.param([], id="no object"),
    ],
)
def test_other_shapes_are_refused(resource):
    with pytest.raises(MalformedResourceError):
        parse_person(resource)
