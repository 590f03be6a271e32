"""The governance page: state, audit, watch and officers' forms; its API and metrics; the worklist of a halted model."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from argon2 import PasswordHasher

from governance import sealed_keys
from plugin.services.governance import model_use, officers
from plugin.services.governance.officers import Signer
from plugin.services.governance.values import ModelState, Observation
from plugin.services.values import AnalysisState, Role, User
from tests.fakes.governance_store import InMemoryGovernance
from tests.fakes.hospital import MODEL, NOW, PASSWORD, csrf_token, make_app, sign_in
from tests.fakes.watched_cases import draw

_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
SECRET = "a long passphrase of an officer"


@pytest.fixture
def hospital(hospital):
    for name, role in (("olga", Role.ETHICS_OFFICER), ("otto", Role.ETHICS_OFFICER), ("aud", Role.AUDITOR)):
        hospital.store.save_user(User(name, name.title(), role, None, _HASH), now=NOW)
    return hospital


@pytest.fixture
def enrolled(hospital, monkeypatch):
    """Officers with keys, which are sealed less thoroughly than in earnest."""
    monkeypatch.setattr(sealed_keys, "WORK_FACTOR", 2)
    desk = hospital.services().governance
    officers.enrol(desk, hospital.store, username="it", passphrase=SECRET, by=None, at=NOW)
    for name in ("olga", "otto", "reader"):
        officers.enrol(desk, hospital.store, username=name, passphrase=SECRET, by=Signer("it", SECRET), at=NOW)
    return hospital


def client_of(hospital, username):
    client = make_app(hospital).test_client()
    sign_in(client, username)
    return client


def fill(hospital, number, **planted):
    begun = hospital.clock()
    for place, case in enumerate(draw(number, 1, **planted)):
        at = begun + timedelta(minutes=place)
        hospital.governance.add_observation(
            Observation(f"w-{place:04d}", MODEL, case.groups, case.features, case.confidence, at, case.accepted, at)
        )
    hospital.clock.now = begun + timedelta(minutes=number + 1)


def halt(hospital):
    desk = hospital.services().governance
    model_use.halt_model(
        desk, model_version=MODEL, reason_code="bias", reason="By site, groups lie apart.", decisions=[], at=NOW
    )


def words(response):
    return " ".join(re.sub(r"<[^>]*>", " ", response.text).split())


def post(client, act, **data):
    token = csrf_token(client, "/governance")
    return client.post(f"/governance/{MODEL}/{act}", data={"csrf_token": token, **data})


def test_a_site_without_models_says_so(hospital):
    hospital.governance = InMemoryGovernance(hospital.store)
    hospital.store.model_states.clear()
    text = words(client_of(hospital, "reader").get("/governance"))
    assert "No model is known to governance yet" in text


def test_the_page_shows_state_audit_policy_and_insufficient_evidence(hospital):
    text = words(client_of(hospital, "reader").get("/governance"))
    assert "Released" in text
    assert "40 cases of made for a test" in text
    assert "Insufficient evidence by sex: it takes 30 cases" in text
    assert "QFL-ETHICS, as shipped" in text
    assert "halts above 0.1" in text


def test_the_watch_is_drawn_with_interval_and_limit(hospital):
    fill(hospital, 120)
    response = client_of(hospital, "reader").get("/governance/live")
    assert response.status_code == 200
    # Four attributes and the rejections; for drift there are too few studies.
    assert response.text.count('<svg viewBox="0 0 480 220"') == 5
    assert "Bias score by site" in response.text
    assert 'class="line-limit"' in response.text
    assert "it takes 150 studies" in words(response)


def test_charts_are_drawn_anew_only_when_something_came(hospital, monkeypatch):
    fill(hospital, 60)
    app = make_app(hospital)
    client = app.test_client()
    sign_in(client, "reader")
    client.get("/governance/live")
    monkeypatch.setattr("plugin.web.governance.draw_course", lambda *_: pytest.fail("Drawn again."))
    assert client.get("/governance/live").status_code == 200


def test_a_clock_that_was_set_back_is_said_on_the_page(hospital):
    fill(hospital, 60)
    client = client_of(hospital, "reader")
    observation = hospital.governance.observations(MODEL, limit=1)[0]
    hospital.governance.add_observation(replace(observation, at=hospital.clock() + timedelta(days=1)))
    response = client.get("/governance")
    assert response.status_code == 200
    assert "was the clock set back?" in words(response)


def test_a_halted_model_is_told_on_both_pages_with_what_waits(hospital):
    waiting = hospital.running()
    hospital.store.finish(waiting, AnalysisState.HALTED, reason_code="X", reason="Waits.", now=NOW)
    halt(hospital)
    client = client_of(hospital, "reader")
    page = words(client.get("/governance"))
    assert "Halted since 4 Mar 2026" in page
    assert "By site, groups lie apart." in page
    assert "Studies that wait, halted 1" in page
    worklist = words(client.get("/"))
    assert "Nothing is analysed now." in worklist
    assert "1 study waits; none is lost." in worklist
    assert "Results that exist can be reviewed as always." in worklist


def test_a_model_in_use_has_no_banner_on_the_worklist(radiologist):
    assert "Nothing is analysed now" not in radiologist.get("/").text


def test_a_person_decides_while_the_model_is_halted(hospital):
    analysis_id = hospital.awaiting_review()
    halt(hospital)
    client = client_of(hospital, "reader")
    token = csrf_token(client, f"/analyses/{analysis_id}")
    data = {"csrf_token": token, "decision": "reject", "comment": "Wrong side."}
    assert client.post(f"/analyses/{analysis_id}/review", data=data).status_code == 302
    assert hospital.store.get(analysis_id).state is AnalysisState.REJECTED


def test_a_radiologist_halts_with_reason_and_passphrase(enrolled):
    client = client_of(enrolled, "reader")
    response = post(client, "halt", reason="Masks on the wrong side", passphrase=SECRET)
    assert response.status_code == 302
    status = enrolled.governance.model_status(MODEL)
    assert (status.state, status.reason) == (ModelState.HALTED, "Masks on the wrong side.")
    assert "Signed: the model is halted." in words(client.get("/governance"))


def test_a_wrong_passphrase_halts_nothing_and_the_reason_stays_in_the_form(enrolled):
    client = client_of(enrolled, "reader")
    response = post(client, "halt", reason="Masks on the wrong side", passphrase="wrong")
    assert response.status_code == 403
    assert ">Masks on the wrong side</textarea>" in response.text
    assert "wrong" not in re.findall(r'name="passphrase"[^>]*', response.text)[0]
    assert enrolled.governance.model_status(MODEL).state is ModelState.RELEASED


def test_guessing_passphrases_is_slowed_down(enrolled):
    client = client_of(enrolled, "reader")
    statuses = [post(client, "halt", reason="Why", passphrase=f"guess {number}").status_code for number in range(7)]
    assert statuses[0] == 403
    assert statuses[-1] == 429


def test_a_form_without_its_token_does_nothing(enrolled):
    client = client_of(enrolled, "reader")
    assert client.post(f"/governance/{MODEL}/halt", data={"reason": "x", "passphrase": SECRET}).status_code == 400
    assert enrolled.governance.model_status(MODEL).state is ModelState.RELEASED


def test_who_may_not_has_no_form_and_is_refused(enrolled):
    client = client_of(enrolled, "aud")
    page = client.get("/governance").text
    assert "officer-act" not in page
    token = csrf_token(client, "/start")
    data = {"csrf_token": token, "reason": "Why not", "passphrase": SECRET}
    assert client.post(f"/governance/{MODEL}/halt", data=data).status_code == 403
    assert enrolled.governance.model_status(MODEL).state is ModelState.RELEASED


def test_who_has_no_key_is_told_how_to_get_one(hospital):
    assert "qfl governance enrol" in words(client_of(hospital, "olga").get("/governance"))


def test_resuming_takes_two_officers(enrolled):
    halt(enrolled)
    enrolled.clock.now = NOW + timedelta(minutes=5)
    first = client_of(enrolled, "olga")
    assert post(first, "resume", reason="Scanner repaired", passphrase=SECRET).status_code == 302
    page = words(first.get("/governance"))
    assert "1 of 2 officers" in page
    assert enrolled.governance.model_status(MODEL).state is ModelState.HALTED
    second = client_of(enrolled, "otto")
    assert "olga signed: resume." in words(second.get("/governance"))
    assert post(second, "resume", reason="I checked it", passphrase=SECRET).status_code == 302
    assert enrolled.governance.model_status(MODEL).state is ModelState.RELEASED
    assert "Resume" in words(second.get("/governance"))


@pytest.mark.parametrize("path", [f"/governance/{MODEL}/erase", "/governance?model=unknown"])
def test_unknown_acts_and_models_are_not_found(hospital, path):
    client = client_of(hospital, "reader")
    token = csrf_token(client, "/start")
    method = client.get if "?" in path else client.post
    assert method(path, data={"csrf_token": token}).status_code == 404


def test_the_audit_report_is_a_document_of_its_own(hospital):
    client = client_of(hospital, "reader")
    link = re.search(r'href="(/governance/audits/[0-9a-f]{64})"', client.get("/governance").text)[1]
    response = client.get(link)
    assert response.status_code == 200
    assert response.headers["Content-Security-Policy"].startswith("sandbox")
    assert client.get("/governance/audits/unknown").status_code == 404


def test_an_audit_that_was_changed_is_said_on_the_page(hospital):
    (record,) = hospital.governance.audits(MODEL)
    hospital.governance.put_audit(replace(record, document=b"{}"))
    response = client_of(hospital, "reader").get("/governance")
    assert response.status_code == 200
    assert "The stored audit cannot be read" in words(response)


def test_the_api_tells_the_same(hospital, anonymous):
    fill(hospital, 60)
    headers = {"Authorization": f"Bearer {hospital.token()}"}
    found = anonymous.get("/api/governance", headers=headers).json
    assert (found["state"], found["reviewed_cases"], found["may_be_used"]) == ("released", 60, True)
    site = next(each for each in found["bias_scores"] if (each["attribute"], each["outcome"]) == ("site", "acceptance"))
    assert 0 <= site["low"] <= site["score"] <= site["high"] <= 1
    assert found["rejections"]["cases"] == 60
    assert found["ledger_entries"] == len(hospital.governance.kinds())
    assert anonymous.get("/api/governance").status_code == 401
    assert anonymous.get("/api/governance?model=x", headers=headers).status_code == 404


def test_metrics_tell_state_and_score_and_no_person(hospital, anonymous):
    fill(hospital, 160)
    text = anonymous.get("/metrics").text
    assert f'qfl_model_state{{model="{MODEL}",state="released"}} 1.0' in text
    assert f'qfl_bias_score{{attribute="site",end="low",model="{MODEL}",outcome="acceptance"}}' in text
    assert f'qfl_reviewed_cases{{model="{MODEL}"}} 160.0' in text
    assert re.search(r"qfl_drift_p\{[^}]*\} ", text)
    assert re.search(r'qfl_rejection_rate\{end="high",[^}]*\} 0\.\d+', text)
    assert "w-0001" not in text


def test_metrics_say_when_a_model_cannot_be_judged(hospital, anonymous):
    fill(hospital, 60)
    hospital.clock.now = NOW - timedelta(days=2)
    text = anonymous.get("/metrics").text
    assert f'qfl_model_watched{{model="{MODEL}"}} 0.0' in text
    assert "qfl_bias_score{" not in text
