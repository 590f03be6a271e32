"""Whether a model may be used: asked before each inference, and ended without an officer when monitoring says so."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from governance.canonical import Canonical
from governance.decisions import Decision
from governance.errors import AuditDataError, ModelNotInUseError, PolicyError, ReleaseError
from governance.ledger.entries import Entry
from governance.policy import GovernancePolicy
from plugin.services.governance.audit_record import read_record
from plugin.services.governance.desk import GovernanceDesk
from plugin.services.governance.journal import model_state_key
from plugin.services.governance.values import ModelState, ModelStatus
from plugin.services.ports import Services
from plugin.services.values import AnalysisState

RELEASED, BY_OVERRIDE, HALTED_BY_OFFICER = "released", "released-by-override", "halted-by-officer"
RESUMED, RESUMED_BY_OVERRIDE = "resumed", "resumed-by-override"
_OVERRIDES: Final = (BY_OVERRIDE, RESUMED_BY_OVERRIDE)
_ATTEMPTS: Final = 5


def check_in_use(desk: GovernanceDesk, model_version: str) -> None:
    """Check that a model may be used now.

    Raises:
        ModelNotInUseError: It is not released, is halted, or what its release rests on has run out; in words for a
            radiologist.
    """
    why = why_not(desk, desk.store.model_status(model_version))
    if why:
        raise ModelNotInUseError(why)


def halt_model(
    desk: GovernanceDesk,
    *,
    model_version: str,
    reason_code: str,
    reason: str,
    decisions: Sequence[Decision],
    at: datetime,
) -> bool:
    """Stop a model without an officer: the same transaction records the state, that it halted, and why.

    Args:
        desk: Of governance.
        model_version: Of the model.
        reason_code: E.g. "bias".
        reason: A sentence for people; names no person.
        decisions: That led to it, recorded beside it.
        at: When.

    Returns:
        Whether it was in use, and is halted by this.

    Raises:
        ReleaseError: The state changes faster than it can be read.
    """
    for _ in range(_ATTEMPTS):
        was = desk.store.model_status(model_version)
        if was is None or was.state is not ModelState.RELEASED:
            return False
        since = after(was, at)
        halted = ModelStatus(model_version, ModelState.HALTED, reason_code, reason, was.audit_digest, since)
        try:
            desk.store.set_model_status(halted, was=was, entries=[*decided(decisions, at), state_entry(halted, [])])
        except ReleaseError:
            continue  # an officer was quicker: look again
        return True
    raise ReleaseError("The model's state keeps changing: it could not be halted.")


def requeue_halted(services: Services) -> Sequence[str]:
    """Queue what still waits for a model that is in use: a study that was halted just when the model was released.

    Returns:
        Ids of the analyses.
    """
    desk, queued = services.governance, list[str]()
    if not services.store.count_by_state().get(AnalysisState.HALTED):
        return queued
    for status in desk.store.model_statuses():
        if not why_not(desk, status):
            queued += desk.store.requeue_halted(status.model_version, now=services.clock())
    for analysis_id in queued:
        services.queue.analyse(analysis_id)
    return queued


def why_not(desk: GovernanceDesk, status: ModelStatus | None) -> str:
    """Why a model may not be used, for a radiologist; empty when it may."""
    if status is None or status.state is ModelState.UNRELEASED:
        return (
            "The model has not been released for use here. The study waits, and is analysed when officers release the "
            "model (`qfl governance release`)."
        )
    if status.state is ModelState.HALTED:
        return (
            f"The model was halted on {status.since:%Y-%m-%d %H:%M} UTC: {status.reason} The study waits, and is "
            "analysed when officers let the model run again (`qfl governance resume`)."
        )
    try:
        until = holds_until(desk, desk.policy(), status)
    except PolicyError:
        return "The governance policy cannot be used, so no model may run. The study waits until officers set a policy."
    except AuditDataError:
        return "The audit that the model's release rests on is missing or was changed. The study waits for it."
    if desk.clock() > until:
        return (
            f"What the model's release rests on held until {until:%Y-%m-%d}. The study waits until the model is "
            "audited and released again (`qfl governance audit`, `qfl governance release`)."
        )
    return ""


def holds_until(desk: GovernanceDesk, policy: GovernancePolicy, status: ModelStatus) -> datetime:
    """When the audit, or the override, that a model's state rests on ends to hold.

    Raises:
        AuditDataError: There is no audit, or it was changed.
    """
    record = desk.store.audit(status.audit_digest or "")
    if record is None:
        raise AuditDataError("The audit that the model's release rests on is missing.")
    begun = read_record(record).facts.at
    if status.reason_code in _OVERRIDES:
        begun = status.since
    return begun + timedelta(days=policy.audit.interval_days)


def after(was: ModelStatus | None, at: datetime) -> datetime:
    """A time that is not before the state that is changed, whatever the clock says: signatures are bound to it."""
    return max(at, was.since + timedelta(microseconds=1)) if was else at


def decided(decisions: Sequence[Decision], at: datetime) -> list[Entry]:
    """The ledger's entries of decisions."""
    return [Entry("decision-made", at, each.facts) for each in decisions]


def state_entry(status: ModelStatus, officers: Sequence[str]) -> Entry:
    """The ledger's entry of a new state of a model.

    Args:
        status: The new state.
        officers: Keyed digests of who signed it; none where it halted by itself.
    """
    facts: dict[str, Canonical] = {
        "model": status.model_version,
        "reason": status.reason_code,
        "audit": status.audit_digest,
        "officers": list(officers),
    }
    kind = "model-released"
    if status.state is ModelState.HALTED:
        kind = "model-halted"
    elif status.reason_code in (RESUMED, RESUMED_BY_OVERRIDE):
        kind = "model-resumed"
    return Entry(kind, status.since, facts, model_state_key(status.model_version, status.since))


def text_of(at: datetime) -> str:
    """A time as it is signed."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")
