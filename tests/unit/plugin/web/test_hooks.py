import json

import pytest
from flask.testing import FlaskClient

from plugin.services.values import EventState
from plugin.web.hooks import MAX_NOTIFICATION_BYTES
from tests.fakes.hospital import SECRET, Hospital

URL = "/fhir/notifications/ehr"
HEADERS = {"X-QFL-Notification-Secret": SECRET}
STUDY = json.dumps({"resourceType": "ImagingStudy", "id": "77", "meta": {"versionId": "1"}}).encode()


def post(client: FlaskClient, body: bytes = STUDY, content_type: str = "application/fhir+json", **changes):
    return client.post(changes.pop("url", URL), data=body, content_type=content_type, headers=HEADERS | changes)


def issue(response) -> dict[str, str]:
    assert response.mimetype == "application/fhir+json"
    outcome = json.loads(response.data)
    assert outcome["resourceType"] == "OperationOutcome"
    (only,) = outcome["issue"]
    return only


def test_takes_a_notification_and_queues_its_analysis(hospital: Hospital, anonymous: FlaskClient) -> None:
    response = post(anonymous)
    assert response.status_code == 200
    assert issue(response)["severity"] == "information"
    (event,) = hospital.store.list_events(limit=9)
    assert event.state is EventState.ACCEPTED
    assert hospital.queue.analysed == [event.analysis_id]


def test_repeated_notification_is_acknowledged_and_analysed_once(hospital: Hospital, anonymous: FlaskClient) -> None:
    assert [post(anonymous).status_code for _ in range(3)] == [200, 200, 200]
    assert len(hospital.queue.analysed) == 1


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_takes_the_dialect_that_writes_the_resource_below_the_endpoint(
    hospital: Hospital, anonymous: FlaskClient, method: str
) -> None:
    response = anonymous.open(
        f"{URL}/ImagingStudy/77", method=method, data=STUDY, headers=HEADERS, content_type="application/fhir+json"
    )
    assert response.status_code == 200
    assert len(hospital.queue.analysed) == 1


def test_empty_body_has_the_ehr_searched(hospital: Hospital, anonymous: FlaskClient) -> None:
    assert post(anonymous, b"").status_code == 200
    assert hospital.queue.searched == ["ehr"]


@pytest.mark.parametrize("secret", [None, "", "another"])
def test_wrong_secret_is_refused_without_detail(hospital: Hospital, anonymous: FlaskClient, secret: str | None) -> None:
    headers = {} if secret is None else {"X-QFL-Notification-Secret": secret}
    response = anonymous.post(URL, data=STUDY, headers=headers, content_type="application/fhir+json")
    assert response.status_code == 401
    assert issue(response) == {"severity": "error", "code": "login", "diagnostics": "Not authorised."}
    assert SECRET not in response.text
    assert hospital.store.list_events(limit=9)[0].state is EventState.REFUSED
    assert hospital.queue.analysed == []


@pytest.mark.parametrize(
    ("status", "changes"),
    [
        pytest.param(404, {"url": "/fhir/notifications/nobody"}, id="unknown subscription"),
        pytest.param(404, {"url": "/fhir/elsewhere"}, id="unknown path"),
        pytest.param(415, {"content_type": "application/fhir+xml", "body": b"<Bundle/>"}, id="XML"),
        pytest.param(415, {"Content-Encoding": "gzip"}, id="compressed"),
        pytest.param(400, {"body": b"{"}, id="malformed"),
        pytest.param(400, {"body": b"\xff\xfe"}, id="not UTF-8"),
    ],
)
def test_refusals_are_operation_outcomes(anonymous: FlaskClient, status: int, changes) -> None:
    response = post(anonymous, **changes)
    assert response.status_code == status
    assert issue(response)["severity"] == "error"


def test_other_methods_are_operation_outcomes(anonymous: FlaskClient) -> None:
    response = anonymous.get(URL)
    assert response.status_code == 405
    assert "POST" in response.headers["Allow"]
    issue(response)


def test_body_above_the_limit_is_refused_before_it_is_parsed(hospital: Hospital, anonymous: FlaskClient) -> None:
    at_limit = STUDY.ljust(MAX_NOTIFICATION_BYTES)
    assert post(anonymous, at_limit).status_code == 200
    response = post(anonymous, at_limit + b" ")
    assert response.status_code == 413
    assert issue(response)["code"] == "too-long"


def test_needs_no_csrf_token_and_sets_no_cookie(anonymous: FlaskClient) -> None:
    assert "Set-Cookie" not in post(anonymous).headers
