"""One pass over all entries: each is hashed, read and compared with the tree, and the root is taken at wanted sizes."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

from governance.errors import EntryError, LogKeyError
from governance.ledger.diagnosis import MAX_MISMATCHES, Mismatch
from governance.ledger.entries import parse_leaf
from governance.ledger.findings import Fault, Finding
from governance.ledger.keys import OPENED, ROTATED, KeyHistory
from governance.ledger.kinds import missing_facts
from governance.ledger.merkle import CompactRange, complete_root, leaf_hash
from governance.ledger.tiles import WIDTH, hashes_of
from governance.ports import LedgerView, Row

_MAX_GAP: Final = 100_000
"""More entries than that missing at one place: the rest is not told apart."""
_MAX_CONTENT_FINDINGS: Final = 100
_NO_HASH: Final = bytes(32)


@dataclass
class Walk:
    """What the pass found.

    Attributes:
        checked: Entries that were hashed.
        entry_roots: At each wanted size, the root over the entries.
        tile_roots: The same over the stored hashes, where they differ from the entries'.
        mismatches: Entries that are not those of the stored hashes.
        findings: What is wrong with what entries say, and with the stored hashes of upper levels.
        keys: As the entries name them.
    """

    checked: int = 0
    entry_roots: dict[int, bytes] = field(default_factory=dict)
    tile_roots: dict[int, bytes] = field(default_factory=dict)
    mismatches: list[Mismatch] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    keys: KeyHistory = field(default_factory=KeyHistory)

    @property
    def first_mismatch(self) -> int | None:
        """Where entries and hashes part."""
        return self.mismatches[0].leaf_index if self.mismatches else None


def walk(view: LedgerView, sizes: Collection[int]) -> Walk:
    """Read every entry.

    Args:
        view: Of the ledger.
        sizes: Of the trees whose roots are wanted.
    """
    return _Walker(view, frozenset(sizes)).run()


class _Walker:
    def __init__(self, view: LedgerView, sizes: frozenset[int]) -> None:
        self._view, self._sizes = view, sizes
        self._found = Walk()
        self._entries = CompactRange()
        self._tiles: CompactRange | None = None  # until the two part

    def run(self) -> Walk:
        rows, tile_roots, surplus = self._view.rows(), [], dict[int, bytes]()
        row = self._before_the_first(rows)
        for start in range(0, self._view.size, WIDTH):
            stored = hashes_of(self._view.tile(0, start // WIDTH))
            for place in range(start, min(start + WIDTH, self._view.size)):
                here = row if row is not None and row.leaf_index == place else None
                if here is None and self._is_gap(place, row):
                    return self._found
                self._take(place, here, stored[place - start] if place - start < len(stored) else None)
                if here is not None:
                    row = next(rows, None)
            if len(stored) == WIDTH:
                tile_roots.append(complete_root(stored))
            surplus = {place: each for place, each in enumerate(stored, start) if place >= self._view.size}
        self._behind_the_last(row, rows, surplus)
        self._upper_rows(tile_roots)
        return self._found

    def _take(self, place: int, row: Row | None, expected: bytes | None) -> None:
        found = None
        if row is not None:
            self._found.checked += 1
            found = leaf_hash(row.leaf)
            self._read(row)
        if found != expected:
            self._mismatch(Mismatch(place, found, expected, row.kind if row else ""))
        self._entries.append(found or expected or _NO_HASH)
        if self._tiles is not None:
            self._tiles.append(expected or _NO_HASH)
        if place + 1 in self._sizes:
            self._found.entry_roots[place + 1] = self._entries.root()
            if self._tiles is not None:
                self._found.tile_roots[place + 1] = self._tiles.root()

    def _mismatch(self, mismatch: Mismatch) -> None:
        if self._tiles is None:
            self._tiles = self._entries.copy()
        if len(self._found.mismatches) < MAX_MISMATCHES:
            self._found.mismatches.append(mismatch)

    def _read(self, row: Row) -> None:
        try:
            entry = parse_leaf(row.leaf)
        except EntryError as fault:
            self._tell(Fault.MALFORMED, row, f"its bytes are no entry: {fault}")
            return
        if row.kind != entry.kind or (row.key or "") != entry.key:
            self._tell(Fault.MISLABELLED, row, f"the kind or key beside it is not the one in it, {entry.kind}.")
        if lacking := missing_facts(entry.kind, entry.facts):
            self._tell(Fault.MALFORMED, row, f"lacks {', '.join(sorted(lacking))}.")
        if entry.kind in {OPENED, ROTATED}:
            try:
                self._found.keys.take(row.leaf_index, entry)
            except (LogKeyError, EntryError) as fault:
                self._tell(Fault.ROTATION, row, str(fault))

    def _tell(self, fault: Fault, row: Row, what: str) -> None:
        if len(self._found.findings) < _MAX_CONTENT_FINDINGS:
            message = f"entry {row.leaf_index} ({row.kind}): {what}"
            self._found.findings.append(Finding(fault, message, row.leaf_index, row.leaf_index, row.kind))

    def _before_the_first(self, rows: Iterator[Row]) -> Row | None:
        row = next(rows, None)
        while row is not None and row.leaf_index < 0:
            self._mismatch(Mismatch(row.leaf_index, leaf_hash(row.leaf), None, row.kind))
            row = next(rows, None)
        return row

    def _behind_the_last(self, row: Row | None, rows: Iterator[Row], surplus: dict[int, bytes]) -> None:
        """Look at what is there beyond the size: entries, and hashes of entries that were cut off."""
        size, there = self._view.size, 0
        while row is not None:
            found, expected = leaf_hash(row.leaf), surplus.pop(row.leaf_index, None)
            if found == expected:
                there += 1
            else:
                self._mismatch(Mismatch(row.leaf_index, found, expected, row.kind))
            row = next(rows, None)
        for place, expected in surplus.items():
            self._mismatch(Mismatch(place, None, expected))
        if there:
            message = f"The log says that it has {size} entries, and {there} more are there: its size was set back."
            self._found.findings.append(Finding(Fault.TRUNCATED, message, size, size + there - 1))

    def _is_gap(self, place: int, row: Row | None) -> bool:
        """Whether so much is missing that the rest is not looked at."""
        end = row.leaf_index if row is not None else self._view.size
        if end - place <= _MAX_GAP:
            return False
        fault = Fault.MISSING if row is not None else Fault.TRUNCATED
        self._found.findings.append(
            Finding(
                fault, f"entries {place} to {end - 1} are missing; nothing after them was looked at.", place, end - 1
            )
        )
        return True

    def _upper_rows(self, roots: list[bytes]) -> None:
        """Compare the stored hashes of each row with those below."""
        row = 1
        while roots:
            above = []
            for start in range(0, len(roots), WIDTH):
                piece = roots[start : start + WIDTH]
                if self._view.tile(row, start // WIDTH) != b"".join(piece):
                    first = start * WIDTH**row
                    message = f"The stored hashes of tile {start // WIDTH} in row {row} are not those of the row below."
                    self._found.findings.append(Finding(Fault.HASHES_DAMAGED, message, first))
                if len(piece) == WIDTH:
                    above.append(complete_root(piece))
            row, roots = row + 1, above
