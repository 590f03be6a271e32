"""Analyses: claimed, run, ended, stored and read."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from governance.errors import ModelNotInUseError
from plugin.adapters.sql_governance import is_released
from plugin.adapters.sql_journal import record_within
from plugin.adapters.sql_outbox import add_delivery
from plugin.adapters.sql_records import (
    analysis_of,
    result_json,
    step_of,
)
from plugin.adapters.sql_schema import analyses, artefacts, steps
from plugin.adapters.sql_session import SqlSession
from plugin.errors import LeaseLostError
from plugin.services.values import (
    Analysis,
    AnalysisResult,
    AnalysisState,
    Artefact,
    DeliveryKind,
    Patient,
    Step,
    StepRecord,
)

ABOUT = (analyses.c.patient, analyses.c.accession_number, analyses.c.study_date, analyses.c.study_description)
"""Whose study it is and what it is called."""


class SqlAnalyses(SqlSession):
    """Analyses, their steps and their files."""

    def claim(self, analysis_id: str, *, owner: str, now: datetime, lease: timedelta) -> Analysis | None:
        """Take a queued analysis, or one whose worker's lease has run out; None when another worker holds it."""
        with self._engine.begin() as connection:
            taken = connection.execute(
                update(analyses)
                .where(analyses.c.id == analysis_id, _is_due(now))
                .values(
                    state=AnalysisState.RUNNING,
                    owner=owner,
                    lease_until=now + lease,
                    attempt=analyses.c.attempt + 1,
                    hinted_at=None,
                    updated_at=now,
                )
            )
            return _get(connection, analysis_id) if taken.rowcount else None

    def renew(self, analysis_id: str, *, owner: str, now: datetime, lease: timedelta) -> bool:
        """Say that the owner still works on it; False when it has lost the claim."""
        with self._engine.begin() as connection:
            return bool(
                connection.execute(
                    update(analyses)
                    .where(analyses.c.id == analysis_id, analyses.c.owner == owner)
                    .values(lease_until=now + lease)
                ).rowcount
            )

    def release(self, analysis_id: str, *, owner: str, now: datetime, retry_at: datetime, reason: str) -> None:
        """Give an analysis back to the queue, to run again at retry_at."""
        with self._engine.begin() as connection:
            connection.execute(
                update(analyses)
                .where(analyses.c.id == analysis_id, analyses.c.owner == owner)
                .values(
                    state=AnalysisState.QUEUED,
                    owner=None,
                    lease_until=None,
                    due_at=retry_at,
                    hinted_at=None,
                    reason=reason,
                    updated_at=now,
                )
            )

    def start_step(self, analysis_id: str, step: Step, *, now: datetime) -> None:
        """Record that a step begins."""
        with self._engine.begin() as connection:
            _add_step(connection, analysis_id, step, now)
            connection.execute(
                update(analyses).where(analyses.c.id == analysis_id).values(step=step, progress=0.0, updated_at=now)
            )

    def finish_step(self, analysis_id: str, step: Step, *, now: datetime) -> None:
        """Record that a step is done."""
        last = select(func.max(steps.c.id)).where(steps.c.analysis_id == analysis_id, steps.c.step == step)
        with self._engine.begin() as connection:
            connection.execute(update(steps).where(steps.c.id == last.scalar_subquery()).values(finished_at=now))
            connection.execute(
                update(analyses).where(analyses.c.id == analysis_id).values(progress=1.0, updated_at=now)
            )

    def set_progress(self, analysis_id: str, fraction: float, *, now: datetime) -> None:
        """Record how far the current step is."""
        with self._engine.begin() as connection:
            connection.execute(
                update(analyses).where(analyses.c.id == analysis_id).values(progress=fraction, updated_at=now)
            )

    def identify(
        self,
        analysis_id: str,
        *,
        study_instance_uid: str,
        work_key: str,
        model_version: str,
        patient: Patient,
        accession_number: str | None,
        study_date: str | None,
        study_description: str | None,
        now: datetime,
    ) -> str | None:
        """Fix what the analysis is about, or find the analysis that has the same work key."""
        about = {
            "study_instance_uid": study_instance_uid,
            "model_version": model_version,
            "patient": asdict(patient),
            "accession_number": accession_number,
            "study_date": study_date,
            "study_description": study_description,
            "updated_at": now,
        }
        this = analyses.c.id == analysis_id
        try:
            with self._engine.begin() as connection:
                connection.execute(update(analyses).where(this).values(work_key=work_key, **about))
        except IntegrityError:
            with self._engine.begin() as connection:
                connection.execute(update(analyses).where(this).values(**about))
                other = select(analyses.c.id).where(analyses.c.work_key == work_key)
                return str(connection.execute(other).scalar_one())
        return None

    def finish(
        self,
        analysis_id: str,
        state: AnalysisState,
        *,
        reason_code: str,
        reason: str,
        now: datetime,
        duplicate_of: str | None = None,
    ) -> None:
        """End an analysis without a result; its work key is free for another try."""
        with self._engine.begin() as connection:
            ended = connection.execute(
                update(analyses)
                .where(analyses.c.id == analysis_id)
                .values(
                    state=state,
                    reason_code=reason_code,
                    reason=reason,
                    duplicate_of=duplicate_of,
                    work_key=None,
                    owner=None,
                    lease_until=None,
                    finished_at=now,
                    updated_at=now,
                )
                .returning(analyses.c.model_version)
            ).all()
            entries = [
                self._journal.not_analysed(
                    analysis_id=analysis_id,
                    state=state,
                    reason_code=reason_code,
                    reason=reason,
                    duplicate_of=duplicate_of,
                    model_version=row.model_version,
                    at=now,
                )
                for row in ended
            ]
            record_within(connection, entries)

    def save_result(
        self,
        analysis_id: str,
        *,
        owner: str,
        result: AnalysisResult,
        artefacts: Sequence[Artefact],
        deliveries: Sequence[tuple[DeliveryKind, str]],
        now: datetime,
    ) -> None:
        """Store the result and the intent to tell PACS and EHR, together.

        Raises:
            LeaseLostError: Another worker has taken the analysis over; nothing is stored.
            ModelNotInUseError: The model was halted meanwhile; nothing is stored.
        """
        stored, files = result_json(result), [(each.name, each.media_type, each.digest) for each in artefacts]
        with self._engine.begin() as connection:
            saved = connection.execute(
                update(analyses)
                .where(analyses.c.id == analysis_id, analyses.c.owner == owner)
                .values(
                    state=AnalysisState.PUBLISHING,
                    step=Step.DELIVER,
                    progress=0.0,
                    reason_code=None,
                    reason=None,
                    result=stored,
                    owner=None,
                    lease_until=None,
                    updated_at=now,
                )
                .returning(analyses.c.study_instance_uid, analyses.c.model_version, *ABOUT)
            ).first()
            if saved is None:
                raise LeaseLostError(
                    f"Analysis {analysis_id} was taken over by another worker; this result is dropped."
                )
            if not is_released(connection, saved.model_version):
                raise ModelNotInUseError(
                    "The model was halted while this study was analysed: the result is dropped, and the study is "
                    "analysed again when the model may run."
                )
            _add_artefacts(connection, analysis_id, artefacts)
            _add_step(connection, analysis_id, Step.DELIVER, now)
            for kind, destination in deliveries:
                add_delivery(connection, analysis_id, kind, destination, now)
            entry = self._journal.analysed(
                analysis_id=analysis_id,
                study_instance_uid=saved.study_instance_uid,
                model_version=saved.model_version,
                about=saved[2:],
                result=stored,
                artefacts=files,
                at=now,
            )
            record_within(connection, [entry])

    def get(self, analysis_id: str) -> Analysis | None:
        """One analysis."""
        with self._reading() as connection:
            return _get(connection, analysis_id)

    def list_analyses(
        self, *, states: Sequence[AnalysisState] | None, limit: int, offset: int = 0, text: str = ""
    ) -> Sequence[Analysis]:
        """The newest first; text matches patient id, accession number, study UID or description."""
        query = select(analyses).order_by(analyses.c.created_at.desc(), analyses.c.id).limit(limit).offset(offset)
        if states is not None:
            query = query.where(analyses.c.state.in_(list(states)))
        if text:
            searched: list[ColumnElement[str]] = [
                analyses.c.patient["patient_id"].as_string(),
                analyses.c.patient["name"].as_string(),
                analyses.c.accession_number,
                analyses.c.study_instance_uid,
                analyses.c.study_description,
            ]
            query = query.where(or_(*(column.icontains(text, autoescape=True) for column in searched)))
        return [analysis_of(row) for row in self._rows(query)]

    def latest_for_study(self, study_instance_uid: str) -> Analysis | None:
        """The newest analysis of a study that is not a duplicate."""
        query = (
            select(analyses)
            .where(analyses.c.study_instance_uid == study_instance_uid, analyses.c.state != AnalysisState.DUPLICATE)
            .order_by(analyses.c.created_at.desc())
            .limit(1)
        )
        return next((analysis_of(row) for row in self._rows(query)), None)

    def count_by_state(self) -> Mapping[AnalysisState, int]:
        """How many analyses are in each state."""
        query = select(analyses.c.state, func.count().label("number")).group_by(analyses.c.state)
        return {AnalysisState(row["state"]): row["number"] for row in self._rows(query)}

    def steps(self, analysis_id: str) -> Sequence[StepRecord]:
        """In the order they began."""
        query = select(steps).where(steps.c.analysis_id == analysis_id).order_by(steps.c.id)
        return [step_of(row) for row in self._rows(query)]

    def artefact(self, analysis_id: str, name: str) -> Artefact | None:
        """One stored file."""
        query = select(artefacts).where(artefacts.c.analysis_id == analysis_id, artefacts.c.name == name)
        rows = self._rows(query)
        return Artefact(rows[0]["name"], rows[0]["media_type"], rows[0]["content"]) if rows else None

    def stalled(self, *, now: datetime) -> Sequence[str]:
        """Analyses that are due, that no live worker holds and that no worker was told of lately."""
        waiting = (
            update(analyses)
            .where(_is_due(now), self._is_unhinted(analyses.c.hinted_at, now))
            .values(hinted_at=now)
            .returning(analyses.c.id)
        )
        with self._engine.begin() as connection:
            return list(connection.execute(waiting).scalars())


def _is_due(now: datetime) -> ColumnElement[bool]:
    return or_(
        and_(analyses.c.state == AnalysisState.QUEUED, analyses.c.due_at <= now),
        and_(analyses.c.state == AnalysisState.RUNNING, analyses.c.lease_until < now),
    )


def _get(connection: Connection, analysis_id: str) -> Analysis | None:
    row = connection.execute(select(analyses).where(analyses.c.id == analysis_id)).mappings().first()
    return analysis_of(dict(row)) if row else None


def _add_step(connection: Connection, analysis_id: str, step: Step, now: datetime) -> None:
    attempt = select(analyses.c.attempt).where(analyses.c.id == analysis_id).scalar_subquery()
    connection.execute(insert(steps).values(analysis_id=analysis_id, step=step, attempt=attempt, started_at=now))


def _add_artefacts(connection: Connection, analysis_id: str, files: Sequence[Artefact]) -> None:
    connection.execute(delete(artefacts).where(artefacts.c.analysis_id == analysis_id))
    if not files:
        return
    connection.execute(
        insert(artefacts),
        [
            {"analysis_id": analysis_id, "name": file.name, "media_type": file.media_type, "content": file.content}
            for file in files
        ],
    )
