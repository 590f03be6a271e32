"""What is decided of a model that runs: planted bias halts it, chance does not, and few cases are insufficient."""

from dataclasses import replace
from datetime import timedelta

import pytest

from governance.decisions import Outcome
from governance.errors import MonitoringDataError, PolicyError
from governance.monitoring.budget import comparison_shares, look_share, share_out, spans
from governance.monitoring.cases import build_stream
from governance.monitoring.judging import BIAS, CONFIDENCE_GAP, DRIFT, FAILURES, REJECTIONS, judge
from plugin.services.governance.policy_text import default_policy_text, parse_policy_text
from tests.fakes.watched_cases import NOW, START, draw

POLICY = parse_policy_text(default_policy_text())


def findings(cases, *, failed=(), policy=POLICY, with_drift=False):
    return judge(build_stream(cases, since=START, now=NOW), failed, policy, with_drift=with_drift)


def outcome(found, rule, attribute=None):
    return next(
        each.outcome for each in found.decisions if each.rule == rule and each.inputs.get("attribute") == attribute
    )


def test_a_planted_bias_halts_and_names_the_site():
    found = findings(draw(400, 1, rejected_at_a=0.5))
    (decision,) = found.halting
    assert (decision.rule, decision.inputs["attribute"], decision.inputs["group"]) == (BIAS, "site", "A")
    assert float(decision.inputs["low"]) > POLICY.fairness.bias_threshold
    assert "site" in decision.reason
    score = next(each for each in found.scores if each.attribute == "site")
    assert score.low < 0.45 < score.high
    assert {each.name: each.cases for each in score.groups} == {"A": 123, "B": 277}


def test_unbiased_models_are_rarely_ever_halted():
    halted = 0
    for seed in range(20):
        cases = draw(240, seed, rejected=0.15)
        looks = range(40, 241, 40)
        halted += any(findings(cases[:look]).halting for look in looks)
    assert halted <= 1


def test_few_cases_are_insufficient_evidence():
    found = findings(draw(29, rejected_at_a=1.0))
    assert {each.outcome for each in found.decisions} == {Outcome.INSUFFICIENT_EVIDENCE}
    assert "it takes 30 cases" in found.decisions[0].reason


def test_one_group_only_is_insufficient_evidence():
    cases = [replace(case, groups={"sex": "F", "site": "A"}) for case in draw(200)]
    found = findings(cases)
    for attribute in POLICY.fairness.attributes:
        assert outcome(found, BIAS, attribute) is Outcome.INSUFFICIENT_EVIDENCE
        assert outcome(found, CONFIDENCE_GAP, attribute) is Outcome.INSUFFICIENT_EVIDENCE
    assert outcome(found, REJECTIONS) is Outcome.ALLOW


def test_a_small_group_is_not_judged_however_badly_it_is_served():
    cases = draw(200, 3, share_of_a=0.0)
    cases = [
        replace(case, groups={**case.groups, "site": "A"}, accepted=False) if place < 9 else case
        for place, case in enumerate(cases)
    ]
    assert outcome(findings(cases), BIAS, "site") is Outcome.INSUFFICIENT_EVIDENCE


def test_unknown_groups_count_nowhere():
    cases = [replace(case, groups={}) for case in draw(100)]
    found = findings(cases)
    assert found.scores[0].cases == 0
    assert found.scores[0].score is None


def test_a_bias_that_begins_late_is_found_by_the_newest_window():
    before = draw(1600, 5)
    after = draw(700, 6, rejected_at_a=0.5)
    moved = [
        replace(case, at=case.at + timedelta(hours=1600), reviewed_at=case.reviewed_at + timedelta(hours=1600))
        for case in after
    ]
    assert not findings(before).halting
    (decision,) = findings([*before, *moved]).halting
    assert decision.inputs["attribute"] == "site"


