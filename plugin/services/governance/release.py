"""Officers release a model under an audit, halt it and let it run again; model_use.check_in_use asks what they decided.

State of a model        how it changes
unreleased, released    release: the audit holds; override: it does not, and at least two officers give their reasons
released                halt: by an officer, or by the monitor itself
halted                  resume, or override under another audit

A signature counts only for the audit, the policy and the state that it was given for, and as long as its officer is
enrolled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from governance import rules
from governance.canonical import Canonical
from governance.decisions import Decision, Outcome
from governance.errors import AuditDataError, NotPermittedError, ReleaseError
from governance.policy import Act, GovernancePolicy
from plugin.services.governance import model_use
from plugin.services.governance.approvals import Question, counted
from plugin.services.governance.audit_record import AuditHead, read_record
from plugin.services.governance.desk import GovernanceDesk
from plugin.services.governance.model_use import check_in_use, halt_model, requeue_halted
from plugin.services.governance.officers import Signer, act_entry, sign_act
from plugin.services.governance.values import AuditRecord, ModelState, ModelStatus, SignedAct
from plugin.services.ports import Services

__all__ = ["check_in_use", "halt", "halt_model", "override", "release", "requeue_halted", "resume", "status"]

_MAX_REASON: Final = 500
_FEWEST_OVERRIDING: Final = 2


@dataclass(frozen=True)
class Signed:
    """What came of an officer's signature.

    Attributes:
        status: Of the model, now.
        is_done: Whether it took effect; otherwise more officers must sign.
        given: How many different officers have signed.
        needed: How many must.
        queued: Ids of the analyses that waited for the model.
    """

    status: ModelStatus
    is_done: bool
    given: int
    needed: int
    queued: Sequence[str]


@dataclass(frozen=True)
class Pending:
    """An act that some officers have signed, and others must sign.

    Attributes:
        officers: Usernames of those who have.
        needed: How many must.
    """

    act: Act
    audit_digest: str
    officers: Sequence[str]
    needed: int


@dataclass(frozen=True)
class Standing:
    """Where a model stands, for people.

    Attributes:
        why_not: Why it may not be used; empty when it may.
        until: When the audit, or the override, that it rests on ends to hold.
        audit: That it rests on.
        newest_audit: Of the model.
    """

    status: ModelStatus
    why_not: str
    until: datetime | None
    audit: AuditRecord | None
    newest_audit: AuditRecord | None
    pending: Sequence[Pending]


@dataclass(frozen=True)
class _Case:
    """A model before an act: what officers and rules look at."""

    model_version: str
    was: ModelStatus | None
    audit: AuditHead | None
    policy: GovernancePolicy

    @property
    def state(self) -> ModelState:
        return self.was.state if self.was else ModelState.UNRELEASED

    def question(self, act: Act) -> Question:
        """What an officer signs: it is bound to the audit, the policy and the state."""
        terms: dict[str, Canonical] = {
            "audit": self.audit.facts.digest if self.audit else None,
            "policy": self.policy.digest,
            "state": self.state.value,
            "since": model_use.text_of(self.was.since) if self.was else None,
        }
        return Question(act, self.model_version, terms)

    def audit_holds(self, now: datetime) -> Decision:
        audit = self.audit.facts if self.audit else None
        return rules.audit_holds(self.policy, model=self.model_version, audit=audit, now=now)


@dataclass(frozen=True)
class _Plan:
    """What an act does when enough officers have signed it.

    Attributes:
        decision: Of the rule that this act stands on.
        reason: For people.
        at_least: Officers, whatever the policy says of this act.
        why: The officer's own words.
    """

    act: Act
    decision: Decision
    becomes: ModelState
    reason_code: str
    reason: str
    at_least: int = 1
    why: str = ""


def release(services: Services, *, model_version: str, by: Signer, audit_digest: str | None = None) -> Signed:
    """Sign a release; with enough signatures the model is in use, and what waited for it is queued.

    Args:
        services: Of the site.
        model_version: Of the model.
        by: An officer.
        audit_digest: Of the audit that it rests on; the model's newest unless given.

    Raises:
        ReleaseError: The model is halted or in use under this audit, there is no audit, or it does not hold.
        NotPermittedError: The officer's role may not, or the officer trained the model or has signed already.
        OfficerKeyError: No key, or a wrong passphrase.
        AuditDataError: The audit was changed.
    """
    case = _case(services.governance, model_version, audit_digest)
    if case.state is ModelState.HALTED:
        raise ReleaseError("The model is halted: it is resumed with `qfl governance resume`, not released.")
    _refuse_repeat(services.governance, case)
    holds, reason = case.audit_holds(services.clock()), "Its audit passed, and officers released it."
    plan = _Plan(Act.RELEASE, holds, ModelState.RELEASED, model_use.RELEASED, reason)
    return _sign(services, case, plan, by)


def override(
    services: Services, *, model_version: str, by: Signer, reason: str, audit_digest: str | None = None
) -> Signed:
    """Sign a release of a model whose audit does not hold: it failed, has insufficient evidence or is too old.

    It takes two officers at least, and each gives a reason. A halted model runs again by it.

    Raises:
        ReleaseError: There is no audit of the model, it holds (nothing is to be overridden), or no reason is given.
        NotPermittedError, OfficerKeyError, AuditDataError: As release.
    """
    case = _case(services.governance, model_version, audit_digest)
    _refuse_repeat(services.governance, case)
    holds, why = case.audit_holds(services.clock()), _checked(reason)
    if holds.outcome is Outcome.ALLOW:
        raise ReleaseError("The audit holds, so there is nothing to override: release the model, or resume it.")
    at_least = _overriding(case)
    text = f"Released by officers, who said: {why} {holds.reason}"
    decision = _overridden(holds)
    plan = _Plan(Act.OVERRIDE, decision, ModelState.RELEASED, model_use.BY_OVERRIDE, text, at_least, why)
    return _sign(services, case, plan, by)


def halt(services: Services, *, model_version: str, by: Signer, reason: str) -> Signed:
    """Stop a model: nothing is analysed with it from now on, and no result of it is stored.

    Raises:
        ReleaseError: It is not in use, or no reason is given.
        NotPermittedError, OfficerKeyError: As release.
    """
    desk = services.governance
    case = _Case(model_version, desk.store.model_status(model_version), None, desk.policy())
    if case.state is not ModelState.RELEASED:
        raise ReleaseError(f"The model is {case.state}: only a released one is halted.")
    why = _checked(reason)
    inputs = {"model": model_version, "state": case.state.value}
    decision = Decision("halt-asked", Outcome.HALT, inputs, "An officer who may halt models asked for it.")
    plan = _Plan(Act.HALT, decision, ModelState.HALTED, model_use.HALTED_BY_OFFICER, why, why=why)
    return _sign(services, case, plan, by)


def resume(services: Services, *, model_version: str, by: Signer, reason: str) -> Signed:
    """Sign that a halted model goes on; with enough signatures it is in use again.

    Its audit must hold, or be one that officers have overridden.

    Raises:
        ReleaseError: It is not halted, its audit does not hold, or no reason is given.
        NotPermittedError, OfficerKeyError, AuditDataError: As release.
    """
    desk = services.governance
    was = desk.store.model_status(model_version)
    if was is None or was.state is not ModelState.HALTED:
        raise ReleaseError(f"The model is {was.state if was else 'unreleased'}: only a halted one is resumed.")
    case, why = _case(desk, model_version, was.audit_digest), _checked(reason)
    holds, code, at_least = case.audit_holds(services.clock()), model_use.RESUMED, 1
    if holds.outcome is not Outcome.ALLOW and _is_overridden(desk, case):
        holds, code = _overridden(holds), model_use.RESUMED_BY_OVERRIDE
        at_least = case.policy.approvals[Act.OVERRIDE]
    plan = _Plan(Act.RESUME, holds, ModelState.RELEASED, code, f"Resumed by officers, who said: {why}", at_least, why)
    return _sign(services, case, plan, by)


def status(desk: GovernanceDesk, model_version: str) -> Standing:
    """Where a model stands, what that rests on, and what more officers must sign.

    Raises:
        PolicyError: There is no usable policy.
    """
    was, policy = desk.store.model_status(model_version), desk.policy()
    found = was or ModelStatus(
        model_version, ModelState.UNRELEASED, "never-released", "It was never released here.", None, desk.clock()
    )
    try:
        until = model_use.holds_until(desk, policy, found)
    except AuditDataError:
        until = None
    audit = desk.store.audit(found.audit_digest) if found.audit_digest else None
    newest = next(iter(desk.store.audits(model_version)), None)
    return Standing(
        found, model_use.why_not(desk, was), until, audit, newest, _pending(desk, policy, model_version, was)
    )


def _case(desk: GovernanceDesk, model_version: str, audit_digest: str | None) -> _Case:
    """A model with the audit that an act is to rest on, its newest one unless told."""
    record = desk.store.audit(audit_digest) if audit_digest else next(iter(desk.store.audits(model_version)), None)
    if record is None or record.model_version != model_version:
        raise ReleaseError(
            "There is no such audit of this model. Audit it with `qfl governance audit`; `qfl governance status` shows "
            "the audits."
        )
    return _Case(model_version, desk.store.model_status(model_version), read_record(record), desk.policy())


def _refuse_repeat(desk: GovernanceDesk, case: _Case) -> None:
    if case.was is None or case.state is not ModelState.RELEASED or case.audit is None:
        return
    if case.was.audit_digest == case.audit.facts.digest and not model_use.why_not(desk, case.was):
        raise ReleaseError("The model is in use under this audit already.")


def _checked(reason: str) -> str:
    found = " ".join(reason.split())
    if not found or len(found) > _MAX_REASON:
        raise ReleaseError(f"This takes a reason of 1 to {_MAX_REASON} characters, which names no patient.")
    return found if found.endswith((".", "!", "?")) else f"{found}."


def _overridden(holds: Decision) -> Decision:
    text = f"Officers override what the audit says: {holds.reason}"
    return Decision("audit-overridden", Outcome.ALLOW, {**holds.inputs, "held": holds.outcome.value}, text)


def _overriding(case: _Case) -> int:
    """How many officers it takes at least: overriding is never easier than what it stands for."""
    stands_for = Act.RESUME if case.state is ModelState.HALTED else Act.RELEASE
    return max(_FEWEST_OVERRIDING, case.policy.approvals[stands_for])


def _is_overridden(desk: GovernanceDesk, case: _Case) -> bool:
    """Whether enough officers have signed, at some time, that the model runs in spite of this audit."""
    terms: dict[str, Canonical] = {"audit": case.audit.facts.digest if case.audit else None}
    signed = counted(desk, Question(Act.OVERRIDE, case.model_version, terms), case.policy)
    return len(signed) >= case.policy.approvals[Act.OVERRIDE]


def _sign(services: Services, case: _Case, plan: _Plan, by: Signer) -> Signed:
    """Sign, ask the rules, and do it when enough officers have signed.

    Steps: 1. sign, which takes the role and the passphrase; 2. count who has signed; 3. ask the rules, and record a
    refusal; 4. keep the signature, and change the state with it when there are enough.
    """
    desk, question = services.governance, case.question(plan.act)
    now = model_use.after(case.was, services.clock())
    # 1
    facts = {**question.terms, "reason": plan.why}
    act = sign_act(desk, services.store, by.username, by.passphrase, plan.act, case.model_version, facts, now)
    # 2
    earlier = [each.username for each in counted(desk, question, case.policy)]
    usernames = earlier if by.username in earlier else [*earlier, by.username]
    officers = [desk.digest("user", name) for name in usernames]
    enough = rules.enough_approvals(case.policy, act=plan.act, officers=officers, needed=plan.at_least)
    # 3
    is_repeated = by.username in earlier and enough.outcome is not Outcome.ALLOW
    decisions = [
        rules.may_act(case.policy, act=plan.act, role=act.role),
        plan.decision,
        rules.separation_of_duties(
            officers=[*officers, desk.digest("user", by.username)] if is_repeated else officers,
            trained_by=case.audit.trained_by if case.audit else (),
        ),
    ]
    _refuse_unless_allowed(desk, decisions, now)
    # 4
    return _carry_out(services, case, plan, act, officers, [*decisions, enough])


def _refuse_unless_allowed(desk: GovernanceDesk, decisions: Sequence[Decision], now: datetime) -> None:
    refused = [each for each in decisions if each.outcome in (Outcome.REFUSE, Outcome.INSUFFICIENT_EVIDENCE)]
    if not refused:
        return
    desk.ledger.append(model_use.decided(decisions, now))
    told = " ".join(each.reason for each in refused)
    if any(each.rule != "audit-holds" for each in refused):
        raise NotPermittedError(told)
    raise ReleaseError(f"{told} Two officers at least may override it with `qfl governance override`.")


def _carry_out(
    services: Services, case: _Case, plan: _Plan, act: SignedAct, officers: Sequence[str], decisions: Sequence[Decision]
) -> Signed:
    desk, enough = services.governance, decisions[-1]
    given, needed = len(officers), max(case.policy.approvals[plan.act], plan.at_least)
    entries = [act_entry(desk, act), *model_use.decided(decisions, act.at)]
    if enough.outcome is not Outcome.ALLOW:
        desk.store.add_act(act, entries=entries)
        standing = status(desk, case.model_version)
        return Signed(standing.status, False, given, needed, ())
    rests_on = case.audit.facts.digest if case.audit else None
    audit_digest = rests_on or (case.was.audit_digest if case.was else None)
    new = ModelStatus(case.model_version, plan.becomes, plan.reason_code, plan.reason, audit_digest, act.at)
    entries.append(model_use.state_entry(new, officers))
    queued = desk.store.set_model_status(new, was=case.was, act=act, entries=entries)
    for analysis_id in queued:
        services.queue.analyse(analysis_id)
    return Signed(new, True, given, needed, queued)


def _pending(
    desk: GovernanceDesk, policy: GovernancePolicy, model_version: str, was: ModelStatus | None
) -> Sequence[Pending]:
    found = []
    for record in desk.store.audits(model_version):
        try:
            case = _Case(model_version, was, read_record(record), policy)
        except AuditDataError:
            continue  # nothing can be signed under it
        for act in (Act.RELEASE, Act.OVERRIDE, Act.RESUME):
            signed = counted(desk, case.question(act), policy)
            if signed:
                needed = max(policy.approvals[act], _overriding(case) if act is Act.OVERRIDE else 1)
                found.append(Pending(act, record.digest, [each.username for each in signed], needed))
    return found
