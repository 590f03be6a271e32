"""The check of coverage: every transaction of both loops is an entry, and every entry's row is still there."""

from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from governance.ledger.completeness import (
    BEGAN,
    Coverage,
    OperationalTables,
    Transaction,
    check_coverage,
    count_before,
)
from governance.ledger.entries import Entry
from governance.ports import LedgerView
from plugin.services.governance.journal import RECORDING_BEGAN
from plugin.services.ledger import Ledger


class Coverable(Protocol):
    """A database that holds both the ledger and what it tells of."""

    def snapshot(self) -> AbstractContextManager[tuple[LedgerView, OperationalTables]]:
        """The ledger and the tables at one moment."""


def begin_recording(ledger: Ledger, database: Coverable, *, now: datetime) -> None:
    """Say from when on everything is an entry, once.

    What the tables hold already is counted, and the accounts, which have no time of their own, are recorded as they
    are.
    """
    with database.snapshot() as (view, tables):
        if next(view.rows_of_kind(BEGAN), None) is not None:
            return
        counted = count_before(tables.transactions(), lambda key: view.row_of_key(key) is not None)
        accounts = [
            replace(each.entry, at=now)
            for each in tables.transactions()
            if isinstance(each, Transaction) and not each.entry.key
        ]
        began = Entry(BEGAN, now, {"before": dict(counted), "check": tables.check_value}, RECORDING_BEGAN)
    ledger.record([began, *accounts])


def coverage_of(database: Coverable) -> Coverage:
    """Compare the operational tables with the ledger."""
    with database.snapshot() as (view, tables):
        return check_coverage(view, tables)
