from datetime import UTC, datetime
from typing import Any

import pytest

from fhir_adapter.errors import MalformedResourceError
from fhir_adapter.model import SubscriptionStatus
from fhir_adapter.subscriptions import (
    SECRET_HEADER,
    build_query_subscription,
    build_topic_subscription,
    parse_subscription_status,
)

ENDPOINT = "https://plugin.test/hook/mri"
SECRET = "s3cret-s3cret-s3cret"
BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"


def topic(**changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "filter_criteria": ["ImagingStudy?status=available"],
        "payload_content": "id-only",
        "heartbeat_s": 60,
        "reason": "New MRI",
    }
    return build_topic_subscription(ENDPOINT, SECRET, "https://ehr.test/topic", **{**arguments, **changes})


@pytest.mark.parametrize(("payload", "media_type"), [(True, "application/fhir+json"), (False, None)])
def test_query_subscription_asks_for_a_payload_or_none(payload: bool, media_type: str | None):
    built = build_query_subscription(ENDPOINT, SECRET, "ImagingStudy?modality=MR", payload, "New MRI")

    assert built["criteria"] == "ImagingStudy?modality=MR"
    assert built["status"] == "requested"
    assert built["channel"].get("payload") == media_type
    assert built["channel"]["header"] == [f"{SECRET_HEADER}: {SECRET}"]
    assert "end" not in built


def test_subscription_ends_when_told():
    end = datetime(2027, 1, 1, tzinfo=UTC)
    built = build_query_subscription(ENDPOINT, SECRET, "ImagingStudy?modality=MR", False, "New MRI", end)

    assert built["end"] == "2027-01-01T00:00:00.000+00:00"


def test_topic_subscription_puts_each_thing_where_the_guide_has_it():
    built = topic(
        filter_criteria=["ImagingStudy?status=available", "ImagingStudy?modality=MR"], max_count=20, timeout_s=30
    )

    assert built["criteria"] == "https://ehr.test/topic"
    assert built["_criteria"]["extension"] == [
        {"url": f"{BACKPORT}/backport-filter-criteria", "valueString": "ImagingStudy?status=available"},
        {"url": f"{BACKPORT}/backport-filter-criteria", "valueString": "ImagingStudy?modality=MR"},
    ]
    assert built["channel"]["_payload"] == {
        "extension": [{"url": f"{BACKPORT}/backport-payload-content", "valueCode": "id-only"}]
    }
    assert built["channel"]["extension"] == [
        {"url": f"{BACKPORT}/backport-heartbeat-period", "valueUnsignedInt": 60},
        {"url": f"{BACKPORT}/backport-timeout", "valueUnsignedInt": 30},
        {"url": f"{BACKPORT}/backport-max-count", "valuePositiveInt": 20},
    ]


def test_topic_subscription_leaves_out_what_was_not_asked_for():
    built = topic(filter_criteria=[], heartbeat_s=None)

    assert "_criteria" not in built
    assert "extension" not in built["channel"]


@pytest.mark.parametrize("secret", ["", "short", "with blanks in between", "line\r\nX-Forged: 1234567", "ümlaut" * 4])
def test_refuses_a_secret_that_is_weak_or_forges_headers(secret: str):
    with pytest.raises(ValueError, match="secret") as raised:
        build_query_subscription(ENDPOINT, secret, "ImagingStudy?modality=MR", False, "New MRI")

    assert not secret or secret not in str(raised.value)


@pytest.mark.parametrize("criteria", ["", "ImagingStudy", "ImagingStudy? modality=MR", "https://ehr.test/topic"])
def test_refuses_criteria_that_are_no_search(criteria: str):
    with pytest.raises(ValueError, match="criteria"):
        build_query_subscription(ENDPOINT, SECRET, criteria, False, "New MRI")


STATUS_REPORT = {
    "resourceType": "Parameters",
    "parameter": [
        {"name": "subscription", "valueReference": {"reference": "Subscription/1"}},
        {"name": "status", "valueCode": "error"},
        {"name": "type", "valueCode": "query-status"},
        {"name": "events-since-subscription-start", "valueString": "3"},
        {"name": "error", "valueCodeableConcept": {"text": "No response"}},
    ],
}


@pytest.mark.parametrize(
    ("resource", "status"),
    [
        pytest.param(
            {"resourceType": "Subscription", "id": "1", "status": "error", "error": "No response"},
            SubscriptionStatus("Subscription/1", "error", None, "No response"),
            id="subscription",
        ),
        pytest.param(STATUS_REPORT, SubscriptionStatus("Subscription/1", "error", 3, "No response"), id="status-of-r4"),
        pytest.param(
            {
                "resourceType": "Bundle",
                "type": "searchset",
                "entry": [{"resource": {"resourceType": "OperationOutcome"}}, {"resource": STATUS_REPORT}],
            },
            SubscriptionStatus("Subscription/1", "error", 3, "No response"),
            id="answer-of-status-operation",
        ),
        pytest.param(
            {"resourceType": "SubscriptionStatus", "type": "query-status", "status": "active"},
            SubscriptionStatus(None, "active", None, None),
            id="status-of-r4b",
        ),
    ],
)
def test_reads_how_a_subscription_fares(resource: dict[str, Any], status: SubscriptionStatus):
    assert parse_subscription_status(resource) == status


@pytest.mark.parametrize(
    "resource",
    [
        pytest.param({"resourceType": "Patient"}, id="another-resource"),
        pytest.param({"resourceType": "Subscription"}, id="no-status"),
        pytest.param({"resourceType": "Subscription", "status": "Very Active"}, id="status-that-is-no-code"),
        pytest.param({"resourceType": "Bundle", "entry": []}, id="empty-bundle"),
        pytest.param({"resourceType": "SubscriptionStatus", "type": "query-status"}, id="report-without-status"),
    ],
)
def test_refuses_what_says_no_status(resource: dict[str, Any]):
    with pytest.raises(MalformedResourceError):
        parse_subscription_status(resource)
