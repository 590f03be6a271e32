"""What the pages and metrics show of a model's governance: its state, its audit, the watch over it, the records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from governance.audit import AuditReport, parse_audit
from governance.errors import AuditDataError, MonitoringDataError, NoteError, PolicyError
from governance.ledger.checkpoint import parse_checkpoint
from governance.ledger.entries import Entry
from governance.monitoring.budget import share_out
from governance.monitoring.cases import Stream
from governance.monitoring.drift import Drift, find_drift
from governance.monitoring.fairness import ACCEPTANCE, Score, score_at
from governance.monitoring.judging import Findings, rule_of
from governance.monitoring.rates import Rate, rate_at
from governance.policy import GovernancePolicy
from plugin.services.governance import monitoring, release
from plugin.services.governance.desk import GovernanceDesk
from plugin.services.governance.release import Standing
from plugin.services.governance.values import ModelStatus, SignedAct
from plugin.services.ports import Services
from plugin.services.values import AnalysisState

MOST_POINTS: Final = 12
"""Of a line over the reviewed cases."""
_LAST_ENTRIES: Final = 300
_LAST_DECISIONS: Final = 12
_LAST_ACTS: Final = 10


@dataclass(frozen=True)
class Course:
    """How what is watched has developed since the release.

    Attributes:
        looks: Numbers of reviewed cases.
        scores: By attribute, at each look.
        rejections: At each look.
    """

    looks: tuple[int, ...]
    scores: Mapping[str, tuple[Score, ...]]
    rejections: tuple[Rate, ...]
    drift: Drift


@dataclass(frozen=True)
class Overview:
    """A model's governance at one moment.

    Attributes:
        audit: That the release rests on, else the newest; None without one, or where it was changed.
        findings: What the rules say now; None where they cannot judge, for the reason that fault says.
        waiting: Studies that are halted, not analysed.
        decisions: The last ones, the newest first.
        acts: Of officers, the newest first.
        ledger_size: Entries.
        signed_size: Entries that the last checkpoint covers, and when it was signed.
    """

    standing: Standing
    audit: AuditReport | None
    audit_digest: str | None
    findings: Findings | None
    fault: str
    waiting: int
    decisions: Sequence[Entry]
    acts: Sequence[SignedAct]
    ledger_size: int
    signed_size: int
    policy: GovernancePolicy


def models(desk: GovernanceDesk) -> Sequence[str]:
    """The models that governance knows, the one whose state changed last first."""
    known = [each.model_version for each in desk.store.model_statuses()]
    return list(dict.fromkeys([*known, *(each.model_version for each in desk.store.audits())]))


def overview(services: Services, model_version: str) -> Overview:
    """Everything about a model's governance.

    Raises:
        PolicyError: There is no usable policy.
    """
    desk = services.governance
    standing = release.status(desk, model_version)
    record = standing.audit or standing.newest_audit
    findings, fault = _findings(services, standing.status)
    size, signed_size, entries = _ledger(desk)
    return Overview(
        standing=standing,
        audit=_audit(record.document) if record else None,
        audit_digest=record.digest if record else None,
        findings=findings,
        fault=fault,
        waiting=services.store.count_by_state().get(AnalysisState.HALTED, 0),
        decisions=[each for each in reversed(entries) if each.kind == "decision-made"][:_LAST_DECISIONS],
        acts=list(reversed(desk.store.acts()))[:_LAST_ACTS],
        ledger_size=size,
        signed_size=signed_size,
        policy=desk.policy(),
    )


def course(services: Services, status: ModelStatus) -> Course:
    """How what is watched has developed.

    Raises:
        MonitoringDataError, PolicyError: As monitoring.watch_model.
    """
    policy = services.governance.policy()
    stream, _ = monitoring.stream_of(services, status)
    looks = _looks(len(stream.reviewed))
    budget = share_out(policy)
    rule = rule_of(policy, budget, ACCEPTANCE)
    rejected = [not case.accepted for case in stream.reviewed]
    return Course(
        looks=looks,
        scores={name: score_at(stream.reviewed, name, ACCEPTANCE, rule, looks) for name in policy.fairness.attributes},
        rejections=rate_at(rejected, looks, alpha=budget.rejections, window=policy.monitoring.window),
        drift=find_drift(stream.analysed, limit=policy.monitoring.drift_limit),
    )


def stamp(services: Services, status: ModelStatus) -> tuple[Any, ...]:
    """Changes when a course does.

    Raises:
        MonitoringDataError, PolicyError: As course.
    """
    stream: Stream = monitoring.stream_of(services, status)[0]
    policy = services.governance.policy().digest
    return status.model_version, status.since, len(stream.reviewed), len(stream.analysed), policy


def state_notice(desk: GovernanceDesk) -> tuple[ModelStatus, str] | None:
    """The model whose state changed last and why it may not be used; None where it may, or none is known."""
    statuses = desk.store.model_statuses()
    if not statuses:
        return None
    why = release.status(desk, statuses[0].model_version).why_not
    return (statuses[0], why) if why else None


def _findings(services: Services, status: ModelStatus) -> tuple[Findings | None, str]:
    try:
        return monitoring.look_at(services, status), ""
    except (MonitoringDataError, PolicyError) as fault:
        return None, str(fault)


def _audit(document: bytes) -> AuditReport | None:
    try:
        return parse_audit(document)
    except AuditDataError:
        return None


def _ledger(desk: GovernanceDesk) -> tuple[int, int, Sequence[Entry]]:
    """How many entries there are, how many are signed, and the last ones."""
    with desk.ledger.store.snapshot() as view:
        size, note = view.size, view.last_checkpoint()
    entries = [entry for _, entry in desk.ledger.last(_LAST_ENTRIES)]
    try:
        return size, parse_checkpoint(note).head.size if note else 0, entries
    except NoteError:
        return size, 0, entries


def _looks(reviewed: int) -> tuple[int, ...]:
    """At most MOST_POINTS even numbers of cases, up to now; the first ones stay where they are for a while."""
    if reviewed == 0:
        return ()
    step = max(5, -(-reviewed // (MOST_POINTS - 1)))
    step = -(-step // 5) * 5
    return tuple(dict.fromkeys([*range(step, reviewed, step), reviewed]))
