"""How studies come in: notifications, the search for what no notification told, and people who ask."""

import hashlib
import hmac
import re
from datetime import timedelta

from fhir_adapter.errors import NotificationError, ResourceError
from fhir_adapter.imaging_study import parse_imaging_study
from fhir_adapter.model import Notification, NotificationKind, StudyEvent
from fhir_adapter.notifications import parse_notification
from fhir_adapter.ports import Resource
from plugin.errors import (
    AnalysisNotFoundError,
    InvalidStudyUidError,
    NotRestartableError,
    RequestError,
    UnknownSubscriptionError,
    UnsupportedMediaTypeError,
    WrongSecretError,
)
from plugin.services.ports import Services
from plugin.services.values import AnalysisState, EventState, SubscriptionRecord

# PS3.5 9.1: digits in components without leading zeros, at most 64 characters.
_UID = re.compile(r"(?=.{1,64}$)(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_JSON = {"", "application/fhir+json", "application/json", "text/json", "text/plain"}
_SEARCH_OVERLAP = timedelta(minutes=2)
_RESTARTABLE = {AnalysisState.NOT_ANALYSABLE, AnalysisState.FAILED}


def accept_notification(
    services: Services, *, subscription: str, secret: str | None, body: bytes, content_type: str
) -> None:
    """Take a notification: when this returns, its events are stored durably.

    Raises:
        UnknownSubscriptionError, WrongSecretError, UnsupportedMediaTypeError, NotificationError: It is refused, and the
            refusal is counted in the intake log.
    """
    record = services.store.get_subscription(subscription)
    try:
        notification = _check(record, secret, body, content_type)
    except (RequestError, NotificationError) as error:
        # The path is the caller's own text: an unknown name is not repeated.
        name = record.name if record else "(unknown)"
        reason = f"{type(error).__name__}: {error}"
        services.store.add_refusal(subscription=name, reason=reason, now=services.clock())
        raise
    _take(services, subscription, notification)


def _check(record: SubscriptionRecord | None, secret: str | None, body: bytes, content_type: str) -> Notification:
    if record is None:
        raise UnknownSubscriptionError("No subscription of this name is registered here.")
    given = hashlib.sha256((secret or "").encode()).hexdigest()
    if not hmac.compare_digest(given, record.secret_digest):
        raise WrongSecretError("The notification does not carry this subscription's secret.")
    media_type = content_type.partition(";")[0].strip().lower()
    if body and media_type not in _JSON:
        raise UnsupportedMediaTypeError(f"Expected application/fhir+json, got {media_type[:80]!r}.")
    return parse_notification(body, content_type)


def _take(services: Services, subscription: str, notification: Notification) -> None:
    now = services.clock()
    numbers = [event.event_number for event in notification.events if event.event_number is not None]
    highest = max(numbers, default=None)
    before = services.store.note_subscription(
        subscription, now=now, status=notification.status, event_number=highest, error=notification.error
    )
    if notification.kind is NotificationKind.HANDSHAKE:
        services.store.add_event(
            subscription=subscription,
            event_key=f"handshake:{now.isoformat()}",
            state=EventState.CONTROL,
            detail="Handshake: the EHR has reached this plugin.",
            imaging_study_reference=None,
            study_instance_uid=None,
            requested_by=f"subscription {subscription}",
            open_analysis=False,
            now=now,
        )
    for event in notification.events:
        _take_event(services, subscription, event)
    announced = notification.events_since_start if notification.events_since_start is not None else highest
    missed = announced is not None and announced > max(before or 0, highest or 0)
    gap = bool(numbers) and min(numbers) > (before or 0) + 1
    silent = any(event.imaging_study_reference is None for event in notification.events)
    if missed or gap or silent or notification.kind is NotificationKind.CHANGED:
        services.queue.search_studies(subscription)


def _take_event(services: Services, subscription: str, event: StudyEvent) -> None:
    reference = event.imaging_study_reference
    is_new, analysis_id = services.store.add_event(
        subscription=subscription,
        event_key=event.event_key,
        state=EventState.ACCEPTED if reference else EventState.SEARCHING,
        detail=reference or "The notification does not say which study; the EHR is searched.",
        imaging_study_reference=reference,
        study_instance_uid=None,
        requested_by=f"subscription {subscription}",
        open_analysis=reference is not None,
        now=services.clock(),
    )
    if is_new and analysis_id:
        services.queue.analyse(analysis_id)


def search_studies(services: Services, *, subscription: str) -> int:
    """Search the EHR for studies that changed since the last search: notifications can be lost, or name no study.

    Returns:
        How many new analyses came of it.
    """
    record = services.store.get_subscription(subscription)
    if record is None:
        raise UnknownSubscriptionError(f"No subscription {subscription!r} is registered here.")
    started = services.clock()
    since = (record.searched_until or record.created_at) - _SEARCH_OVERLAP
    found = services.fhir.search("ImagingStudy", {"_lastUpdated": f"ge{since.isoformat(timespec='seconds')}"})
    opened = sum(_take_found(services, subscription, resource) for resource in found)
    services.store.note_search(subscription, searched_until=started)
    return opened


def _take_found(services: Services, subscription: str, resource: Resource) -> bool:
    now = services.clock()
    try:
        study = parse_imaging_study(resource)
    except ResourceError as error:
        services.store.add_refusal(subscription=subscription, reason=f"{type(error).__name__}: {error}", now=now)
        return False
    known = services.store.latest_for_study(study.study_instance_uid)
    if known and known.result:
        analysed = {use.series_instance_uid for use in known.result.series}
        if {series.series_instance_uid for series in study.series if series.modality == "MR"} <= analysed:
            return False  # nothing new to see: most often it is our own update of the ImagingStudy
    is_new, analysis_id = services.store.add_event(
        subscription=subscription,
        event_key=f"search:{study.reference}/{study.version_id}",
        state=EventState.ACCEPTED,
        detail=f"{study.reference}, found by searching the EHR",
        imaging_study_reference=study.reference,
        study_instance_uid=study.study_instance_uid,
        requested_by=f"subscription {subscription}",
        open_analysis=True,
        now=now,
    )
    if is_new and analysis_id:
        services.queue.analyse(analysis_id)
    return is_new


def request_analysis(services: Services, *, study_instance_uid: str, requested_by: str) -> str:
    """Start an analysis because somebody asked for it.

    Returns:
        The analysis' id.

    Raises:
        InvalidStudyUidError: Not a DICOM UID.
    """
    uid = study_instance_uid.strip()
    if not _UID.fullmatch(uid):
        raise InvalidStudyUidError("Expected a StudyInstanceUID: digits and dots, at most 64 characters.")
    return _open(services, study_instance_uid=uid, imaging_study_reference=None, requested_by=requested_by)


def restart_analysis(services: Services, *, analysis_id: str, requested_by: str) -> str:
    """Run a study again whose analysis ended without a result.

    Returns:
        The new analysis' id.

    Raises:
        AnalysisNotFoundError, NotRestartableError: There is none, or it runs or has a result.
    """
    analysis = services.store.get(analysis_id)
    if analysis is None:
        raise AnalysisNotFoundError(f"There is no analysis {analysis_id}.")
    if analysis.state not in _RESTARTABLE:
        raise NotRestartableError(f"The analysis is {analysis.state}; only one that ended without a result runs again.")
    return _open(
        services,
        study_instance_uid=analysis.study_instance_uid,
        imaging_study_reference=analysis.imaging_study_reference,
        requested_by=requested_by,
    )


def _open(
    services: Services, *, study_instance_uid: str | None, imaging_study_reference: str | None, requested_by: str
) -> str:
    now = services.clock()
    _, analysis_id = services.store.add_event(
        subscription="(manual)",
        event_key=f"{requested_by}:{now.isoformat()}:{study_instance_uid or imaging_study_reference}",
        state=EventState.ACCEPTED,
        detail=f"Asked for by {requested_by}",
        imaging_study_reference=imaging_study_reference,
        study_instance_uid=study_instance_uid,
        requested_by=requested_by,
        open_analysis=True,
        now=now,
    )
    if analysis_id is None:
        raise AnalysisNotFoundError("The same request came twice at the same instant; ask again.")
    services.queue.analyse(analysis_id)
    return analysis_id
