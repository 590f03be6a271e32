"""Which entries were edited, deleted, inserted or moved, told from the hashes that should stand where others do."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from governance.ledger.findings import Fault, Finding

MAX_MISMATCHES: Final = 10_000
"""So many are told apart; more are counted."""
_MAX_FINDINGS: Final = 100


class Mismatch(NamedTuple):
    """A place whose entry does not have the hash that the tree has there.

    Attributes:
        leaf_index: The place, from 0.
        found: Hash of the entry that stands there; None for none.
        expected: Hash in the tree; None where the tree has none there.
        kind: Of the entry, where it can be read.
    """

    leaf_index: int
    found: bytes | None
    expected: bytes | None
    kind: str = ""


class _Fate(NamedTuple):
    """What happened at a place, and by how much the entry there was moved."""

    mismatch: Mismatch
    fault: Fault
    shift: int


def diagnose(mismatches: Sequence[Mismatch], size: int) -> list[Finding]:
    """Say what happened to each entry, neighbours of one fate together.

    Args:
        mismatches: By place.
        size: How many entries the log says it has: what lacks up to there was cut off.
    """
    wanted = {each.expected: each.leaf_index for each in mismatches if each.expected}
    present = {each.found for each in mismatches if each.found}
    fates = [_Fate(each, *_fate(each, wanted, present)) for each in mismatches]
    findings = [_finding(run[0].fault, run[0].shift, [each.mismatch for each in run], size) for run in _runs(fates)]
    return [*findings[:_MAX_FINDINGS], *_rest(findings)]


def _fate(each: Mismatch, wanted: dict[bytes, int], present: set[bytes]) -> tuple[Fault, int]:
    """What happened at a place, and by how much the entry there was moved."""
    is_gone = each.expected is not None and each.expected not in present
    if each.found is None:
        return (Fault.MISSING if is_gone else Fault.MOVED), 0
    if each.found in wanted:
        return (Fault.MISSING, 0) if is_gone else (Fault.MOVED, each.leaf_index - wanted[each.found])
    return (Fault.EDITED if is_gone else Fault.INSERTED), 0


def _runs(fates: Iterable[_Fate]) -> Iterator[list[_Fate]]:
    """Neighbours of one fate; an entry that says something else stands alone with its kind."""

    def sort_of(numbered: tuple[int, _Fate]) -> tuple[object, ...]:
        number, fate = numbered
        kind = fate.mismatch.kind if fate.fault in {Fault.EDITED, Fault.INSERTED} else ""
        return fate.fault, fate.shift, kind, fate.mismatch.leaf_index - number

    for _, run in groupby(enumerate(fates), sort_of):
        yield [fate for _, fate in run]


def _finding(fault: Fault, shift: int, run: Sequence[Mismatch], size: int) -> Finding:
    first, last = run[0].leaf_index, run[-1].leaf_index
    kinds = sorted({each.kind for each in run if each.kind})
    what = f"entry {first}" if first == last else f"entries {first} to {last}"
    of_kind = f" ({', '.join(kinds)})" if kinds else ""
    if fault is Fault.MISSING and last >= size - 1 and run[-1].found is None:
        fault = Fault.TRUNCATED
    message = {
        Fault.EDITED: f"{what}{of_kind}: edited; the tree has the hash of other bytes there.",
        Fault.MISSING: f"{what}: deleted; the tree has a hash there, and no entry has it.",
        Fault.TRUNCATED: f"{what}: cut off; the log says that it has {size} entries.",
        Fault.INSERTED: f"{what}{of_kind}: inserted; the tree does not know it.",
        Fault.MOVED: f"{what}{of_kind}: moved; appended as {_places(first - shift, last - shift)}.",
    }[fault]
    if fault is Fault.MOVED and not shift:
        message = f"{what}: nothing stands there; its entry was moved."
    return Finding(fault, message, first, last, kinds[0] if len(kinds) == 1 else "")


def _places(first: int, last: int) -> str:
    return f"entry {first}" if first == last else f"entries {first} to {last}"


def _rest(findings: Sequence[Finding]) -> list[Finding]:
    left = len(findings) - _MAX_FINDINGS
    if left <= 0:
        return []
    after = findings[_MAX_FINDINGS]
    return [Finding(after.fault, f"{left} further places from entry {after.first} on are wrong.", after.first)]
