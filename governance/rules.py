"""The named rules that decide: each takes the policy and what it looks at, and explains its decision.

They only compute. Who asks records the decision; see decisions.Decision.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from governance.audit import AuditOutcome
from governance.canonical import Canonical
from governance.decisions import Decision, Outcome
from governance.policy import Act, GovernancePolicy


@dataclass(frozen=True)
class AuditFacts:
    """What the rules look at of an audit.

    Attributes:
        digest: Of its document.
        model: Version of the model that was audited.
        policy: Digest of the policy that it was judged by.
        at: When it was made, with a zone.
    """

    digest: str
    model: str
    policy: str
    outcome: AuditOutcome
    at: datetime


def may_act(policy: GovernancePolicy, *, act: Act, role: str) -> Decision:
    """Whether a role may do something."""
    allowed = sorted(policy.roles[act])
    inputs: dict[str, Canonical] = {"act": act.value, "role": role, "allowed": [each.value for each in allowed]}
    if policy.may(role, act):
        return Decision("may-act", Outcome.ALLOW, inputs, f"The policy lets the role {role} do this: {act}.")
    return Decision(
        "may-act",
        Outcome.REFUSE,
        inputs,
        f"The policy does not let the role {role} do this: {act}. It takes the role {' or '.join(allowed)}.",
    )


def separation_of_duties(*, officers: Sequence[str], trained_by: Collection[str]) -> Decision:
    """Who trained a model does not release it, and nobody counts twice.

    Args:
        officers: Keyed digests of those who approve.
        trained_by: Keyed digests of those who trained it, and names of consortia.
    """
    rule, inputs = "separation-of-duties", {"officers": list(officers), "trained_by": sorted(trained_by)}
    if set(officers) & set(trained_by):
        return Decision(rule, Outcome.REFUSE, inputs, "Who trained a model cannot release it: ask another officer.")
    if len(set(officers)) != len(officers):
        return Decision(rule, Outcome.REFUSE, inputs, "An officer has approved already, and nobody counts twice.")
    return Decision(rule, Outcome.ALLOW, inputs, "Nobody of them trained the model, and nobody counts twice.")


def audit_current(policy: GovernancePolicy, *, model: str, audit: AuditFacts | None, now: datetime) -> Decision:
    """Whether an audit is of this model, judged by the policy in force, and not too old; whatever its outcome."""
    rule, inputs = "audit-current", _audit_inputs(policy, model, audit, now)
    if audit is None:
        return Decision(rule, Outcome.REFUSE, inputs, "There is no audit of this model: run `qfl governance audit`.")
    if audit.model != model:
        return Decision(rule, Outcome.REFUSE, inputs, "The audit is of another model.")
    if audit.policy != policy.digest:
        return Decision(
            rule,
            Outcome.REFUSE,
            inputs,
            "The audit was judged by another policy than the one in force: audit again.",
        )
    if audit.at > now:
        return Decision(rule, Outcome.REFUSE, inputs, "The audit is dated in the future: check the clock.")
    if now - audit.at > timedelta(days=policy.audit.interval_days):
        reason = f"The audit is older than {policy.audit.interval_days} days: audit the model again."
        return Decision(rule, Outcome.REFUSE, inputs, reason)
    return Decision(rule, Outcome.ALLOW, inputs, "The audit is of this model, by the policy in force, and new enough.")


def audit_passed(*, audit: AuditFacts | None) -> Decision:
    """What an audit came to."""
    rule = "audit-passed"
    inputs: dict[str, Canonical] = {
        "audit": audit.digest if audit else None,
        "outcome": str(audit.outcome) if audit else None,
    }
    match audit.outcome if audit else None:
        case AuditOutcome.PASSED:
            return Decision(rule, Outcome.ALLOW, inputs, "The audit passed.")
        case AuditOutcome.INSUFFICIENT_EVIDENCE:
            reason = "The audit has insufficient evidence: nothing is concluded from it."
            return Decision(rule, Outcome.INSUFFICIENT_EVIDENCE, inputs, reason)
        case AuditOutcome.FAILED:
            return Decision(rule, Outcome.REFUSE, inputs, "The audit failed.")
        case _:
            return Decision(rule, Outcome.REFUSE, inputs, "There is no audit of this model.")


def audit_holds(policy: GovernancePolicy, *, model: str, audit: AuditFacts | None, now: datetime) -> Decision:
    """Whether a model may be released on an audit: it is current, and passed."""
    parts = (audit_current(policy, model=model, audit=audit, now=now), audit_passed(audit=audit))
    return combine("audit-holds", parts)


def enough_approvals(policy: GovernancePolicy, *, act: Act, officers: Collection[str], needed: int = 0) -> Decision:
    """Whether enough different officers have signed.

    Args:
        policy: Says how many an act takes.
        act: What is done.
        officers: Keyed digests of those who signed.
        needed: At least so many, whatever the policy says of this act.
    """
    wanted, given = max(policy.approvals[act], needed), len(set(officers))
    inputs: dict[str, Canonical] = {
        "act": act.value,
        "needed": wanted,
        "given": given,
        "officers": sorted(set(officers)),
    }
    outcome = Outcome.ALLOW if given >= wanted else Outcome.REFUSE
    reason = f"{given} of {wanted} different officers have signed."
    return Decision("enough-approvals", outcome, inputs, reason)


def epsilon_within_limit(policy: GovernancePolicy, *, epsilon: float) -> Decision:
    """Whether what a patient's record costs in a federated run is within the limit; what is not a number is not."""
    limit = policy.privacy.epsilon_limit
    is_within = 0 <= epsilon <= limit
    inputs: dict[str, Canonical] = {"epsilon": repr(float(epsilon)), "limit": repr(limit)}
    reason = f"A patient's record costs epsilon {epsilon:.4g}; the policy allows {limit:g}."
    return Decision("epsilon-within-limit", Outcome.ALLOW if is_within else Outcome.REFUSE, inputs, reason)


