"""A ledger in memory, as the database keeps it, whose rows a test may tamper with."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from governance.errors import EntryConflictError, LedgerNotOpenError
from governance.ledger import log
from governance.ledger.cosignature import CosignerSigner
from governance.ledger.entries import Entry, parse_leaf
from governance.ledger.merkle import leaf_hash
from governance.ledger.tiles import grow
from governance.ports import NewRow, Row

ORIGIN = "hospital.example/ledger"
NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


@dataclass
class InMemoryLedger:
    """LedgerStore and its LedgerView at once."""

    origin: str = ""
    size: int = 0
    stored: dict[int, Row] = field(default_factory=dict)
    tiles: dict[tuple[int, int], bytes] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)

    def open(self, origin: str) -> None:
        self.origin = self.origin or origin

    def append(self, rows: Sequence[NewRow]) -> Sequence[int]:
        if not self.origin:
            raise LedgerNotOpenError("not open")
        before = self.size
        places, new = [], dict[int, Row]()
        for row in rows:
            by_key = {each.key: each for each in (*self.stored.values(), *new.values()) if each.key}
            known = by_key.get(row.key)
            if known is not None:
                old, now = parse_leaf(known.leaf), parse_leaf(row.leaf)
                if (old.kind, old.facts) != (now.kind, now.facts):
                    raise EntryConflictError("another transaction has this key")
                places.append(known.leaf_index)
                continue
            place = before + len(new)
            new[place] = Row(place, *row)
            places.append(place)
        self.stored |= new
        self.size += len(new)
        self.tiles |= grow(before, [leaf_hash(row.leaf) for row in new.values()], self.tile)
        return places

    def keep_checkpoint(self, size: int, note: str) -> None:
        self.notes[size] = note

    @contextmanager
    def snapshot(self) -> Iterator["InMemoryLedger"]:
        yield deepcopy(self)

    def rows(self, start: int | None = None, stop: int | None = None) -> Iterator[Row]:
        for place in sorted(self.stored):
            if (start is None or place >= start) and (stop is None or place < stop):
                yield self.stored[place]

    def rows_of_kind(self, *kinds: str) -> Iterator[Row]:
        return (row for row in self.rows() if row.kind in kinds)

    def row_of_key(self, key: str) -> Row | None:
        return next((row for row in self.rows() if row.key == key), None)

    def rows_of_keys(self, keys: Sequence[str]) -> Mapping[str, Row]:
        return {row.key: row for row in self.rows() if row.key in keys}

    def tile(self, row: int, index: int) -> bytes:
        return self.tiles.get((row, index), b"")

    def checkpoints(self) -> Iterator[str]:
        return (self.notes[size] for size in sorted(self.notes))

    def last_checkpoint(self) -> str | None:
        return self.notes[max(self.notes)] if self.notes else None

    # Tampering

    def put(self, place: int, row: Row) -> None:
        """Put a row at a place."""
        self.stored[place] = row._replace(leaf_index=place)

    def recompute_hashes(self) -> None:
        """What a careful attacker does after changing rows."""
        leaves = [leaf_hash(row.leaf) for row in self.rows()]
        self.size, self.tiles = len(leaves), grow(0, leaves, lambda *_: b"")


def review(number: int, *, at: datetime = NOW, key: str = "") -> Entry:
    """An entry of the clinical loop."""
    facts = {"analysis": f"{number:064x}", "decision": "accepted", "reviewer": "a" * 64}
    return Entry("review-decided", at + timedelta(microseconds=number), facts, key)


def signed_ledger(entries: int, *, checkpoints: Sequence[int] = ()) -> tuple[InMemoryLedger, CosignerSigner]:
    """A ledger with an opening entry and `entries` others, signed at its end and after the sizes given."""
    store, signer = InMemoryLedger(), CosignerSigner.generate(ORIGIN)
    log.open_log(store, signer.public, now=NOW)
    for number in range(1, entries + 1):
        if number in checkpoints:
            log.sign_checkpoint(store, signer, now=NOW)
        log.append(store, [review(number)])
    log.sign_checkpoint(store, signer, now=NOW)
    return store, signer
