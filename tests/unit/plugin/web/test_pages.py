import re
from dataclasses import replace
from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from plugin.services.values import AnalysisState, DeliveryState, EventState, Patient, Step
from tests.fakes.hospital import PATIENT, Hospital, a_result, csrf_token, make_app

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


def finish(hospital: Hospital, state: AnalysisState, **changes) -> str:
    analysis_id = hospital.running()
    hospital.store.finish(
        analysis_id, state, reason_code="SomeError", reason="The archive is down.", now=hospital.clock(), **changes
    )
    return analysis_id


# Every page


@pytest.mark.parametrize("path", ["/", "/start", "/intake", "/sign-in", "/nowhere"])
def test_every_page_says_research_use_only(anonymous: FlaskClient, radiologist: FlaskClient, path: str) -> None:
    client = anonymous if path == "/sign-in" else radiologist
    assert "not a medical device" in client.get(path).text


@pytest.mark.parametrize("path", ["/", "/start", "/intake", "/sign-in"])
def test_no_page_has_inline_style_or_script_or_outside_resource(
    hospital: Hospital, anonymous: FlaskClient, radiologist: FlaskClient, path: str
) -> None:
    analysis_id = hospital.awaiting_review()
    pages = [anonymous.get(path).text, radiologist.get(path).text, radiologist.get(f"/analyses/{analysis_id}").text]
    for page in pages:
        assert not re.search(r"<style|style=|<script(?![^>]*src=)|\son\w+=", page)
        assert not re.search(r'(?:src|href)="(?:https?:)?//', page)


# Worklist


def test_empty_worklist_says_what_will_happen(radiologist: FlaskClient) -> None:
    assert "No study has been announced yet" in radiologist.get("/").text


def test_worklist_names_patient_study_state_and_age(hospital: Hospital, radiologist: FlaskClient) -> None:
    analysis_id = hospital.awaiting_review()
    hospital.clock.now += timedelta(hours=3)
    page = radiologist.get("/").text
    for part in ("Meier, Anna", "MRN-004711", "3 Mar 2026", "MRI head", "Awaiting review", "3 h ago", analysis_id):
        assert part in page


@pytest.mark.parametrize(
    ("tab", "expected"),
    [
        ("all", {"Awaiting review", "Queued", "Failed"}),
        ("review", {"Awaiting review"}),
        ("open", {"Queued"}),
        ("attention", {"Failed"}),
        ("reviewed", set()),
        ("duplicate", {"Duplicate"}),
    ],
)
def test_tabs_filter_by_state(hospital: Hospital, radiologist: FlaskClient, tab: str, expected: set[str]) -> None:
    hospital.awaiting_review()
    hospital.queued()
    finish(hospital, AnalysisState.FAILED)
    finish(hospital, AnalysisState.DUPLICATE)
    page = radiologist.get("/worklist/rows", query_string={"tab": tab}).text
    assert set(re.findall(r'data-row="\d+" data-state="([^"]+)"', page)) == expected


def test_unknown_tab_is_not_found(radiologist: FlaskClient) -> None:
    assert radiologist.get("/?tab=other").status_code == 404


def test_search_narrows_and_says_so_when_nothing_matches(hospital: Hospital, radiologist: FlaskClient) -> None:
    hospital.running(PATIENT)
    hospital.running(replace(PATIENT, name="Rossi^Giulia", patient_id="MRN-9"))
    page = radiologist.get("/?text=mrn-9").text
    assert "Rossi, Giulia" in page
    assert "Meier" not in page
    assert "No analysis matches" in radiologist.get("/?text=zzz").text


def test_worklist_turns_pages(hospital: Hospital, radiologist: FlaskClient) -> None:
    for _ in range(26):
        hospital.queued()
    first, second = radiologist.get("/").text, radiologist.get("/?page=2").text
    assert (first.count("data-row="), second.count("data-row=")) == (25, 1)
    assert "Older" in first
    assert "Newer" not in first
    assert "Newer" in second
    assert "Older" not in second


