import pytest
from flask.testing import FlaskClient

from plugin.services.values import DeliveryState
from tests.fakes.hospital import STUDY_UID, Hospital, csrf_token


@pytest.fixture
def bearer(hospital: Hospital) -> dict[str, str]:
    return {"Authorization": f"Bearer {hospital.token()}"}


def error_of(response) -> dict[str, str]:
    assert response.mimetype == "application/json"
    assert set(response.json) == {"error"}
    assert set(response.json["error"]) == {"code", "message"}
    return response.json["error"]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"Authorization": "Bearer wrong"}, id="wrong token"),
        pytest.param({"Authorization": "Bearer "}, id="empty token"),
        pytest.param({"Authorization": "Basic cmVhZGVyOngK"}, id="password"),
        pytest.param({"Authorization": "nonsense"}, id="nonsense"),
    ],
)
def test_strangers_are_refused(anonymous: FlaskClient, headers: dict[str, str]) -> None:
    response = anonymous.get("/api/analyses", headers=headers)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert error_of(response)["code"] == "unauthorized"


def test_wrong_token_is_refused_even_with_a_session(radiologist: FlaskClient) -> None:
    assert radiologist.get("/api/analyses", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_lists_analyses_with_steps_deliveries_and_measurements(
    hospital: Hospital, anonymous: FlaskClient, bearer: dict[str, str]
) -> None:
    analysis_id = hospital.awaiting_review()
    (analysis,) = anonymous.get("/api/analyses", headers=bearer).json["analyses"]
    assert analysis["id"] == analysis_id
    assert analysis["state"] == "awaiting-review"
    assert analysis["study_instance_uid"] == STUDY_UID
    assert analysis["created_at"] == "2026-03-04T12:00:00+00:00"
    assert analysis["steps"] == [{"step": "deliver", "attempt": 1, "seconds": 0.0}]
    assert [one["kind"] for one in analysis["deliveries"]] == ["seg", "report"]
    assert analysis["deliveries"][0]["receipt"] == {"DiagnosticReport": "DiagnosticReport/7"}
    assert analysis["measurements"][0]["volume_ml"] == 12.5
    assert analysis["warnings"] == ["The T2 series is missing."]


def test_answers_name_no_patient(hospital: Hospital, anonymous: FlaskClient, bearer: dict[str, str]) -> None:
    hospital.awaiting_review()
    text = anonymous.get("/api/analyses", headers=bearer).text
    assert "Meier" not in text
    assert "MRN-004711" not in text


def test_filters_by_exact_study_and_by_state(
    hospital: Hospital, anonymous: FlaskClient, bearer: dict[str, str]
) -> None:
    wanted = hospital.running(uid="2.25.1")
    hospital.running(uid="2.25.11")
    queued = hospital.queued(uid="2.25.1")

    def ids(**query: str) -> list[str]:
        answer = anonymous.get("/api/analyses", headers=bearer, query_string=query)
        return [one["id"] for one in answer.json["analyses"]]

    assert set(ids(study_instance_uid="2.25.1")) == {wanted, queued}
    assert ids(study_instance_uid="2.25.1", state="running") == [wanted]
    assert ids(study_instance_uid="2.25.2") == []


@pytest.mark.parametrize("query", ["state=done", "limit=0", "offset=-1"])
def test_unusable_filter_is_refused(anonymous: FlaskClient, bearer: dict[str, str], query: str) -> None:
    response = anonymous.get(f"/api/analyses?{query}", headers=bearer)
    assert response.status_code == 400
    assert error_of(response)["code"] == "bad-request"


def test_reads_one_analysis(hospital: Hospital, anonymous: FlaskClient, bearer: dict[str, str]) -> None:
    analysis_id = hospital.running()
    assert anonymous.get(f"/api/analyses/{analysis_id}", headers=bearer).json["id"] == analysis_id
    missing = anonymous.get("/api/analyses/none", headers=bearer)
    assert missing.status_code == 404
    assert error_of(missing)["code"] == "analysis-not-found"


def test_starts_an_analysis_without_csrf_token(
    hospital: Hospital, anonymous: FlaskClient, bearer: dict[str, str]
) -> None:
    response = anonymous.post("/api/analyses", headers=bearer, json={"study_instance_uid": "2.25.5"})
    assert response.status_code == 202
    assert response.headers["Location"] == f"/api/analyses/{response.json['id']}"
    assert hospital.queue.analysed == [response.json["id"]]
    assert response.json["state"] == "queued"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        pytest.param({"json": {"study_instance_uid": "1.02"}}, 400, "invalid-study-uid", id="not a UID"),
        pytest.param({"json": {"study_instance_uid": 5}}, 400, "bad-request", id="not a text"),
        pytest.param({"json": ["2.25.1"]}, 400, "bad-request", id="not an object"),
        pytest.param({"data": b"{", "content_type": "application/json"}, 400, "bad-request", id="not JSON"),
        pytest.param({"data": b"x"}, 415, "unsupported-media-type", id="no type"),
        pytest.param({"json": {"study_instance_uid": "1" * 70_000}}, 413, None, id="too large"),
    ],
)
def test_unusable_request_starts_nothing(
    hospital: Hospital, anonymous: FlaskClient, bearer: dict[str, str], body, status: int, code: str | None
) -> None:
    response = anonymous.post("/api/analyses", headers=bearer, **body)
    assert response.status_code == status
    assert code in {None, error_of(response)["code"]}
    assert hospital.queue.analysed == []


def test_session_writes_only_with_csrf_token(hospital: Hospital, radiologist: FlaskClient) -> None:
    body = {"study_instance_uid": "2.25.5"}
    assert radiologist.get("/api/analyses").status_code == 200
    refused = radiologist.post("/api/analyses", json=body)
    assert refused.status_code == 400
    assert "CSRF" in error_of(refused)["message"]
    token = csrf_token(radiologist)
    assert radiologist.post("/api/analyses", json=body, headers={"X-CSRFToken": token}).status_code == 202


def test_replays_a_dead_delivery_once(hospital: Hospital, anonymous: FlaskClient, bearer: dict[str, str]) -> None:
    analysis_id, delivery_id = hospital.undelivered()
    url = f"/api/deliveries/{delivery_id}/replay"
    assert anonymous.post(url, headers=bearer).status_code == 202
    assert hospital.store.deliveries(analysis_id)[0].state is DeliveryState.PENDING
    again = anonymous.post(url, headers=bearer)
    assert again.status_code == 404
    assert error_of(again)["code"] == "delivery-not-found"


def test_unknown_path_answers_json(anonymous: FlaskClient, bearer: dict[str, str]) -> None:
    assert error_of(anonymous.get("/api/other", headers=bearer))["code"] == "not-found"
