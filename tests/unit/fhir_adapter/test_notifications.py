import copy
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_adapter.errors import MalformedNotificationError, NotificationError, UnsupportedNotificationError
from fhir_adapter.model import NotificationKind
from fhir_adapter.notifications import parse_events, parse_notification

DATA = Path(__file__).parent / "data"
JSON = "application/fhir+json; charset=utf-8"
SUBSCRIPTION = "https://example.org/fhir/Subscription/admission"


def sample(name: str) -> dict[str, Any]:
    return json.loads((DATA / f"backport-r4-{name}.json").read_text())


def parse(resource: object):
    return parse_notification(json.dumps(resource).encode(), JSON)


def event(number: int, focus: str | None = "ImagingStudy/1", **parts: str) -> dict[str, Any]:
    written = [{"name": "event-number", "valueString": str(number)}]
    written += [{"name": name, "valueInstant": value} for name, value in parts.items()]
    if focus:
        written.append({"name": "focus", "valueReference": {"reference": focus}})
    return {"name": "notification-event", "part": written}


def notification(*events: dict[str, Any], kind: str = "event-notification", since_start: str = "9") -> dict[str, Any]:
    parameters = [
        {"name": "subscription", "valueReference": {"reference": SUBSCRIPTION}},
        {"name": "status", "valueCode": "active"},
        {"name": "type", "valueCode": kind},
        {"name": "events-since-subscription-start", "valueString": since_start},
        *events,
    ]
    status = {"resourceType": "Parameters", "parameter": parameters}
    return {"resourceType": "Bundle", "type": "history", "entry": [{"resource": status}]}


def with_focus(bundle: dict[str, Any], focus: str) -> dict[str, Any]:
    return json.loads(
        json.dumps(bundle).replace("https://example.org/fhir/Encounter/86009987-eabe-42bf-8c02-b112b18cb616", focus)
    )


# R4 rest-hook


@pytest.mark.parametrize("body", [b"", b" \r\n"])
@pytest.mark.parametrize("content_type", ["", "text/plain", JSON])
def test_empty_body_says_that_something_changed(body: bytes, content_type: str):
    parsed = parse_notification(body, content_type)

    assert parsed.kind is NotificationKind.CHANGED
    assert parsed.events == ()


def test_payload_is_an_event_about_that_study():
    parsed = parse({"resourceType": "ImagingStudy", "id": "s1", "meta": {"versionId": "3"}, "status": "available"})

    assert parsed.kind is NotificationKind.EVENT
    assert parsed.subscription_reference is None
    (found,) = parsed.events
    assert found.imaging_study_reference == "ImagingStudy/s1"
    assert found.event_number is None


def test_payload_of_another_version_is_another_event():
    def key(version: str, status: str) -> str:
        resource = {"resourceType": "ImagingStudy", "id": "s1", "meta": {"versionId": version}, "status": status}
        return parse(resource).events[0].event_key

    assert key("3", "available") == key("3", "registered")
    assert key("3", "available") != key("4", "available")


def test_payload_without_a_version_is_told_apart_by_its_content():
    def key(status: str) -> str:
        return parse({"resourceType": "ImagingStudy", "id": "s1", "status": status}).events[0].event_key

    assert key("available") == key("available")
    assert key("available") != key("registered")


def test_payload_without_an_id_does_not_say_which_study():
    assert parse({"resourceType": "ImagingStudy"}).events[0].imaging_study_reference is None


# Topic-based, R4


@pytest.mark.parametrize(
    ("name", "kind", "status", "since_start"),
    [
        ("handshake", NotificationKind.HANDSHAKE, "requested", 0),
        ("heartbeat", NotificationKind.HEARTBEAT, "active", 2),
    ],
)
def test_reads_the_guides_control_notifications(name: str, kind: NotificationKind, status: str, since_start: int):
    parsed = parse(sample(name))

    assert (parsed.kind, parsed.status, parsed.events_since_start) == (kind, status, since_start)
    assert parsed.subscription_reference == SUBSCRIPTION
    assert parsed.events == ()


@pytest.mark.parametrize("name", ["empty", "empty-with-auth"])
def test_reads_the_guides_empty_notification(name: str):
    (found,) = parse(sample(name)).events

    assert found.event_number == 2
    assert found.imaging_study_reference is None


