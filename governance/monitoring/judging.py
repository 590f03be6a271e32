"""The decisions about a model that runs: which rules look at it, and whether one of them halts it.

The chance that a model is ever halted that serves all groups alike, whose rejections and failures are within their
limits and whose studies stay alike, is at most the policy's rate: from the release or the last resumption on, however
often somebody looks. What each rule may err is in budget.py. A model whose groups differ, but by no more than the
threshold, is ever halted for an attribute with at most the chance that the policy's confidence leaves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from governance.canonical import Canonical
from governance.decisions import Decision, Outcome
from governance.monitoring.budget import Budget, share_out
from governance.monitoring.cases import Stream
from governance.monitoring.drift import Drift, find_drift
from governance.monitoring.fairness import ACCEPTANCE, CONFIDENCE, Rule, Score, score
from governance.monitoring.rates import Rate, rate
from governance.policy import GovernancePolicy

BIAS, CONFIDENCE_GAP = "bias-within-threshold", "confidence-gap-within-threshold"
REJECTIONS, FAILURES, DRIFT = "rejections-within-limit", "failures-within-limit", "inputs-not-drifted"
REASON_CODES = {
    BIAS: "bias",
    CONFIDENCE_GAP: "bias",
    REJECTIONS: "rejections",
    FAILURES: "failures",
    DRIFT: "drift",
}
"""What a model is halted for, by rule; the first of them counts."""


@dataclass(frozen=True)
class Findings:
    """What is known of a running model.

    Attributes:
        scores: By attribute, of acceptance and then of confidence.
        drift: None where it was not asked for.
        decisions: Of all rules that looked.
    """

    reviewed: int
    analysed: int
    scores: tuple[Score, ...]
    rejections: Rate
    failures: Rate
    drift: Drift | None
    decisions: tuple[Decision, ...]

    @property
    def halting(self) -> tuple[Decision, ...]:
        """Those that halt the model, the most important first."""
        order = list(REASON_CODES)
        found = [each for each in self.decisions if each.outcome is Outcome.HALT]
        return tuple(sorted(found, key=lambda each: order.index(each.rule)))


def judge(stream: Stream, failed: Sequence[bool], policy: GovernancePolicy, *, with_drift: bool = True) -> Findings:
    """Let every rule look at a model.

    Args:
        stream: Its cases since it was released or resumed.
        failed: Of each analysis that ended since then, in its order, whether it failed for the model's part.
        policy: In force.
        with_drift: Whether the studies are compared too, which takes longer.
    """
    budget = share_out(policy)
    scores = tuple(
        score(cases, attribute, outcome, rule_of(policy, budget, outcome))
        for cases, outcome in ((stream.reviewed, ACCEPTANCE), (stream.analysed, CONFIDENCE))
        for attribute in policy.fairness.attributes
    )
    window = policy.monitoring.window
    rejected = [not case.accepted for case in stream.reviewed]
    rejections = rate(rejected, alpha=budget.rejections, window=window)
    failures = rate(failed, alpha=budget.failures, window=window)
    limit = policy.monitoring.drift_limit
    drift = find_drift(stream.analysed, limit=limit, newest_only=True) if with_drift else None
    decisions = [
        *(decide_score(each, policy) for each in scores),
        _decide_rate(REJECTIONS, rejections, policy.monitoring.rejection_limit, policy, "of the results were rejected"),
        _decide_rate(FAILURES, failures, policy.monitoring.failure_limit, policy, "of the analyses failed"),
    ]
    if drift is not None:
        decisions.append(_decide_drift(drift, limit))
    return Findings(len(stream.reviewed), len(stream.analysed), scores, rejections, failures, drift, tuple(decisions))


def rule_of(policy: GovernancePolicy, budget: Budget, outcome: str) -> Rule:
    """By what an outcome's scores are judged."""
    return Rule(
        alpha=1 - policy.fairness.confidence,
        false_halt=budget.acceptance if outcome == ACCEPTANCE else budget.confidence,
        smallest=policy.fairness.minimum_group,
        fewest=policy.monitoring.minimum_cases,
        window=policy.monitoring.window,
    )


