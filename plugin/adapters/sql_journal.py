"""Entries of the ledger in the transaction that does what they tell of: both are there, or neither."""

from collections.abc import Sequence

from sqlalchemy import Connection

from governance.adapters.sql_ledger import SqlLedger
from governance.ledger.entries import Entry, leaf_of
from governance.ports import NewRow


def record_within(connection: Connection, entries: Sequence[Entry]) -> None:
    """Append entries of the ledger in the transaction that does what they tell of; its last statement.

    Whoever appends locks the ledger until the transaction ends. As its last statement it waits for nothing afterwards,
    so two transactions never wait for each other.

    Raises:
        EntryError: An entry is not what its kind asks for.
        LedgerNotOpenError: `qfl migrate` has not opened the ledger.
    """
    SqlLedger.append_within(connection, [NewRow(each.kind, each.key or None, leaf_of(each)) for each in entries])
