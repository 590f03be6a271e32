from dataclasses import replace

import numpy as np
import pytest

from governance.audit import AuditOutcome
from governance.audit_controls import (
    TITLES,
    Verdict,
    all_of,
    at_least,
    at_most,
    bias_verdict,
    build_controls,
    equity_verdict,
    known_number,
    none_differs,
    share_verdict,
    worst_group_verdict,
)
from governance.fairness.bias import bias_score
from governance.fairness.groups import GroupedCase
from governance.fairness.intervals import Figure
from governance.fairness.segmentation import EquityScaled, WorstGroup
from plugin.services.governance.policy_text import default_policy_text, parse_policy_text

PASSED, FAILED, OPEN = AuditOutcome.PASSED, AuditOutcome.FAILED, AuditOutcome.INSUFFICIENT_EVIDENCE
POLICY = parse_policy_text(default_policy_text())


@pytest.mark.parametrize(
    ("low", "high", "least", "most"),
    [(0.7, 0.8, PASSED, FAILED), (0.5, 0.69, FAILED, PASSED), (0.6, 0.8, OPEN, OPEN), (0.7, 0.7, PASSED, PASSED)],
)
def test_an_interval_shows_it_or_not(low, high, least, most):
    figure = Figure((low + high) / 2, low, high, 40)
    assert at_least(figure, 0.7, "x").outcome is least
    # Within it is passed; strictly above it is failed.
    assert at_most(figure, 0.7, "x").outcome is (most if low != 0.7 or high == 0.7 else OPEN)


def test_of_few_cases_nothing_is_concluded():
    figure = Figure(0.9, 0.89, 0.91, 4)
    assert at_least(figure, 0.7, "x", minimum=5).outcome is OPEN
    assert at_most(figure, 0.7, "x", minimum=5).outcome is OPEN
    assert at_most(figure, 0.7, "x", minimum=4).outcome is FAILED


def score(groups, **kwargs):
    cases = [
        GroupedCase(f"{name}-{n}", {attribute: name}, {"dice": float(value)})
        for attribute, members in groups.items()
        for name, values in members.items()
        for n, value in enumerate(values)
    ]
    return bias_score(cases, ["dice"], list(groups), minimum_group=10, confidence=0.95, deals=199, **kwargs)


def test_bias_that_is_shown_fails_though_another_attribute_is_unknown():
    rng = np.random.default_rng(0)
    found = score({"sex": {"F": rng.beta(20, 4, 40), "M": rng.beta(10, 10, 40)}, "age": {"0-39": [0.8]}})
    verdict = bias_verdict(found, POLICY)
    assert verdict.outcome is FAILED
    assert "M" in verdict.reason
    assert "age" in verdict.reason


def test_a_fair_model_on_enough_cases_passes():
    rng = np.random.default_rng(0)
    verdict = bias_verdict(score({"sex": {"F": rng.beta(20, 4, 200), "M": rng.beta(20, 4, 200)}}), POLICY)
    assert verdict.outcome is PASSED


def test_a_gap_that_chance_explains_is_no_evidence():
    rng = np.random.default_rng(0)
    found = score({"site": {f"s{n}": rng.beta(4, 2, 10) for n in range(12)}})
    assert found.score > POLICY.fairness.bias_threshold
    verdict = bias_verdict(found, POLICY)
    assert verdict.outcome is OPEN
    assert "Neither" in verdict.reason


def test_a_fair_model_with_a_small_group_does_not_pass():
    rng = np.random.default_rng(0)
    verdict = bias_verdict(
        score({"sex": {"F": rng.beta(20, 4, 200), "M": rng.beta(20, 4, 200), "X": [0.8] * 3}}), POLICY
    )
    assert verdict.outcome is OPEN
    assert "X (3)" in verdict.reason


def test_without_demographics_there_is_no_evidence():
    found = bias_score(
        [GroupedCase("a", {}, {"dice": 0.5})] * 20, ["dice"], ["sex"], minimum_group=10, confidence=0.95, deals=9
    )
    verdict = bias_verdict(found, POLICY)
    assert verdict.outcome is OPEN
    assert "of no case is it known" in verdict.reason


def test_the_threshold_is_the_policys():
    strict = replace(POLICY, fairness=replace(POLICY.fairness, bias_threshold=0.9))
    rng = np.random.default_rng(0)
    found = score({"sex": {"F": rng.beta(20, 4, 40), "M": rng.beta(10, 10, 40)}})
    assert bias_verdict(found, POLICY).outcome is FAILED
    assert bias_verdict(found, strict).outcome is PASSED


def test_the_worst_group():
    worst = WorstGroup("site", "s1", Figure(0.5, 0.45, 0.55, 20))
    verdict = worst_group_verdict(worst, POLICY)
    assert verdict.outcome is FAILED
    assert "s1" in verdict.reason
    assert worst_group_verdict(None, POLICY).outcome is OPEN


def test_equity_needs_every_attribute():
    good = EquityScaled("sex", Figure(0.8, 0.75, 0.85, 40), 0.82)
    assert equity_verdict([good], POLICY).outcome is PASSED
    assert equity_verdict([good, EquityScaled("age", None, None)], POLICY).outcome is OPEN


@pytest.mark.parametrize(
    ("p_values", "skipped", "outcome"),
    [
        ({"F": 0.5}, [], PASSED),
        ({"F": 0.5}, ["X"], OPEN),
        ({"F": 0.01}, ["X"], FAILED),
        ({}, ["X"], OPEN),
    ],
)
def test_tests_between_groups(p_values, skipped, outcome):
    assert none_differs(p_values, skipped, POLICY).outcome is outcome


def test_a_bound_has_no_interval():
    assert known_number(0.9, 1.0, "x").outcome is PASSED
    assert known_number(float("inf"), 1.0, "x").outcome is FAILED


def test_a_share_is_judged_by_its_bounds():
    assert share_verdict(0, 700, 0.0, 0.0043, 0.005, "x").outcome is PASSED
    assert share_verdict(0, 20, 0.0, 0.139, 0.005, "x").outcome is OPEN
    assert share_verdict(5, 20, 0.1, 0.46, 0.005, "x").outcome is FAILED


def test_of_several_the_worst_counts():
    verdicts = {
        name: Verdict(outcome, name, "t", f"{name}.") for name, outcome in [("a", PASSED), ("b", FAILED), ("c", OPEN)]
    }
    found = all_of(verdicts)
    assert found.outcome is FAILED
    assert found.reason == "b."
    assert all_of({}).outcome is OPEN


def test_every_control_is_there_once_and_what_was_not_looked_at_has_no_evidence():
    required = replace(POLICY, audit=replace(POLICY.audit, required=("bias", "made-up")))
    controls = build_controls({"bias": Verdict(PASSED, "m", "t", "r")}, required)
    assert [each.name for each in controls] == [*TITLES, "made-up"]
    by_name = {each.name: each for each in controls}
    assert by_name["bias"].required
    assert by_name["bias"].outcome is PASSED
    assert by_name["made-up"].required
    assert by_name["made-up"].outcome is OPEN
    assert not by_name["lipschitz"].required
