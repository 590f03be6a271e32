import re

from flask.testing import FlaskClient

from tests.fakes.hospital import SECRET, STUDY_UID, Hospital, make_app


def test_process_is_up_without_the_database(hospital: Hospital, anonymous: FlaskClient) -> None:
    hospital.store.alive = False
    assert anonymous.get("/healthz").json == {"status": "up"}


def test_ready_only_with_the_database(hospital: Hospital, anonymous: FlaskClient) -> None:
    assert anonymous.get("/readyz").status_code == 200
    hospital.store.alive = False
    response = anonymous.get("/readyz")
    assert response.status_code == 503
    assert "database" in response.json["checks"]


def test_metrics_count_analyses_by_state_at_scrape_time(hospital: Hospital, anonymous: FlaskClient) -> None:
    hospital.awaiting_review()
    hospital.queued()
    hospital.queued()
    text = anonymous.get("/metrics").text
    assert 'qfl_analyses{state="awaiting-review"} 1.0' in text
    assert 'qfl_analyses{state="queued"} 2.0' in text
    assert 'qfl_analyses{state="failed"} 0.0' in text


def test_metrics_tell_that_the_database_is_down(hospital: Hospital, anonymous: FlaskClient) -> None:
    hospital.store.alive = False
    text = anonymous.get("/metrics").text
    assert "qfl_database_up 0.0" in text
    assert "qfl_analyses{" not in text


def test_metrics_count_notifications_and_time_requests(anonymous: FlaskClient) -> None:
    url = "/fhir/notifications/ehr"
    anonymous.post(url, headers={"X-QFL-Notification-Secret": SECRET})
    anonymous.post(url)
    text = anonymous.get("/metrics").text
    assert 'qfl_notifications_total{status="200"} 1.0' in text
    assert 'qfl_notifications_total{status="401"} 1.0' in text
    assert 'endpoint="fhir.receive_notification",method="POST",status="200"' in text


def test_metrics_carry_no_person_study_or_path(
    hospital: Hospital, anonymous: FlaskClient, radiologist: FlaskClient
) -> None:
    analysis_id = hospital.awaiting_review()
    radiologist.get(f"/analyses/{analysis_id}")
    radiologist.get(f"/?text={STUDY_UID}")
    radiologist.get(f"/nowhere/{STUDY_UID}")
    radiologist.open("/", method="MEIER")
    text = anonymous.get("/metrics").text
    for secret in ("Meier", "MEIER", "MRN-004711", STUDY_UID, analysis_id, "reader"):
        assert secret not in text
    assert not re.search(r"\d+\.\d+\.\d+\.\d+", text)


def test_metrics_of_two_apps_are_apart(hospital: Hospital) -> None:
    first, second = make_app(hospital).test_client(), make_app(hospital).test_client()
    first.post("/fhir/notifications/ehr")
    assert "qfl_notifications_total{" not in second.get("/metrics").text