@pytest.mark.parametrize("name", ["id-only", "id-only-with-query", "full-resource", "multi-resource"])
@pytest.mark.parametrize(
    "focus",
    [
        "https://example.org/fhir/ImagingStudy/s1",
        "ImagingStudy/s1",
        "http://internal:8080/fhir/ImagingStudy/s1/_history/2",
    ],
)
def test_reads_the_guides_notifications_about_a_study(name: str, focus: str):
    parsed = parse(with_focus(sample(name), focus))

    assert parsed.kind is NotificationKind.EVENT
    assert parsed.events_since_start == 2
    (found,) = parsed.events
    assert (found.event_number, found.imaging_study_reference) == (2, "ImagingStudy/s1")


def test_reads_several_events_of_one_notification():
    parsed = parse(notification(event(7), event(8, "ImagingStudy/2"), event(9, None)))

    assert [found.event_number for found in parsed.events] == [7, 8, 9]
    assert [found.imaging_study_reference for found in parsed.events] == ["ImagingStudy/1", "ImagingStudy/2", None]
    assert len({found.event_key for found in parsed.events}) == 3


def test_repeat_has_the_same_key_and_another_event_another():
    def key(*arguments: Any, subscription: str = SUBSCRIPTION, **parts: str) -> str:
        text = json.dumps(notification(event(*arguments, **parts))).replace(SUBSCRIPTION, subscription)
        return parse(json.loads(text)).events[0].event_key

    first = key(7, "ImagingStudy/1", timestamp="2026-03-04T10:00:00Z")
    assert key(7, "ImagingStudy/1", timestamp="2026-03-04T10:00:00Z") == first
    others = {
        key(8, "ImagingStudy/1", timestamp="2026-03-04T10:00:00Z"),
        key(7, "ImagingStudy/2", timestamp="2026-03-04T10:00:00Z"),
        key(7, "ImagingStudy/1", timestamp="2026-03-05T10:00:00Z"),  # the server counts anew from 1
        key(7, "ImagingStudy/1", timestamp="2026-03-04T10:00:00Z", subscription="Subscription/other"),
    }
    assert first not in others
    assert len(others) == 4


def test_event_without_a_number_is_not_lost():
    (found,) = parse(notification()).events

    assert found.imaging_study_reference is None
    assert found.event_number == 9


def test_other_foci_beside_a_study_do_not_hide_it():
    parsed = parse(notification(event(7, "Encounter/1"), event(8)))

    assert [found.event_number for found in parsed.events] == [8]


def test_gives_the_servers_own_words_on_an_error():
    bundle = sample("heartbeat")
    parameters = bundle["entry"][0]["resource"]["parameter"]
    parameters.append({"name": "error", "valueCodeableConcept": {"coding": [{"code": "no-response"}]}})

    assert parse(bundle).error == "no-response"


# Topic-based, R4B and R5


@pytest.mark.parametrize("bundle_type", ["history", "subscription-notification"])
@pytest.mark.parametrize("number", [12, "12"])
def test_reads_a_subscription_status(bundle_type: str, number: int | str):
    status = {
        "resourceType": "SubscriptionStatus",
        "status": "active",
        "type": "event-notification",
        "eventsSinceSubscriptionStart": number,
        "notificationEvent": [{"eventNumber": number, "focus": {"reference": "https://ehr.test/ImagingStudy/5"}}],
        "subscription": {"reference": "Subscription/1"},
    }

    parsed = parse({"resourceType": "Bundle", "type": bundle_type, "entry": [{"resource": status}]})

    assert parsed.events_since_start == 12
    (found,) = parsed.events
    assert (found.event_number, found.imaging_study_reference) == (12, "ImagingStudy/5")


# $events


def test_reads_past_events():
    parsed = parse_events(notification(event(3), event(4, "ImagingStudy/2"), kind="query-event"))

    assert [found.imaging_study_reference for found in parsed.events] == ["ImagingStudy/1", "ImagingStudy/2"]


def test_past_event_has_the_key_it_had_when_it_was_announced():
    announced = parse(notification(event(3, timestamp="2026-03-04T10:00:00Z")))
    past = parse_events(notification(event(3, timestamp="2026-03-04T10:00:00Z"), kind="query-event"))

    assert past.events == announced.events


def test_no_past_events_are_no_event():
    assert parse_events(notification(kind="query-event")).events == ()


# Refusals


