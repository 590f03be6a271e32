"""Each rule of a policy, where it allows and where it refuses; and that all of them are always explained."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from federated.rounds.terms import Aggregation, Learning, Privacy
from plugin.services.policy_model import (
    CohortCount,
    Cost,
    Forecast,
    Participation,
    ParticipationState,
    Situation,
)
from plugin.services.policy_rules import RULES, check_message, check_round, has_circuit
from plugin.services.site_policy import default_policy_text, parse_policy
from tests.fakes.round_terms import example_terms

NOW = datetime(2026, 11, 2, 20, 0, tzinfo=UTC)  # a Monday, 21:00 in Berlin
POLICY = parse_policy(default_policy_text().encode())
HYBRID = {"architecture": "hybrid", "neck": {"kind": "quantum"}, "head": {"kind": "mlp"}}
CLASSICAL = {"architecture": "hybrid", "neck": {"kind": "mlp"}, "head": None}


def terms(**changes):
    privacy = Privacy(record_noise=1.0, record_epsilon=1.0, delta=1e-5)
    given = {"network": HYBRID, "privacy": privacy, "deadline": NOW + timedelta(hours=1), **changes}
    return example_terms(**given)


def situation(**changes):
    given = {
        "participation": Participation(),
        "cohort": CohortCount(9, {"no consent": 2}),
        "forecast": Forecast(Cost(1.0, 1e-5), Cost(3.0, 1e-5)),
        **changes,
    }
    return Situation(**given)


def policy(**changes):
    """The example with other limits, e.g. rounds={"models": frozenset()}."""
    return replace(POLICY, **{part: replace(getattr(POLICY, part), **values) for part, values in changes.items()})


def refused(findings):
    return [finding.rule for finding in findings if not finding.allowed]


def test_a_usual_round_is_allowed_and_each_rule_says_why():
    findings = check_round(POLICY, terms(), situation(), NOW)
    assert refused(findings) == []
    assert len(findings) == len(RULES)
    assert len({finding.rule for finding in findings}) == len(RULES)
    assert all(finding.inputs and finding.reason for finding in findings)


@pytest.mark.parametrize(
    ("rule", "of_policy", "of_terms", "of_situation"),
    [
        pytest.param("leaves", {"leaves": {"updates": False}}, {}, {}, id="nothing-may-leave"),
        pytest.param("participation", {}, {}, {"participation": Participation(ParticipationState.PAUSED)}, id="paused"),
        pytest.param("participation", {}, {}, {"participation": Participation(ParticipationState.LEFT)}, id="left"),
        pytest.param("deadline", {}, {"deadline": NOW}, {}, id="deadline-passed"),
        pytest.param("deadline", {}, {"deadline": NOW + timedelta(hours=25)}, {}, id="deadline-too-far"),
        pytest.param("aggregation", {}, {"aggregation": Aggregation(rule="mean")}, {}, id="single-updates-seen"),
        pytest.param("participants", {"rounds": {"minimum_participants": 4}}, {}, {}, id="too-few-sites"),
        pytest.param(
            "participants",
            {"rounds": {"minimum_participants": 1, "maximum_participants": 2}},
            {},
            {},
            id="too-many-sites",
        ),
        pytest.param("smallest-sum", {"rounds": {"minimum_in_sum": 3}}, {}, {}, id="threshold-allows-a-smaller-sum"),
        pytest.param(
            "smallest-sum",
            {"rounds": {"minimum_in_sum": 3}},
            {"aggregation": Aggregation(rule="grouped-masked", threshold=3, group_size=2)},
            {},
            id="small-groups",
        ),
        pytest.param("strategy", {"rounds": {"strategies": frozenset({"fedprox"})}}, {}, {}, id="another-strategy"),
        pytest.param("preset", {}, {"learning": Learning(preset="secret")}, {}, id="another-preset"),
        pytest.param("network", {}, {"network": {"architecture": "gan"}}, {}, id="another-network"),
        pytest.param("network", {}, {"network": {}}, {}, id="no-network"),
        pytest.param(
            "quantum-backend", {"rounds": {"quantum_backends": frozenset({"none"})}}, {}, {}, id="no-circuits-here"
        ),
        pytest.param("quantum-backend", {}, {}, {"backend": "quantinuum.sim.h2-1e"}, id="circuits-would-leave"),
        pytest.param(
            "quantum-backend",
            {"rounds": {"quantum_backends": frozenset({"local"})}},
            {"network": CLASSICAL},
            {},
            id="only-networks-with-circuits",
        ),
        pytest.param("model", {"rounds": {"models": frozenset({"0" * 64})}}, {}, {}, id="another-model"),
        pytest.param("app", {"rounds": {"apps": frozenset({"0" * 64})}}, {}, {}, id="another-app"),
        pytest.param("record-level-privacy", {}, {"privacy": Privacy()}, {}, id="no-noise"),
        pytest.param(
            "record-level-privacy", {}, {"privacy": Privacy(record_noise=1.0, record_epsilon=2.1)}, {}, id="dear-round"
        ),
        pytest.param(
            "record-level-privacy", {}, {"privacy": Privacy(record_noise=1.0)}, {}, id="noise-without-a-promise"
        ),
        pytest.param(
            "record-level-privacy",
            {},
            {"privacy": Privacy(record_noise=1.0, record_epsilon=1.0, delta=1e-3)},
            {},
            id="delta-too-large",
        ),
        pytest.param("record-level-privacy", {}, {}, {"cost_fault": "at this site 3.2"}, id="promise-cannot-be-kept"),
        pytest.param(
            "epsilon-per-run", {}, {}, {"forecast": Forecast(Cost(8.1, 1e-5), Cost(8.1, 1e-5))}, id="run-is-spent"
        ),
        pytest.param(
            "epsilon-per-year", {}, {}, {"forecast": Forecast(Cost(1, 1e-5), Cost(10.1, 1e-5))}, id="year-is-spent"
        ),
        pytest.param(
            "epsilon-per-year", {}, {}, {"forecast": Forecast(Cost(1, 1e-5), Cost(1, 2e-4))}, id="delta-is-spent"
        ),
        pytest.param(
            "epsilon-per-year", {}, {}, {"forecast": Forecast(Cost(1), Cost(math.nan))}, id="cost-is-not-a-number"
        ),
        pytest.param("cohort", {}, {}, {"cohort": CohortCount(4)}, id="too-few-cases-for-the-policy"),
        pytest.param("cohort", {}, {"minimum_cases": 10}, {}, id="too-few-cases-for-the-terms"),
        pytest.param("cohort", {}, {}, {"cohort": CohortCount(9, fault="the EHR is away")}, id="no-cohort"),
        pytest.param("machine", {}, {}, {"threads": 5}, id="too-many-threads"),
        pytest.param("machine", {}, {}, {"gpu": True}, id="no-gpu-allowed"),
        pytest.param("message-size", {}, {}, {"message_bytes": 256_000_001}, id="too-large"),
    ],
)
def test_one_rule_refuses(rule, of_policy, of_terms, of_situation):
    findings = check_round(policy(**of_policy), terms(**of_terms), situation(**of_situation), NOW)
    found = refused(findings)
    assert rule in found
    assert set(found) <= {rule, "epsilon-per-run"}
    assert len(findings) == len(RULES)


@pytest.mark.parametrize(
    ("of_policy", "of_terms", "of_situation"),
    [
        pytest.param({}, {"network": CLASSICAL}, {"backend": "quantinuum.sim.h2-1e"}, id="no-circuit-leaves"),
        pytest.param({"privacy": {"required": False}}, {"privacy": Privacy()}, {}, id="noise-is-not-required"),
        pytest.param({"rounds": {"models": frozenset({"b" * 64})}}, {}, {}, id="the-very-model"),
        pytest.param({"machine": {"gpu": True}}, {}, {"gpu": True}, id="gpu-allowed"),
        pytest.param({}, {"deadline": NOW - timedelta(hours=1)}, {"begun": True}, id="a-round-that-began-may-end"),
        pytest.param(
            {"rounds": {"aggregation": frozenset({"median"}), "minimum_in_sum": 3}},
            {"aggregation": Aggregation(rule="median")},
            {},
            id="no-sum-without-masks",
        ),
        pytest.param({}, {}, {"message_bytes": 256_000_000}, id="just-small-enough"),
    ],
)
def test_the_round_is_allowed(of_policy, of_terms, of_situation):
    assert refused(check_round(policy(**of_policy), terms(**of_terms), situation(**of_situation), NOW)) == []


def test_a_round_that_began_long_ago_does_not_end_any_more():
    late = NOW + timedelta(hours=25, minutes=1)
    assert "deadline" in refused(check_round(POLICY, terms(), situation(begun=True), late))


def test_outside_the_hours_a_round_may_end_but_not_begin():
    text = default_policy_text().replace(
        "windows: always", 'windows: [{days: [mon, tue, wed, thu, fri], from: "22:00", to: "06:00"}]'
    )
    night = parse_policy(text.encode())
    findings = check_round(night, terms(), situation(), NOW)
    assert refused(findings) == ["working-hours"]
    assert "2026-11-02T22:00+01:00" in next(each.reason for each in findings if not each.allowed)
    assert refused(check_round(night, terms(), situation(begun=True), NOW)) == []
    soon = NOW + timedelta(minutes=59, seconds=59)
    assert refused(check_round(night, terms(), situation(), soon)) == ["working-hours"]
    assert refused(check_round(night, terms(), situation(), NOW + timedelta(minutes=60))) == ["deadline"]


def test_a_refusal_tells_the_coordinator_no_count_of_patients():
    findings = check_round(POLICY, terms(), situation(cohort=CohortCount(3, {"withdrawn": 17})), NOW)
    (cohort,) = [finding for finding in findings if finding.rule == "cohort"]
    assert "17 withdrawn" in cohort.inputs
    assert "3 cases" in cohort.inputs
    assert "17" not in cohort.reason
    assert "3" not in cohort.reason


def test_which_networks_execute_a_circuit():
    assert has_circuit(HYBRID)
    assert has_circuit({"neck": {}})  # the default kind of a slot
    assert not has_circuit(CLASSICAL)
    assert not has_circuit({"architecture": "unet"})


def test_the_size_of_a_message():
    assert check_message(POLICY, 256_000_000).allowed
    assert not check_message(POLICY, 256_000_001).allowed
