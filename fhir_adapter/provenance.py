"""Who made a result and who verified it: the AI's Device, and the Provenance of result and review.

References:
    HL7 AI Transparency on FHIR (STU 1), profiles AI-Device and AI-Provenance.
"""

from collections.abc import Sequence
from datetime import datetime

from fhir_adapter import codes
from fhir_adapter.codes import concept
from fhir_adapter.identifiers import DEVICE, MODEL, PROVENANCE_TAG
from fhir_adapter.instants import instant
from fhir_adapter.model import AiModel, Coding
from fhir_adapter.ports import Resource
from fhir_adapter.transactions import create_entry, identifier

RESEARCH_USE = "Research use only. Not for primary diagnosis."
_AI_TRANSPARENCY = "http://hl7.org/fhir/uv/aitransparency/StructureDefinition"
_TARGET_ELEMENT = "http://hl7.org/fhir/StructureDefinition/targetElement"
# The profiles fix this concept as a whole, and it tells the AI's agent from the others: no display, no text.
_AI: Resource = {
    "coding": [{"system": codes.ARTIFICIAL_INTELLIGENCE.system, "code": codes.ARTIFICIAL_INTELLIGENCE.code}]
}


def device_identifier(model: AiModel) -> tuple[str, str]:
    """System and value of the Device's identifier: one Device per model version and software version."""
    return DEVICE, f"{model.version}:{model.software_version}"


def build_ai_device(model: AiModel) -> Resource:
    """Build the Device that stands for a model (profile AI-Device)."""
    return {
        "resourceType": "Device",
        "meta": {"profile": [f"{_AI_TRANSPARENCY}/AI-Device"]},
        "extension": [
            {"url": f"{_AI_TRANSPARENCY}/aitransparency.AIKind", "valueCodeableConcept": concept(kind)}
            for kind in codes.AI_KINDS
        ],
        "identifier": [identifier(*device_identifier(model)), identifier(MODEL, model.version)],
        "status": "active",
        "manufacturer": model.manufacturer,
        "deviceName": [{"name": model.name, "type": "user-friendly-name"}],
        "modelNumber": model.name,
        "type": _AI,
        "version": [
            {"type": {"text": "Model version (digest)"}, "value": model.version},
            {"type": {"text": "Software version"}, "value": model.software_version},
        ],
        "safety": [{"text": RESEARCH_USE}],
        "note": [{"text": RESEARCH_USE}],
    }


def target(reference: str, element_ids: Sequence[str] = ()) -> Resource:
    """A Provenance target: a resource, or only some elements of it by their ids."""
    written: Resource = {"reference": reference}
    if element_ids:
        written["extension"] = [{"url": _TARGET_ELEMENT, "valueUri": element_id} for element_id in element_ids]
    return written


def build_ai_provenance(
    targets: Sequence[Resource],
    device: str,
    sources: Sequence[Resource],
    *,
    tag: str,
    performer_name: str,
    at: datetime,
) -> Resource:
    """Build the Provenance of an AI result (profile AI-Provenance).

    Args:
        targets: What the AI made, see target.
        device: Reference to the AI-Device.
        sources: References to what the AI read.
        tag: Unique to this event; see identifiers.PROVENANCE_TAG.
    """
    provenance = _provenance(targets, tag, at, codes.CREATE)
    provenance["meta"]["profile"] = [f"{_AI_TRANSPARENCY}/AI-Provenance"]
    return {
        **provenance,
        "reason": [concept(codes.AI_ASSERTED)],
        "agent": [_ai_agent(codes.AUTHOR, {"reference": device}), _custodian(performer_name)],
        "entity": [{"role": "source", "what": source} for source in sources],
    }


def build_review_provenance(
    targets: Sequence[Resource],
    practitioner: Resource,
    device: Resource | None,
    *,
    tag: str,
    performer_name: str,
    at: datetime,
) -> Resource:
    """Build the Provenance of a radiologist's decision: the person verifies what the AI assembled.

    Args:
        practitioner: Reference to who decided.
        device: Reference to the AI-Device, if the result names it.
    """
    agents = [{"type": concept(codes.VERIFIER), "who": practitioner}]
    if device:
        agents.append(_ai_agent(codes.ASSEMBLER, device))
    return {**_provenance(targets, tag, at, codes.UPDATE), "agent": [*agents, _custodian(performer_name)]}


def provenance_entry(url: str, provenance: Resource) -> Resource:
    """The transaction entry of a Provenance, which has no identifier in R4: its tag stands in for it."""
    code = provenance["meta"]["tag"][0]["code"]
    return create_entry(url, provenance, parameter="_tag", token=(PROVENANCE_TAG, code))


def _provenance(targets: Sequence[Resource], tag: str, at: datetime, activity: Coding) -> Resource:
    return {
        "resourceType": "Provenance",
        "meta": {"tag": [{"system": PROVENANCE_TAG, "code": tag}]},
        "target": list(targets),
        "occurredDateTime": instant(at),
        "recorded": instant(at),
        "activity": concept(activity),
    }


def _ai_agent(participation: Coding, device: Resource) -> Resource:
    return {"type": concept(participation), "role": [_AI], "who": device}


def _custodian(performer_name: str) -> Resource:
    return {"type": concept(codes.CUSTODIAN), "who": {"type": "Organization", "display": performer_name}}
