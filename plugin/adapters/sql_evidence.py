"""EvidenceQueries in SQL: each query is one text, which stands in the report as it was run."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import Engine, bindparam, select, text

from plugin.adapters import sql_engine
from plugin.adapters.sql_schema import UtcDateTime, analyses
from plugin.services.governance.reporting_desk import QueryResult

QUERIES: Final[Mapping[str, str]] = {
    "results": (
        "SELECT count(DISTINCT analysis_id) AS results FROM steps WHERE step = 'deliver' "
        "AND started_at >= :start AND started_at < :end"
    ),
    "observed": (
        "SELECT count(*) AS observed FROM observations WHERE analysis_id IN "
        "(SELECT analysis_id FROM steps WHERE step = 'deliver' AND started_at >= :start AND started_at < :end)"
    ),
    "ended": (
        "SELECT count(*) AS ended, coalesce(sum(CASE WHEN state = 'failed' THEN 1 ELSE 0 END), 0) AS failed "
        "FROM analyses WHERE created_at >= :start AND created_at < :end "
        "AND state NOT IN ('queued', 'running', 'duplicate', 'halted')"
    ),
    "without-result": (
        "SELECT count(*) AS without_result FROM analyses WHERE finished_at >= :start AND finished_at < :end "
        "AND state IN ('not-analysable', 'failed', 'halted', 'duplicate')"
    ),
    "reviews": (
        "SELECT count(*) AS decided, coalesce(sum(CASE WHEN state = 'rejected' THEN 1 ELSE 0 END), 0) AS rejected, "
        "coalesce(sum(CASE WHEN review IS NULL OR CAST(review AS TEXT) = 'null' THEN 1 ELSE 0 END), 0) "
        "AS without_reviewer FROM analyses WHERE state IN ('accepted', 'rejected') "
        "AND finished_at >= :start AND finished_at < :end"
    ),
    "awaiting": "SELECT count(*) AS awaiting FROM analyses WHERE state = 'awaiting-review'",
    "sent": ("SELECT count(*) AS sent FROM deliveries WHERE state = 'sent' AND sent_at >= :start AND sent_at < :end"),
    "accounts": (
        "SELECT count(*) AS users, coalesce(sum(CASE WHEN password_hash = '' THEN 1 ELSE 0 END), 0) "
        "AS without_password, coalesce(sum(CASE WHEN role IN ('radiologist', 'administrator', 'ethics-officer', "
        "'data-steward', 'auditor') THEN 0 ELSE 1 END), 0) AS without_role FROM users"
    ),
    "officers": (
        "SELECT coalesce(sum(CASE WHEN users.role = 'ethics-officer' THEN 1 ELSE 0 END), 0) AS \"ethics-officer\", "
        "coalesce(sum(CASE WHEN users.role = 'data-steward' THEN 1 ELSE 0 END), 0) AS \"data-steward\", "
        "coalesce(sum(CASE WHEN users.role = 'auditor' THEN 1 ELSE 0 END), 0) AS \"auditor\", "
        "coalesce(sum(CASE WHEN users.role = 'administrator' THEN 1 ELSE 0 END), 0) AS \"administrator\" "
        "FROM officers JOIN users ON users.username = officers.username WHERE officers.revoked_at IS NULL"
    ),
}
"""By name; each gives one row of counts. They run on SQLite and on PostgreSQL."""


class SqlEvidence:
    """Counts over the operational tables; nothing is changed, and nothing of a person is read."""

    def __init__(self, engine: Engine) -> None:
        """Use a database whose schema is current."""
        self._engine = engine

    def ask(self, name: str, *, start: datetime, end: datetime) -> QueryResult:
        """Run one of QUERIES."""
        sql = QUERIES[name]
        named = [parameter for parameter in ("start", "end") if f":{parameter}" in sql]
        query = text(sql).bindparams(*(bindparam(each, type_=UtcDateTime()) for each in named))
        given = {"start": start, "end": end}
        with self._engine.connect().execution_options(**sql_engine.READ_ONLY) as connection:
            row = connection.execute(query, {each: given[each] for each in named}).mappings().one()
        return QueryResult(sql, {str(name): int(value) for name, value in row.items()})

    def analysis_ids(self) -> Iterator[str]:
        """Of all analyses."""
        with self._engine.connect().execution_options(**sql_engine.READ_ONLY) as connection:
            yield from connection.execute(select(analyses.c.id)).scalars()
