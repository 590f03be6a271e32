"""The watch over a model in use: reviews are kept and judged, a bias halts the model, and nothing waits for nothing."""

from dataclasses import replace
from datetime import timedelta

import pytest

from fhir_adapter.model import ReviewDecision
from governance.decisions import Outcome
from governance.errors import MonitoringDataError
from governance.ledger.entries import parse_leaf
from plugin.services import review
from plugin.services.governance import model_use, monitoring
from plugin.services.governance.values import ModelState, ModelStatus, Observation
from plugin.services.values import AnalysisState, Role, Step, User
from tests.fakes.hospital import MODEL, NOW, Hospital
from tests.fakes.watched_cases import draw

READER = User("reader", "Dr Maya Okafor", Role.RADIOLOGIST)


@pytest.fixture
def hospital():
    hospital = Hospital()
    hospital.store.save_user(READER, now=NOW)
    return hospital


def fill(hospital, number, **planted):
    """Observations that were reviewed before the last one, which is not."""
    begun = hospital.clock()
    for place, case in enumerate(draw(number, 1, **planted)):
        at = begun + timedelta(minutes=place)
        hospital.governance.add_observation(
            Observation(
                f"watched-{place:04d}", MODEL, case.groups, case.features, case.confidence, at, case.accepted, at
            )
        )
    hospital.clock.now = begun + timedelta(minutes=number + 1)


def observe(hospital, analysis_id, site="A"):
    now = hospital.clock()
    hospital.governance.add_observation(Observation(analysis_id, MODEL, {"site": site}, {}, 0.8, now))


def entries(hospital, kind):
    return [parse_leaf(row.leaf) for row in hospital.governance.ledger.rows() if row.kind == kind]


def decide(hospital, analysis_id, decision=ReviewDecision.REJECTED):
    review.review_result(
        hospital.services(), analysis_id=analysis_id, decision=decision, reviewer=READER, comment="Wrong side."
    )


def test_a_review_that_shows_a_bias_halts_the_model_with_its_reason(hospital):
    fill(hospital, 300, rejected_at_a=0.6)
    analysis_id = hospital.awaiting_review()
    observe(hospital, analysis_id)
    decide(hospital, analysis_id)
    status = hospital.governance.model_status(MODEL)
    assert (status.state, status.reason_code) == (ModelState.HALTED, "bias")
    assert "By site" in status.reason
    decided = [each for each in entries(hospital, "decision-made") if each.facts["outcome"] == "halt"]
    assert [each.facts["inputs"]["attribute"] for each in decided] == ["site"]
    assert len(entries(hospital, "model-halted")) == 1
    assert hospital.store.get(analysis_id).state is AnalysisState.REJECTED


def test_the_observation_keeps_the_decision(hospital):
    analysis_id = hospital.awaiting_review()
    observe(hospital, analysis_id)
    decide(hospital, analysis_id, ReviewDecision.ACCEPTED)
    (kept,) = hospital.governance.observations(MODEL, limit=10)
    assert (kept.accepted, kept.reviewed_at) == (True, hospital.clock())


def test_a_review_stands_though_it_cannot_be_judged(hospital):
    fill(hospital, 40)
    hospital.clock.now = NOW - timedelta(days=1)
    analysis_id = hospital.awaiting_review()
    decide(hospital, analysis_id)
    assert hospital.store.get(analysis_id).state is AnalysisState.REJECTED


def test_a_clock_that_was_set_back_is_told(hospital):
    fill(hospital, 40)
    hospital.clock.now = NOW - timedelta(days=1)
    with pytest.raises(MonitoringDataError, match="clock"):
        monitoring.watch_model(hospital.services(), MODEL)
    monitoring.watch_models(hospital.services())  # the timer goes on


def test_a_halted_model_can_still_be_reviewed(hospital):
    analysis_id = hospital.awaiting_review()
    observe(hospital, analysis_id)
    desk = hospital.services().governance
    model_use.halt_model(desk, model_version=MODEL, reason_code="bias", reason="Biased.", decisions=[], at=NOW)
    decide(hospital, analysis_id)
    assert hospital.store.get(analysis_id).state is AnalysisState.REJECTED
    assert hospital.governance.model_status(MODEL).state is ModelState.HALTED


def test_few_cases_record_nothing(hospital):
    fill(hospital, 20)
    before = len(hospital.governance.kinds())
    findings = monitoring.watch_model(hospital.services(), MODEL)
    assert {each.outcome for each in findings.decisions} == {Outcome.INSUFFICIENT_EVIDENCE}
    assert len(hospital.governance.kinds()) == before


