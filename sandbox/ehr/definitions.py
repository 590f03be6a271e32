"""The resource types this server holds, their search parameters and their required codes (FHIR R4)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SearchParameter:
    """A search parameter.

    Attributes:
        kind: token, reference, date, string or uri.
        paths: Dotted element paths; lists on the way are searched through.
    """

    kind: str
    paths: tuple[str, ...]


def _token(*paths: str) -> SearchParameter:
    return SearchParameter("token", paths)


def _reference(*paths: str) -> SearchParameter:
    return SearchParameter("reference", paths)


def _date(*paths: str) -> SearchParameter:
    return SearchParameter("date", paths)


def _string(*paths: str) -> SearchParameter:
    return SearchParameter("string", paths)


def _uri(*paths: str) -> SearchParameter:
    return SearchParameter("uri", paths)


COMMON = {
    "_id": _token("id"),
    "_lastUpdated": _date("meta.lastUpdated"),
    "_tag": _token("meta.tag"),
    "_security": _token("meta.security"),
    "_profile": _uri("meta.profile"),
    "identifier": _token("identifier"),
    "status": _token("status"),
}

_SUBJECT = {"subject": _reference("subject"), "patient": _reference("subject")}

PARAMETERS: dict[str, dict[str, SearchParameter]] = {
    "AuditEvent": {
        "date": _date("recorded"),
        "action": _token("action"),
        "outcome": _token("outcome"),
        "type": _token("type"),
        "subtype": _token("subtype"),
        "agent": _reference("agent.who"),
        "source": _reference("source.observer"),
        "entity": _reference("entity.what"),
        "patient": _reference("agent.who", "entity.what"),
    },
    "Device": {
        "type": _token("type"),
        "manufacturer": _string("manufacturer"),
        "model": _string("modelNumber"),
        "device-name": _string("deviceName.name"),
        "patient": _reference("patient"),
    },
    "DiagnosticReport": {
        **_SUBJECT,
        "code": _token("code"),
        "category": _token("category"),
        "date": _date("effectiveDateTime", "effectivePeriod"),
        "issued": _date("issued"),
        "based-on": _reference("basedOn"),
        "performer": _reference("performer"),
        "results-interpreter": _reference("resultsInterpreter"),
        "result": _reference("result"),
        # R4 has no parameter for DiagnosticReport.imagingStudy; R5 calls it "study".
        "study": _reference("imagingStudy"),
        "imagingStudy": _reference("imagingStudy"),
    },
    "DocumentReference": {
        **_SUBJECT,
        "type": _token("type"),
        "category": _token("category"),
        "date": _date("date"),
        "related": _reference("context.related"),
    },
    "Endpoint": {
        "connection-type": _token("connectionType"),
        "name": _string("name"),
        "organization": _reference("managingOrganization"),
    },
    "ImagingStudy": {
        **_SUBJECT,
        "started": _date("started"),
        "basedon": _reference("basedOn"),
        "endpoint": _reference("endpoint", "series.endpoint"),
        "modality": _token("series.modality"),
        "series": _token("series.uid"),
        "referrer": _reference("referrer"),
    },
    "Observation": {
        **_SUBJECT,
        "code": _token("code"),
        "category": _token("category"),
        "date": _date("effectiveDateTime", "effectivePeriod", "effectiveInstant"),
        "based-on": _reference("basedOn"),
        "part-of": _reference("partOf"),
        "derived-from": _reference("derivedFrom"),
        "has-member": _reference("hasMember"),
        "device": _reference("device"),
        "performer": _reference("performer"),
    },
    "Organization": {"name": _string("name", "alias"), "active": _token("active"), "type": _token("type")},
    "Patient": {
        "name": _string("name"),
        "family": _string("name.family"),
        "given": _string("name.given"),
        "birthdate": _date("birthDate"),
        "gender": _token("gender"),
        "active": _token("active"),
    },
    "Practitioner": {"name": _string("name"), "family": _string("name.family"), "active": _token("active")},
    "PractitionerRole": {"practitioner": _reference("practitioner"), "organization": _reference("organization")},
    "Provenance": {
        "target": _reference("target"),
        "patient": _reference("target"),
        "agent": _reference("agent.who"),
        "entity": _reference("entity.what"),
        "recorded": _date("recorded"),
    },
    "ServiceRequest": {
        **_SUBJECT,
        "code": _token("code"),
        "intent": _token("intent"),
        "category": _token("category"),
        "authored": _date("authoredOn"),
        "requisition": _token("requisition"),
    },
    "Subscription": {
        "criteria": _string("criteria"),
        "topic": _string("criteria"),
        "type": _token("channel.type"),
        "url": _uri("channel.endpoint"),
        "payload": _token("channel.payload"),
    },
    "Task": {
        "patient": _reference("for"),
        "subject": _reference("for"),
        "focus": _reference("focus"),
        "owner": _reference("owner"),
        "requester": _reference("requester"),
        "based-on": _reference("basedOn"),
        "code": _token("code"),
        "intent": _token("intent"),
    },
}

REQUIRED_CODES: dict[tuple[str, str], frozenset[str]] = {
    ("AuditEvent", "action"): frozenset("CRUDE"),
    ("AuditEvent", "outcome"): frozenset({"0", "4", "8", "12"}),
    ("Device", "status"): frozenset({"active", "inactive", "entered-in-error", "unknown"}),
    ("DiagnosticReport", "status"): frozenset(
        {
            "registered",
            "partial",
            "preliminary",
            "final",
            "amended",
            "corrected",
            "appended",
            "cancelled",
            "entered-in-error",
            "unknown",
        }
    ),
    ("DocumentReference", "status"): frozenset({"current", "superseded", "entered-in-error"}),
    ("Endpoint", "status"): frozenset({"active", "suspended", "error", "off", "entered-in-error", "test"}),
    ("ImagingStudy", "status"): frozenset({"registered", "available", "cancelled", "entered-in-error", "unknown"}),
    ("Observation", "status"): frozenset(
        {"registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown"}
    ),
    ("Patient", "gender"): frozenset({"male", "female", "other", "unknown"}),
    ("ServiceRequest", "status"): frozenset(
        {"draft", "active", "on-hold", "revoked", "completed", "entered-in-error", "unknown"}
    ),
    ("Subscription", "status"): frozenset({"requested", "active", "error", "off"}),
    ("Task", "status"): frozenset(
        {
            "draft",
            "requested",
            "received",
            "accepted",
            "rejected",
            "ready",
            "cancelled",
            "in-progress",
            "on-hold",
            "failed",
            "completed",
            "entered-in-error",
        }
    ),
}
"""Codes of required bindings, which the structural validator does not check."""


def parameters_of(resource_type: str) -> dict[str, SearchParameter]:
    """The search parameters of a type that this server holds."""
    return {**COMMON, **PARAMETERS[resource_type]}
