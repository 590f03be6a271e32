"""LedgerStore in SQLite or PostgreSQL: one writer at a time, many rows a commit.

The engine must begin SQLite's transactions with BEGIN IMMEDIATE unless the connection has the execution option
read_only, and write through (WAL, synchronous FULL), as plugin.adapters.sql_engine.connect does.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, MetaData, Select, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from governance.adapters.group_commit import GroupCommit
from governance.adapters.ledger_schema import LedgerTables, define_ledger
from governance.errors import EntryConflictError, EntryError, LedgerNotOpenError, LedgerStoreError
from governance.ledger.entries import parse_leaf
from governance.ledger.merkle import leaf_hash
from governance.ledger.tiles import grow
from governance.ports import NewRow, Row

_STATE_ID: Final = 1
_MOST: Final = 1000
"""Submissions of one commit; each may be of several rows."""
_PAGE: Final = 4096
_KEYS_PAGE: Final = 500
"""Below SQLite's limit of variables."""

_tables: Final = define_ledger(MetaData())


class SqlLedger:
    """LedgerStore in a database whose schema has the ledger's tables."""

    def __init__(self, engine: Engine) -> None:
        """Use an engine; nothing is connected yet."""
        self._engine = engine
        self._group: GroupCommit[Sequence[NewRow], Sequence[int]] = GroupCommit(self._commit, most=_MOST)

    def open(self, origin: str) -> None:
        """Give the log its name, unless it has one."""
        with _translated(), self._engine.begin() as connection:
            _lock_out(connection)
            if connection.execute(select(_tables.state.c.id)).first() is None:
                connection.execute(insert(_tables.state).values(id=_STATE_ID, origin=origin, size=0))

    def append(self, rows: Sequence[NewRow]) -> Sequence[int]:
        """Append rows, durably; rows of other threads share the transaction."""
        return self._group.submit(rows) if rows else []

    def keep_checkpoint(self, size: int, note: str) -> None:
        """Keep a signed checkpoint, instead of one of that size."""
        table = _tables.checkpoints
        with _translated(), self._engine.begin() as connection:
            _locked_size(connection)
            changed = connection.execute(update(table).where(table.c.size == size).values(note=note)).rowcount
            if not changed:
                connection.execute(insert(table).values(size=size, note=note))

    @staticmethod
    def append_within(connection: Connection, rows: Sequence[NewRow]) -> Sequence[int]:
        """Append rows in the caller's transaction: they are there if, and only if, what they tell of is.

        Every other append waits until that transaction ends, so it should be short, and this its last statement.

        Raises:
            LedgerNotOpenError, EntryConflictError: As append.
        """
        if not rows:
            return []
        size = _locked_size(connection)
        placing = _Placing(size, _rows_of_keys(connection, sorted({row.key for row in rows if row.key is not None})))
        outcome = placing.place(rows)
        if isinstance(outcome, Exception):
            raise outcome
        if placing.new:
            _store(connection, size, placing.new)
        return outcome

    @contextmanager
    def snapshot(self) -> Iterator["SqlLedgerView"]:
        """Read the ledger as it is now."""
        options: dict[str, Any] = {"read_only": True}
        if self._engine.dialect.name == "postgresql":
            options["isolation_level"] = "REPEATABLE READ"
        with _translated(), self._engine.connect().execution_options(**options) as connection:
            row = connection.execute(select(_tables.state.c.origin, _tables.state.c.size)).first()
            yield SqlLedgerView(connection, *(row or ("", 0)))

    def _commit(self, batch: Sequence[Sequence[NewRow]]) -> Sequence[Sequence[int] | Exception]:
        """Append several submissions in one transaction."""
        with _translated(), self._engine.begin() as connection:
            size = _locked_size(connection)
            keys = {row.key for rows in batch for row in rows if row.key is not None}
            placing = _Placing(size, _rows_of_keys(connection, sorted(keys)))
            outcomes = [placing.place(rows) for rows in batch]
            if placing.new:
                _store(connection, size, placing.new)
        return outcomes