@pytest.mark.parametrize(
    "resource",
    [
        pytest.param(sample("id-only"), id="focus-on-encounter"),
        pytest.param({"resourceType": "Patient", "id": "1"}, id="payload-of-another-type"),
    ],
)
def test_refuses_what_is_not_about_imaging_studies(resource: dict[str, Any]):
    with pytest.raises(UnsupportedNotificationError, match="ImagingStudy"):
        parse(resource)


def without(bundle: dict[str, Any], name: str) -> dict[str, Any]:
    changed = copy.deepcopy(bundle)
    status = changed["entry"][0]["resource"]
    status["parameter"] = [parameter for parameter in status["parameter"] if parameter["name"] != name]
    return changed


@pytest.mark.parametrize(
    "resource",
    [
        pytest.param([], id="list"),
        pytest.param("x", id="text"),
        pytest.param({}, id="no-type"),
        pytest.param({"resourceType": "imaging study"}, id="type-that-is-none"),
        pytest.param({"resourceType": ["ImagingStudy"]}, id="list-of-types"),
        pytest.param({"resourceType": "ImagingStudy", "id": "../1"}, id="id-that-is-a-path"),
        pytest.param({"resourceType": "ImagingStudy", "id": 1}, id="id-that-is-a-number"),
        pytest.param({**sample("empty"), "type": "transaction"}, id="bundle-of-another-type"),
        pytest.param({**sample("empty"), "entry": []}, id="bundle-without-entries"),
        pytest.param({**sample("empty"), "entry": [{"fullUrl": "urn:uuid:1"}]}, id="bundle-without-status"),
        pytest.param({**sample("empty"), "entry": [{"resource": {"resourceType": "Patient"}}]}, id="another-status"),
        pytest.param(without(sample("empty"), "subscription"), id="no-subscription"),
        pytest.param(without(sample("empty"), "type"), id="no-notification-type"),
        pytest.param(sample("error"), id="answer-of-status"),
        pytest.param(notification(event(1), kind="shout"), id="unknown-notification-type"),
        pytest.param(notification(event(1), since_start="many"), id="count-that-is-none"),
        pytest.param(notification(event(1, "https://ehr.test/whatever")), id="focus-that-is-not-fhir"),
        pytest.param(notification(event(1, "ImagingStudy/..")), id="focus-that-is-a-path"),
    ],
)
def test_refuses_what_is_no_notification(resource: object):
    with pytest.raises(MalformedNotificationError, match="xpected"):
        parse(resource)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{", id="cut-off"),
        pytest.param(b"\xff\xfe{}", id="not-utf-8"),
        pytest.param(b"<Bundle/>", id="xml"),
        pytest.param(b'{"resourceType": NaN}', id="not-json"),
        pytest.param(b"[" * 200_000, id="deeply-nested-list"),
        pytest.param(b'{"a":' * 200_000, id="deeply-nested-object"),
        pytest.param(b"9" * 10_000, id="endless-number"),
    ],
)
def test_refuses_what_is_no_json(body: bytes):
    with pytest.raises(MalformedNotificationError):
        parse_notification(body, JSON)


@pytest.mark.parametrize("content_type", ["application/fhir+xml", "text/html", "multipart/form-data"])
def test_refuses_other_media_types(content_type: str):
    with pytest.raises(MalformedNotificationError, match="fhir\\+json"):
        parse_notification(json.dumps(sample("empty")).encode(), content_type)


# Whatever comes, only the two errors go out

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["Bundle", "history"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a JSON value."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, child in children for place in places(child, (*path, name)))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The JSON value with another value at a path."""
    if not path:
        return new
    changed = copy.copy(value)
    changed[path[0]] = put(value[path[0]], path[1:], new)
    return changed


SAMPLES = [
    *(sample(path.stem.removeprefix("backport-r4-")) for path in sorted(DATA.glob("backport-r4-*.json"))),
    notification(event(7), event(8)),
    {"resourceType": "ImagingStudy", "id": "1", "meta": {"versionId": "2"}},
]


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_mutated_notifications_raise_nothing_else(data: st.DataObject):
    resource = data.draw(st.sampled_from(SAMPLES))
    for _ in range(data.draw(st.integers(1, 3))):
        resource = put(resource, data.draw(st.sampled_from(places(resource))), data.draw(VALUES))

    for parse_one in (parse, parse_events):
        with suppress(NotificationError):
            assert parse_one(resource).kind in NotificationKind


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_raise_nothing_else(body: bytes):
    with suppress(NotificationError):
        parse_notification(body, JSON)
