"""The log: opened once, appended to, signed, and proved from."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from governance.errors import ClockSetBackError, LedgerTamperedError, LogKeyError, ProofError
from governance.ledger import checkpoint, merkle
from governance.ledger.checkpoint import Checkpoint, SignedCheckpoint, parse_checkpoint
from governance.ledger.cosignature import CosignerKey, CosignerSigner
from governance.ledger.entries import Entry, leaf_of
from governance.ledger.keys import OPENED, ROTATED, KeyHistory, history_of, opening, rotation, rotation_key
from governance.ledger.merkle import ReadNode
from governance.ledger.note import Note, NoteSignature
from governance.ledger.tiles import WIDTH, hashes_of, node_reader
from governance.ports import LedgerStore, LedgerView, NewRow

_CLOCK_TOLERANCE: Final = timedelta(seconds=2)
"""Signatures carry whole seconds, and the clocks of two processes' machines differ a little."""


def open_log(store: LedgerStore, key: CosignerKey, *, now: datetime) -> None:
    """Give a log its name and its first entry, which names its key; one that is open stays as it is."""
    store.open(key.name)
    with store.snapshot() as view:
        if view.size:
            return
    append(store, [opening(key, now=now)])


def append(store: LedgerStore, entries: Sequence[Entry]) -> Sequence[int]:
    """Append entries in their order, durably, all or none; see LedgerStore.append.

    Returns:
        Each entry's index; that of the earlier one where its key was there already.

    Raises:
        EntryError: An entry is not what its kind asks for.
        EntryConflictError: An entry's key is that of another transaction.
        LedgerStoreError: The store cannot be used.
    """
    return store.append([NewRow(entry.kind, entry.key or None, leaf_of(entry)) for entry in entries])


def keys_of(view: LedgerView) -> KeyHistory:
    """The log's keys; see KeyHistory."""
    return history_of(view.rows_of_kind(OPENED, ROTATED))


def rotate_key(store: LedgerStore, old: CosignerSigner, new: CosignerSigner, *, now: datetime) -> int:
    """Replace the log's key. Sign a checkpoint with the new one at once: only that makes it certain.

    Returns:
        Index of the entry; that of the earlier one where it was done before.

    Raises:
        LogKeyError: The old key is not the log's present one.
    """
    with store.snapshot() as view:
        present = keys_of(view).present
        done = view.row_of_key(rotation_key(old.public, new.public))
    if done is not None:
        return done.leaf_index
    if present != old.public:
        raise LogKeyError(f"The log's present key is {present.key_id.hex()}, not {old.public.key_id.hex()}.")
    (index,) = append(store, [rotation(old, new, now=now)])
    return index


def sign_checkpoint(
    store: LedgerStore, signer: CosignerSigner, *, now: datetime, outside: SignedCheckpoint | None = None
) -> SignedCheckpoint:
    """Sign the log as it is, after checking that it began as it was signed before.

    1. The key is the log's present one.
    2. The last signed checkpoint, and the one kept outside, are of this tree.
    3. The clock has not been set back.
    4. The entries since then are those of the tree's hashes.
    5. Sign and keep.

    Args:
        store: Of the log.
        signer: Its key.
        now: The time.
        outside: The last checkpoint, kept where the database's owner does not write.

    Raises:
        LogKeyError: (1)
        LedgerTamperedError: (2), (4): nothing was signed; `qfl governance verify` says what is wrong.
        ClockSetBackError: (3)
    """
    with store.snapshot() as view:
        keys = keys_of(view)
        if keys.present != signer.public:  # 1
            raise LogKeyError(
                f"The log's present key is {keys.present.key_id.hex()}, got {signer.public.key_id.hex()}; use that one."
            )
        read = node_reader(view.tile)
        text = view.last_checkpoint()
        last = parse_checkpoint(text) if text else None
        for known in (last, outside):  # 2
            if known is not None:
                _check_prefix(view, known, read)
                _check_clock(keys.check_signed(known), now)  # 3
        if last is not None and last.head.size == view.size:
            return last
        _check_leaves(view, last.head.size if last else 0)  # 4
        head = Checkpoint(view.origin, view.size, merkle.root_at(view.size, read))
    signed = checkpoint.sign(head, signer, now=now)  # 5
    store.keep_checkpoint(head.size, signed.text())
    return signed


def add_cosignatures(
    store: LedgerStore, lines: Sequence[NoteSignature], witnesses: Sequence[CosignerKey]
) -> SignedCheckpoint:
    """Add witnesses' lines to the checkpoint that they signed.

    Args:
        store: Of the log.
        lines: As a witness answered.
        witnesses: That the log believes; lines of others are left out.

    Returns:
        The checkpoint with them.

    Raises:
        ProofError: No line is a known witness's signature of a kept checkpoint.
    """
    with store.snapshot() as view:
        for text in reversed(list(view.checkpoints())):
            found = parse_checkpoint(text)
            good = [line for line in lines if _is_of(line, found, witnesses)]
            if good:
                break
        else:
            raise ProofError("Expected cosignatures of a checkpoint of this log by a known witness, got none.")
    whole = SignedCheckpoint(found.head, found.note.with_signatures(good))
    store.keep_checkpoint(whole.head.size, whole.text())
    return whole


def _is_of(line: NoteSignature, found: SignedCheckpoint, witnesses: Sequence[CosignerKey]) -> bool:
    alone = SignedCheckpoint(found.head, Note(found.note.text, (line,)))
    return bool(alone.witnesses(witnesses))


def prove_inclusion(view: LedgerView, index: int, size: int) -> list[bytes]:
    """The proof that an entry is in the tree of a size; see merkle.inclusion_path."""
    _check_size(view, size)
    return merkle.inclusion_path(index, size, node_reader(view.tile))


def prove_consistency(view: LedgerView, first: int, second: int) -> list[bytes]:
    """The proof that the tree of a size began as that of an earlier one; see merkle.consistency_path."""
    _check_size(view, second)
    return merkle.consistency_path(first, second, node_reader(view.tile))


def _check_size(view: LedgerView, size: int) -> None:
    if size > view.size:
        raise ProofError(f"Expected the size of a tree up to {view.size}, got {size}.")


def _check_prefix(view: LedgerView, known: SignedCheckpoint, read: ReadNode) -> None:
    head = known.head
    if head.origin != view.origin or head.size > view.size or merkle.root_at(head.size, read) != head.root:
        raise LedgerTamperedError(
            f"The ledger has {view.size} entries and did not begin as the {head.size} that were signed before. Nothing "
            "was signed. Run `qfl governance verify`."
        )


def _check_clock(signed_at: datetime, now: datetime) -> None:
    if now < signed_at - _CLOCK_TOLERANCE:
        raise ClockSetBackError(
            f"The last checkpoint was signed at {signed_at.isoformat()}, and now it is {now.isoformat()}: the clock "
            "was set back. Set it right; nothing was signed."
        )


def _check_leaves(view: LedgerView, start: int) -> None:
    """Compare the entries since the last checkpoint with the hashes that are about to be signed."""
    expected, tile = start, hashes_of(view.tile(0, start // WIDTH))
    for row in view.rows(start, view.size):
        if row.leaf_index % WIDTH == 0:
            tile = hashes_of(view.tile(0, row.leaf_index // WIDTH))
        place = row.leaf_index % WIDTH
        if row.leaf_index != expected or place >= len(tile) or tile[place] != merkle.leaf_hash(row.leaf):
            break
        expected += 1
    if expected != view.size:
        raise LedgerTamperedError(
            f"Entry {expected} is not what was appended; nothing was signed. Run `qfl governance verify`."
        )
