"""Whether everything that the operational tables say was done is in the log, and the other way round.

A transaction is found by its key, and compared with its entry. What the tables hold no longer may be an earlier state
of a row that is there, or have been erased by an entry that says so; anything else was deleted, or never happened.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Any, Final, Protocol

from governance.errors import EntryError
from governance.ledger.entries import Entry, parse_leaf
from governance.ledger.kinds import KINDS
from governance.ports import LedgerView, Row

BEGAN: Final = "recording-began"
_ERASED: Final = "subject-erased"
_BATCH: Final = 400
_MAX_GAPS: Final = 200


class Problem(StrEnum):
    """What can be wrong between the tables and the log."""

    MISSING = "not-in-the-log"
    """A row tells of something that is no entry."""
    DIFFERS = "row-differs"
    """A row does not say what its entry says: the row was edited."""
    NO_ROW = "row-missing"
    """An entry tells of something that no row holds: the row was deleted, or put back to an earlier state."""
    UNREADABLE = "row-unreadable"
    """A row cannot be read: it was edited."""
    ANTEDATED = "row-antedated"
    """There are more rows from before the log began than there were then."""
    OTHER_KEY = "other-digest-key"
    """The hospital's key of digests is not the one that the entries were made with."""


@dataclass(frozen=True)
class Transaction:
    """Something that a table says was done.

    Attributes:
        table: Where it says so.
        row: Names the row: its number or random id, or a keyed digest.
        entry: What the log must say. Its key finds the entry; without a key the last one of its kind with the same
            fact `by` counts.
        kinds: Other kinds that it may have.
        has_time: Whether the entry's time must be the row's.
        by: Name of a fact, for an entry without a key.
    """

    table: str
    row: str
    entry: Entry
    kinds: tuple[str, ...] = ()
    has_time: bool = True
    by: str = ""


@dataclass(frozen=True)
class Unreadable:
    """A row that holds what the product never writes.

    Attributes:
        table: Where.
        row: See Transaction.
    """

    table: str
    row: str


@dataclass(frozen=True)
class Earlier:
    """Entries that are right though no row says the same: their row has changed since, as it may.

    Attributes:
        prefix: How their keys begin, up to the first "-"; empty for those without a key.
        fact: Which of their facts names the row.
        rows: What that fact is for the rows that are there.
        only: Further facts that they must have.
    """

    prefix: str
    fact: str
    rows: AbstractSet[str]
    only: Mapping[str, str] = field(default_factory=dict)

    def allows(self, entry: Entry) -> bool:
        """Whether it is one of them."""
        return (
            entry.key.partition("-")[0] == self.prefix
            and entry.facts.get(self.fact) in self.rows
            and all(entry.facts.get(name) == value for name, value in self.only.items())
        )


class OperationalTables(Protocol):
    """The tables at one moment: that of the LedgerView that they are compared with."""

    @property
    def prefixes(self) -> AbstractSet[str]:
        """How the keys of the entries begin that must have a row, up to the first "-"."""

    @property
    def kinds(self) -> AbstractSet[str]:
        """The kinds of entries without a key that must have a row."""

    @property
    def check_value(self) -> str:
        """A keyed digest that tells whether the key of digests is still the same."""

    def transactions(self) -> Iterator[Transaction | Unreadable]:
        """Everything that the tables say was done."""

    def earlier(self) -> Sequence[Earlier]:
        """Entries that their rows do not tell of any more."""


@dataclass(frozen=True)
class Gap:
    """One thing that is wrong.

    Attributes:
        problem: What.
        message: For people.
        table: Which; empty where only the entry tells of it.
        row: See Transaction.
        kind: Of the entry.
        index: Of the entry in the log; None where there is none.
    """

    problem: Problem
    message: str
    table: str = ""
    row: str = ""
    kind: str = ""
    index: int | None = None


