"""A GovernanceStore in memory, beside the analyses and the ledger that share its database; and the desk around it."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from governance.errors import ReleaseError
from governance.ledger import log
from governance.ledger.entries import Entry
from governance.policy import Act
from plugin.services.governance.audit_record import record_of
from plugin.services.governance.desk import GovernanceDesk
from plugin.services.governance.policy_text import default_policy_text, parse_policy_text
from plugin.services.governance.values import (
    AuditRecord,
    GovernanceReport,
    ModelState,
    ModelStatus,
    Observation,
    Officer,
    SignedAct,
)
from plugin.services.ledger import Ledger
from tests.fakes.analysis_store import InMemoryStore
from tests.fakes.audits import audit_document
from tests.fakes.ledger_store import ORIGIN, InMemoryLedger

DIGEST_KEY = b"a hospital's own key of digests."


@dataclass
class InMemoryGovernance:
    """GovernanceStore; each method is one transaction, under the lock.

    Attributes:
        analyses: Share the models' states with it.
        ledger: Gets the entries.
    """

    analyses: InMemoryStore = field(default_factory=InMemoryStore)
    ledger: InMemoryLedger = field(default_factory=lambda: InMemoryLedger(origin=ORIGIN))

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._officers: dict[str, Officer] = {}
        self._acts: list[SignedAct] = []
        self._audits: dict[str, AuditRecord] = {}
        self._observations: dict[str, Observation] = {}
        self._reports: dict[str, GovernanceReport] = {}
        self._policies: list[str] = []

    # Officers and acts

    def save_officer(self, officer: Officer, *, act: SignedAct, entries: Sequence[Entry]) -> None:
        with self._lock:
            self._record(entries)
            self._officers[officer.username] = officer
            self._acts.append(act)

    def officer(self, username: str) -> Officer | None:
        with self._lock:
            return self._officers.get(username)

    def officers(self) -> Sequence[Officer]:
        with self._lock:
            return [self._officers[name] for name in sorted(self._officers)]

    def acts(self, subject: str | None = None) -> Sequence[SignedAct]:
        with self._lock:
            return [each for each in self._acts if subject in (None, each.subject)]

    def add_act(self, act: SignedAct, *, entries: Sequence[Entry]) -> None:
        with self._lock:
            self._record(entries)
            self._acts.append(act)

    # Models

    def model_status(self, model_version: str) -> ModelStatus | None:
        with self._lock:
            return self.analyses.model_states.get(model_version)

    def model_statuses(self) -> Sequence[ModelStatus]:
        with self._lock:
            return sorted(self.analyses.model_states.values(), key=lambda each: each.since, reverse=True)

    def set_model_status(
        self, status: ModelStatus, *, was: ModelStatus | None, entries: Sequence[Entry], act: SignedAct | None = None
    ) -> Sequence[str]:
        with self._lock:
            now = self.analyses.model_states.get(status.model_version)
            if _moment(now) != _moment(was):
                raise ReleaseError("the model's state has changed meanwhile")
            self._record(entries)
            self.analyses.model_states[status.model_version] = status
            if act is not None:
                self._acts.append(act)
            if status.state is not ModelState.RELEASED:
                return []
            return self.analyses.requeue_halted(status.model_version, now=status.since)

    def requeue_halted(self, model_version: str, *, now: datetime) -> Sequence[str]:
        with self._lock:
            is_released = self.analyses.is_released(model_version)
            return self.analyses.requeue_halted(model_version, now=now) if is_released else []

    # Audits

    def save_audit(self, audit: AuditRecord, *, entries: Sequence[Entry]) -> None:
        with self._lock:
            if audit.digest not in self._audits:
                self._record(entries)
                self._audits[audit.digest] = audit

    def audit(self, digest: str) -> AuditRecord | None:
        with self._lock:
            return self._audits.get(digest)

    def audits(self, model_version: str | None = None) -> Sequence[AuditRecord]:
        with self._lock:
            found = [each for each in self._audits.values() if model_version in (None, each.model_version)]
        return sorted(found, key=lambda each: each.at, reverse=True)

    # Monitoring

    def add_observation(self, observation: Observation) -> None:
        with self._lock:
            self._observations[observation.analysis_id] = observation

    def observations(self, model_version: str, *, limit: int) -> Sequence[Observation]:
        with self._lock:
            found = [each for each in self._observations.values() if each.model_version == model_version]
        newest = sorted(sorted(found, key=lambda each: each.analysis_id), key=lambda each: each.at, reverse=True)
        return newest[:limit][::-1]

    # Reports and policies

    def save_report(self, report: GovernanceReport, *, entries: Sequence[Entry], once: bool = False) -> bool:
        with self._lock:
            known = [(each.kind, each.period) for each in self._reports.values()]
            if once and (report.kind, report.period) in known:
                return False
            self._record(entries)
            self._reports[report.digest] = report
            return True

    def report(self, digest: str) -> GovernanceReport | None:
        with self._lock:
            return self._reports.get(digest)

    def reports(self, *, limit: int) -> Sequence[GovernanceReport]:
        with self._lock:
            return sorted(self._reports.values(), key=lambda each: each.at, reverse=True)[:limit]

    def policy_text(self) -> str | None:
        with self._lock:
            return self._policies[-1] if self._policies else None

    def set_policy(
        self, text: str, *, digest: str, at: datetime, acts: Sequence[SignedAct], entries: Sequence[Entry]
    ) -> None:
        with self._lock:
            self._record(entries)
            self._policies.append(text)
            self._acts += acts

    # Tampering

    def put_policy(self, text: str) -> None:
        """What somebody with the database can do."""
        self._policies.append(text)

    def put_act(self, act: SignedAct) -> None:
        """What somebody with the database can do."""
        self._acts.append(act)

    def put_officer(self, officer: Officer) -> None:
        """What somebody with the database can do."""
        self._officers[officer.username] = officer

    def put_audit(self, audit: AuditRecord) -> None:
        """What somebody with the database can do."""
        self._audits[audit.digest] = audit

    def kinds(self) -> list[str]:
        """The kinds of the ledger's entries, in their order."""
        return [row.kind for row in self.ledger.rows()]

    def _record(self, entries: Sequence[Entry]) -> None:
        if entries:
            log.append(self.ledger, entries)


def a_desk(store: InMemoryGovernance, clock: Callable[[], datetime]) -> GovernanceDesk:
    """The desk of a hospital on fakes."""
    no_files: Any = None  # nothing is signed by the log itself
    return GovernanceDesk(store, lambda: DIGEST_KEY, clock, Ledger(store.ledger, no_files, ORIGIN, clock))


def release_up_front(store: Any, model_version: str, *, at: datetime) -> None:
    """Put a model in use under an audit that passed, as officers would have done before a test begins.

    Args:
        store: A GovernanceStore.
        model_version: Of the model.
        at: When it was audited and released.
    """
    policy = parse_policy_text(default_policy_text())
    record = record_of(audit_document(model_version, policy.digest, at=at))
    store.save_audit(record, entries=[])
    status = ModelStatus(model_version, ModelState.RELEASED, "released", "Released before the test.", record.digest, at)
    store.set_model_status(status, was=None, entries=[])


def acts_of(store: InMemoryGovernance, act: Act) -> Sequence[SignedAct]:
    """The acts of one kind."""
    return [each for each in store.acts() if each.act is act]


def _moment(status: ModelStatus | None) -> tuple[ModelState, datetime] | None:
    return None if status is None else (status.state, status.since)
