"""What the parts of the store share: the engine, reading without a lock, and replacing a row."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, insert, or_, update

from governance.ledger.entries import Entry
from plugin.adapters import sql_engine
from plugin.adapters.sql_journal import record_within
from plugin.services.governance.journal import Journal


class SqlSession:
    """Base of the store's parts.

    Args:
        engine: From sql_engine.connect.
        hint_interval: A worker that was told of some work has so long to begin before it is told again.
        journal: Makes the ledger's entries, which commit with what they tell of.
    """

    def __init__(self, engine: Engine, hint_interval: timedelta, journal: Journal) -> None:
        self._engine = engine
        self._hint_interval = hint_interval
        self._journal = journal

    def _is_unhinted(self, hinted_at: ColumnElement[datetime | None], now: datetime) -> ColumnElement[bool]:
        return or_(hinted_at.is_(None), hinted_at < now - self._hint_interval)

    def _reading(self) -> Connection:
        return self._engine.connect().execution_options(**sql_engine.READ_ONLY)

    def _rows(self, query: Any) -> Sequence[Mapping[str, Any]]:
        with self._reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def _replace(self, table: Any, same: ColumnElement[bool], values: Mapping[str, Any], *entries: Entry) -> None:
        with self._engine.begin() as connection:
            if not connection.execute(update(table).where(same).values(**values)).rowcount:
                connection.execute(insert(table).values(**values))
            record_within(connection, entries)