class SqlLedgerView:
    """LedgerView of an open transaction."""

    def __init__(self, connection: Connection, origin: str, size: int) -> None:
        self._connection = connection
        self.origin, self.size = origin, size

    def rows(self, start: int | None = None, stop: int | None = None) -> Iterator[Row]:
        """The stored rows, a page at a time."""
        table, after = _tables.entries, None if start is None else start - 1
        while True:
            query = _select_rows(_tables).order_by(table.c.leaf_index).limit(_PAGE)
            if after is not None:
                query = query.where(table.c.leaf_index > after)
            if stop is not None:
                query = query.where(table.c.leaf_index < stop)
            page = self._connection.execute(query).all()
            yield from map(Row._make, page)
            if len(page) < _PAGE:
                return
            after = page[-1][0]

    def rows_of_kind(self, *kinds: str) -> Iterator[Row]:
        """The stored rows of some kinds."""
        table = _tables.entries
        query = _select_rows(_tables).where(table.c.kind.in_(kinds)).order_by(table.c.leaf_index)
        yield from map(Row._make, self._connection.execute(query))

    def row_of_key(self, key: str) -> Row | None:
        """The row of a key."""
        return _rows_of_keys(self._connection, [key]).get(key)

    def rows_of_keys(self, keys: Sequence[str]) -> Mapping[str, Row]:
        """The rows of keys."""
        return _rows_of_keys(self._connection, keys)

    def tile(self, row: int, index: int) -> bytes:
        """A tile's hashes."""
        return _tile(self._connection, row, index)

    def checkpoints(self) -> Iterator[str]:
        """The signed checkpoints, by size."""
        table = _tables.checkpoints
        yield from self._connection.execute(select(table.c.note).order_by(table.c.size)).scalars()

    def last_checkpoint(self) -> str | None:
        """The largest one."""
        table = _tables.checkpoints
        query = select(table.c.note).order_by(table.c.size.desc()).limit(1)
        return self._connection.execute(query).scalar()


@dataclass
class _Placing:
    """Gives each row its index, in one transaction.

    Attributes:
        size: Entries before the next new one.
        by_key: Rows that have a key, of the database and of this transaction.
    """

    size: int
    by_key: dict[str, Row]

    def __post_init__(self) -> None:
        self.new: list[Row] = []

    def place(self, rows: Sequence[NewRow]) -> Sequence[int] | Exception:
        """The indexes of a submission, or why none of it is taken."""
        size, placed, own = self.size, [], dict[str, Row]()
        added: list[Row] = []
        for row in rows:
            before = None if row.key is None else own.get(row.key) or self.by_key.get(row.key)
            if before is None:
                before = Row(size + len(added), *row)
                added.append(before)
                if row.key is not None:
                    own[row.key] = before
            elif not _is_same(before, row):
                return EntryConflictError(
                    f"Entry {before.leaf_index} of kind {before.kind} has the key of another transaction of kind "
                    f"{row.kind}: a key names one transaction."
                )
            placed.append(before.leaf_index)
        self.new += added
        self.by_key |= own
        self.size += len(added)
        return placed


def create_ledger_tables(engine: Engine) -> None:
    """Make the tables where no migration does, e.g. in a coordinator's own file."""
    with _translated(), engine.begin() as connection:
        _tables.state.metadata.create_all(connection)


def _is_same(before: Row, row: NewRow) -> bool:
    """Whether two rows tell of one transaction: only the time may differ."""
    if before.leaf == row.leaf:
        return True
    try:
        old, new = parse_leaf(before.leaf), parse_leaf(row.leaf)
    except EntryError:
        return False
    return (old.kind, old.facts) == (new.kind, new.facts)


def _store(connection: Connection, size: int, rows: Sequence[Row]) -> None:
    tiles = grow(size, [leaf_hash(row.leaf) for row in rows], lambda row, index: _tile(connection, row, index))
    connection.execute(insert(_tables.entries), [row._asdict() for row in rows])
    table, fresh = _tables.tiles, []
    for (level, index), hashes in tiles.items():
        same = (table.c.level == level) & (table.c.tile_index == index)
        if not connection.execute(update(table).where(same).values(hashes=hashes)).rowcount:
            fresh.append({"level": level, "tile_index": index, "hashes": hashes})
    if fresh:
        connection.execute(insert(table), fresh)
    connection.execute(update(_tables.state).where(_tables.state.c.id == _STATE_ID).values(size=size + len(rows)))


def _locked_size(connection: Connection) -> int:
    """How many entries there are, while nobody else can append."""
    state = _tables.state
    size = connection.execute(select(state.c.size).where(state.c.id == _STATE_ID).with_for_update()).scalar()
    if size is None:
        raise LedgerNotOpenError("The ledger is not open, and nothing is done unrecorded. Run `qfl migrate` first.")
    return int(size)


def _lock_out(connection: Connection) -> None:
    """Two processes that open a new log at once: SQLite's transactions that write follow each other anyway."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE ledger_state IN SHARE ROW EXCLUSIVE MODE")


def _select_rows(tables: LedgerTables) -> Select[Any]:
    table = tables.entries
    return select(table.c.leaf_index, table.c.kind, table.c.key, table.c.leaf)


def _rows_of_keys(connection: Connection, keys: Sequence[str]) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for start in range(0, len(keys), _KEYS_PAGE):
        wanted = _tables.entries.c.key.in_(keys[start : start + _KEYS_PAGE])
        for row in map(Row._make, connection.execute(_select_rows(_tables).where(wanted))):
            found[str(row.key)] = row
    return found


def _tile(connection: Connection, level: int, index: int) -> bytes:
    table = _tables.tiles
    same = (table.c.level == level) & (table.c.tile_index == index)
    return bytes(connection.execute(select(table.c.hashes).where(same)).scalar() or b"")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as fault:
        raise LedgerStoreError(
            f"The ledger's database cannot be used ({type(fault).__name__}): check it, and run `qfl migrate`."
        ) from fault
