"""Subscription notifications: what a FHIR server POSTs when an imaging study appears or changes.

Three dialects are understood: the R4 rest-hook without payload (an empty body) and with payload (the resource itself),
and the topic-based notification of R4 (Subscriptions Backport IG), R4B and R5 (a Bundle that begins with a status
report).

A notification may be forged, repeated or late. So nothing but the focus is taken from it: the study is read again from
the server that the site has configured. Entries beyond the status report are not looked at, and no model of the whole
resource is used: a quirk in a resource that is read again anyhow must not cost the study.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NoReturn

from fhir_adapter.elements import Element
from fhir_adapter.errors import MalformedNotificationError, MalformedResourceError, UnsupportedNotificationError
from fhir_adapter.model import Notification, NotificationKind, StudyEvent
from fhir_adapter.ports import Resource
from fhir_adapter.references import parse_reference
from fhir_adapter.status_reports import ReportedEvent, StatusReport, read_status_report
from governance.canonical import digest

# Servers also send JSON as text, or without a type (R4 channel.payload is free text).
_JSON_TYPES = {"", "application/fhir+json", "application/json", "text/json", "text/plain"}
_BUNDLE_TYPES = {"history", "subscription-notification"}
_KINDS = {kind.value: kind for kind in NotificationKind if kind is not NotificationKind.CHANGED}
_MOST_REFERENCE_CHARACTERS = 700


def parse_notification(body: bytes, content_type: str) -> Notification:
    """Read a notification's body.

    Args:
        body: As it came; its size and sender are already checked.
        content_type: The request's Content-Type, parameters included; of no matter when the body is empty.

    Returns:
        Kind CHANGED without events for an empty body. An event's reference is None when the server does not say which
        study changed. Absolute references lose their base: they stand for resources of the notifying server.

    Raises:
        MalformedNotificationError: Not FHIR JSON, or not a notification.
        UnsupportedNotificationError: A notification about something else than imaging studies.
    """
    if not body.strip():
        return Notification(NotificationKind.CHANGED, None, None, None, ())
    try:
        resource = Element.of(_parse_json(body, content_type), "body")
        match resource.required_text("resourceType"):
            case "Bundle":
                return _from_bundle(resource, _KINDS)
            case "ImagingStudy":
                return _from_payload(resource, body)
            case other if other.isascii() and other.isalpha() and other[0].isupper():
                raise UnsupportedNotificationError(
                    f"Expected an ImagingStudy or a notification Bundle, got {other[:64]}."
                )
        raise MalformedNotificationError("body.resourceType: expected the name of a FHIR resource, got another text.")
    except MalformedResourceError as error:
        raise MalformedNotificationError(str(error)) from error


def parse_events(bundle: Resource) -> Notification:
    """Read the answer of $events: past events of a subscription, to fill a gap in the event numbers.

    Raises:
        MalformedNotificationError, UnsupportedNotificationError: As parse_notification.
    """
    try:
        return _from_bundle(Element.of(bundle, "bundle"), {"query-event": NotificationKind.EVENT})
    except MalformedResourceError as error:
        raise MalformedNotificationError(str(error)) from error


def _parse_json(body: bytes, content_type: str) -> object:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in _JSON_TYPES:
        raise MalformedNotificationError("Expected a body of type application/fhir+json, got another type.")
    try:
        parsed: object = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedNotificationError(
            f"Expected a FHIR resource as JSON, got {len(body)} bytes that are none."
        ) from error
    return parsed


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _from_payload(resource: Element, body: bytes) -> Notification:
    study_id = resource.text("id")
    meta = resource.child("meta")
    version = meta.text("versionId") if meta else None
    reference = _study_reference(f"ImagingStudy/{study_id}") if study_id else None
    key = digest(["payload", reference, version]) if reference and version else hashlib.sha256(body).hexdigest()
    return Notification(NotificationKind.EVENT, None, None, None, (StudyEvent(key, None, reference),))


def _from_bundle(bundle: Element, kinds: Mapping[str, NotificationKind]) -> Notification:
    if bundle.text("type") not in _BUNDLE_TYPES:
        raise MalformedNotificationError("bundle.type: expected history (R4, R4B) or subscription-notification (R5).")
    entries = bundle.children("entry")
    status = entries[0].child("resource") if entries else None
    if status is None:
        raise MalformedNotificationError("bundle.entry[0]: expected the status report as its resource, got none.")
    report = read_status_report(status)
    if report.type not in kinds:
        raise MalformedNotificationError(
            f"Expected a notification of type {', '.join(sorted(kinds))}, got {report.type}."
        )
    subscription = report.subscription
    if subscription is None or len(subscription) > _MOST_REFERENCE_CHARACTERS:
        raise MalformedNotificationError("Expected a reference to the subscription, got none or one that is too long.")
    kind = kinds[report.type]
    return Notification(
        kind=kind,
        subscription_reference=subscription,
        status=report.status,
        events_since_start=report.events_since_start,
        events=_study_events(report, subscription) if kind is NotificationKind.EVENT else (),
        error=report.error,
    )


def _study_events(report: StatusReport, subscription: str) -> tuple[StudyEvent, ...]:
    if not report.events and report.type == "event-notification":
        # Something happened, and the server does not even number it: it is to be searched for, not lost.
        unnamed = ReportedEvent(report.events_since_start, None, None)
        return (_study_event(unnamed, subscription, None),)
    events, others = [], set()
    for event in report.events:
        reference = parse_reference(event.focus) if event.focus else None
        if event.focus and reference is None:
            raise MalformedNotificationError('notification-event.focus: expected "Type/id" or a URL that ends in it.')
        if reference and reference.resource_type != "ImagingStudy":
            others.add(reference.resource_type)
        else:
            events.append(_study_event(event, subscription, reference.local if reference else None))
    if others and not events:
        raise UnsupportedNotificationError(f"Expected a focus on ImagingStudy, got {', '.join(sorted(others))}.")
    return tuple(events)


def _study_event(event: ReportedEvent, subscription: str, reference: str | None) -> StudyEvent:
    # The timestamp tells an event apart from one with the same number after the server has counted anew from 1.
    parts: list[Any] = ["event", subscription, event.number, event.timestamp, reference]
    return StudyEvent(digest(parts), event.number, reference)


def _study_reference(value: str) -> str:
    reference = parse_reference(value)
    if reference is None:
        raise MalformedNotificationError(
            "body.id: expected a FHIR id (letters, digits, hyphen, full stop), got another text."
        )
    return reference.local
