"""Reading what the operational tables say was done, also where somebody wrote what the product never writes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, Select

from governance.ledger.completeness import Transaction, Unreadable
from plugin.services.governance.journal import Journal
from plugin.services.governance.round_journal import RoundJournal

Found: TypeAlias = Iterator[Transaction | Unreadable]

NEVER_BEFORE: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""Of what the table gives no time of: it is not from before the recording began."""
FAULTS: Final = (ValueError, TypeError, KeyError, AttributeError)
"""What reading a row raises that somebody wrote who is not this product."""
_PAGE: Final = 1000


class SqlCoveredRows:
    """Base of the tables' readers, in an open transaction."""

    def __init__(self, connection: Connection, journal: Journal, rounds: RoundJournal) -> None:
        self._connection, self._journal, self._rounds = connection, journal, rounds

    def _read(self, query: Select[Any], key: Any, make: Callable[[Any], Iterable[Transaction]]) -> Found:
        """The transactions of a table's rows, in the order of their key, some rows at a time: there may be many."""
        last = None
        while True:
            page = query.order_by(key).limit(_PAGE)
            page = page if last is None else page.where(key > last)
            keys = self._connection.execute(page.with_only_columns(key)).scalars().all()
            for each, row in self._rows(page, key, keys):
                try:
                    yield from make(row)
                except FAULTS:
                    yield Unreadable(key.table.name, self._name_of(key, each))
            if len(keys) < _PAGE:
                return
            last = keys[-1]

    def _rows(self, page: Select[Any], key: Any, keys: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """A page's rows with their keys; None for one that cannot be read."""
        try:
            rows: Sequence[Any] = self._connection.execute(page).all()
        except FAULTS:  # one of them: JSON that is none, a time that is none
            rows = [self._row(page.where(key == each)) for each in keys]
        return zip(keys, rows, strict=True)

    def _row(self, query: Select[Any]) -> Any:
        try:
            return self._connection.execute(query).first()
        except FAULTS:
            return None

    def _name_of(self, key: Any, value: Any) -> str:
        return self._journal.digest("user", value) if key.name == "username" else str(value)
