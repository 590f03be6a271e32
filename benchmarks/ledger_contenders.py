"""The ledgers that are compared, behind the same few calls: ours, pymerkle's SQLite tree, a plain hash chain in SQL.

All keep the same leaves in SQLite with a write-ahead log that is synced at every commit (WAL, synchronous FULL).
"""

import hashlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from governance.adapters.sql_ledger import SqlLedger, create_ledger_tables
from governance.ledger import log
from governance.ledger.cosignature import CosignerSigner
from governance.ledger.entries import Entry, leaf_of
from governance.ledger.merkle import leaf_hash, root_of, verify_inclusion
from governance.ledger.verification import Trust, verify_ledger
from plugin.adapters import sql_engine

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_ORIGIN: Final = "benchmark.example/ledger"
_PRAGMAS: Final = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL")


def entry(number: int) -> Entry:
    """A review, as the clinical loop records it."""
    facts = {
        "analysis": hashlib.sha256(f"analysis-{number}".encode()).hexdigest(),
        "decision": "accepted",
        "reviewer": hashlib.sha256(f"reviewer-{number % 7}".encode()).hexdigest(),
    }
    return Entry("review-decided", START + timedelta(seconds=number), facts, key=f"review-{number}")


class Contender(Protocol):
    """A ledger."""

    name: str

    def append_each(self, numbers: Sequence[int]) -> None:
        """Append entries one at a time; each is durable before its call returns."""

    def append_many(self, numbers: Sequence[int]) -> None:
        """Append entries in one commit."""

    def sign(self) -> None:
        """Sign the present state, where it can."""

    def verify(self) -> int:
        """Check everything, from the entries' bytes on; gives how many were checked.

        Raises:
            ValueError: Something is wrong.
        """

    def prove(self, place: int) -> tuple[float, float, int] | None:
        """Seconds to make and to check the proof of one entry, and its hashes; None where there are no proofs."""

    def close(self) -> None:
        """Let the file go."""


class Ours:
    """The product's ledger; several threads append at once, as requests and tasks do."""

    name = "ours"

    def __init__(self, folder: Path, writers: int) -> None:
        self._engine = sql_engine.connect(f"sqlite:///{folder / 'ours.db'}")
        create_ledger_tables(self._engine)
        self._store, self._signer = SqlLedger(self._engine), CosignerSigner.generate(_ORIGIN)
        self._writers = writers
        log.open_log(self._store, self._signer.public, now=START)

    def append_each(self, numbers: Sequence[int]) -> None:
        """As many threads as writers; each waits for its entry before the next."""
        with ThreadPoolExecutor(self._writers) as pool:
            for _ in pool.map(lambda number: log.append(self._store, [entry(number)]), numbers):
                pass

    def append_many(self, numbers: Sequence[int]) -> None:
        """One commit."""
        log.append(self._store, [entry(number) for number in numbers])

    def sign(self) -> None:
        """A checkpoint."""
        log.sign_checkpoint(self._store, self._signer, now=datetime.now(UTC))

    def verify(self) -> int:
        """Hashes, tree, contents, keys and signatures."""
        with self._store.snapshot() as view:
            report = verify_ledger(view, Trust(self._signer.public))
        if not report.is_intact:
            raise ValueError(str(report.findings[0]))
        return report.checked

    def prove(self, place: int) -> tuple[float, float, int]:
        """An RFC 6962 inclusion proof."""
        with self._store.snapshot() as view:
            leaf = leaf_hash(next(view.rows(place, place + 1)).leaf)
            root = root_of_view(view)
            begun = time.perf_counter()
            path = log.prove_inclusion(view, place, view.size)
            made = time.perf_counter()
            verify_inclusion(place, view.size, leaf, path, root)
            return made - begun, time.perf_counter() - made, len(path)

    def leaves(self) -> Iterator[bytes]:
        """The stored bytes."""
        with self._store.snapshot() as view:
            yield from (row.leaf for row in view.rows())

    def close(self) -> None:
        """Let the file go."""
        self._engine.dispose()


