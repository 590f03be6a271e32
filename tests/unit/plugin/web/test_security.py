from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from plugin.services import accounts
from tests.fakes.hospital import PASSWORD, Hospital, csrf_token, make_app, sign_in

PAGES = [
    "/federation",
    "/federation/runs/run-1",
    "/",
    "/worklist/rows",
    "/start",
    "/intake",
    "/analyses/1",
    "/analyses/1/live",
    "/analyses/1/artefacts/seg.dcm",
]


@pytest.mark.parametrize("path", PAGES)
def test_pages_send_strangers_to_sign_in(anonymous: FlaskClient, path: str) -> None:
    response = anonymous.get(path)
    assert response.status_code == 302
    assert response.location.startswith("/sign-in?next=")


@pytest.mark.parametrize("path", ["/", "/worklist/rows"])
def test_scripts_of_strangers_are_told_401(anonymous: FlaskClient, path: str) -> None:
    assert anonymous.get(path, headers={"X-Requested-With": "fetch"}).status_code == 401


def test_every_route_but_the_open_ones_needs_a_person(hospital: Hospital) -> None:
    app = make_app(hospital)
    is_open = {"assets.static", "static", "account.sign_in", "account.check_sign_in", "account.sign_out"}
    is_open |= {"health.healthz", "health.readyz", "health.metrics", "fhir.receive_notification"}
    client = app.test_client()
    app.config["WTF_CSRF_ENABLED"] = False
    for rule in app.url_map.iter_rules():
        if rule.endpoint in is_open:
            continue
        path = rule.rule.replace("<int:delivery_id>", "1").replace("<analysis_id>", "1").replace("<name>", "x")
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            assert client.open(path, method=method).status_code in {302, 401}, (method, rule.rule)


def test_signs_in_to_the_page_that_was_asked_for(hospital: Hospital, anonymous: FlaskClient) -> None:
    response = sign_in(anonymous, "reader", path="/sign-in?next=/intake")
    assert (response.status_code, response.location) == (302, "/intake")
    assert "Dr Maya Okafor" in anonymous.get("/intake").text


@pytest.mark.parametrize("wanted", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_sign_in_leads_nowhere_else(anonymous: FlaskClient, wanted: str) -> None:
    token = csrf_token(anonymous, "/sign-in")
    response = anonymous.post(
        "/sign-in",
        query_string={"next": wanted},
        data={"username": "reader", "password": PASSWORD, "csrf_token": token},
    )
    assert response.location == "/"


@pytest.mark.parametrize(("username", "password"), [("reader", "wrong"), ("nobody", PASSWORD), ("", "")])
def test_wrong_name_or_password_look_the_same(anonymous: FlaskClient, username: str, password: str) -> None:
    response = sign_in(anonymous, username, password)
    assert response.status_code == 401
    assert "do not belong together" in response.text
    assert password == "" or password not in response.text


def test_sixth_wrong_password_in_a_minute_is_not_tried(anonymous: FlaskClient) -> None:
    token = csrf_token(anonymous, "/sign-in")
    data = {"username": "nobody", "password": "wrong", "csrf_token": token}
    assert [anonymous.post("/sign-in", data=data).status_code for _ in range(6)] == [401] * 5 + [429]
    assert anonymous.post("/sign-in", data=data | {"username": "reader"}).status_code == 401


def test_limits_of_two_apps_are_apart(hospital: Hospital) -> None:
    for _ in range(2):
        client = make_app(hospital).test_client()
        token = csrf_token(client, "/sign-in")
        data = {"username": "nobody", "password": "wrong", "csrf_token": token}
        assert [client.post("/sign-in", data=data).status_code for _ in range(5)] == [401] * 5


def test_signing_out_ends_the_session(radiologist: FlaskClient) -> None:
    token = csrf_token(radiologist)
    assert radiologist.post("/sign-out", data={"csrf_token": token}).location == "/sign-in"
    assert radiologist.get("/").status_code == 302


def test_signing_out_by_link_is_not_possible(radiologist: FlaskClient) -> None:
    assert radiologist.get("/sign-out").status_code == 405


def test_session_ends_after_eight_hours_even_when_the_page_polls(hospital: Hospital, radiologist: FlaskClient) -> None:
    for _ in range(8):
        hospital.clock.now += timedelta(minutes=59)
        assert radiologist.get("/worklist/rows").status_code == 200
    hospital.clock.now += timedelta(minutes=9)
    assert radiologist.get("/worklist/rows").status_code == 302


def test_new_password_ends_older_sessions(hospital: Hospital, radiologist: FlaskClient) -> None:
    user = hospital.store.get_user("reader")
    accounts.add_user(
        hospital.services(),
        username=user.username,
        display_name=user.display_name,
        role=user.role,
        password="another long password",
    )
    assert radiologist.get("/").status_code == 302


@pytest.mark.parametrize(
    "path", ["/start", "/sign-out", "/analyses/1/review", "/analyses/1/restart", "/analyses/1/deliveries/1/replay"]
)
def test_forms_without_csrf_token_are_refused(hospital: Hospital, radiologist: FlaskClient, path: str) -> None:
    hospital.awaiting_review()
    response = radiologist.post(path, data={"study_instance_uid": "2.25.1", "decision": "accept"})
    assert response.status_code == 400
    assert "CSRF" in response.text
    assert hospital.queue.analysed == []


@pytest.mark.parametrize("is_https", [False, True])
def test_cookies_are_hidden_from_scripts_and_secure_on_https(hospital: Hospital, is_https: bool) -> None:
    hospital.public_url = "https://qfl.example.org" if is_https else "http://localhost"
    cookie = make_app(hospital).test_client().get("/sign-in").headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert ("Secure" in cookie) is is_https


def test_browser_policy_allows_own_files_only_and_nothing_inline(radiologist: FlaskClient) -> None:
    response = radiologist.get("/")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["Cache-Control"] == "no-store"


def test_style_sheet_and_scripts_need_no_session(anonymous: FlaskClient) -> None:
    response = anonymous.get("/assets/qfl.css")
    assert response.mimetype == "text/css"
    response.close()
