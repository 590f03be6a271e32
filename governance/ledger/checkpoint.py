"""A log's tree head as c2sp.org/tlog-checkpoint writes it: origin, size and root, signed as a note."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from governance.errors import NoteError, SignatureError
from governance.ledger.cosignature import CosignerKey, CosignerSigner
from governance.ledger.merkle import EMPTY_ROOT, HASH_BYTES
from governance.ledger.note import Note, parse_note

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class Checkpoint:
    """A tree head.

    Attributes:
        origin: Name of the log.
        size: Of the tree.
        root: 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note's text."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True)
class SignedCheckpoint:
    """A tree head with signature lines, which nobody has verified yet.

    Attributes:
        head: What they sign.
        note: The whole.
    """

    head: Checkpoint
    note: Note

    def text(self) -> str:
        """The whole note."""
        return self.note.write()

    def signed_by(self, key: CosignerKey) -> datetime | None:
        """When a key signed it; None where it did not.

        Raises:
            SignatureError: A line names the key and is not its signature.
        """
        for line in self.note.signatures:
            if key.made(line):
                return key.verify_tree(line, self.head.origin, self.head.size, self.head.root)
        return None

    def witnesses(self, keys: Sequence[CosignerKey]) -> dict[str, datetime]:
        """Which witnesses cosigned it, and when; a line that is not what it names counts as none."""
        found: dict[str, datetime] = {}
        for key in keys:
            try:
                at = self.signed_by(key)
            except SignatureError:
                continue
            if at is not None:
                found[key.name] = at
        return found


def sign(head: Checkpoint, signer: CosignerSigner, *, now: datetime) -> SignedCheckpoint:
    """Sign a tree head; whether the log may be signed is for the caller to know (log.sign_checkpoint)."""
    line = signer.sign_tree(head.origin, head.size, head.root, now=now)
    return SignedCheckpoint(head, Note(head.text(), (line,)))


def parse_checkpoint(text: str) -> SignedCheckpoint:
    """Read a checkpoint; nothing is verified.

    Raises:
        NoteError: It is none. Extension lines are refused: the signatures do not cover them.
    """
    note = parse_note(text)
    match note.text.removesuffix("\n").split("\n"):
        case [origin, size, root] if origin and _SIZE.fullmatch(size):
            head = Checkpoint(origin, int(size), _parse_root(root))
        case _:
            raise NoteError("Expected a checkpoint of three lines: origin, size and root.")
    if head.size == 0 and head.root != EMPTY_ROOT:
        raise NoteError("Expected the empty tree's root in a checkpoint of size 0.")
    return SignedCheckpoint(head, note)


def _parse_root(text: str) -> bytes:
    try:
        root = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as fault:
        raise NoteError("Expected a root in base64.") from fault
    if len(root) != HASH_BYTES or base64.b64encode(root).decode() != text:
        raise NoteError(f"Expected a root of {HASH_BYTES} bytes.")
    return root