def test_progress_is_shown_for_open_analyses(hospital: Hospital, radiologist: FlaskClient) -> None:
    analysis_id = hospital.running()
    for step in (Step.RESOLVE, Step.SELECT):
        hospital.store.start_step(analysis_id, step, now=hospital.clock())
    hospital.store.set_progress(analysis_id, 0.5, now=hospital.clock())
    page = radiologist.get("/worklist/rows").text
    assert 'value="1.50"' in page
    assert "Choose series · 50 %" in page


@pytest.mark.parametrize("path", ["/", "/worklist/rows", "/analyses/{}", "/analyses/{}/live"])
def test_patient_and_result_text_is_never_markup(hospital: Hospital, radiologist: FlaskClient, path: str) -> None:
    patient = Patient(f"{HOSTILE}^{HOSTILE}", HOSTILE, HOSTILE, HOSTILE)
    result = a_result(findings=HOSTILE, warnings=(HOSTILE,), images=(f"key-{HOSTILE}.png",))
    analysis_id = hospital.publishing(result, patient)
    delivery = hospital.store.deliveries(analysis_id)[0]
    hospital.store.mark_failed(delivery.id, error=HOSTILE, next_attempt_at=None, now=hospital.clock())
    page = radiologist.get(path.format(analysis_id)).text
    assert "<script>alert" not in page
    assert "<img src=x" not in page


# Report


def test_unknown_analysis_is_a_designed_404(radiologist: FlaskClient) -> None:
    response = radiologist.get("/analyses/none")
    assert response.status_code == 404
    assert "There is no analysis of this id." in response.text


def test_report_shows_result_and_what_was_sent_where(hospital: Hospital, radiologist: FlaskClient) -> None:
    page = radiologist.get(f"/analyses/{hospital.awaiting_review()}").text
    for part in (
        "A tumour of 12.5 ml was found.",
        "The T2 series is missing.",
        "31 \u00d7 22",
        "91 %",
        "rgb(255,214,64)",
        "Has contrast agent.",
        "DiagnosticReport/7",
        "https://pacs.example.org/dicom-web",
        "key-T1ce-axial-overlay.png",
        "data-atlas='{",
        "seg.dcm",
    ):
        assert part in page


@pytest.mark.parametrize(
    ("state", "has_button"),
    [(AnalysisState.FAILED, True), (AnalysisState.NOT_ANALYSABLE, True), (AnalysisState.DUPLICATE, False)],
)
def test_ended_analysis_says_why_and_may_run_again(
    hospital: Hospital, radiologist: FlaskClient, state: AnalysisState, has_button: bool
) -> None:
    page = radiologist.get(f"/analyses/{finish(hospital, state)}").text
    assert "The archive is down." in page
    assert ("Run again" in page) is has_button


def test_duplicate_leads_to_the_original(hospital: Hospital, radiologist: FlaskClient) -> None:
    original = hospital.awaiting_review()
    page = radiologist.get(f"/analyses/{finish(hospital, AnalysisState.DUPLICATE, duplicate_of=original)}").text
    assert f'href="/analyses/{original}">Open the original' in page


@pytest.mark.parametrize(("prepare", "expected"), [("running", "on"), ("publishing", "on"), ("awaiting_review", "off")])
def test_report_polls_only_while_something_is_to_come(
    hospital: Hospital, radiologist: FlaskClient, prepare: str, expected: str
) -> None:
    page = radiologist.get(f"/analyses/{getattr(hospital, prepare)()}/live").text
    assert f'data-live="{expected}"' in page


# Review


def decide(client: FlaskClient, analysis_id: str, **data: str):
    token = csrf_token(client)
    return client.post(f"/analyses/{analysis_id}/review", data=data | {"csrf_token": token})


