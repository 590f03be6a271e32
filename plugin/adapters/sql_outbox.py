"""The outbox: what PACS and EHR are to be told, and the reviews that are told too."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from plugin.adapters.sql_journal import record_within
from plugin.adapters.sql_records import (
    delivery_of,
    review_json,
)
from plugin.adapters.sql_schema import analyses, deliveries, steps
from plugin.adapters.sql_session import SqlSession
from plugin.services.values import (
    AnalysisState,
    Delivery,
    DeliveryKind,
    DeliveryState,
    ReviewRecord,
    Step,
)

REVIEWED = {"final": AnalysisState.ACCEPTED, "entered-in-error": AnalysisState.REJECTED}


class SqlOutbox(SqlSession):
    """Deliveries and reviews."""

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
        """Record a delivery; after the last one the analysis awaits review. Of one that was sent the first counts."""
        told = dict(receipt)
        with self._engine.begin() as connection:
            sent = _settle(
                connection,
                delivery_id,
                now,
                state=DeliveryState.SENT,
                receipt=told,
                sent_at=now,
                last_error=None,
            )
            if sent is not None:
                entry = self._journal.published(
                    analysis_id=sent.analysis_id, what=sent.kind, destination=sent.destination, receipt=told, at=now
                )
                record_within(connection, [entry])

    def mark_failed(self, delivery_id: int, *, error: str, next_attempt_at: datetime | None, now: datetime) -> None:
        """Record a failed attempt; without next_attempt_at the delivery is dead and its analysis undelivered."""
        values: dict[str, Any] = {"state": DeliveryState.DEAD}
        if next_attempt_at is not None:
            values = {"state": DeliveryState.PENDING, "next_attempt_at": next_attempt_at}
        with self._engine.begin() as connection:
            _settle(connection, delivery_id, now, last_error=error, **values)

    def replay(self, delivery_id: int, *, now: datetime) -> Delivery | None:
        """Make a dead delivery pending again."""
        found = self._rows(
            select(deliveries).where(deliveries.c.id == delivery_id, deliveries.c.state == DeliveryState.DEAD)
        )
        if not found:
            return None
        with self._engine.begin() as connection:
            _settle(connection, delivery_id, now, state=DeliveryState.PENDING, attempts=0, next_attempt_at=now)
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

    def save_review(self, analysis_id: str, *, review: ReviewRecord, destination: str, now: datetime) -> bool:
        """Store a decision and the intent to tell the EHR; False when the analysis does not await review."""
        with self._engine.begin() as connection:
            decided = connection.execute(
                update(analyses)
                .where(analyses.c.id == analysis_id, analyses.c.state == AnalysisState.AWAITING_REVIEW)
                .values(state=REVIEWED[review.decision], review=review_json(review), finished_at=now, updated_at=now)
            )
            if decided.rowcount:
                add_delivery(connection, analysis_id, DeliveryKind.REVIEW, destination, now)
                record_within(connection, self._journal.reviewed(analysis_id, review))
            return bool(decided.rowcount)


def _is_deliverable(now: datetime) -> ColumnElement[bool]:
    return and_(
        deliveries.c.state == DeliveryState.PENDING,
        deliveries.c.next_attempt_at <= now,
        or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until < now),
    )


def add_delivery(connection: Connection, analysis_id: str, kind: DeliveryKind, destination: str, now: datetime) -> None:
    """Add the intent to tell something, within the caller's transaction."""
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


def _settle(connection: Connection, delivery_id: int, now: datetime, **values: Any) -> Row[Any] | None:
    """Change one delivery and let its analysis follow; one that was sent, e.g. by a slower worker, stays so."""
    found = connection.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery_id, deliveries.c.state != DeliveryState.SENT)
        .values(owner=None, lease_until=None, hinted_at=None, **values)
        .returning(deliveries.c.analysis_id, deliveries.c.kind, deliveries.c.destination)
    ).first()
    if found is not None:
        _follow_deliveries(connection, found.analysis_id, now)
    return found


def _follow_deliveries(connection: Connection, analysis_id: str, now: datetime) -> None:
    """Give an analysis the state that its deliveries and its review lead to."""
    states = list(
        connection.execute(
            select(deliveries.c.state).where(deliveries.c.analysis_id == analysis_id).order_by(deliveries.c.id)
        ).scalars()
    )
    review = connection.execute(select(analyses.c.review).where(analyses.c.id == analysis_id)).scalar()
    reviewed = REVIEWED[review["decision"]] if review else None
    if DeliveryState.DEAD in states:
        state = AnalysisState.UNDELIVERED
    elif DeliveryState.PENDING in states:
        state = reviewed or AnalysisState.PUBLISHING
    else:
        state = reviewed or AnalysisState.AWAITING_REVIEW
        delivering = and_(
            steps.c.analysis_id == analysis_id, steps.c.step == Step.DELIVER, steps.c.finished_at.is_(None)
        )
        connection.execute(update(steps).where(delivering).values(finished_at=now))
    connection.execute(
        update(analyses)
        .where(analyses.c.id == analysis_id)
        .values(state=state, progress=states.count(DeliveryState.SENT) / len(states), updated_at=now)
    )
