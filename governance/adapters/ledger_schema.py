"""The ledger's tables, for whatever database they are part of."""

from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, SmallInteger, String, Table, Text

# SQLite finds rows of an INTEGER key without an index beside the table.
_INDEX = BigInteger().with_variant(Integer(), "sqlite")


@dataclass(frozen=True)
class LedgerTables:
    """The four tables.

    Attributes:
        state: One row: the log's name and how many entries it has; locked by whoever appends.
        entries: The leaves.
        tiles: The tree's hashes, 256 a row.
        checkpoints: Signed tree heads.
    """

    state: Table
    entries: Table
    tiles: Table
    checkpoints: Table


def define_ledger(metadata: MetaData) -> LedgerTables:
    """Add the tables to a schema."""
    return LedgerTables(
        state=Table(
            "ledger_state",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            Column("origin", String(255), nullable=False),
            Column("size", BigInteger, nullable=False),
        ),
        entries=Table(
            "ledger_entries",
            metadata,
            Column("leaf_index", _INDEX, primary_key=True, autoincrement=False),
            Column("kind", String(40), nullable=False, index=True),
            # NULL without a key: the unique constraint is what makes a repeated append one entry.
            Column("key", String(100), unique=True),
            Column("leaf", LargeBinary, nullable=False),
        ),
        tiles=Table(
            "ledger_tiles",
            metadata,
            Column("level", SmallInteger, primary_key=True, autoincrement=False),
            Column("tile_index", BigInteger, primary_key=True, autoincrement=False),
            Column("hashes", LargeBinary, nullable=False),
        ),
        checkpoints=Table(
            "ledger_checkpoints",
            metadata,
            Column("size", BigInteger, primary_key=True, autoincrement=False),
            Column("note", Text, nullable=False),
        ),
    )