class Pymerkle:
    """pymerkle's SqliteTree; it has one connection behind a lock, so one writer at a time."""

    name = "pymerkle"

    def __init__(self, folder: Path, writers: int) -> None:  # noqa: ARG002 - all contenders are made alike
        from pymerkle import SqliteTree

        self._file = folder / "pymerkle.db"
        self._tree: Any = SqliteTree(str(self._file))
        for pragma in _PRAGMAS:
            self._tree.con.execute(pragma)

    def append_each(self, numbers: Sequence[int]) -> None:
        """A commit each."""
        for number in numbers:
            self._tree.append_entry(leaf_of(entry(number)))

    def append_many(self, numbers: Sequence[int]) -> None:
        """One commit."""
        self._tree.append_entries(leaf_of(entry(number)) for number in numbers)

    def sign(self) -> None:
        """It has no signatures; the root is what somebody would write down."""
        self._root = self._tree.get_root()

    def verify(self) -> int:
        """Each entry's bytes against its stored hash, then the root over these."""
        checked = 0
        for data, stored in _pairs(self._file, "SELECT entry, hash FROM leaf ORDER BY id"):
            if self._tree.hash_buff(data) != stored:
                raise ValueError(f"leaf {checked}")
            checked += 1
        self._tree.cache_clear()
        if self._tree.get_root() != self._root:
            raise ValueError("root")
        return checked

    def prove(self, place: int) -> tuple[float, float, int]:
        """Its own proof object; leaves count from one."""
        from pymerkle import verify_inclusion as verify

        leaf, root = self._tree.get_leaf(place + 1), self._tree.get_root()
        begun = time.perf_counter()
        proof = self._tree.prove_inclusion(place + 1)
        made = time.perf_counter()
        verify(leaf, root, proof)
        return made - begun, time.perf_counter() - made, len(proof.path)

    def root_over(self, leaves: Iterator[bytes]) -> bytes:
        """The root that pymerkle computes over some leaves."""
        from pymerkle import InmemoryTree

        tree: Any = InmemoryTree(algorithm="sha256")
        for leaf in leaves:
            tree.append_entry(leaf)
        root: bytes = tree.get_root()
        return root

    def close(self) -> None:
        """Let the file go."""
        self._tree.close()


class HashChain:
    """What is written by hand most often: each row holds the hash of the one before it and its own bytes."""

    name = "SQL hash chain"

    def __init__(self, folder: Path, writers: int) -> None:  # noqa: ARG002 - all contenders are made alike
        self._file = folder / "chain.db"
        self._connection = sqlite3.connect(self._file, isolation_level=None)
        for pragma in _PRAGMAS:
            self._connection.execute(pragma)
        self._connection.execute("CREATE TABLE chain (id INTEGER PRIMARY KEY, entry BLOB, hash BLOB)")

    def append_each(self, numbers: Sequence[int]) -> None:
        """A commit each."""
        for number in numbers:
            self.append_many([number])

    def append_many(self, numbers: Sequence[int]) -> None:
        """One commit; the last hash is read within it, so that writers cannot fork the chain."""
        cursor = self._connection
        cursor.execute("BEGIN IMMEDIATE")
        row = cursor.execute("SELECT hash FROM chain ORDER BY id DESC LIMIT 1").fetchone()
        before, rows = row[0] if row else bytes(32), []
        for number in numbers:
            leaf = leaf_of(entry(number))
            before = hashlib.sha256(before + leaf).digest()
            rows.append((leaf, before))
        cursor.executemany("INSERT INTO chain (entry, hash) VALUES (?, ?)", rows)
        cursor.execute("COMMIT")

    def sign(self) -> None:
        """It has no signatures."""

    def verify(self) -> int:
        """The chain from its beginning."""
        before, checked = bytes(32), 0
        for leaf, stored in _pairs(self._file, "SELECT entry, hash FROM chain ORDER BY id"):
            before = hashlib.sha256(before + leaf).digest()
            if before != stored:
                raise ValueError(f"row {checked}")
            checked += 1
        return checked

    def prove(self, place: int) -> None:
        """One entry is proved by handing over the whole chain."""

    def close(self) -> None:
        """Let the file go."""
        self._connection.close()


def root_of_view(view: Any) -> bytes:
    """The root of a ledger as it is."""
    from governance.ledger.merkle import root_at
    from governance.ledger.tiles import node_reader

    return root_at(view.size, node_reader(view.tile))


def same_root(ours: Ours, pymerkle: Pymerkle) -> bool:
    """Whether pymerkle computes our root over our leaves."""
    return pymerkle.root_over(ours.leaves()) == root_of(leaf_hash(leaf) for leaf in ours.leaves())


def _pairs(file: Path, query: str) -> Iterator[tuple[bytes, bytes]]:
    connection = sqlite3.connect(file)
    try:
        yield from connection.execute(query)
    finally:
        connection.close()
