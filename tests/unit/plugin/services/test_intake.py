"""Intake: what a notification becomes, and what is refused."""

import hashlib
import json
from datetime import timedelta

import pytest

from fhir_adapter.errors import MalformedNotificationError, UnsupportedNotificationError
from fhir_adapter.ports import Resource
from plugin.errors import (
    InvalidStudyUidError,
    NotRestartableError,
    UnknownSubscriptionError,
    UnsupportedMediaTypeError,
    WrongSecretError,
)
from plugin.services import intake, subscriptions
from plugin.services.values import AnalysisState, EventState, SubscriptionRecord
from tests.fakes.whole_hospital import START, WholeHospital

SECRET = "limited-use-secret"
JSON = "application/fhir+json"


@pytest.fixture
def hospital() -> WholeHospital:
    hospital = WholeHospital()
    hospital.store.save_subscription(
        SubscriptionRecord(
            name="main",
            kind="topic",
            criteria="http://topic",
            payload="id-only",
            fhir_reference="Subscription/1",
            secret_digest=hashlib.sha256(SECRET.encode()).hexdigest(),
            status="active",
            created_at=START,
            last_seen_at=None,
            last_event_number=None,
            last_error=None,
        )
    )
    return hospital


def notify(hospital: WholeHospital, body: Resource | bytes, *, secret: str | None = SECRET, name: str = "main") -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    intake.accept_notification(hospital.services, subscription=name, secret=secret, body=data, content_type=JSON)


def event(*numbers: int, reference: str | None = "ImagingStudy/1", total: int | None = None) -> Resource:
    """A Backport R4 event-notification."""
    events = []
    for number in numbers:
        part = [{"name": "event-number", "valueString": str(number)}]
        if reference:
            part.append({"name": "focus", "valueReference": {"reference": reference}})
        events.append({"name": "notification-event", "part": part})
    return status("event-notification", total=max(numbers) if total is None else total, more=events)


def status(kind: str, *, total: int = 0, more: list[Resource] | None = None, code: str = "active") -> Resource:
    parameters = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "subscription", "valueReference": {"reference": "https://ehr.example/fhir/Subscription/1"}},
            {"name": "status", "valueCode": code},
            {"name": "type", "valueCode": kind},
            {"name": "events-since-subscription-start", "valueString": str(total)},
            *(more or []),
        ],
    }
    request = {"method": "GET", "url": "https://ehr.example/fhir/Subscription/1/$status"}
    entry = {"resource": parameters, "request": request, "response": {"status": "200"}}
    return {"resourceType": "Bundle", "type": "history", "entry": [entry]}


def worklist(hospital: WholeHospital) -> list[AnalysisState]:
    return [one.state for one in hospital.store.list_analyses(states=None, limit=100)]


def test_an_event_is_stored_before_any_worker_sees_it(hospital: WholeHospital) -> None:
    notify(hospital, event(1))
    assert worklist(hospital) == [AnalysisState.QUEUED]
    assert hospital.store.list_events(limit=1)[0].state is EventState.ACCEPTED
    assert [what for what, _ in hospital.queue.hints] == ["analyse"]


def test_a_repeated_event_makes_no_second_analysis(hospital: WholeHospital) -> None:
    for _ in range(3):
        notify(hospital, event(1))
    assert len(worklist(hospital)) == 1
    assert len(hospital.queue.hints) == 1


def test_two_events_in_one_bundle_make_two_analyses(hospital: WholeHospital) -> None:
    notify(hospital, event(1, 2))
    assert len(worklist(hospital)) == 2


def test_a_gap_in_the_numbers_has_the_ehr_searched(hospital: WholeHospital) -> None:
    notify(hospital, event(1))
    hospital.queue.hints.clear()
    notify(hospital, event(3))
    assert ("search", "main") in hospital.queue.hints


def test_a_first_event_that_got_lost_has_the_ehr_searched(hospital: WholeHospital) -> None:
    notify(hospital, event(2))
    assert ("search", "main") in hospital.queue.hints


def test_a_heartbeat_that_knows_of_more_events_has_the_ehr_searched(hospital: WholeHospital) -> None:
    notify(hospital, event(1))
    hospital.queue.hints.clear()
    notify(hospital, status("heartbeat", total=1))
    assert not hospital.queue.hints
    notify(hospital, status("heartbeat", total=2))
    assert list(hospital.queue.hints) == [("search", "main")]