@pytest.mark.parametrize(
    ("decision", "state"), [("accept", AnalysisState.ACCEPTED), ("reject", AnalysisState.REJECTED)]
)
def test_radiologist_decides(hospital: Hospital, radiologist: FlaskClient, decision: str, state: AnalysisState) -> None:
    analysis_id = hospital.awaiting_review()
    assert 'name="decision"' in radiologist.get(f"/analyses/{analysis_id}").text
    decide(radiologist, analysis_id, decision=decision, comment="Ventricle <b>included</b>")
    assert hospital.store.get(analysis_id).state is state
    assert hospital.queue.delivered == [analysis_id]
    page = radiologist.get(f"/analyses/{analysis_id}").text
    assert "Dr Maya Okafor" in page
    assert "Ventricle &lt;b&gt;included&lt;/b&gt;" in page
    assert 'name="decision"' not in page


def test_rejection_without_comment_changes_nothing_and_says_why(hospital: Hospital, radiologist: FlaskClient) -> None:
    analysis_id = hospital.awaiting_review()
    response = decide(radiologist, analysis_id, decision="reject", comment="  ")
    assert "Say why the result is rejected" in radiologist.get(response.location).text
    assert hospital.store.get(analysis_id).state is AnalysisState.AWAITING_REVIEW


def test_second_decision_is_refused(hospital: Hospital, radiologist: FlaskClient) -> None:
    analysis_id = hospital.awaiting_review()
    decide(radiologist, analysis_id, decision="accept")
    response = decide(radiologist, analysis_id, decision="reject", comment="no")
    assert "does not await a decision" in radiologist.get(response.location).text
    assert hospital.store.get(analysis_id).state is AnalysisState.ACCEPTED


def test_administrator_sees_no_form_and_may_not_decide(hospital: Hospital, administrator: FlaskClient) -> None:
    analysis_id = hospital.awaiting_review()
    assert 'name="decision"' not in administrator.get(f"/analyses/{analysis_id}").text
    assert decide(administrator, analysis_id, decision="accept").status_code == 403
    assert hospital.store.get(analysis_id).review is None


@pytest.mark.parametrize(
    ("analysis_id", "decision", "status"), [("none", "accept", 404), ("none", "maybe", 400), ("none", "", 400)]
)
def test_impossible_decisions(radiologist: FlaskClient, analysis_id: str, decision: str, status: int) -> None:
    assert decide(radiologist, analysis_id, decision=decision).status_code == status


# Replay, restart, start


def test_dead_delivery_is_replayed(hospital: Hospital, administrator: FlaskClient) -> None:
    analysis_id, delivery_id = hospital.undelivered()
    page = administrator.get(f"/analyses/{analysis_id}").text
    assert "The PACS refused it." in page
    assert "Replay" in page
    token = csrf_token(administrator)
    administrator.post(f"/analyses/{analysis_id}/deliveries/{delivery_id}/replay", data={"csrf_token": token})
    assert hospital.store.deliveries(analysis_id)[0].state is DeliveryState.PENDING
    assert hospital.queue.delivered == [analysis_id]


def test_delivery_that_is_not_dead_is_not_replayed(hospital: Hospital, administrator: FlaskClient) -> None:
    token = csrf_token(administrator)
    response = administrator.post("/analyses/1/deliveries/99/replay", data={"csrf_token": token})
    assert response.status_code == 302
    assert hospital.queue.delivered == []


def test_failed_analysis_runs_again_as_a_new_one(hospital: Hospital, radiologist: FlaskClient) -> None:
    failed = finish(hospital, AnalysisState.FAILED)
    response = radiologist.post(f"/analyses/{failed}/restart", data={"csrf_token": csrf_token(radiologist)})
    (new_id,) = hospital.queue.analysed
    assert response.location == f"/analyses/{new_id}"
    assert new_id != failed


def test_analysis_with_a_result_does_not_run_again(hospital: Hospital, radiologist: FlaskClient) -> None:
    analysis_id = hospital.awaiting_review()
    response = radiologist.post(f"/analyses/{analysis_id}/restart", data={"csrf_token": csrf_token(radiologist)})
    assert "ended without a result" in radiologist.get(response.location).text
    assert hospital.queue.analysed == []