@dataclass(frozen=True)
class Coverage:
    """What the comparison found.

    Attributes:
        transactions: That the tables hold since the recording began, by table.
        recorded: Those of them that the log has, by table.
        before: Rows from before the recording began, by table.
        erased: Transactions whose rows were erased on a patient's behalf.
        gaps: What is wrong; at most 200.
        number_of_gaps: All of them.
    """

    transactions: Mapping[str, int]
    recorded: Mapping[str, int]
    before: Mapping[str, int]
    erased: int
    gaps: Sequence[Gap]
    number_of_gaps: int

    @property
    def is_complete(self) -> bool:
        """Whether nothing is wrong."""
        return not self.number_of_gaps

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return {
            "complete": self.is_complete,
            "transactions": sum(self.transactions.values()),
            "recorded": sum(self.recorded.values()),
            "before_the_ledger_began": sum(self.before.values()),
            "erased": self.erased,
            "tables": {
                table: {"transactions": number, "recorded": self.recorded.get(table, 0)}
                for table, number in sorted(self.transactions.items())
            },
            "number_of_gaps": self.number_of_gaps,
            "gaps": [{**vars(each), "problem": str(each.problem)} for each in self.gaps],
        }


def check_coverage(view: LedgerView, tables: OperationalTables) -> Coverage:
    """Compare the tables with the log.

    1. Find when the recording began, and what was erased since.
    2. Look each transaction of the tables up in the log.
    3. Look for entries that no row tells of.
    4. No more rows are from before the beginning than there were.

    The log itself is not verified here; see verification.verify_ledger.
    """
    return _Comparison(view, tables).run()


class _Comparison:
    def __init__(self, view: LedgerView, tables: OperationalTables) -> None:
        self._view, self._tables = view, tables
        self._matched = bytearray(view.size)
        self._transactions, self._recorded, self._before = Counter[str](), Counter[str](), Counter[str]()
        self._erased_ones, self._number = 0, 0
        self._gaps: list[Gap] = []
        self._latest: dict[tuple[str, str], dict[object, Row]] = {}

    def run(self) -> Coverage:
        self._began, counted = self._beginning()  # 1
        if self._gaps:
            return self._result()  # no row could be compared
        self._erased = self._erased_analyses()
        for batch in _batches(self._readable()):  # 2
            rows = self._view.rows_of_keys([each.entry.key for each in batch if each.entry.key])
            for each in batch:
                self._look_up(each, self._row_of(each, rows))
        self._look_back()  # 3
        for table, number in sorted(self._before.items()):  # 4
            if counted is not None and number > counted.get(table, 0):
                message = (
                    f"{table}: {number} transactions are dated before the recording began, and there were "
                    f"{counted.get(table, 0)} then: rows were inserted with an earlier time."
                )
                self._add(Gap(Problem.ANTEDATED, message, table))
        return self._result()

    def _result(self) -> Coverage:
        return Coverage(
            self._transactions, self._recorded, self._before, self._erased_ones, tuple(self._gaps), self._number
        )

    def _readable(self) -> Iterator[Transaction]:
        for each in self._tables.transactions():
            if isinstance(each, Transaction):
                yield each
                continue
            self._transactions[each.table] += 1
            message = f"{each.table} {each.row}: holds what the product never writes. The row was changed."
            self._add(Gap(Problem.UNREADABLE, message, each.table, each.row))

    def _beginning(self) -> tuple[datetime | None, Mapping[str, int] | None]:
        """From when on everything is recorded, and how many older transactions there were then, if that is known."""
        for row in self._view.rows_of_kind(BEGAN):
            entry = _read(row)
            if entry is None:
                continue
            if entry.facts.get("check") not in {None, self._tables.check_value}:
                message = (
                    "The key of digests is not the one that the entries were made with, so no row can be compared: "
                    "restore governance/digest.key in the data folder from its backup."
                )
                self._add(Gap(Problem.OTHER_KEY, message, index=row.leaf_index, kind=BEGAN))
            before = entry.facts.get("before")
            numbers = before.items() if isinstance(before, Mapping) else ()
            return entry.at, {table: number for table, number in numbers if isinstance(number, int)}
        opened = next(self._view.rows(0, 1), None)
        entry = _read(opened) if opened else None
        return (entry.at if entry else None), None

    def _erased_analyses(self) -> AbstractSet[object]:
        found = set[object]()
        for row in self._view.rows_of_kind(_ERASED):
            entry = _read(row)
            named = entry.facts.get("analyses") if entry else None
            if isinstance(named, list | tuple):
                found.update(each for each in named if isinstance(each, str))
        return found

    def _row_of(self, each: Transaction, rows: Mapping[str, Row]) -> Row | None:
        if each.entry.key:
            return rows.get(each.entry.key)
        place = (each.entry.kind, each.by)
        if place not in self._latest:
            entries = ((row, _read(row)) for row in self._view.rows_of_kind(each.entry.kind))
            self._latest[place] = {entry.facts.get(each.by): row for row, entry in entries if entry}
        return self._latest[place].get(each.entry.facts[each.by])

    def _look_up(self, wanted: Transaction, row: Row | None) -> None:
        if wanted.entry.facts.get("analysis") in self._erased:
            self._erased_ones += 1
            self._mark(row)
            return
        found = _read(row) if row else None
        if found is not None and found.key != wanted.entry.key:
            found = None  # what stands beside the entry is not what is in it: it is no proof of this row
        if found is None and self._began is not None and wanted.entry.at < self._began:
            self._before[wanted.table] += 1
            return
        self._transactions[wanted.table] += 1
        if found is None or row is None:
            message = f"{wanted.table} {wanted.row}: {wanted.entry.kind} is not in the log."
            self._add(Gap(Problem.MISSING, message, wanted.table, wanted.row, wanted.entry.kind))
            return
        self._mark(row)
        different = list(_differences(wanted, found))
        if different:
            message = (
                f"{wanted.table} {wanted.row}: not as entry {row.leaf_index} ({found.kind}) tells: "
                f"{', '.join(different)} differs. The row was changed afterwards."
            )
            gap = Gap(Problem.DIFFERS, message, wanted.table, wanted.row, found.kind, row.leaf_index)
            self._add(gap)
            return
        self._recorded[wanted.table] += 1

    def _look_back(self) -> None:
        earlier, prefixes, kinds = self._tables.earlier(), self._tables.prefixes, self._tables.kinds
        for row in self._view.rows():
            is_covered = row.key.partition("-")[0] in prefixes if row.key else row.kind in kinds
            if not is_covered or self._is_marked(row):
                continue
            entry = _read(row)
            if entry is None or entry.facts.get("analysis") in self._erased:
                continue
            if any(each.allows(entry) for each in earlier):
                continue
            message = (
                f"entry {row.leaf_index} ({entry.kind}): no row tells of it any more. The row was deleted, or put back "
                "to an earlier state."
            )
            self._add(Gap(Problem.NO_ROW, message, kind=entry.kind, index=row.leaf_index))

    def _mark(self, row: Row | None) -> None:
        if row is not None and 0 <= row.leaf_index < len(self._matched):
            self._matched[row.leaf_index] = 1

    def _is_marked(self, row: Row) -> bool:
        # A row beyond the log's size was inserted: the verification names it.
        return not 0 <= row.leaf_index < len(self._matched) or bool(self._matched[row.leaf_index])

    def _add(self, gap: Gap) -> None:
        self._number += 1
        if len(self._gaps) < _MAX_GAPS:
            self._gaps.append(gap)


