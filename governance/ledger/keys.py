"""Which key signs for the log at which size: the first entry names the first, a rotation names each next one.

A rotation is an entry with the old key's signature, which hands over, and the new key's, which shows that its owner has
it. The old key signs trees that do not hold that entry yet; the new key signs all that hold it. So each size has one
key, and a key that was stolen and replaced cannot sign a later tree.
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from governance.canonical import Canonical, canonical_bytes, digest
from governance.errors import EntryError, LedgerNotOpenError, LogKeyError, NoteError, SignatureError
from governance.ledger.checkpoint import SignedCheckpoint
from governance.ledger.cosignature import CosignerKey, CosignerSigner
from governance.ledger.entries import Entry, parse_leaf
from governance.ports import Row

OPENED: Final = "log-opened"
ROTATED: Final = "key-rotated"
_PURPOSE: Final = "qfl/log-key-rotation"


@dataclass(frozen=True)
class KeyPeriod:
    """A key and where it signs.

    Attributes:
        key: The log's.
        first: The smallest tree that it signs.
        last: The largest; None for the present key.
    """

    key: CosignerKey
    first: int
    last: int | None = None


class KeyHistory:
    """The log's keys, as its own entries name them."""

    def __init__(self) -> None:
        self.periods: list[KeyPeriod] = []

    @property
    def present(self) -> CosignerKey:
        """The key that signs now.

        Raises:
            LedgerNotOpenError: No entry names one.
        """
        if not self.periods:
            raise LedgerNotOpenError(
                "The ledger has no first entry that names its key. Run `qfl governance checkpoint`."
            )
        return self.periods[-1].key

    def key_at(self, size: int) -> CosignerKey | None:
        """The key that signs trees of a size; None before the first."""
        for period in reversed(self.periods):
            if size >= period.first:
                return period.key
        return None

    def take(self, index: int, entry: Entry) -> None:
        """Take note of an entry that opens the log or rotates its key; nothing changes where it is wrong.

        Raises:
            LogKeyError: It is at a wrong place, or is not signed by both keys.
        """
        if entry.kind == OPENED:
            self._open(index, entry)
        elif entry.kind == ROTATED:
            self._rotate(index, entry)

    def check_signed(self, checkpoint: SignedCheckpoint) -> datetime:
        """Check that the log signed a checkpoint, with the key that signs trees of its size.

        Returns:
            When.

        Raises:
            LogKeyError: A key signed it that does not sign trees of that size, e.g. one that was replaced.
            SignatureError: The log did not sign it.
        """
        size, key = checkpoint.head.size, self.key_at(checkpoint.head.size)
        at = checkpoint.signed_by(key) if key else None
        if at is not None:
            return at
        for period in self.periods:
            if period.key != key and checkpoint.signed_by(period.key) is not None:
                raise LogKeyError(
                    f"The checkpoint of size {size} is signed by the key {period.key.key_id.hex()}, which signs sizes "
                    f"{period.first} to {period.last if period.last is not None else 'now'}: a replaced key was used."
                )
        raise SignatureError(f"The checkpoint of size {size} is not signed by the log's key.")

    def _open(self, index: int, entry: Entry) -> None:
        if index != 0 or self.periods:
            raise LogKeyError(f"Entry {index} opens the log again.")
        key = _parse_key(entry, "key")
        if key.name != entry.facts.get("origin"):
            raise LogKeyError("The first entry's key does not have the log's name.")
        self.periods.append(KeyPeriod(key, 1))

    def _rotate(self, index: int, entry: Entry) -> None:
        old, new = _parse_key(entry, "old"), _parse_key(entry, "new")
        if not self.periods or old != self.present or new.name != old.name:
            raise LogKeyError(f"Entry {index} replaces a key that is not the log's present one.")
        if any(new == period.key for period in self.periods):
            raise LogKeyError(f"Entry {index} brings back a key that was replaced.")
        statement = _statement(old, new)
        try:
            old.verify(_bytes(entry, "old_signature"), statement, purpose=_PURPOSE)
            new.verify(_bytes(entry, "new_signature"), statement, purpose=_PURPOSE)
        except SignatureError as fault:
            raise LogKeyError(f"Entry {index} replaces the log's key without both keys' signatures.") from fault
        self.periods[-1] = KeyPeriod(old, self.periods[-1].first, index)
        self.periods.append(KeyPeriod(new, index + 1))


def history_of(rows: Iterable[Row]) -> KeyHistory:
    """The keys from the stored rows of kinds OPENED and ROTATED.

    Raises:
        LogKeyError: One is wrong.
        EntryError: One is no entry.
    """
    history = KeyHistory()
    for row in rows:
        history.take(row.leaf_index, parse_leaf(row.leaf))
    return history


def opening(key: CosignerKey, *, now: datetime) -> Entry:
    """The first entry of a log."""
    return Entry(OPENED, now, {"origin": key.name, "key": key.vkey}, key=OPENED)


def rotation(old: CosignerSigner, new: CosignerSigner, *, now: datetime) -> Entry:
    """The entry by which a log's key is replaced.

    Raises:
        LogKeyError: They are of two logs.
    """
    if old.public.name != new.public.name:
        raise LogKeyError(f"Expected a new key of {old.public.name}, got one of {new.public.name}.")
    statement = _statement(old.public, new.public)
    facts: dict[str, Canonical] = {
        "origin": old.public.name,
        "old": old.public.vkey,
        "new": new.public.vkey,
        "old_signature": base64.b64encode(old.sign(statement, purpose=_PURPOSE)).decode(),
        "new_signature": base64.b64encode(new.sign(statement, purpose=_PURPOSE)).decode(),
    }
    return Entry(ROTATED, now, facts, key=rotation_key(old.public, new.public))


def rotation_key(old: CosignerKey, new: CosignerKey) -> str:
    """The entry's key: a log replaces one key by another once."""
    return f"rotation-{digest([old.vkey, new.vkey])[:32]}"


def _statement(old: CosignerKey, new: CosignerKey) -> bytes:
    return canonical_bytes({"origin": old.name, "old": old.vkey, "new": new.vkey})


def _parse_key(entry: Entry, name: str) -> CosignerKey:
    try:
        return CosignerKey.parse(str(entry.facts.get(name, "")))
    except NoteError as fault:
        raise LogKeyError(f"An entry of kind {entry.kind} does not name a key: {fault}") from fault


def _bytes(entry: Entry, name: str) -> bytes:
    try:
        return base64.b64decode(str(entry.facts.get(name, "")), validate=True)
    except (binascii.Error, ValueError) as fault:
        raise EntryError(f"Expected base64 as the fact {name!r} of kind {entry.kind}.") from fault
