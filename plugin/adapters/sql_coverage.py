"""What the operational tables say was done, read in one transaction with the log that must say the same."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from governance.adapters.sql_ledger import SqlLedgerView
from governance.errors import LedgerStoreError
from governance.ledger.completeness import Earlier
from governance.ports import LedgerView
from plugin.adapters import sql_engine
from plugin.adapters.sql_covered_clinic import SqlClinicalRows
from plugin.adapters.sql_covered_governance import SqlGovernanceRows
from plugin.adapters.sql_covered_rounds import SqlRoundRows
from plugin.adapters.sql_covered_rows import Found
from plugin.adapters.sql_schema import (
    analyses,
    federation_rounds,
    federation_spendings,
    model_states,
    officers,
    users,
)
from plugin.adapters.sql_schema import ledger as ledger_tables
from plugin.services.governance.journal import Journal, check_value
from plugin.services.governance.round_journal import RoundJournal
from plugin.services.values import AnalysisState


class SqlCoverage:
    """Coverable in SQL."""

    def __init__(self, engine: Engine, journal: Journal, rounds: RoundJournal) -> None:
        """Use a database whose schema is current."""
        self._engine, self._journal, self._rounds = engine, journal, rounds

    @contextmanager
    def snapshot(self) -> Iterator[tuple[LedgerView, "SqlTables"]]:
        """The log and the tables at one moment."""
        options: dict[str, Any] = dict(sql_engine.READ_ONLY)
        if self._engine.dialect.name == "postgresql":
            options["isolation_level"] = "REPEATABLE READ"
        with _translated(), self._engine.connect().execution_options(**options) as connection:
            state = ledger_tables.state
            row = connection.execute(select(state.c.origin, state.c.size)).first()
            yield SqlLedgerView(connection, *(row or ("", 0))), SqlTables(connection, self._journal, self._rounds)


class SqlTables(SqlClinicalRows, SqlGovernanceRows, SqlRoundRows):
    """OperationalTables of an open transaction."""

    prefixes: Final[AbstractSet[str]] = frozenset(
        {
            "event", "analysed", "ended", "published", "review", "overridden", "token", "act", "officer", "model",
            "audit", "report", "policy", "consent", "cohort", "departure", "charge", "refusal", "participation",
        }
    )  # fmt: skip
    kinds: Final[AbstractSet[str]] = frozenset({"account-changed"})

    @property
    def check_value(self) -> str:
        """Of the key of digests."""
        return check_value(self._journal)

    def transactions(self) -> Found:
        """Everything, table by table."""
        yield from self.clinical_transactions()
        yield from self.governance_transactions()
        yield from self.round_transactions()

    def earlier(self) -> Sequence[Earlier]:
        """A halted analysis runs again; accounts, keys, models and a round's cohort change; a charge grows."""
        digest, read = self._journal.digest, self._connection.execute
        ids = {digest("analysis", each) for each in read(select(analyses.c.id)).scalars()}
        has_result = select(analyses.c.id).where(analyses.c.result.is_not(None))
        analysed = {digest("analysis", each) for each in read(has_result).scalars()}
        people = {digest("user", each) for each in read(select(users.c.username)).scalars()}
        known = {digest("user", each) for each in read(select(officers.c.username)).scalars()}
        models = set(read(select(model_states.c.model_version)).scalars())
        checked = self.places(federation_rounds)
        return [
            Earlier("ended", "analysis", ids, {"outcome": str(AnalysisState.HALTED)}),
            Earlier("ended", "analysis", analysed),
            Earlier("", "user", people),
            Earlier("officer", "officer", known),
            Earlier("model", "model", models),
            Earlier("consent", "place", checked),
            Earlier("cohort", "place", checked),
            Earlier("charge", "place", self.places(federation_spendings)),
        ]


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as fault:
        raise LedgerStoreError(
            f"The database cannot be compared with its ledger ({type(fault).__name__}): check it; run `qfl migrate`."
        ) from fault
