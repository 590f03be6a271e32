"""Observations of a result: whether there is a tumour, and how large each region is."""

from collections.abc import Sequence

from fhir_adapter import codes
from fhir_adapter.codes import coding, concept, quantity
from fhir_adapter.identifiers import OBSERVATION
from fhir_adapter.model import Coding, RegionFinding
from fhir_adapter.ports import Resource
from fhir_adapter.transactions import identifier

_CONFIDENCE = "http://hl7.org/fhir/uv/aitransparency/StructureDefinition/AIconfidence"


def observation_identifier(key: str, part: str) -> tuple[str, str]:
    """System and value of an Observation's identifier; part is a region's key, or "finding"."""
    return OBSERVATION, f"{key}.{part}"


def build_region_observation(region: RegionFinding, key: str, shared: Resource) -> Resource:
    """Build the measurement of one region: its volume, and what it is and its diameters as components.

    Args:
        shared: The elements that all Observations of the result have in common.
    """
    observation = {
        **_observation(key, region.key, shared),
        "code": concept(codes.VOLUME, text=f"{region.label}: volume"),
        "valueQuantity": quantity(region.volume_ml, "mL", digits=3),
        "method": concept(codes.SEGMENTED_VOXELS),
        "component": [
            {"code": concept(codes.FINDING), "valueCodeableConcept": concept(region.finding, text=region.label)},
            *_axis(codes.LONG_AXIS, region.long_axis_mm),
            *_axis(codes.SHORT_AXIS, region.short_axis_mm),
        ],
    }
    if region.confidence is not None:
        observation["extension"] = [{"url": _CONFIDENCE, "valueDecimal": round(region.confidence, 3)}]
    return observation


def build_finding_observation(tumour_found: bool, members: Sequence[str], key: str, shared: Resource) -> Resource:
    """Build the coded finding: a brain neoplasm is present or absent, and which measurements belong to it.

    Args:
        members: References to the regions' Observations.
        shared: The elements that all Observations of the result have in common.
    """
    observation = {
        **_observation(key, "finding", shared),
        "code": concept(codes.BRAIN_NEOPLASM),
        "valueCodeableConcept": concept(codes.PRESENT if tumour_found else codes.ABSENT),
        "interpretation": [concept(codes.POSITIVE if tumour_found else codes.NEGATIVE)],
    }
    if members:
        observation["hasMember"] = [{"reference": member} for member in members]
    return observation


def _observation(key: str, part: str, shared: Resource) -> Resource:
    return {
        "resourceType": "Observation",
        "meta": {"security": [coding(codes.AI_ASSERTED)]},
        "identifier": [identifier(*observation_identifier(key, part))],
        "status": "preliminary",
        "category": [concept(codes.IMAGING)],
        "bodySite": concept(codes.BRAIN),
        **shared,
    }


def _axis(code: Coding, length_mm: float | None) -> list[Resource]:
    return [] if length_mm is None else [{"code": concept(code), "valueQuantity": quantity(length_mm, "mm", digits=1)}]