@pytest.mark.parametrize(
    "body", [pytest.param(b"", id="rest-hook"), pytest.param(event(1, reference=None), id="empty-payload")]
)
def test_a_notification_that_names_no_study_finds_it(hospital: WholeHospital, body: Resource | bytes) -> None:
    hospital.scan()
    notify(hospital, body)
    hospital.work()
    assert worklist(hospital) == [AnalysisState.AWAITING_REVIEW]
    notify(hospital, b"")
    hospital.clock.advance(timedelta(seconds=1))
    hospital.work()
    assert worklist(hospital) == [AnalysisState.AWAITING_REVIEW], "our own update of the ImagingStudy is nothing new"


def test_a_handshake_is_noted_and_makes_no_analysis(hospital: WholeHospital) -> None:
    notify(hospital, status("handshake"))
    assert worklist(hospital) == []
    assert hospital.store.list_events(limit=1)[0].state is EventState.CONTROL
    record = hospital.store.get_subscription("main")
    assert record
    assert record.last_seen_at == START


@pytest.mark.parametrize(
    ("body", "secret", "name", "error"),
    [
        pytest.param(event(1), "wrong", "main", WrongSecretError, id="wrong-secret"),
        pytest.param(event(1), None, "main", WrongSecretError, id="no-secret"),
        pytest.param(event(1), SECRET, "other", UnknownSubscriptionError, id="unknown-subscription"),
        pytest.param(b"{not json", SECRET, "main", MalformedNotificationError, id="not-json"),
        pytest.param({"resourceType": "Bundle"}, SECRET, "main", MalformedNotificationError, id="no-entries"),
        pytest.param(
            event(1, reference="Patient/1"), SECRET, "main", UnsupportedNotificationError, id="other-resource"
        ),
    ],
)
def test_a_refused_notification_leaves_a_reason_and_no_analysis(
    hospital: WholeHospital, body: Resource | bytes, secret: str | None, name: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        notify(hospital, body, secret=secret, name=name)
    assert worklist(hospital) == []
    refused = hospital.store.list_events(limit=1)[0]
    assert refused.state is EventState.REFUSED
    assert refused.detail.startswith(error.__name__)
    assert refused.subscription == ("main" if name == "main" else "(unknown)")


def test_xml_is_refused(hospital: WholeHospital) -> None:
    with pytest.raises(UnsupportedMediaTypeError):
        intake.accept_notification(
            hospital.services,
            subscription="main",
            secret=SECRET,
            body=b"<Bundle/>",
            content_type="application/fhir+xml",
        )


@pytest.mark.parametrize("uid", ["", "abc", "1.2.", "1..2", "01.2", "1." * 40 + "1", "1.2; DROP TABLE"])
def test_what_is_no_uid_is_refused(hospital: WholeHospital, uid: str) -> None:
    with pytest.raises(InvalidStudyUidError):
        hospital.ask(uid or " ")


def test_only_what_ended_without_a_result_runs_again(hospital: WholeHospital) -> None:
    hospital.scan()
    analysis_id = hospital.ask()
    hospital.work()
    with pytest.raises(NotRestartableError):
        intake.restart_analysis(hospital.services, analysis_id=analysis_id, requested_by="dr.house")


def test_a_subscription_is_registered_watched_and_removed(hospital: WholeHospital) -> None:
    record = subscriptions.register_subscription(
        hospital.services, name="mri", kind="query", criteria="ImagingStudy?status=available", payload="empty"
    )
    (resource,) = hospital.fhir.all("Subscription")
    assert resource["channel"]["endpoint"] == "https://qfl.example/fhir/notifications/mri"
    header = resource["channel"]["header"][0]
    secret = header.partition(":")[2].strip()
    assert hashlib.sha256(secret.encode()).hexdigest() == record.secret_digest
    hospital.fhir.update({**resource, "status": "error", "error": "endpoint away"})
    checked = subscriptions.check_subscription(hospital.services, record)
    assert checked.status == "requested"
    assert hospital.fhir.all("Subscription")[0]["status"] == "requested"
    subscriptions.remove_subscription(hospital.services, name="mri")
    assert hospital.fhir.all("Subscription") == []
    assert hospital.store.get_subscription("mri") is None


def test_registering_anew_replaces_the_secret_and_leaves_one_subscription(hospital: WholeHospital) -> None:
    records = [
        subscriptions.register_subscription(
            hospital.services, name="mri", kind="topic", criteria="http://topic", payload="id-only"
        )
        for _ in range(2)
    ]
    assert len(hospital.fhir.all("Subscription")) == 1
    assert records[0].secret_digest != records[1].secret_digest


def test_a_subscription_that_the_ehr_deleted_is_said_to_be_gone(hospital: WholeHospital) -> None:
    record = hospital.store.get_subscription("main")
    assert record
    assert subscriptions.check_subscription(hospital.services, record).status == "gone"