def test_what_a_rule_allows_is_recorded_once(hospital):
    fill(hospital, 60)
    for _ in range(3):
        monitoring.watch_model(hospital.services(), MODEL)
    recorded = [
        (each.facts["rule"], each.facts["inputs"].get("attribute")) for each in entries(hospital, "decision-made")
    ]
    assert len(recorded) == len(set(recorded)) > 0
    assert ("rejections-within-limit", None) in recorded
    assert ("bias-within-threshold", "site") in recorded


def test_what_another_process_has_just_recorded_is_no_fault(hospital, monkeypatch):
    fill(hospital, 60)
    monitoring.watch_model(hospital.services(), MODEL)
    before = len(hospital.governance.kinds())
    fill(hospital, 61)  # the same decisions, of other numbers
    view = type(hospital.governance.ledger)
    monkeypatch.setattr(view, "row_of_key", lambda *_: None)
    monitoring.watch_model(hospital.services(), MODEL)
    assert len(hospital.governance.kinds()) == before


def test_after_a_resumption_evidence_begins_anew_and_decisions_are_recorded_again(hospital):
    fill(hospital, 300, rejected_at_a=0.6)
    services = hospital.services()
    monitoring.watch_models(services)
    halted = hospital.governance.model_status(MODEL)
    assert halted.state is ModelState.HALTED
    resumed = ModelStatus(MODEL, ModelState.RELEASED, "resumed", "Repaired.", halted.audit_digest, hospital.clock())
    hospital.governance.set_model_status(resumed, was=halted, entries=[])
    monitoring.watch_models(services)
    assert hospital.governance.model_status(MODEL).state is ModelState.RELEASED
    hospital.clock.now += timedelta(minutes=1)
    fill(hospital, 60)
    monitoring.watch_models(services)
    assert hospital.governance.model_status(MODEL).state is ModelState.RELEASED
    assert entries(hospital, "decision-made")[-1].facts["outcome"] == "allow"


def test_the_timer_finds_a_review_whose_judgement_got_lost(hospital):
    fill(hospital, 300, rejected_at_a=0.6)
    analysis_id = hospital.awaiting_review()
    observe(hospital, analysis_id)
    hospital.governance.add_observation(
        replace(hospital.governance.observations(MODEL, limit=1)[0], accepted=None, reviewed_at=None)
    )
    review_ = review.ReviewRecord(ReviewDecision.REJECTED.value, "reader", "Wrong side.", hospital.clock())
    hospital.store.save_review(analysis_id, review=review_, destination="x", now=hospital.clock())
    monitoring.watch_models(hospital.services())
    kept = {each.analysis_id: each for each in hospital.governance.observations(MODEL, limit=1000)}
    assert kept[analysis_id].accepted is False
    assert hospital.governance.model_status(MODEL).state is ModelState.HALTED


def test_failures_of_the_models_part_halt_it_and_others_do_not(hospital):
    fill(hospital, 40)

    def fail(step):
        analysis_id = hospital.running()
        hospital.store.start_step(analysis_id, step, now=hospital.clock())
        hospital.store.finish(
            analysis_id, AnalysisState.FAILED, reason_code="X", reason="It failed.", now=hospital.clock()
        )

    for _ in range(80):
        fail(Step.FETCH)
    monitoring.watch_models(hospital.services())
    assert hospital.governance.model_status(MODEL).state is ModelState.RELEASED
    for _ in range(80):
        fail(Step.SEGMENT)
    monitoring.watch_models(hospital.services())
    status = hospital.governance.model_status(MODEL)
    assert (status.state, status.reason_code) == (ModelState.HALTED, "failures")


def test_drift_halts_by_the_timer_alone(hospital):
    fill(hospital, 150, shift=3.0, shift_from=100)
    monitoring.watch_model(hospital.services(), MODEL, with_drift=False)
    assert hospital.governance.model_status(MODEL).state is ModelState.RELEASED
    monitoring.watch_models(hospital.services())
    assert hospital.governance.model_status(MODEL).reason_code == "drift"


def test_a_model_that_is_not_in_use_is_not_judged(hospital):
    assert monitoring.watch_model(hospital.services(), "another") is None


def test_what_led_to_a_halt_can_still_be_looked_at(hospital):
    fill(hospital, 300, rejected_at_a=0.6)
    monitoring.watch_models(hospital.services())
    found = monitoring.look_at(hospital.services(), hospital.governance.model_status(MODEL))
    assert found.reviewed == 300
    assert found.halting
