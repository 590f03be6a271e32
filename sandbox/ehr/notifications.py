"""Notification Bundles of topic subscriptions (Backport IG 1.1, R4: a history Bundle that begins with Parameters)."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.ehr.channels import Channel, Content
from sandbox.ehr.store import Resource, now_instant

_PROFILE = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"


@dataclass(frozen=True)
class Event:
    """One event of one subscription.

    Attributes:
        number: From 1, without gaps.
        focus: "Type/id".
        method: POST or PUT: what happened to the focus.
        resource: The focus as it is now; None when it was deleted since.
    """

    number: int
    timestamp: str
    focus: str
    method: str
    resource: Resource | None


def build_status(channel: Channel, kind: str, total: int, events: Sequence[Event], base_url: str) -> Resource:
    """Build the SubscriptionStatus, which R4 writes as Parameters.

    Args:
        channel: Of the subscription.
        kind: handshake, heartbeat, event-notification, query-status or query-event.
        total: Events since the subscription started, which handshakes and heartbeats do not count.
        events: Told in this notification.
        base_url: Makes the references absolute.
    """
    subscription = f"{base_url}/Subscription/{channel.subscription_id}"
    parameters: list[dict[str, Any]] = [
        {"name": "subscription", "valueReference": {"reference": subscription}},
        {"name": "status", "valueCode": channel.status},
        {"name": "type", "valueCode": kind},
        # integer64 does not exist in R4: a string.
        {"name": "events-since-subscription-start", "valueString": str(total)},
    ]
    if channel.topic:
        parameters.insert(1, {"name": "topic", "valueCanonical": channel.topic})
    parameters += [_event_parameter(event, channel.content, base_url) for event in events]
    if channel.status == "error":
        parameters.append({"name": "error", "valueCodeableConcept": {"text": "deliveries failed"}})
    return {
        "resourceType": "Parameters",
        "id": str(uuid.uuid4()),
        "meta": {"profile": [_PROFILE + "backport-subscription-status-r4"]},
        "parameter": parameters,
    }


def _event_parameter(event: Event, content: Content, base_url: str) -> Resource:
    parts: list[dict[str, Any]] = [
        {"name": "event-number", "valueString": str(event.number)},
        {"name": "timestamp", "valueInstant": event.timestamp},
    ]
    if content is not Content.EMPTY:
        parts.append({"name": "focus", "valueReference": {"reference": f"{base_url}/{event.focus}"}})
    return {"name": "notification-event", "part": parts}


def build_notification(channel: Channel, kind: str, total: int, events: Sequence[Event], base_url: str) -> Resource:
    """Build a notification Bundle; the arguments are build_status's."""
    status = build_status(channel, kind, total, events, base_url)
    entries: list[Resource] = [
        {
            "fullUrl": f"urn:uuid:{status['id']}",
            "resource": status,
            "request": {"method": "GET", "url": f"Subscription/{channel.subscription_id}/$status"},
            "response": {"status": "200"},
        }
    ]
    if channel.content is not Content.EMPTY:
        entries += [_event_entry(event, channel.content, base_url) for event in events]
    return {
        "resourceType": "Bundle",
        "id": str(uuid.uuid4()),
        "meta": {"profile": [_PROFILE + "backport-subscription-notification-r4"]},
        "type": "history",
        "timestamp": now_instant(),
        "entry": entries,
    }


def _event_entry(event: Event, content: Content, base_url: str) -> Resource:
    resource_type = event.focus.partition("/")[0]
    entry: Resource = {
        "fullUrl": f"{base_url}/{event.focus}",
        "request": {"method": event.method, "url": resource_type if event.method == "POST" else event.focus},
        "response": {"status": "201" if event.method == "POST" else "200"},
    }
    if content is Content.FULL_RESOURCE and event.resource is not None:
        entry["resource"] = event.resource
    return entry
