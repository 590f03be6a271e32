"""The intake log: what was announced, and what was refused."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    and_,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from plugin.adapters.sql_journal import record_within
from plugin.adapters.sql_records import (
    event_of,
)
from plugin.adapters.sql_schema import analyses, events
from plugin.adapters.sql_session import SqlSession
from plugin.services.values import (
    AnalysisState,
    EventRecord,
    EventState,
)

_REFUSAL_WINDOW = timedelta(minutes=1)


class SqlIntake(SqlSession):
    """Events and refusals."""

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
        entry = self._journal.event(
            subscription=subscription,
            event_key=event_key,
            state=state,
            detail=detail,
            analysis_id=analysis_id,
            received_at=now,
        )
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
                record_within(connection, [entry])
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
            about: dict[str, Any] = {
                "subscription": subscription,
                "event_key": f"refused:{uuid.uuid4().hex}",
                "state": EventState.REFUSED,
                "detail": reason,
                "received_at": now,
            }
            connection.execute(insert(events).values(**about, count=1))
            record_within(connection, [self._journal.event(**about, analysis_id=None)])

    def list_events(self, *, limit: int) -> Sequence[EventRecord]:
        """The newest events first."""
        query = select(events).order_by(events.c.id.desc()).limit(limit)
        return [event_of(row) for row in self._rows(query)]