def enough_sites(policy: GovernancePolicy, *, sites: int) -> Decision:
    """Whether enough sites take part in a federated round."""
    inputs: dict[str, Canonical] = {"sites": sites, "minimum": policy.minimum_sites}
    outcome = Outcome.ALLOW if sites >= policy.minimum_sites else Outcome.REFUSE
    return Decision(
        "enough-sites", outcome, inputs, f"{sites} sites take part; the policy asks for {policy.minimum_sites}."
    )


def combine(rule: str, decisions: Sequence[Decision]) -> Decision:
    """One decision of several: it refuses when any refuses, and when there are none.

    Then comes a halt, then insufficient evidence; it allows only what all allow.
    """
    if not decisions:
        return Decision(rule, Outcome.REFUSE, {"rules": []}, "No rule was asked, so nothing is allowed.")
    inputs: dict[str, Canonical] = {
        "rules": [{"rule": each.rule, "outcome": each.outcome.value, "inputs": dict(each.inputs)} for each in decisions]
    }
    for outcome in (Outcome.REFUSE, Outcome.HALT, Outcome.INSUFFICIENT_EVIDENCE):
        told = [each.reason for each in decisions if each.outcome is outcome]
        if told:
            return Decision(rule, outcome, inputs, " ".join(told))
    return Decision(rule, Outcome.ALLOW, inputs, " ".join(each.reason for each in decisions))


def _audit_inputs(
    policy: GovernancePolicy, model: str, audit: AuditFacts | None, now: datetime
) -> dict[str, Canonical]:
    found: dict[str, Canonical] = {"model": model, "policy": policy.digest, "interval_days": policy.audit.interval_days}
    if audit is None:
        return found | {"audit": None}
    return found | {
        "audit": audit.digest,
        "audited_model": audit.model,
        "audited_policy": audit.policy,
        "audited_at": audit.at.astimezone(UTC).isoformat(),
        "now": now.astimezone(UTC).isoformat(),
    }
