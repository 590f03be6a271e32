"""The rules, each against what a person would say; and that a combination never allows what a part refuses."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance import rules
from governance.audit import AuditOutcome
from governance.canonical import canonical_bytes
from governance.decisions import Decision, Outcome
from governance.policy import Act, OfficerRole
from plugin.services.governance.policy_text import default_policy_text, parse_policy_text

POLICY = parse_policy_text(default_policy_text())
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
MODEL = "a" * 64
AUDIT = rules.AuditFacts("d" * 64, MODEL, POLICY.digest, AuditOutcome.PASSED, NOW - timedelta(days=1))
WHO, OTHER = "1" * 64, "2" * 64


@pytest.mark.parametrize("role", list(OfficerRole))
@pytest.mark.parametrize("act", list(Act))
def test_who_may_do_what_is_as_the_policy_lists(role: OfficerRole, act: Act) -> None:
    decision = rules.may_act(POLICY, act=act, role=role)
    assert (decision.outcome is Outcome.ALLOW) == (role in POLICY.roles[act])
    assert (decision.rule, decision.inputs["role"]) == ("may-act", role.value)


def test_an_auditor_may_do_nothing() -> None:
    assert {rules.may_act(POLICY, act=act, role="auditor").outcome for act in Act} == {Outcome.REFUSE}


@pytest.mark.parametrize(
    ("officers", "trainers", "outcome"),
    [
        pytest.param([WHO], [], Outcome.ALLOW, id="one"),
        pytest.param([WHO, OTHER], ["a consortium"], Outcome.ALLOW, id="two"),
        pytest.param([WHO, WHO], [], Outcome.REFUSE, id="counted-twice"),
        pytest.param([WHO, OTHER], [OTHER], Outcome.REFUSE, id="trained-it"),
    ],
)
def test_duties_are_separated(officers: list[str], trainers: list[str], outcome: Outcome) -> None:
    assert rules.separation_of_duties(officers=officers, trained_by=trainers).outcome is outcome


@pytest.mark.parametrize(
    ("audit", "outcome", "said"),
    [
        pytest.param(AUDIT, Outcome.ALLOW, "passed", id="holds"),
        pytest.param(None, Outcome.REFUSE, "no audit", id="none"),
        pytest.param(replace(AUDIT, model="b" * 64), Outcome.REFUSE, "another model", id="other-model"),
        pytest.param(replace(AUDIT, policy="0" * 64), Outcome.REFUSE, "another policy", id="other-policy"),
        pytest.param(replace(AUDIT, at=NOW + timedelta(seconds=1)), Outcome.REFUSE, "future", id="future"),
        pytest.param(replace(AUDIT, at=NOW - timedelta(days=182)), Outcome.ALLOW, "passed", id="last-day"),
        pytest.param(replace(AUDIT, at=NOW - timedelta(days=182, seconds=1)), Outcome.REFUSE, "older", id="too-old"),
        pytest.param(replace(AUDIT, outcome=AuditOutcome.FAILED), Outcome.REFUSE, "failed", id="failed"),
        pytest.param(
            replace(AUDIT, outcome=AuditOutcome.INSUFFICIENT_EVIDENCE),
            Outcome.INSUFFICIENT_EVIDENCE,
            "insufficient evidence",
            id="insufficient",
        ),
    ],
)
def test_an_audit_holds_or_says_why_not(audit: rules.AuditFacts | None, outcome: Outcome, said: str) -> None:
    decision = rules.audit_holds(POLICY, model=MODEL, audit=audit, now=NOW)
    assert (decision.rule, decision.outcome) == ("audit-holds", outcome)
    assert said in decision.reason


@pytest.mark.parametrize(
    ("officers", "at_least", "outcome"),
    [
        ([], 0, Outcome.REFUSE),
        ([WHO], 0, Outcome.REFUSE),
        ([WHO, WHO], 0, Outcome.REFUSE),
        ([WHO, OTHER], 0, Outcome.ALLOW),
        ([WHO, OTHER], 3, Outcome.REFUSE),
    ],
)
def test_approvals_are_different_people(officers: list[str], at_least: int, outcome: Outcome) -> None:
    assert rules.enough_approvals(POLICY, act=Act.OVERRIDE, officers=officers, needed=at_least).outcome is outcome


@pytest.mark.parametrize(
    ("epsilon", "outcome"),
    [
        (0.0, Outcome.ALLOW),
        (1.0, Outcome.ALLOW),
        (1.0000001, Outcome.REFUSE),
        (-0.1, Outcome.REFUSE),
        (float("inf"), Outcome.REFUSE),
        (float("nan"), Outcome.REFUSE),
    ],
)
def test_epsilon_is_within_the_limit_or_refused(epsilon: float, outcome: Outcome) -> None:
    decision = rules.epsilon_within_limit(POLICY, epsilon=epsilon)
    assert decision.outcome is outcome
    canonical_bytes(decision.facts)


@pytest.mark.parametrize(("sites", "outcome"), [(0, Outcome.REFUSE), (2, Outcome.REFUSE), (3, Outcome.ALLOW)])
def test_few_sites_are_refused(sites: int, outcome: Outcome) -> None:
    assert rules.enough_sites(POLICY, sites=sites).outcome is outcome


def test_no_rule_allows_nothing() -> None:
    assert rules.combine("nothing", []).outcome is Outcome.REFUSE


@given(st.lists(st.sampled_from(list(Outcome)), min_size=1))
def test_a_combination_is_as_strict_as_its_strictest_part(outcomes: list[Outcome]) -> None:
    parts = [Decision(f"part-{each}", each, {}, f"It says {each}.") for each in outcomes]
    found = rules.combine("all", parts)
    order = [Outcome.REFUSE, Outcome.HALT, Outcome.INSUFFICIENT_EVIDENCE, Outcome.ALLOW]
    assert found.outcome is min(outcomes, key=order.index)
    assert len(found.facts["inputs"]["rules"]) == len(parts)
    canonical_bytes(found.facts)
