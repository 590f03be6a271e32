"""The status report inside every topic-based notification and every answer of $status and $events.

R4 writes it as Parameters (Subscriptions Backport IG, backport-subscription-status-r4), R4B and R5 as
SubscriptionStatus. Both are read into one value here.
"""

import re
from dataclasses import dataclass

from fhir_adapter.elements import Element
from fhir_adapter.errors import MalformedResourceError

_CODE = re.compile(r"[a-z][a-z\-]{0,63}")
_MOST_ERROR_CHARACTERS = 500


@dataclass(frozen=True)
class ReportedEvent:
    """One notification-event; focus is the literal reference as it came."""

    number: int | None
    timestamp: str | None
    focus: str | None


@dataclass(frozen=True)
class StatusReport:
    """One status report; type is handshake, heartbeat, event-notification, query-status or query-event."""

    type: str
    subscription: str | None
    status: str | None
    events_since_start: int | None
    events: tuple[ReportedEvent, ...]
    error: str | None


def read_status_report(resource: Element) -> StatusReport:
    """Read Parameters or SubscriptionStatus.

    Raises:
        MalformedResourceError: It is neither, or an element has the wrong type.
    """
    match resource.text("resourceType"):
        case "Parameters":
            return _from_parameters(resource)
        case "SubscriptionStatus":
            return _from_subscription_status(resource)
    raise MalformedResourceError(
        f"{resource.path}: expected Parameters (R4) or SubscriptionStatus (R4B, R5), got another resource."
    )


def read_error(concept: Element) -> str | None:
    """The words of a CodeableConcept, for a person."""
    words = concept.text("text")
    for coding in concept.children("coding"):
        words = words or coding.text("display") or coding.text("code")
    return words[:_MOST_ERROR_CHARACTERS] if words else None


def read_code(element: Element, name: str) -> str | None:
    """A code in lower case with hyphens, as all codes of subscriptions are."""
    code = element.text(name)
    if code is not None and not _CODE.fullmatch(code):
        raise MalformedResourceError(f"{element.path}.{name}: expected a code in lower case, got another text.")
    return code


def _from_parameters(resource: Element) -> StatusReport:
    parameters = resource.children("parameter")
    named = _by_name(parameters)
    error = named["error"].child("valueCodeableConcept") if "error" in named else None
    report_type = read_code(named["type"], "valueCode") if "type" in named else None
    if report_type is None:
        raise MalformedResourceError(f"{resource.path}: expected a parameter type with valueCode, got none.")
    return StatusReport(
        type=report_type,
        subscription=named["subscription"].reference("valueReference") if "subscription" in named else None,
        status=read_code(named["status"], "valueCode") if "status" in named else None,
        events_since_start=_count(named.get("events-since-subscription-start")),
        events=tuple(_event(one) for one in parameters if one.text("name") == "notification-event"),
        error=read_error(error) if error else None,
    )


def _event(parameter: Element) -> ReportedEvent:
    parts = _by_name(parameter.children("part"))
    return ReportedEvent(
        number=_count(parts.get("event-number")),
        timestamp=parts["timestamp"].text("valueInstant") if "timestamp" in parts else None,
        focus=parts["focus"].reference("valueReference") if "focus" in parts else None,
    )


def _by_name(parameters: tuple[Element, ...]) -> dict[str, Element]:
    return {parameter.required_text("name"): parameter for parameter in parameters}


def _count(parameter: Element | None) -> int | None:
    """A 64-bit count is a valueString in R4; servers also use R4's integer types."""
    if parameter is None:
        return None
    for name in ("valueString", "valueUnsignedInt", "valueInteger", "valueInteger64", "valueDecimal"):
        value = parameter.count(name)
        if value is not None:
            return value
    raise MalformedResourceError(f"{parameter.path}: expected a number in valueString, got none.")


def _from_subscription_status(resource: Element) -> StatusReport:
    report_type = read_code(resource, "type")
    if report_type is None:
        raise MalformedResourceError(f"{resource.path}.type: expected a code, got nothing.")
    errors = [read_error(error) for error in resource.children("error")]
    return StatusReport(
        type=report_type,
        subscription=resource.reference("subscription"),
        status=read_code(resource, "status"),
        events_since_start=resource.count("eventsSinceSubscriptionStart"),
        events=tuple(
            ReportedEvent(event.count("eventNumber"), event.text("timestamp"), event.reference("focus"))
            for event in resource.children("notificationEvent")
        ),
        error=errors[0] if errors else None,
    )