def test_starts_an_analysis_by_uid(hospital: Hospital, radiologist: FlaskClient) -> None:
    data = {"study_instance_uid": " 2.25.77 ", "csrf_token": csrf_token(radiologist)}
    response = radiologist.post("/start", data=data)
    (analysis_id,) = hospital.queue.analysed
    assert response.location == f"/analyses/{analysis_id}"
    assert hospital.store.get(analysis_id).requested_by == "reader"
    assert "Patient not yet known" in radiologist.get(response.location).text


def test_bad_uid_is_explained_beside_the_field(hospital: Hospital, radiologist: FlaskClient) -> None:
    data = {"study_instance_uid": "<b>not a uid</b>", "csrf_token": csrf_token(radiologist)}
    response = radiologist.post("/start", data=data)
    assert response.status_code == 400
    assert 'aria-invalid="true"' in response.text
    assert "<b>not" not in response.text
    assert hospital.queue.analysed == []


# Intake log


def test_intake_log_lists_what_came(hospital: Hospital, radiologist: FlaskClient) -> None:
    assert "Nothing has arrived yet" in radiologist.get("/intake").text
    analysis_id = hospital.queued()
    hospital.store.add_refusal(subscription="(unknown)", reason="No subscription of this name.", now=hospital.clock())
    page = radiologist.get("/intake").text
    assert f"/analyses/{analysis_id}" in page
    assert "No subscription of this name." in page
    assert hospital.store.list_events(limit=1)[0].state is EventState.REFUSED


# Artefacts


def test_picture_is_served_with_type_and_private_revalidation(hospital: Hospital, radiologist: FlaskClient) -> None:
    url = f"/analyses/{hospital.awaiting_review()}/artefacts/key-T1ce-axial.png"
    response = radiologist.get(url)
    assert response.data == b"\x89PNG base"
    assert response.mimetype == "image/png"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "private, no-cache"
    again = radiologist.get(url, headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_dicom_is_only_ever_saved_under_a_name_without_patient(hospital: Hospital, radiologist: FlaskClient) -> None:
    analysis_id = hospital.awaiting_review()
    response = radiologist.get(f"/analyses/{analysis_id}/artefacts/seg.dcm")
    assert response.headers["Content-Disposition"] == f"attachment; filename=qfl-{analysis_id}-seg.dcm"
    assert response.mimetype == "application/dicom"


def test_stored_report_is_sandboxed_but_keeps_its_own_style(hospital: Hospital, radiologist: FlaskClient) -> None:
    response = radiologist.get(f"/analyses/{hospital.awaiting_review()}/artefacts/report.html")
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none'; style-src 'unsafe-inline'")
    assert "script" not in policy
    assert "Content-Disposition" not in response.headers


@pytest.mark.parametrize("name", ["other.png", "..%2f..%2fetc%2fpasswd", "SEG.DCM"])
def test_unknown_artefact_is_not_found(hospital: Hospital, radiologist: FlaskClient, name: str) -> None:
    assert radiologist.get(f"/analyses/{hospital.awaiting_review()}/artefacts/{name}").status_code == 404


# Errors


def test_unforeseen_error_is_a_page_without_its_message(hospital: Hospital) -> None:
    app = make_app(hospital)

    @app.get("/break")
    def break_down() -> str:
        raise ZeroDivisionError("MRN-004711")

    response = app.test_client().get("/break")
    assert response.status_code == 500
    assert "Something went wrong" in response.text
    assert "MRN-004711" not in response.text


def test_error_page_needs_no_database(
    hospital: Hospital, radiologist: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_database(_username: str) -> None:
        raise ConnectionError

    monkeypatch.setattr(hospital.store, "get_user", no_database)
    response = radiologist.get("/")
    assert response.status_code == 500
    assert "Nothing is lost" in response.text
