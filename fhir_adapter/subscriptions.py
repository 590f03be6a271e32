"""Subscriptions that the plugin asks an EHR for, and how they fare."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

from fhir_adapter.elements import Element
from fhir_adapter.errors import MalformedResourceError
from fhir_adapter.instants import instant
from fhir_adapter.model import SubscriptionStatus
from fhir_adapter.ports import Resource
from fhir_adapter.status_reports import StatusReport, read_code, read_status_report

SECRET_HEADER: Final = "X-QFL-Notification-Secret"  # noqa: S105 - the header's name
"""The request header in which the EHR proves that a notification is its own."""

PayloadContent = Literal["empty", "id-only", "full-resource"]

_BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"
_JSON = "application/fhir+json"
# RFC 9110 5.5 would allow more; a secret needs no more, and a line break would forge a header.
_SECRET = re.compile(r"[\x21-\x7e]{16,512}")
_TYPE_AND_QUERY = re.compile(r"[A-Z][A-Za-z]+\?\S+")


def build_query_subscription(
    endpoint_url: str, secret: str, criteria: str, payload: bool, reason: str, end: datetime | None = None
) -> Resource:
    """Build an R4 rest-hook subscription (R4 subscription.html).

    Args:
        endpoint_url: Where the server is to POST.
        secret: Comes back in each notification's SECRET_HEADER.
        criteria: A search, e.g. "ImagingStudy?modality=MR".
        payload: Whether the resource itself is to be sent; without it the body is empty, and less leaves the EHR.
        reason: For the EHR's administrators.

    Raises:
        ValueError: The criteria are no search, the secret has blanks or fewer than 16 characters, or end has no zone.
    """
    if not _TYPE_AND_QUERY.fullmatch(criteria):
        raise ValueError('Expected criteria like "ImagingStudy?modality=MR".')
    channel = _channel(endpoint_url, secret)
    return _subscription(criteria, {**channel, "payload": _JSON} if payload else channel, reason, end)


def build_topic_subscription(
    endpoint_url: str,
    secret: str,
    topic: str,
    filter_criteria: Sequence[str],
    payload_content: PayloadContent,
    heartbeat_s: int | None,
    *,
    reason: str,
    timeout_s: int | None = None,
    max_count: int | None = None,
    end: datetime | None = None,
) -> Resource:
    """Build a topic-based subscription for R4 (Subscriptions Backport IG, backport-subscription).

    Args:
        endpoint_url: Where the server is to POST.
        secret: Comes back in each notification's SECRET_HEADER.
        topic: The SubscriptionTopic's canonical URL.
        filter_criteria: Searches that must all match, e.g. "ImagingStudy?status=available"; may be empty.
        payload_content: How much is sent; the plugin reads the study again whatever it is.
        heartbeat_s: The server is to send a heartbeat when nothing else was sent for so long; None for none.
        reason: For the EHR's administrators.
        timeout_s: How long the server is to wait for our answer.
        max_count: How many events it may put into one notification.

    Raises:
        ValueError: The secret has blanks or fewer than 16 characters, or the end has no zone.
    """
    limits = {"backport-heartbeat-period": heartbeat_s, "backport-timeout": timeout_s}
    extensions = [_extension(name, "UnsignedInt", value) for name, value in limits.items() if value is not None]
    if max_count is not None:
        extensions.append(_extension("backport-max-count", "PositiveInt", max_count))
    channel = {
        **({"extension": extensions} if extensions else {}),
        **_channel(endpoint_url, secret),
        "payload": _JSON,
        "_payload": {"extension": [_extension("backport-payload-content", "Code", payload_content)]},
    }
    subscription = _subscription(topic, channel, reason, end)
    subscription["meta"] = {"profile": [f"{_BACKPORT}/backport-subscription"]}
    if filter_criteria:
        filters = [_extension("backport-filter-criteria", "String", criterion) for criterion in filter_criteria]
        subscription["_criteria"] = {"extension": filters}
    return subscription


def parse_subscription_status(resource: Resource) -> SubscriptionStatus:
    """Read how a subscription fares.

    Args:
        resource: A Subscription as read, a status report, or the searchset Bundle that $status answers.

    Raises:
        MalformedResourceError: It is none of these, or says no status.
    """
    element = Element.of(resource, "resource")
    match element.text("resourceType"):
        case "Subscription":
            return _from_subscription(element)
        case "Bundle":
            for entry in element.children("entry"):
                held = entry.child("resource")
                if held and held.text("resourceType") != "OperationOutcome":
                    return _from_report(read_status_report(held))
            raise MalformedResourceError(
                "Expected a Bundle with a status report, got none. Does the subscription exist?"
            )
    return _from_report(read_status_report(element))


def _from_subscription(element: Element) -> SubscriptionStatus:
    status = read_code(element, "status")
    if status is None:
        raise MalformedResourceError("Subscription.status: expected a code, got nothing.")
    own_id = element.text("id")
    return SubscriptionStatus(f"Subscription/{own_id}" if own_id else None, status, None, element.text("error"))


def _from_report(report: StatusReport) -> SubscriptionStatus:
    if report.status is None:
        raise MalformedResourceError("Expected the subscription's status in its status report, got none.")
    return SubscriptionStatus(report.subscription, report.status, report.events_since_start, report.error)


def _subscription(criteria: str, channel: Resource, reason: str, end: datetime | None) -> Resource:
    subscription: Resource = {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": reason,
        "criteria": criteria,
        "channel": channel,
    }
    if end is not None:
        subscription["end"] = instant(end)
    return subscription


def _channel(endpoint_url: str, secret: str) -> Resource:
    if not _SECRET.fullmatch(secret):
        raise ValueError("Expected a secret of 16 to 512 printable ASCII characters without blanks.")
    return {"type": "rest-hook", "endpoint": endpoint_url, "header": [f"{SECRET_HEADER}: {secret}"]}


def _extension(name: str, value_type: str, value: str | int) -> Resource:
    return {"url": f"{_BACKPORT}/{name}", f"value{value_type}": value}
