"""Analyses, their outbox, and what belongs to them, in SQLite or PostgreSQL. Each method is one transaction."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from plugin.adapters import sql_engine
from plugin.adapters.sql_records import (
    analysis_of,
    delivery_of,
    event_of,
    result_json,
    review_json,
    step_of,
    subscription_of,
    user_of,
)
from plugin.adapters.sql_schema import analyses, artefacts, deliveries, events, steps, subscriptions, tokens, users
from plugin.errors import LeaseLostError
from plugin.services.values import (
    Analysis,
    AnalysisResult,
    AnalysisState,
    Artefact,
    Delivery,
    DeliveryKind,
    DeliveryState,
    EventRecord,
    EventState,
    Patient,
    ReviewRecord,
    Step,
    StepRecord,
    SubscriptionRecord,
    User,
)

_REFUSAL_WINDOW = timedelta(minutes=1)
_REVIEWED = {"final": AnalysisState.ACCEPTED, "entered-in-error": AnalysisState.REJECTED}


class SqlAnalysisStore:
    """AnalysisStore in SQL.

    Args:
        engine: From sql_engine.connect.
        hint_interval: A worker that was told of some work has so long to begin before it is told again.
    """

    def __init__(self, engine: Engine, hint_interval: timedelta) -> None:
        self._engine = engine
        self._hint_interval = hint_interval

    def is_alive(self) -> bool:
        """Whether the database answers and its schema is the one this code needs."""
        try:
            return sql_engine.is_current(self._engine)
        except SQLAlchemyError:
            return False

    # ---- intake

    def add_event(
        self,
        *,
        subscription: str,
        event_key: str,
        state: EventState,
        detail: str,
        imaging_study_reference: str | None,
        study_instance_uid: str | None,
        requested_by: str,
        open_analysis: bool,
        now: datetime,
    ) -> tuple[bool, str | None]:
        """Store an event and, with open_analysis, its analysis."""
        analysis_id = uuid.uuid4().hex if open_analysis else None
        try:
            with self._engine.begin() as connection:
                if analysis_id:
                    connection.execute(
                        insert(analyses).values(
                            id=analysis_id,
                            state=AnalysisState.QUEUED,
                            progress=0.0,
                            imaging_study_reference=imaging_study_reference,
                            study_instance_uid=study_instance_uid,
                            requested_by=requested_by,
                            attempt=0,
                            created_at=now,
                            updated_at=now,
                            due_at=now,
                            hinted_at=now,
                        )
                    )
                connection.execute(
                    insert(events).values(
                        subscription=subscription,
                        event_key=event_key,
                        state=state,
                        detail=detail,
                        analysis_id=analysis_id,
                        received_at=now,
                        count=1,
                    )
                )
        except IntegrityError:  # the event is known: the unique constraint undid the analysis too
            return False, self._repeat(subscription, event_key)
        return True, analysis_id

    def _repeat(self, subscription: str, event_key: str) -> str | None:
        same = and_(events.c.subscription == subscription, events.c.event_key == event_key)
        with self._engine.begin() as connection:
            connection.execute(update(events).where(same).values(count=events.c.count + 1))
            return connection.execute(select(events.c.analysis_id).where(same)).scalar()

    def add_refusal(self, *, subscription: str, reason: str, now: datetime) -> None:
        """Count a refused notification; repeats of the same reason within a minute share one row."""
        recent = (
            select(events.c.id)
            .where(
                events.c.subscription == subscription,
                events.c.state == EventState.REFUSED,
                events.c.detail == reason,
                events.c.received_at > now - _REFUSAL_WINDOW,
            )
            .limit(1)
        )
        with self._engine.begin() as connection:
            known = connection.execute(recent).scalar()
            if known is not None:
                connection.execute(update(events).where(events.c.id == known).values(count=events.c.count + 1))
                return
            connection.execute(
                insert(events).values(
                    subscription=subscription,
                    event_key=f"refused:{uuid.uuid4().hex}",
                    state=EventState.REFUSED,
                    detail=reason,
                    received_at=now,
                    count=1,
                )
            )

    def list_events(self, *, limit: int) -> Sequence[EventRecord]:
        """The newest events first."""
        query = select(events).order_by(events.c.id.desc()).limit(limit)
        return [event_of(row) for row in self._rows(query)]

    # ---- running

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
        attempt = select(analyses.c.attempt).where(analyses.c.id == analysis_id).scalar_subquery()
        with self._engine.begin() as connection:
            connection.execute(
                insert(steps).values(analysis_id=analysis_id, step=step, attempt=attempt, started_at=now)
            )
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
            connection.execute(
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
            )

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
        """
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
                    result=result_json(result),
                    owner=None,
                    lease_until=None,
                    updated_at=now,
                )
            )
            if not saved.rowcount:
                raise LeaseLostError(
                    f"Analysis {analysis_id} was taken over by another worker; this result is dropped."
                )
            _add_artefacts(connection, analysis_id, artefacts)
            for kind, destination in deliveries:
                _add_delivery(connection, analysis_id, kind, destination, now)

    # ---- reading

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

    # ---- outbox

    def deliveries(self, analysis_id: str) -> Sequence[Delivery]:
        """In the order they are to be sent."""
        query = select(deliveries).where(deliveries.c.analysis_id == analysis_id).order_by(deliveries.c.id)
        return [delivery_of(row) for row in self._rows(query)]

    def claim_delivery(self, analysis_id: str, *, owner: str, now: datetime, lease: timedelta) -> Delivery | None:
        """Take the analysis' first unsent delivery if it is pending and due."""
        first = (
            select(func.min(deliveries.c.id))
            .where(deliveries.c.analysis_id == analysis_id, deliveries.c.state != DeliveryState.SENT)
            .scalar_subquery()
        )
        with self._engine.begin() as connection:
            taken = (
                connection.execute(
                    update(deliveries)
                    .where(deliveries.c.id == first, _is_deliverable(now))
                    .values(owner=owner, lease_until=now + lease, attempts=deliveries.c.attempts + 1)
                    .returning(*deliveries.c)
                )
                .mappings()
                .first()
            )
            return delivery_of(dict(taken)) if taken else None

    def mark_sent(self, delivery_id: int, *, receipt: Mapping[str, Any], now: datetime) -> None:
        """Record a delivery; after the last one the analysis awaits review."""
        self._settle(
            delivery_id,
            now,
            state=DeliveryState.SENT,
            receipt=dict(receipt),
            sent_at=now,
            last_error=None,
        )

    def mark_failed(self, delivery_id: int, *, error: str, next_attempt_at: datetime | None, now: datetime) -> None:
        """Record a failed attempt; without next_attempt_at the delivery is dead and its analysis undelivered."""
        if next_attempt_at is None:
            self._settle(delivery_id, now, state=DeliveryState.DEAD, last_error=error)
        else:
            self._settle(
                delivery_id, now, state=DeliveryState.PENDING, last_error=error, next_attempt_at=next_attempt_at
            )

    def replay(self, delivery_id: int, *, now: datetime) -> Delivery | None:
        """Make a dead delivery pending again."""
        found = self._rows(
            select(deliveries).where(deliveries.c.id == delivery_id, deliveries.c.state == DeliveryState.DEAD)
        )
        if not found:
            return None
        self._settle(delivery_id, now, state=DeliveryState.PENDING, attempts=0, next_attempt_at=now)
        return delivery_of(self._rows(select(deliveries).where(deliveries.c.id == delivery_id))[0])

    def due_deliveries(self, *, now: datetime) -> Sequence[str]:
        """Ids of analyses with a delivery that is due and that no worker was told of lately."""
        before = deliveries.alias("before")
        blocked = exists().where(
            before.c.analysis_id == deliveries.c.analysis_id,
            before.c.id < deliveries.c.id,
            before.c.state != DeliveryState.SENT,
        )
        waiting = (
            update(deliveries)
            .where(_is_deliverable(now), ~blocked, self._is_unhinted(deliveries.c.hinted_at, now))
            .values(hinted_at=now)
            .returning(deliveries.c.analysis_id)
        )
        with self._engine.begin() as connection:
            return list(connection.execute(waiting).scalars())

    def _settle(self, delivery_id: int, now: datetime, **values: Any) -> None:
        """Change one delivery and let its analysis follow."""
        with self._engine.begin() as connection:
            analysis_id = connection.execute(
                update(deliveries)
                .where(deliveries.c.id == delivery_id)
                .values(owner=None, lease_until=None, hinted_at=None, **values)
                .returning(deliveries.c.analysis_id)
            ).scalar_one()
            _follow_deliveries(connection, analysis_id, now)

    # ---- review

    def save_review(self, analysis_id: str, *, review: ReviewRecord, destination: str, now: datetime) -> bool:
        """Store a decision and the intent to tell the EHR; False when the analysis does not await review."""
        with self._engine.begin() as connection:
            decided = connection.execute(
                update(analyses)
                .where(analyses.c.id == analysis_id, analyses.c.state == AnalysisState.AWAITING_REVIEW)
                .values(state=_REVIEWED[review.decision], review=review_json(review), finished_at=now, updated_at=now)
            )
            if decided.rowcount:
                _add_delivery(connection, analysis_id, DeliveryKind.REVIEW, destination, now)
            return bool(decided.rowcount)

    # ---- people and subscriptions

    def get_user(self, username: str) -> User | None:
        """One user."""
        return next((user_of(row) for row in self._rows(select(users).where(users.c.username == username))), None)

    def save_user(self, user: User) -> None:
        """Add or replace a user."""
        self._replace(users, users.c.username == user.username, asdict(user))

    def save_token(self, username: str, *, token_digest: str, now: datetime) -> None:
        """Add an API token of a user, by the SHA-256 of the token."""
        with self._engine.begin() as connection:
            connection.execute(insert(tokens).values(digest=token_digest, username=username, created_at=now))

    def user_for_token(self, token_digest: str) -> User | None:
        """Whose API token it is."""
        query = select(users).join(tokens).where(tokens.c.digest == token_digest)
        return next((user_of(row) for row in self._rows(query)), None)

    def get_subscription(self, name: str) -> SubscriptionRecord | None:
        """One subscription."""
        query = select(subscriptions).where(subscriptions.c.name == name)
        return next((subscription_of(row) for row in self._rows(query)), None)

    def list_subscriptions(self) -> Sequence[SubscriptionRecord]:
        """All subscriptions, by name."""
        return [subscription_of(row) for row in self._rows(select(subscriptions).order_by(subscriptions.c.name))]

    def save_subscription(self, subscription: SubscriptionRecord) -> None:
        """Add or replace a subscription."""
        self._replace(subscriptions, subscriptions.c.name == subscription.name, asdict(subscription))

    def note_subscription(
        self,
        name: str,
        *,
        now: datetime,
        status: str | None = None,
        event_number: int | None = None,
        error: str | None = None,
    ) -> int | None:
        """Record that the server spoke about a subscription."""
        this = subscriptions.c.name == name
        values: dict[str, Any] = {"last_seen_at": now, "last_error": error}
        if status:
            values["status"] = status
        if event_number is not None:
            seen = func.coalesce(subscriptions.c.last_event_number, 0)
            values["last_event_number"] = case((seen > event_number, seen), else_=event_number)
        with self._engine.begin() as connection:
            before = connection.execute(
                select(subscriptions.c.last_event_number).where(this).with_for_update()
            ).scalar()
            connection.execute(update(subscriptions).where(this).values(**values))
            return before

    def note_search(self, name: str, *, searched_until: datetime) -> None:
        """Record up to when the EHR was searched for missed events."""
        with self._engine.begin() as connection:
            connection.execute(
                update(subscriptions).where(subscriptions.c.name == name).values(searched_until=searched_until)
            )

    def remove_subscription(self, name: str) -> None:
        """Forget a subscription."""
        with self._engine.begin() as connection:
            connection.execute(delete(subscriptions).where(subscriptions.c.name == name))

    # ---- shared

    def _is_unhinted(self, hinted_at: ColumnElement[datetime | None], now: datetime) -> ColumnElement[bool]:
        return or_(hinted_at.is_(None), hinted_at < now - self._hint_interval)

    def _reading(self) -> Connection:
        return self._engine.connect().execution_options(**sql_engine.READ_ONLY)

    def _rows(self, query: Any) -> Sequence[Mapping[str, Any]]:
        with self._reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def _replace(self, table: Any, same: ColumnElement[bool], values: Mapping[str, Any]) -> None:
        with self._engine.begin() as connection:
            if not connection.execute(update(table).where(same).values(**values)).rowcount:
                connection.execute(insert(table).values(**values))


