"""What a Subscription asks for, as R4 rest-hook (FHIR R4) or by topic (R5 Backport IG 1.1)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from sandbox.ehr.definitions import PARAMETERS
from sandbox.ehr.errors import FhirError
from sandbox.ehr.interactions import parse_query
from sandbox.ehr.search import Search
from sandbox.ehr.store import Resource

_BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_DEFAULT_TIMEOUT_S = 10

IMAGING_STUDY_TOPIC = "http://sandbox-ehr.example/SubscriptionTopic/imaging-study-available"
"""The topic that this server always knows: an ImagingStudy was created or updated and is available."""

TOPIC_TRIGGER = ("ImagingStudy", (("status", "available"),))
"""What raises an event of a topic, as resource type and search conditions."""


class Content(StrEnum):
    """How much of the resource a topic notification holds (backport-content-code-system)."""

    EMPTY = "empty"
    ID_ONLY = "id-only"
    FULL_RESOURCE = "full-resource"


@dataclass(frozen=True)
class Channel:
    """A Subscription, read.

    Attributes:
        topic: Canonical URL; None for an R4 query-based subscription.
        resource_type, conditions: What raises an event.
        headers: As channel.header gives them.
        media_type: Of the payload; None asks an R4 rest-hook for empty notifications.
        content: Of topic notifications.
        heartbeat_s: None: no heartbeats.
        max_count: Most events in one notification.
    """

    subscription_id: str
    status: str
    topic: str | None
    resource_type: str
    conditions: tuple[tuple[str, str], ...]
    endpoint: str
    headers: tuple[tuple[str, str], ...]
    media_type: str | None
    content: Content
    heartbeat_s: int | None
    timeout_s: int
    max_count: int


def _extension(element: Any, name: str) -> list[Any]:
    """The values of a Backport extension of one element, whatever their type."""
    extensions = element.get("extension", []) if isinstance(element, dict) else []
    return [
        value
        for extension in extensions
        if extension.get("url") == _BACKPORT + name
        for key, value in extension.items()
        if key.startswith("value")
    ]


def parse_channel(subscription: Resource, topics: frozenset[str]) -> Channel:
    """Read a Subscription that is structurally valid.

    Raises:
        FhirError: 422, it asks for something that this server does not do.
    """
    channel = subscription["channel"]
    if channel["type"] != "rest-hook":
        raise FhirError(
            422, "not-supported", f"only rest-hook is supported, not {channel['type']}", "Subscription.channel"
        )
    endpoint = channel.get("endpoint", "")
    if urlsplit(endpoint).hostname not in _LOOPBACK:
        raise FhirError(
            422, "security", "the sandbox notifies loopback endpoints only", "Subscription.channel.endpoint"
        )
    criteria = subscription["criteria"]
    is_topic = "://" in criteria
    resource_type, conditions = _topic_trigger(subscription, topics) if is_topic else _query_trigger(criteria)
    return Channel(
        subscription_id=subscription.get("id", ""),
        status=subscription["status"],
        topic=criteria if is_topic else None,
        resource_type=resource_type,
        conditions=conditions,
        endpoint=endpoint,
        headers=tuple(_header(line) for line in channel.get("header", [])),
        media_type=channel.get("payload"),
        content=_content(channel, is_topic=is_topic),
        heartbeat_s=next(iter(_extension(channel, "backport-heartbeat-period")), None),
        timeout_s=next(iter(_extension(channel, "backport-timeout")), _DEFAULT_TIMEOUT_S),
        max_count=next(iter(_extension(channel, "backport-max-count")), 1),
    )


def _topic_trigger(subscription: Resource, topics: frozenset[str]) -> tuple[str, tuple[tuple[str, str], ...]]:
    if subscription["criteria"] not in topics:
        known = ", ".join(sorted(topics))
        raise FhirError(422, "not-found", f"unknown topic; this server has: {known}", "Subscription.criteria")
    conditions: tuple[tuple[str, str], ...]
    resource_type, conditions = TOPIC_TRIGGER
    for filter_by in _extension(subscription.get("_criteria"), "backport-filter-criteria"):
        of_type, mark, query = filter_by.partition("?")
        if not mark or of_type != resource_type:
            raise FhirError(422, "value", f"expected a filter {resource_type}?parameter=value", "Subscription.criteria")
        conditions += tuple(parse_query(query))
    return resource_type, conditions


def _query_trigger(criteria: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    resource_type, _, query = criteria.partition("?")
    if resource_type not in PARAMETERS:
        raise FhirError(
            422, "value", "expected a search such as ImagingStudy?status=available", "Subscription.criteria"
        )
    return resource_type, tuple(parse_query(query))


def _content(channel: Resource, *, is_topic: bool) -> Content:
    given = _extension(channel.get("_payload"), "backport-payload-content")
    if not is_topic:
        return Content.FULL_RESOURCE
    if len(given) != 1 or given[0] not in set(Content) or "payload" not in channel:
        allowed = ", ".join(Content)
        raise FhirError(
            422,
            "required",
            f"a topic needs payload and one backport-payload-content of {allowed}",
            "Subscription.channel",
        )
    return Content(given[0])


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip() or "\n" in line or "\r" in line:
        raise FhirError(422, "value", "expected headers written 'Name: value'", "Subscription.channel.header")
    return name.strip(), value.strip()


def check_conditions(channel: Channel, search: Search) -> None:
    """Refuse conditions that the search does not understand, at once and not when an event comes."""
    search.find(channel.resource_type, channel.conditions)
