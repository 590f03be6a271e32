"""A part of the ledger as one file that is verified offline: entries, the hashes around them, checkpoint and keys.

Around the entries stand the roots of the complete subtrees before and behind them (merkle.cover): with the entries' own
hashes between them they make the signed root, so no entry can be changed, left out, added or exchanged, and one that
was is named. The entries that opened the log and rotated its key come along, each with its inclusion proof, so the key
that signed the checkpoint is proved as well. The file is JSON; hashes are base64.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, zip_longest
from typing import Any, Final

from governance.errors import BundleError, EntryError, LogKeyError, NoteError, ProofError, SignatureError
from governance.ledger.checkpoint import SignedCheckpoint, parse_checkpoint
from governance.ledger.diagnosis import MAX_MISMATCHES, Mismatch, diagnose
from governance.ledger.entries import parse_leaf
from governance.ledger.findings import Fault, Finding, Report
from governance.ledger.keys import OPENED, ROTATED, KeyHistory
from governance.ledger.kinds import missing_facts
from governance.ledger.merkle import HASH_BYTES, CompactRange, cover, inclusion_path, leaf_hash, verify_inclusion
from governance.ledger.tiles import node_reader
from governance.ledger.verification import Trust
from governance.ports import LedgerView

FORMAT: Final = "qfl-ledger-bundle/1"
MAX_BUNDLE_BYTES: Final = 1 << 29
_MAX_FINDINGS: Final = 100


@dataclass(frozen=True)
class KeyEntry:
    """An entry that names a key, and the proof that it is in the tree."""

    leaf_index: int
    leaf: bytes
    path: Sequence[bytes]


@dataclass(frozen=True)
class Bundle:
    """A part of a log; nothing is verified.

    Attributes:
        first: Index of the first entry.
        leaves: The entries' bytes.
        hashes: Of the leaves, as the log has them: they tell which entry is wrong.
        before: Roots of cover(0, first).
        behind: Roots of cover(first + len(leaves), size).
        key_entries: Those that name the log's keys.
        checkpoint: Of the tree, with its cosignatures.
    """

    first: int
    leaves: Sequence[bytes]
    hashes: Sequence[bytes]
    before: Sequence[bytes]
    behind: Sequence[bytes]
    key_entries: Sequence[KeyEntry]
    checkpoint: SignedCheckpoint

    @property
    def stop(self) -> int:
        """Index after the last entry."""
        return self.first + len(self.hashes)

    def write(self) -> bytes:
        """The file."""
        document = {
            "format": FORMAT,
            "first": self.first,
            "entries": [leaf.decode() for leaf in self.leaves],
            "hashes": _encode(self.hashes),
            "before": _encode(self.before),
            "behind": _encode(self.behind),
            "keys": [
                {"index": each.leaf_index, "entry": each.leaf.decode(), "path": _encode(each.path)}
                for each in self.key_entries
            ],
            "checkpoint": self.checkpoint.text(),
        }
        return json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n"


def export(view: LedgerView, first: int, stop: int, checkpoint: SignedCheckpoint) -> Bundle:
    """Take entries out of the log with what proves them.

    Args:
        view: Of the log.
        first: Index of the first entry.
        stop: Index after the last one.
        checkpoint: Signed, of at least that many entries.

    Raises:
        BundleError: There are no such entries, or they are not under the checkpoint, or the stored ones are not text.
        LedgerTamperedError: The stored hashes are not complete.
    """
    size = checkpoint.head.size
    if not 0 <= first < stop <= size:
        raise BundleError(
            f"Expected entries from 0 to {size - 1}, which the checkpoint signs, got {first} to {stop - 1}."
        )
    read = node_reader(view.tile)
    rows = list(view.rows(first, stop))
    named = [row for row in view.rows_of_kind(OPENED, ROTATED) if row.leaf_index < size]
    try:
        for row in (*rows, *named):
            row.leaf.decode()
    except UnicodeDecodeError as fault:
        raise BundleError("An entry of the range is not text. Run `qfl governance verify`.") from fault
    return Bundle(
        first=first,
        leaves=[row.leaf for row in rows],
        hashes=[read(0, place) for place in range(first, stop)],
        before=[read(*node) for node in cover(0, first)],
        behind=[read(*node) for node in cover(stop, size)],
        key_entries=[KeyEntry(row.leaf_index, row.leaf, inclusion_path(row.leaf_index, size, read)) for row in named],
        checkpoint=checkpoint,
    )


def parse_bundle(data: bytes) -> Bundle:
    """Read a bundle.

    Raises:
        BundleError: It is none, or too long.
    """
    if len(data) > MAX_BUNDLE_BYTES:
        raise BundleError(f"Expected a bundle of at most {MAX_BUNDLE_BYTES} bytes, got {len(data)}.")
    try:
        found = json.loads(data)
        if found["format"] != FORMAT:
            raise BundleError(f"Expected a bundle of format {FORMAT}, got another one.")
        return Bundle(
            first=_index(found["first"]),
            leaves=[leaf.encode() for leaf in found["entries"]],
            hashes=_decode(found["hashes"]),
            before=_decode(found["before"]),
            behind=_decode(found["behind"]),
            key_entries=[_key_entry(each) for each in found["keys"]],
            checkpoint=parse_checkpoint(found["checkpoint"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, NoteError) as fault:
        raise BundleError(f"Expected a ledger bundle ({type(fault).__name__}); export it again.") from fault


def verify_bundle(bundle: Bundle, trust: Trust) -> Report:
    """Check a part of a log.

    1. The entries that name keys are in the tree.
    2. The first key is the believed one, and each was handed over.
    3. The log's key of that size signed the checkpoint.
    4. The entries' hashes and those around them make its root.
    5. Each entry has its hash, and is an entry.
    6. Enough witnesses have cosigned.
    """
    findings: list[Finding] = []
    head = bundle.checkpoint.head
    keys = _keys(bundle, findings)  # 1
    if trust.log_key is not None and keys.periods and keys.periods[0].key != trust.log_key:  # 2
        message = f"The log was opened with another key than the believed one, {trust.log_key.key_id.hex()}."
        findings.append(Finding(Fault.OTHER_KEY, message, 0, 0, OPENED))
    signed_at = None
    try:  # 3
        signed_at = keys.check_signed(bundle.checkpoint)
    except (LogKeyError, SignatureError) as fault:
        kind = Fault.REPLACED_KEY if isinstance(fault, LogKeyError) else Fault.CHECKPOINT_UNSIGNED
        findings.append(Finding(kind, str(fault), head.size))
    findings += _check_tree(bundle)  # 4
    findings += _check_entries(bundle)  # 5
    witnesses = bundle.checkpoint.witnesses(trust.witnesses)
    if len(witnesses) < trust.quorum:  # 6
        message = f"Expected cosignatures of {trust.quorum} of {len(trust.witnesses)} witnesses, got {len(witnesses)}."
        findings.append(Finding(Fault.TOO_FEW_WITNESSES, message))
    notes = [f"The bundle holds the entries {bundle.first} to {bundle.stop - 1} of {head.size}."]
    if trust.log_key is None:
        notes.append("The log's first key was taken from the bundle; compare its id with the one the hospital gives.")
    return Report(
        origin=head.origin,
        size=head.size,
        checked=len(bundle.leaves),
        signed_size=head.size if signed_at else 0,
        signed_at=signed_at,
        checkpoints=1,
        witnesses=witnesses,
        findings=tuple(findings),
        notes=tuple(notes),
    )


def _keys(bundle: Bundle, findings: list[Finding]) -> KeyHistory:
    history, head = KeyHistory(), bundle.checkpoint.head
    for each in sorted(bundle.key_entries, key=lambda each: each.leaf_index):
        try:
            verify_inclusion(each.leaf_index, head.size, leaf_hash(each.leaf), each.path, head.root)
            history.take(each.leaf_index, parse_leaf(each.leaf))
        except (ProofError, EntryError, LogKeyError) as fault:
            findings.append(Finding(Fault.ROTATION, f"entry {each.leaf_index}: {fault}", each.leaf_index))
    return history


def _check_tree(bundle: Bundle) -> list[Finding]:
    """The root over what is before the entries, their hashes, and what is behind them."""
    try:
        if _root(bundle) == bundle.checkpoint.head.root:
            return []
        why = "they are not those that the checkpoint signs: one was edited, left out, added or moved, with its hash."
    except (ProofError, ValueError):
        why = "the bundle does not have the hashes that a tree of this size has around them."
    message = f"entries {bundle.first} to {bundle.stop - 1}: {why}"
    return [Finding(Fault.REWRITTEN, message, bundle.first, bundle.stop - 1)]


def _root(bundle: Bundle) -> bytes:
    tree = CompactRange(bundle.first, bundle.before)
    for each in bundle.hashes:
        tree.append(each)
    for (level, _), root in zip(cover(bundle.stop, bundle.checkpoint.head.size), bundle.behind, strict=True):
        tree.append_subtree(level, root)
    return tree.root()


def _check_entries(bundle: Bundle) -> list[Finding]:
    findings: list[Finding] = []
    mismatches: list[Mismatch] = []
    for place, leaf, expected in zip_longest(count(bundle.first), bundle.leaves, bundle.hashes):
        if leaf is None and expected is None:
            break
        found = None if leaf is None else leaf_hash(leaf)
        kind, fault = ("", None) if leaf is None else _look_at(place, leaf)
        if found != expected:
            mismatches.append(Mismatch(place, found, expected, kind))
        if fault is not None and len(findings) < _MAX_FINDINGS:
            findings.append(fault)
    return [*diagnose(mismatches[:MAX_MISMATCHES], bundle.stop), *findings]


def _look_at(place: int, leaf: bytes) -> tuple[str, Finding | None]:
    """An entry's kind, and what is wrong with what it says."""
    try:
        entry = parse_leaf(leaf)
    except EntryError as fault:
        return "", Finding(Fault.MALFORMED, f"entry {place}: its bytes are no entry: {fault}", place, place)
    if lacking := missing_facts(entry.kind, entry.facts):
        message = f"entry {place} ({entry.kind}): lacks {', '.join(sorted(lacking))}."
        return entry.kind, Finding(Fault.MALFORMED, message, place, place, entry.kind)
    return entry.kind, None


def _key_entry(found: Mapping[str, Any]) -> KeyEntry:
    return KeyEntry(_index(found["index"]), str(found["entry"]).encode(), _decode(found["path"]))


def _index(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 62:
        raise TypeError("Expected an index.")
    return value


def _encode(hashes: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(each).decode() for each in hashes]


def _decode(texts: Sequence[str]) -> list[bytes]:
    try:
        hashes = [base64.b64decode(each, validate=True) for each in texts]
    except binascii.Error as fault:
        raise BundleError("Expected base64 in a bundle.") from fault
    if any(len(each) != HASH_BYTES for each in hashes):
        raise BundleError(f"Expected hashes of {HASH_BYTES} bytes in a bundle.")
    return hashes
