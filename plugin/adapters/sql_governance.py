"""GovernanceStore in SQL. Each method is one transaction, with its entries of the ledger in it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, and_, insert, select, update
from sqlalchemy.exc import IntegrityError

from governance.errors import ReleaseError
from governance.ledger.entries import Entry
from governance.policy import Act
from plugin.adapters import sql_engine
from plugin.adapters.sql_journal import record_within
from plugin.adapters.sql_schema import (
    analyses,
    audits,
    governance_reports,
    model_states,
    observations,
    officer_acts,
    officers,
    policies,
)
from plugin.services.governance.values import (
    AuditRecord,
    GovernanceReport,
    ModelState,
    ModelStatus,
    Observation,
    Officer,
    SignedAct,
)
from plugin.services.values import AnalysisState


class SqlGovernance:
    """Officers, acts, states of models, audits, observations, reports and policies."""

    def __init__(self, engine: Engine) -> None:
        """Use an engine; nothing is connected yet."""
        self._engine = engine

    # Officers and acts

    def save_officer(self, officer: Officer, *, act: SignedAct, entries: Sequence[Entry]) -> None:
        """Add an officer, or replace or revoke the key, with the act that does it."""
        values = {
            "public_key": officer.public_key,
            "encrypted_key": officer.encrypted_key,
            "enrolled_at": officer.enrolled_at,
            "revoked_at": officer.revoked_at,
        }
        with self._engine.begin() as connection:
            _replace(connection, officers, {"username": officer.username}, values)
            _add_act(connection, act)
            record_within(connection, entries)

    def officer(self, username: str) -> Officer | None:
        """One officer."""
        rows = self._rows(select(officers).where(officers.c.username == username))
        return Officer(**rows[0]) if rows else None

    def officers(self) -> Sequence[Officer]:
        """All of them, by username."""
        return [Officer(**row) for row in self._rows(select(officers).order_by(officers.c.username))]

    def acts(self, subject: str | None = None) -> Sequence[SignedAct]:
        """Acts on a subject, or all, in their order."""
        query = select(officer_acts).order_by(officer_acts.c.id)
        if subject is not None:
            query = query.where(officer_acts.c.subject == subject)
        return [_act_of(row) for row in self._rows(query)]

    def add_act(self, act: SignedAct, *, entries: Sequence[Entry]) -> None:
        """Keep an act that changes no model's state by itself."""
        with self._engine.begin() as connection:
            _add_act(connection, act)
            record_within(connection, entries)

    # Models

    def model_status(self, model_version: str) -> ModelStatus | None:
        """Where a model stands; None of one that was never released."""
        rows = self._rows(select(model_states).where(model_states.c.model_version == model_version))
        return _status_of(rows[0]) if rows else None

    def model_statuses(self) -> Sequence[ModelStatus]:
        """Of all models."""
        return [_status_of(row) for row in self._rows(select(model_states).order_by(model_states.c.since.desc()))]

    def set_model_status(
        self, status: ModelStatus, *, was: ModelStatus | None, entries: Sequence[Entry], act: SignedAct | None = None
    ) -> Sequence[str]:
        """Change a model's state, with the act that does it and its entries, all or none."""
        values = {
            "state": status.state,
            "reason_code": status.reason_code,
            "reason": status.reason,
            "audit_digest": status.audit_digest,
            "since": status.since,
        }
        with self._engine.begin() as connection:
            _change_state(connection, status.model_version, values, was)
            if act is not None:
                _add_act(connection, act)
            waiting: Sequence[str] = []
            if status.state is ModelState.RELEASED:
                waiting = _requeue(connection, status.model_version, status.since)
            record_within(connection, entries)
        return waiting

    def requeue_halted(self, model_version: str, *, now: datetime) -> Sequence[str]:
        """Queue the analyses that wait for a model, if it is released."""
        if not self._rows(select(analyses.c.id).where(_waits_for(model_version)).limit(1)):
            return []
        with self._engine.begin() as connection:
            return _requeue(connection, model_version, now) if is_released(connection, model_version) else []

    # Audits

    def save_audit(self, audit: AuditRecord, *, entries: Sequence[Entry]) -> None:
        """Keep an audit; one that is there stays as it is."""
        with self._engine.begin() as connection:
            if connection.execute(select(audits.c.digest).where(audits.c.digest == audit.digest)).first() is None:
                connection.execute(insert(audits).values(**_fields(audit)))
                record_within(connection, entries)

    def audit(self, digest: str) -> AuditRecord | None:
        """One audit."""
        rows = self._rows(select(audits).where(audits.c.digest == digest))
        return AuditRecord(**rows[0]) if rows else None

    def audits(self, model_version: str | None = None) -> Sequence[AuditRecord]:
        """The newest first."""
        query = select(audits).order_by(audits.c.at.desc())
        if model_version is not None:
            query = query.where(audits.c.model_version == model_version)
        return [AuditRecord(**row) for row in self._rows(query)]

    # Monitoring

    def add_observation(self, observation: Observation) -> None:
        """Keep an observation; one of the same analysis is replaced."""
        values = {
            **_fields(observation),
            "groups": dict(observation.groups),
            "features": dict(observation.features),
            "accepted": None if observation.accepted is None else int(observation.accepted),
        }
        key = {"analysis_id": values.pop("analysis_id")}
        with self._engine.begin() as connection:
            _replace(connection, observations, key, values)

    def observations(self, model_version: str, *, limit: int) -> Sequence[Observation]:
        """The newest ones, oldest first."""
        query = (
            select(observations)
            .where(observations.c.model_version == model_version)
            .order_by(observations.c.at.desc(), observations.c.analysis_id)
            .limit(limit)
        )
        return [
            Observation(**{**row, "accepted": None if row["accepted"] is None else bool(row["accepted"])})
            for row in reversed(self._rows(query))
        ]

    # Reports and policies

    def save_report(self, report: GovernanceReport, *, entries: Sequence[Entry], once: bool = False) -> bool:
        """Keep a report; with `once`, unless there is one of its kind and period."""
        values = {**_fields(report), "summary": dict(report.summary)}
        key = {"digest": values.pop("digest")}
        with self._engine.begin() as connection:
            if once and _is_reported(connection, report):
                return False
            _replace(connection, governance_reports, key, values)
            record_within(connection, entries)
        return True

    def report(self, digest: str) -> GovernanceReport | None:
        """One report."""
        rows = self._rows(select(governance_reports).where(governance_reports.c.digest == digest))
        return GovernanceReport(**rows[0]) if rows else None

    def reports(self, *, limit: int) -> Sequence[GovernanceReport]:
        """The newest first."""
        query = select(governance_reports).order_by(governance_reports.c.at.desc()).limit(limit)
        return [GovernanceReport(**row) for row in self._rows(query)]

    def policy_text(self) -> str | None:
        """The policy in force, as YAML; None where none was ever set."""
        rows = self._rows(select(policies.c.text).order_by(policies.c.id.desc()).limit(1))
        return str(rows[0]["text"]) if rows else None

    def set_policy(
        self, text: str, *, digest: str, at: datetime, acts: Sequence[SignedAct], entries: Sequence[Entry]
    ) -> None:
        """Put a policy in force."""
        with self._engine.begin() as connection:
            connection.execute(insert(policies).values(digest=digest, text=text, at=at))
            for act in acts:
                _add_act(connection, act)
            record_within(connection, entries)

    def _rows(self, query: Any) -> list[dict[str, Any]]:
        with self._engine.connect().execution_options(**sql_engine.READ_ONLY) as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