def _differences(wanted: Transaction, found: Entry) -> Iterator[str]:
    """Names of what a row and its entry do not agree on."""
    if found.kind not in {wanted.entry.kind, *wanted.kinds}:
        yield "what was done"
        return
    required = KINDS[found.kind]
    for name, value in wanted.entry.facts.items():
        if name in found.facts:
            if found.facts[name] != value:
                yield name
        elif name in required:
            yield name
    if wanted.has_time and found.at != wanted.entry.at:
        yield "time"


def _read(row: Row) -> Entry | None:
    """An entry; None of what is none, which the verification names."""
    try:
        return parse_leaf(row.leaf)
    except EntryError:
        return None


def _batches(transactions: Iterator[Transaction]) -> Iterator[list[Transaction]]:
    while batch := list(islice(transactions, _BATCH)):
        yield batch


def count_before(
    transactions: Iterable[Transaction | Unreadable], is_in_log: Callable[[str], bool]
) -> Mapping[str, int]:
    """How many transactions with a key are no entries, by table; for the entry with which the recording begins.

    Args:
        transactions: Of the tables.
        is_in_log: Whether the log has an entry of a key.
    """
    return Counter(
        each.table
        for each in transactions
        if isinstance(each, Transaction) and each.entry.key and not is_in_log(each.entry.key)
    )
