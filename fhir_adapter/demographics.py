"""Patient to what fairness needs to know of the person, where the EHR has it (US Core's extensions).

References:
    HL7 US Core 8: us-core-race, us-core-individual-sex; R4 Patient.gender.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fhir_adapter.elements import Element
from fhir_adapter.errors import MalformedResourceError

_RACE: Final = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race"
_SEX: Final = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-individual-sex"
_CDC: Final = "urn:oid:2.16.840.1.113883.6.238"
_SNOMED: Final = "http://snomed.info/sct"
_RACES: Final[Mapping[str, str]] = {
    "2106-3": "white",
    "2054-5": "black or african american",
    "2028-9": "asian",
    "1002-5": "american indian or alaska native",
    "2076-8": "native hawaiian or other pacific islander",
    "2131-1": "other",
}
"""OMB's categories, in its words."""
_SEXES: Final[Mapping[str, str]] = {"248152002": "F", "248153007": "M"}
_GENDERS: Final[Mapping[str, str]] = {"female": "F", "male": "M"}


@dataclass(frozen=True)
class PersonFacts:
    """What an EHR tells of a person.

    Attributes:
        races: OMB's categories, all that are named; none where it is not known, or was not told.
        sex: F or M; None where it is another or not known.
    """

    races: tuple[str, ...]
    sex: str | None


def parse_person(resource: Mapping[str, Any]) -> PersonFacts:
    """Read a Patient.

    Raises:
        MalformedResourceError: It is no Patient, or an element is of another type.
    """
    patient = Element.of(resource, "Patient")
    if patient.text("resourceType") != "Patient":
        raise MalformedResourceError("Expected a Patient, got another resource.")
    extensions = patient.children("extension")
    races = tuple(
        _RACES[code]
        for extension in extensions
        if extension.text("url") == _RACE
        for part in extension.children("extension")
        if part.text("url") == "ombCategory" and (code := _code_of(part, _CDC) or "") in _RACES
    )
    coded = (_SEXES.get(_code_of(each, _SNOMED) or "") for each in extensions if each.text("url") == _SEX)
    sex = next((each for each in coded if each), None) or _GENDERS.get(patient.text("gender") or "")
    return PersonFacts(tuple(dict.fromkeys(races)), sex)


def _code_of(part: Element, system: str) -> str | None:
    coding = part.child("valueCoding")
    return coding.text("code") if coding and coding.text("system") == system else None