def _replace(connection: Connection, table: Any, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    same = [table.c[name] == value for name, value in key.items()]
    if not connection.execute(update(table).where(*same).values(**values)).rowcount:
        connection.execute(insert(table).values(**key, **values))


def _is_reported(connection: Connection, report: GovernanceReport) -> bool:
    """Whether a report of this kind and period is there; nobody adds one until the transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE governance_reports IN SHARE ROW EXCLUSIVE MODE")
    table = governance_reports
    same = (table.c.kind == report.kind, table.c.period == report.period)
    return connection.execute(select(table.c.digest).where(*same).limit(1)).first() is not None


def _add_act(connection: Connection, act: SignedAct) -> None:
    connection.execute(insert(officer_acts).values(**_fields(act)))


def is_released(connection: Connection, model_version: str | None) -> bool:
    """Whether a model is released, and stays so until the transaction ends."""
    # Held against whoever halts it; SQLite lets one transaction write at a time anyway.
    query = select(model_states.c.state).where(model_states.c.model_version == model_version).with_for_update(read=True)
    return connection.execute(query).scalar() == ModelState.RELEASED


def _change_state(
    connection: Connection, model_version: str, values: Mapping[str, Any], was: ModelStatus | None
) -> None:
    """Change a model's state, if it still is what somebody saw."""
    this = model_states.c.model_version == model_version
    fault = "The model's state has changed meanwhile: look at it, and decide again."
    try:
        if was is None:
            connection.execute(insert(model_states).values(model_version=model_version, **values))
            return
        unchanged = (this, model_states.c.state == was.state, model_states.c.since == was.since)
        if connection.execute(update(model_states).where(*unchanged).values(**values)).rowcount:
            return
    except IntegrityError as conflict:
        raise ReleaseError(fault) from conflict
    raise ReleaseError(fault)


def _waits_for(model_version: str) -> ColumnElement[bool]:
    return and_(analyses.c.state == AnalysisState.HALTED, analyses.c.model_version == model_version)


def _requeue(connection: Connection, model_version: str, now: datetime) -> Sequence[str]:
    """Analyses that waited for this model are to run."""
    waiting = (
        update(analyses)
        .where(_waits_for(model_version))
        .values(
            state=AnalysisState.QUEUED,
            reason_code=None,
            reason=None,
            finished_at=None,
            attempt=0,
            due_at=now,
            hinted_at=now,
            updated_at=now,
        )
        .returning(analyses.c.id)
    )
    return list(connection.execute(waiting).scalars())


def _fields(value: Any) -> dict[str, Any]:
    """A frozen value's fields, not its fields' fields."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _act_of(row: Mapping[str, Any]) -> SignedAct:
    values = {name: value for name, value in row.items() if name != "id"}
    return SignedAct(**{**values, "act": Act(values["act"])})


def _status_of(row: Mapping[str, Any]) -> ModelStatus:
    return ModelStatus(**{**row, "state": ModelState(row["state"])})
