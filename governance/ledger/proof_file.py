"""The proof that one entry is in the log, as c2sp.org/tlog-proof@v1 writes it; any verifier of that format reads it."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from governance.errors import NoteError
from governance.ledger.checkpoint import SignedCheckpoint, parse_checkpoint
from governance.ledger.merkle import leaf_hash, verify_inclusion
from governance.ledger.note import MAX_NOTE_BYTES

_HEADER: Final = "c2sp.org/tlog-proof@v1"
_INDEX: Final = re.compile(r"index (0|[1-9][0-9]{0,18})")
_MAX_PATH: Final = 63


@dataclass(frozen=True)
class EntryProof:
    """That a leaf is in a tree; the checkpoint's signatures have not been verified.

    Attributes:
        leaf: The entry's bytes.
        leaf_index: From 0.
        path: From merkle.inclusion_path.
        checkpoint: Of the tree.
    """

    leaf: bytes
    leaf_index: int
    path: Sequence[bytes]
    checkpoint: SignedCheckpoint

    def check(self) -> None:
        """Check it.

        Raises:
            ProofError: The leaf is not proved to be in the tree.
        """
        head = self.checkpoint.head
        verify_inclusion(self.leaf_index, head.size, leaf_hash(self.leaf), self.path, head.root)

    def text(self) -> str:
        """The file; the leaf is its extra data."""
        encoded = [base64.b64encode(each).decode() for each in self.path]
        extra = base64.b64encode(self.leaf).decode()
        lines = [_HEADER, f"extra {extra}", f"index {self.leaf_index}", *encoded, "", self.checkpoint.text()]
        return "\n".join(lines)


def parse_proof(text: str) -> EntryProof:
    """Read a proof file whose extra data is the leaf; nothing is checked.

    Raises:
        NoteError: It is none.
    """
    if len(text) > 2 * MAX_NOTE_BYTES:
        raise NoteError(f"Expected a proof of at most {2 * MAX_NOTE_BYTES} characters, got {len(text)}.")
    head, blank, note = text.partition("\n\n")
    match head.split("\n"):
        case [header, extra, index, *path] if blank and header == _HEADER and len(path) <= _MAX_PATH:
            found = _INDEX.fullmatch(index)
        case _:
            raise NoteError(f"Expected a proof that begins with {_HEADER}.")
    if found is None or not extra.startswith("extra "):
        raise NoteError("Expected a proof with the entry as its extra data, and its index.")
    try:
        leaf, *hashes = (base64.b64decode(each, validate=True) for each in (extra.removeprefix("extra "), *path))
    except (binascii.Error, ValueError) as fault:
        raise NoteError("Expected base64 in a proof.") from fault
    return EntryProof(leaf, int(found[1]), hashes, parse_checkpoint(note))
