"""What governance needs kept. Each method is one transaction, and its ledger entries commit with it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from governance.ledger.entries import Entry
from plugin.services.governance.values import (
    AuditRecord,
    GovernanceReport,
    ModelStatus,
    Observation,
    Officer,
    SignedAct,
)


class GovernanceStore(Protocol):
    """Officers, their acts, the models' states, audits, observations, reports and policies."""

    # Officers and acts
    def save_officer(self, officer: Officer, *, act: SignedAct, entries: Sequence[Entry]) -> None:
        """Add an officer, or replace or revoke the key, with the act that does it."""

    def officer(self, username: str) -> Officer | None:
        """One officer."""

    def officers(self) -> Sequence[Officer]:
        """All of them, by username."""

    def acts(self, subject: str | None = None) -> Sequence[SignedAct]:
        """Acts on a subject, or all, in their order."""

    def add_act(self, act: SignedAct, *, entries: Sequence[Entry]) -> None:
        """Keep an act that changes no model's state by itself."""

    # Models
    def model_status(self, model_version: str) -> ModelStatus | None:
        """Where a model stands; None of one that was never released."""

    def model_statuses(self) -> Sequence[ModelStatus]:
        """Of all models."""

    def set_model_status(
        self, status: ModelStatus, *, was: ModelStatus | None, entries: Sequence[Entry], act: SignedAct | None = None
    ) -> Sequence[str]:
        """Change a model's state, with the act that does it and its entries, all or none.

        Args:
            status: The new one.
            was: What the change starts from, as model_status told.
            entries: Of the ledger.
            act: That does it.

        Returns:
            Ids of the analyses that waited for the model and are queued again, when it may run again.

        Raises:
            ReleaseError: Somebody else has changed the state meanwhile; nothing is done.
        """

    def requeue_halted(self, model_version: str, *, now: datetime) -> Sequence[str]:
        """Queue the analyses that wait for a model, if it is released; gives their ids."""

    # Audits
    def save_audit(self, audit: AuditRecord, *, entries: Sequence[Entry]) -> None:
        """Keep an audit; one that is there stays as it is."""

    def audit(self, digest: str) -> AuditRecord | None:
        """One audit."""

    def audits(self, model_version: str | None = None) -> Sequence[AuditRecord]:
        """The newest first."""

    # Monitoring
    def add_observation(self, observation: Observation) -> None:
        """Keep an observation; one of the same analysis is replaced."""

    def observations(self, model_version: str, *, limit: int) -> Sequence[Observation]:
        """The newest ones, oldest first."""

    # Reports and policies
    def save_report(self, report: GovernanceReport, *, entries: Sequence[Entry], once: bool = False) -> bool:
        """Keep a report; with `once`, unless there is one of its kind and period. Says whether it was kept."""

    def report(self, digest: str) -> GovernanceReport | None:
        """One report."""

    def reports(self, *, limit: int) -> Sequence[GovernanceReport]:
        """The newest first."""

    def policy_text(self) -> str | None:
        """The policy in force, as YAML; None where none was ever set: then the one that is shipped is in force."""

    def set_policy(
        self, text: str, *, digest: str, at: datetime, acts: Sequence[SignedAct], entries: Sequence[Entry]
    ) -> None:
        """Put a policy in force."""
