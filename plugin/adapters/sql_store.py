"""Analyses, their outbox, and what belongs to them, in SQLite or PostgreSQL. Each method is one transaction."""

from sqlalchemy.exc import SQLAlchemyError

from plugin.adapters import sql_engine
from plugin.adapters.sql_accounts import SqlAccounts
from plugin.adapters.sql_analyses import SqlAnalyses
from plugin.adapters.sql_intake import SqlIntake
from plugin.adapters.sql_outbox import SqlOutbox
from plugin.adapters.sql_subscriptions import SqlSubscriptions


class SqlAnalysisStore(SqlIntake, SqlAnalyses, SqlOutbox, SqlAccounts, SqlSubscriptions):
    """AnalysisStore in SQL."""

    def is_alive(self) -> bool:
        """Whether the database answers and its schema is the one this code needs."""
        try:
            return sql_engine.is_current(self._engine)
        except SQLAlchemyError:
            return False
