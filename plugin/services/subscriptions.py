"""The plugin's own subscriptions at the EHR: registered, watched, mended and removed."""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import cast

from fhir_adapter.errors import FhirNotFoundError, FhirServerError
from fhir_adapter.ports import Resource
from fhir_adapter.subscriptions import (
    PayloadContent,
    build_query_subscription,
    build_topic_subscription,
    parse_subscription_status,
)
from plugin.errors import SubscriptionError
from plugin.services.ports import Services
from plugin.services.values import SubscriptionRecord

QUERY, TOPIC = "query", "topic"
PAYLOADS = {QUERY: ("empty", "full-resource"), TOPIC: ("empty", "id-only", "full-resource")}
DEFAULT_CRITERIA = "ImagingStudy?status=available"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_REASON = "Brain MRI studies for tumour segmentation (research use)"
_HEARTBEAT = timedelta(minutes=5)


def register_subscription(
    services: Services, *, name: str, kind: str, criteria: str, payload: str, filters: Sequence[str] = ()
) -> SubscriptionRecord:
    """Have the EHR notify this plugin; a known name is registered anew, with a new secret.

    Args:
        kind: "query" for an R4 rest-hook (criteria is a search), "topic" for the Subscriptions Backport IG (criteria is
            the topic's canonical URL).
        payload: empty, id-only (topic only) or full-resource.
        filters: Of a topic, e.g. "ImagingStudy?status=available".

    Raises:
        SubscriptionError: The name, kind or payload is not usable.
        FhirServerError: The EHR refuses, or is away; nothing is left registered here.
    """
    if not _NAME.fullmatch(name):
        raise SubscriptionError("A subscription's name is 1 to 63 lower-case letters, digits and dashes.")
    if payload not in PAYLOADS.get(kind, ()):
        raise SubscriptionError(f"A {kind} subscription cannot have the payload {payload!r}; see --help.")
    earlier = services.store.get_subscription(name)
    secret = secrets.token_urlsafe(32)
    record = SubscriptionRecord(
        name=name,
        kind=kind,
        criteria=criteria,
        payload=payload,
        fhir_reference=None,
        secret_digest=hashlib.sha256(secret.encode()).hexdigest(),
        status="requested",
        created_at=services.clock(),
        last_seen_at=None,
        last_event_number=None,
        last_error=None,
        searched_until=earlier.searched_until if earlier else None,
    )
    # Stored first: the EHR's handshake may come before its answer does.
    services.store.save_subscription(record)
    try:
        created = services.fhir.create(_resource(services, record, secret, filters))
    except FhirServerError:
        _undo(services, name, earlier)
        raise
    if earlier:
        _delete_at_ehr(services, earlier)
    reference = f"Subscription/{created['id']}"
    current = services.store.get_subscription(name) or record
    record = replace(current, fhir_reference=reference, status=_better(current.status, created.get("status")))
    services.store.save_subscription(record)
    return record


def _resource(services: Services, record: SubscriptionRecord, secret: str, filters: Sequence[str]) -> Resource:
    url = f"{services.site.notification_url}/{record.name}"
    if record.kind == QUERY:
        return build_query_subscription(
            url, secret, record.criteria, payload=record.payload == "full-resource", reason=_REASON
        )
    return build_topic_subscription(
        url,
        secret,
        record.criteria,
        filters,
        payload_content=cast("PayloadContent", record.payload),  # checked when it was registered
        heartbeat_s=int(_HEARTBEAT.total_seconds()),
        reason=_REASON,
    )


def _better(seen: str, told: str | None) -> str:
    """A handshake that has come already knows more than the answer to the create."""
    return seen if seen == "active" else told or seen


def _undo(services: Services, name: str, earlier: SubscriptionRecord | None) -> None:
    if earlier:
        services.store.save_subscription(earlier)
    else:
        services.store.remove_subscription(name)


def check_subscriptions(services: Services) -> Sequence[str]:
    """Ask the EHR about each subscription and re-activate those it gave up.

    Returns:
        The names of all subscriptions, to be searched for what they missed.
    """
    for record in services.store.list_subscriptions():
        check_subscription(services, record)
    return [record.name for record in services.store.list_subscriptions()]


def check_subscription(services: Services, record: SubscriptionRecord) -> SubscriptionRecord:
    """Ask the EHR about one subscription; one in error or off is asked for again, one that is gone is said to be."""
    if record.fhir_reference is None:
        return record
    try:
        resource = services.fhir.read(record.fhir_reference)
        told = parse_subscription_status(resource)
        status, error = told.status, told.error
        if status in {"error", "off"}:
            # Backport IG, error handling: the client re-activates by asking for it anew.
            services.fhir.update({**resource, "status": "requested"})
            status = "requested"
    except FhirNotFoundError:
        status, error = "gone", "The EHR has deleted the subscription; register it again."
    except FhirServerError as failure:
        status, error = record.status, str(failure)
    checked = replace(record, status=status, last_error=error)
    services.store.save_subscription(checked)
    return checked


def remove_subscription(services: Services, *, name: str) -> None:
    """Delete a subscription at the EHR, and forget it.

    Raises:
        SubscriptionError: There is none of this name.
        FhirServerError: The EHR refuses, or is away; the subscription stays.
    """
    record = services.store.get_subscription(name)
    if record is None:
        raise SubscriptionError(f"There is no subscription {name!r}; see: qfl subscriptions list.")
    _delete_at_ehr(services, record)
    services.store.remove_subscription(name)


def _delete_at_ehr(services: Services, record: SubscriptionRecord) -> None:
    if record.fhir_reference is None:
        return
    try:
        services.fhir.delete(record.fhir_reference)
    except FhirNotFoundError:
        return