def decide_score(found: Score, policy: GovernancePolicy) -> Decision:
    """Whether the groups of an attribute lie within the threshold, as far as that is known."""
    rule = BIAS if found.outcome == ACCEPTANCE else CONFIDENCE_GAP
    threshold = policy.fairness.bias_threshold
    inputs: dict[str, Canonical] = {
        "attribute": found.attribute,
        "cases": found.cases,
        "threshold": _text(threshold),
        "groups": [{"name": each.name, "cases": each.cases, "mean": _text(each.mean)} for each in found.groups],
    }
    if found.score is None:
        reason = (
            f"Insufficient evidence by {found.attribute}: it takes {policy.monitoring.minimum_cases} cases, and two "
            f"groups of {policy.fairness.minimum_group}; there are {found.cases} cases."
        )
        return Decision(rule, Outcome.INSUFFICIENT_EVIDENCE, inputs, reason)
    inputs |= {"score": _text(found.score), "low": _text(found.low), "high": _text(found.high)}
    what = "what radiologists accept" if found.outcome == ACCEPTANCE else "confidence"
    told = f"By {found.attribute}, groups lie {found.score:.2f} apart in {what}; at least {found.low:.2f}"
    if found.low > threshold and found.are_unlike:
        inputs["group"] = found.group or ""
        reason = f"{told}, which is above {threshold:g}. The group that differs: {found.group}."
        return Decision(rule, Outcome.HALT, inputs, reason)
    if found.low > threshold:
        return Decision(rule, Outcome.ALLOW, inputs, f"{told}; that may still be chance.")
    return Decision(rule, Outcome.ALLOW, inputs, f"{told}, which is not above {threshold:g}.")


def _decide_rate(rule: str, found: Rate, limit: float, policy: GovernancePolicy, words: str) -> Decision:
    inputs: dict[str, Canonical] = {"cases": found.cases, "hits": found.hits, "limit": _text(limit)}
    fewest = policy.monitoring.minimum_cases
    if found.share is None or found.cases < fewest:
        reason = f"Insufficient evidence: it takes {fewest} cases, there are {found.cases}."
        return Decision(rule, Outcome.INSUFFICIENT_EVIDENCE, inputs, reason)
    inputs |= {"share": _text(found.share), "low": _text(found.low), "high": _text(found.high)}
    told = f"{found.share:.0%} {words} ({found.hits} of {found.cases}); at least {found.low:.0%}"
    if found.low > limit:
        return Decision(rule, Outcome.HALT, inputs, f"{told}, which is above {limit:.0%}.")
    return Decision(rule, Outcome.ALLOW, inputs, f"{told}, which is not above {limit:.0%}.")


def _decide_drift(found: Drift, limit: float) -> Decision:
    inputs: dict[str, Canonical] = {"cases": found.cases, "limit": _text(limit)}
    if not found.looks:
        reason = f"Insufficient evidence: it takes {found.needed} studies, there are {found.cases}."
        return Decision(DRIFT, Outcome.INSUFFICIENT_EVIDENCE, inputs, reason)
    look = found.looks[-1]
    inputs |= {"look": look.number, "at_case": look.at_case, "p": _text(look.p), "feature": look.feature}
    told = f"Compared with the first studies, p = {look.p:.2g} ({look.feature}, after {look.at_case} studies)"
    if look.p < limit:
        return Decision(DRIFT, Outcome.HALT, inputs, f"{told}, below {limit:g}: the studies have changed.")
    return Decision(DRIFT, Outcome.ALLOW, inputs, f"{told}, not below {limit:g}.")


def summary(decision: Decision) -> Mapping[str, Canonical]:
    """What tells one decision from another of the same rule: the attribute, where there is one."""
    return {"rule": decision.rule, "attribute": decision.inputs.get("attribute")}


def _text(number: float) -> str:
    return f"{number:.6g}"
