"""AuditEvents after IHE Basic Audit Log Patterns (BALP 1.1): who touched a patient's data, when, and where."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass

from fhir_adapter import codes
from fhir_adapter.codes import coding, concept
from fhir_adapter.identifiers import AUDIT_TAG, DICOM_UID, derived_uuid
from fhir_adapter.instants import instant
from fhir_adapter.model import AccessRecord, Coding
from fhir_adapter.ports import Resource
from fhir_adapter.references import parse_reference
from fhir_adapter.transactions import create_entry

_PROFILES = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit"


@dataclass(frozen=True)
class AuditContext:
    """What the AuditEvents of one analysis share.

    Attributes:
        key: The work key, or the analysis' id when it has none.
        patient_reference: None before the patient is known; then BALP's patterns without a patient are used.
        plugin_url: The client's network address.
        fhir_base_url: Of the EHR, whose own resources are named relatively.
        user: A Reference to the person for whom it is done, if there is one.
    """

    key: str
    patient_reference: str | None
    performer_name: str
    plugin_url: str
    fhir_base_url: str
    user: Resource | None = None


@dataclass(frozen=True)
class _Pattern:
    """One pattern of BALP: a read flows to the client, so client and server swap their roles."""

    profile: str
    interaction: str
    client_role: Coding
    server_role: Coding
    user_role: Coding


_FROM_CLIENT = (codes.SOURCE_ROLE, codes.DESTINATION_ROLE)
_TO_CLIENT = (codes.DESTINATION_ROLE, codes.SOURCE_ROLE)
_PATTERNS = {
    "C": _Pattern("Create", "create", *_FROM_CLIENT, codes.ORIGINATOR),
    "R": _Pattern("Read", "read", *_TO_CLIENT, codes.INFORMATION_RECIPIENT),
    "U": _Pattern("Update", "update", *_FROM_CLIENT, codes.ORIGINATOR),
    "E": _Pattern("Query", "search", *_FROM_CLIENT, codes.INFORMATION_RECIPIENT),
}


def build_audit_event(context: AuditContext, access: AccessRecord) -> Resource:
    """Build the AuditEvent of one access.

    Args:
        access: Its what may also be "urn:oid:" and a DICOM UID, for an access to an archive.

    Raises:
        ValueError: An unknown action, or an access that lacks what its action needs.
    """
    if access.action not in _PATTERNS:
        raise ValueError(f"Expected an AuditEvent action of {', '.join(_PATTERNS)}, got {access.action!r}.")
    pattern = _PATTERNS[access.action]
    patient = "Patient" if context.patient_reference else ""
    return {
        "resourceType": "AuditEvent",
        "meta": {
            "profile": [f"{_PROFILES}.{patient}{pattern.profile}"],
            "tag": [{"system": AUDIT_TAG, "code": _tag_code(context, access)}],
        },
        "type": coding(codes.REST),
        "subtype": [coding(codes.interaction(pattern.interaction))],
        "action": access.action,
        "recorded": instant(access.at),
        "outcome": "0",
        "agent": _agents(context, access, pattern),
        "source": {"observer": _plugin(context), "type": [coding(codes.APPLICATION_SERVER)]},
        "entity": _entities(context, access),
    }


def audit_entries(context: AuditContext, accesses: Iterable[AccessRecord]) -> list[Resource]:
    """Transaction entries that record accesses once, however often they are sent.

    An AuditEvent has no identifier in R4: its tag stands in for it.
    """
    events = {_tag_code(context, access): build_audit_event(context, access) for access in accesses}
    return [
        create_entry(f"urn:uuid:{code}", event, parameter="_tag", token=(AUDIT_TAG, code))
        for code, event in events.items()
    ]


def _tag_code(context: AuditContext, access: AccessRecord) -> str:
    parts = (access.action, access.what or "", access.query or "", access.server, instant(access.at))
    return str(derived_uuid(context.key, "AuditEvent", *parts))


def _plugin(context: AuditContext) -> Resource:
    return {"display": f"Imaging AI plugin, {context.performer_name}"}


def _agents(context: AuditContext, access: AccessRecord, pattern: _Pattern) -> list[Resource]:
    agents = [
        _machine(pattern.client_role, _plugin(context), context.plugin_url),
        _machine(pattern.server_role, {"display": access.server}, access.server),
    ]
    if context.user:
        agents.append({"type": concept(pattern.user_role), "who": context.user, "requestor": True})
    return agents


def _machine(role: Coding, who: Resource, url: str) -> Resource:
    # Network type 5 is a URI (R4 ValueSet network-type).
    return {"type": concept(role), "who": who, "requestor": False, "network": {"address": url, "type": "5"}}


def _entities(context: AuditContext, access: AccessRecord) -> list[Resource]:
    entities = [_query_entity(access) if access.action == "E" else _data_entity(context, access)]
    if context.patient_reference:
        entities.append(
            {
                "what": {"reference": context.patient_reference},
                "type": coding(codes.AUDITED_PERSON),
                "role": coding(codes.PATIENT_ROLE),
            }
        )
    return entities


def _query_entity(access: AccessRecord) -> Resource:
    if access.query is None:
        raise ValueError("Expected the raw request of a query, got none.")
    encoded = base64.b64encode(access.query.encode()).decode()
    return {"type": coding(codes.AUDITED_OBJECT), "role": coding(codes.QUERY_ROLE), "query": encoded}


def _data_entity(context: AuditContext, access: AccessRecord) -> Resource:
    if access.what is None:
        raise ValueError(f"Expected what was accessed by action {access.action}, got nothing.")
    return {
        "what": _what(context, access.server, access.what),
        "type": coding(codes.AUDITED_OBJECT),
        "role": coding(codes.RESOURCE_ROLE),
    }


def _what(context: AuditContext, server: str, what: str) -> Resource:
    if what.startswith("urn:oid:"):
        return {"identifier": {"system": DICOM_UID, "value": what}}
    parsed = parse_reference(what)
    elsewhere = server.rstrip("/") != context.fhir_base_url.rstrip("/")
    if parsed and parsed.base is None and elsewhere:
        return {"reference": f"{server.rstrip('/')}/{what}"}
    return {"reference": what}