def _is_due(now: datetime) -> ColumnElement[bool]:
    return or_(
        and_(analyses.c.state == AnalysisState.QUEUED, analyses.c.due_at <= now),
        and_(analyses.c.state == AnalysisState.RUNNING, analyses.c.lease_until < now),
    )


def _is_deliverable(now: datetime) -> ColumnElement[bool]:
    return and_(
        deliveries.c.state == DeliveryState.PENDING,
        deliveries.c.next_attempt_at <= now,
        or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until < now),
    )


def _get(connection: Connection, analysis_id: str) -> Analysis | None:
    row = connection.execute(select(analyses).where(analyses.c.id == analysis_id)).mappings().first()
    return analysis_of(dict(row)) if row else None


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


def _add_delivery(
    connection: Connection, analysis_id: str, kind: DeliveryKind, destination: str, now: datetime
) -> None:
    connection.execute(
        insert(deliveries).values(
            analysis_id=analysis_id,
            kind=kind,
            state=DeliveryState.PENDING,
            destination=destination,
            attempts=0,
            next_attempt_at=now,
            hinted_at=now,
        )
    )


def _follow_deliveries(connection: Connection, analysis_id: str, now: datetime) -> None:
    """Give an analysis the state that its deliveries and its review lead to."""
    states = list(
        connection.execute(
            select(deliveries.c.state).where(deliveries.c.analysis_id == analysis_id).order_by(deliveries.c.id)
        ).scalars()
    )
    analysis = _get(connection, analysis_id)
    if analysis is None:
        return
    reviewed = _REVIEWED[analysis.review.decision] if analysis.review else None
    if DeliveryState.DEAD in states:
        state = AnalysisState.UNDELIVERED
    elif DeliveryState.PENDING in states:
        state = reviewed or AnalysisState.PUBLISHING
    else:
        state = reviewed or AnalysisState.AWAITING_REVIEW
    connection.execute(
        update(analyses)
        .where(analyses.c.id == analysis_id)
        .values(state=state, progress=states.count(DeliveryState.SENT) / len(states), updated_at=now)
    )