def test_a_gap_of_confidence_halts_before_anybody_reviews():
    cases = [
        replace(case, confidence=0.5 if case.groups["site"] == "A" else 0.9, accepted=None, reviewed_at=None)
        for case in draw(200)
    ]
    (decision,) = findings(cases).halting
    assert (decision.rule, decision.inputs["attribute"]) == (CONFIDENCE_GAP, "site")


def test_many_rejections_halt():
    assert outcome(findings(draw(120, rejected=0.6)), REJECTIONS) is Outcome.HALT
    assert outcome(findings(draw(120, rejected=0.25)), REJECTIONS) is Outcome.ALLOW


def test_many_failures_halt():
    cases = draw(60)
    assert outcome(findings(cases, failed=[True, False] * 50), FAILURES) is Outcome.HALT
    assert outcome(findings(cases, failed=[False] * 95 + [True] * 5), FAILURES) is Outcome.ALLOW
    assert outcome(findings(cases, failed=[True] * 10), FAILURES) is Outcome.INSUFFICIENT_EVIDENCE


def test_the_order_of_the_records_does_not_matter():
    cases = draw(200, 7, rejected_at_a=0.3)
    assert findings(cases).decisions == findings(cases[::-1]).decisions


def test_only_cases_since_the_release_count():
    found = judge(build_stream(draw(200), since=START + timedelta(hours=150), now=NOW), (), POLICY, with_drift=False)
    assert (found.analysed, found.reviewed) == (50, 50)


def test_drift_is_one_of_the_rules():
    assert outcome(findings(draw(140), with_drift=True), DRIFT) is Outcome.INSUFFICIENT_EVIDENCE
    assert outcome(findings(draw(200), with_drift=True), DRIFT) is Outcome.ALLOW
    assert outcome(findings(draw(200, shift=2.0, shift_from=100), with_drift=True), DRIFT) is Outcome.HALT


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"at": NOW + timedelta(hours=1), "accepted": None, "reviewed_at": None}, id="from the future"),
        pytest.param({"reviewed_at": START - timedelta(days=1)}, id="decided before it was analysed"),
        pytest.param({"at": START.replace(tzinfo=None)}, id="no zone"),
        pytest.param({"confidence": float("nan")}, id="no confidence"),
        pytest.param({"confidence": 1.2}, id="a confidence above 1"),
        pytest.param({"accepted": None}, id="a time without a decision"),
    ],
)
def test_records_that_cannot_be_are_refused(change):
    cases = draw(40)
    with pytest.raises(MonitoringDataError):
        build_stream([*cases, replace(cases[0], **change)], since=START, now=NOW)


def test_clocks_of_two_machines_may_differ_a_little():
    cases = draw(1)
    build_stream(cases, since=START, now=cases[0].reviewed_at - timedelta(seconds=30))


def test_all_rules_together_keep_within_the_rate():
    budget = share_out(POLICY)
    attributes = len(POLICY.fairness.attributes)
    together = attributes * (budget.acceptance + budget.confidence) + budget.rejections + budget.failures + budget.drift
    assert together == pytest.approx(POLICY.monitoring.false_halt_rate)


@pytest.mark.parametrize("attribute", ["sex", "age", "ethnicity", "site"])
def test_comparisons_never_spend_more_than_there_is(attribute):
    assert sum(comparison_shares(attribute, 200)) <= 1
    assert len(comparison_shares("site", 200)) == 200


def test_windows_never_spend_more_than_there_is():
    seen = {span.start: span.share for cases in range(1, 40_000, 100) for span in spans(cases, 400)}
    assert 0.95 < sum(seen.values()) <= 1
    assert [span.start for span in spans(400, 400)] == [0]
    assert [span.start for span in spans(401, 400)] == [0, 400]


def test_looks_never_spend_more_than_there_is():
    assert 0.99 < sum(look_share(look) for look in range(1, 1000)) <= 1


def test_drift_that_may_use_up_the_rate_is_refused():
    with pytest.raises(PolicyError, match="drift_limit"):
        share_out(replace(POLICY, monitoring=replace(POLICY.monitoring, drift_limit=0.05)))
