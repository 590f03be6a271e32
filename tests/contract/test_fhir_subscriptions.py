"""Our subscriptions at a real FHIR server, and its notifications in our parser."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fhir_adapter.adapters.rest import FhirRestStore
from fhir_adapter.model import Notification, NotificationKind
from fhir_adapter.notifications import parse_events, parse_notification
from fhir_adapter.ports import Resource
from fhir_adapter.subscriptions import (
    SECRET_HEADER,
    PayloadContent,
    build_query_subscription,
    build_topic_subscription,
    parse_subscription_status,
)
from tests.fakes.fhir_results import imaging_study_resource
from tests.servers.medplum import MedplumServer, running_medplum

pytestmark = pytest.mark.server

SECRET = "s3cret-s3cret-s3cret"
PATIENCE_S = 20


@dataclass
class Hook:
    """Our side: takes notifications, after refusing some if told so."""

    url: str = ""
    refuse_next: int = 0
    secrets: list[str | None] = field(default_factory=list)
    notifications: list[Notification] = field(default_factory=list)

    def received(self, count: int) -> list[Notification]:
        wait_until(lambda: len(self.notifications) >= count)
        return self.notifications


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "nothing came in time"
        time.sleep(0.02)


@pytest.fixture
def hook() -> Iterator[Hook]:
    taken = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            taken.secrets.append(self.headers[SECRET_HEADER])
            refused = taken.refuse_next > 0
            if refused:
                taken.refuse_next -= 1
            else:
                taken.notifications.append(parse_notification(body, self.headers.get("Content-Type", "")))
            self.send_response(503 if refused else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    taken.url = f"http://127.0.0.1:{listening.server_port}/hook"
    yield taken
    listening.shutdown()
    listening.server_close()
    thread.join()


@pytest.fixture(scope="module")
def server() -> Iterator[MedplumServer]:
    with running_medplum() as running:
        yield running


@pytest.fixture
def store(server: MedplumServer) -> Iterator[FhirRestStore]:
    server.reset()
    rest = FhirRestStore(server.base_url)
    yield rest
    rest.close()


def study(**changes: object) -> Resource:
    resource = imaging_study_resource(**changes)
    del resource["id"]
    return resource


def subscribe_to_topic(store: FhirRestStore, hook: Hook, content: PayloadContent = "id-only") -> str:
    """Subscribe to available studies, and wait for the handshake."""
    subscription = build_topic_subscription(
        hook.url, SECRET, "https://ehr.test/topic", ["ImagingStudy?status=available"], content, 60, reason="test"
    )
    reference = f"Subscription/{store.create(subscription)['id']}"
    wait_until(lambda: parse_subscription_status(store.read(reference)).status in {"active", "error"})
    return reference


def test_handshake_activates_a_topic_subscription(store: FhirRestStore, hook: Hook):
    reference = subscribe_to_topic(store, hook)

    (handshake,) = hook.received(1)
    assert handshake.kind is NotificationKind.HANDSHAKE
    assert handshake.status == "requested"
    assert hook.secrets == [SECRET]
    told = parse_subscription_status(store.operation(f"{reference}/$status"))
    assert (told.status, told.events_since_start) == ("active", 0)


def test_handshake_without_an_answer_leaves_an_error_that_asking_anew_heals(store: FhirRestStore, hook: Hook):
    hook.refuse_next = 3
    reference = subscribe_to_topic(store, hook)
    told = parse_subscription_status(store.read(reference))
    assert told.status == "error"
    assert told.error

    store.update({**store.read(reference), "status": "requested"})
    wait_until(lambda: parse_subscription_status(store.read(reference)).status == "active")


@pytest.mark.parametrize(("content", "names_it"), [("id-only", True), ("full-resource", True), ("empty", False)])
def test_new_study_is_announced_at_each_level_of_content(
    store: FhirRestStore, hook: Hook, content: PayloadContent, names_it: bool
):
    reference = subscribe_to_topic(store, hook, content)
    created = store.create(study())
    store.create(study(status="registered"))

    _, announced = hook.received(2)

    assert announced.kind is NotificationKind.EVENT
    assert announced.subscription_reference == f"{store._base}/{reference}"
    (event,) = announced.events
    assert event.event_number == announced.events_since_start == 1
    assert event.imaging_study_reference == (f"ImagingStudy/{created['id']}" if names_it else None)


def test_repeated_notification_has_the_same_key(server: MedplumServer, store: FhirRestStore, hook: Hook):
    subscribe_to_topic(store, hook)
    server.disturb_delivery(repeat=1)
    store.create(study())
    store.create(study())

    _, first, repeat, second = hook.received(4)

    assert first.events == repeat.events
    assert first.events[0].event_key != second.events[0].event_key


def test_lost_notification_shows_as_a_gap_that_past_events_fill(
    server: MedplumServer, store: FhirRestStore, hook: Hook
):
    reference = subscribe_to_topic(store, hook)
    server.disturb_delivery(drop=1)
    lost = store.create(study())
    store.create(study())

    _, announced = hook.received(2)
    assert announced.events[0].event_number == 2

    past = parse_events(store.operation(f"{reference}/$events?eventsSinceNumber=1&eventsUntilNumber=1&content=id-only"))
    (event,) = past.events
    assert (event.event_number, event.imaging_study_reference) == (1, f"ImagingStudy/{lost['id']}")


def test_heartbeat_counts_the_events_but_is_none(server: MedplumServer, store: FhirRestStore, hook: Hook):
    reference = subscribe_to_topic(store, hook)
    store.create(study())
    hook.received(2)

    server.heartbeat(reference.partition("/")[2])

    *_, heartbeat = hook.received(3)
    assert (heartbeat.kind, heartbeat.events_since_start, heartbeat.events) == (NotificationKind.HEARTBEAT, 1, ())


def test_notification_that_is_not_taken_comes_again(store: FhirRestStore, hook: Hook):
    subscribe_to_topic(store, hook)
    hook.refuse_next = 2
    store.create(study())

    assert hook.received(2)[1].events[0].event_number == 1
    assert len(hook.secrets) == 4


@pytest.mark.parametrize("payload", [True, False])
def test_query_subscription_announces_with_and_without_payload(store: FhirRestStore, hook: Hook, payload: bool):
    subscription = build_query_subscription(hook.url, SECRET, "ImagingStudy?status=available", payload, "test")
    reference = f"Subscription/{store.create(subscription)['id']}"
    wait_until(lambda: parse_subscription_status(store.read(reference)).status == "active")
    created = store.create(study())

    (announced,) = hook.received(1)

    assert hook.secrets == [SECRET]
    if payload:
        assert announced.kind is NotificationKind.EVENT
        assert announced.events[0].imaging_study_reference == f"ImagingStudy/{created['id']}"
    else:
        assert announced.kind is NotificationKind.CHANGED
        assert announced.events == ()
