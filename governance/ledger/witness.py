"""A site as witness of another's log: c2sp.org/tlog-witness, its `add-checkpoint` call without the HTTP.

A witness cosigns a tree only if it began as the tree that it cosigned before, so a log that shows two histories, or
goes back, finds no witness for the second.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from governance.errors import (
    InconsistentLogError,
    NoteError,
    ProofError,
    SignatureError,
    UnknownLogError,
    WitnessBehindError,
)
from governance.ledger.checkpoint import Checkpoint, SignedCheckpoint, parse_checkpoint
from governance.ledger.cosignature import CosignerKey, CosignerSigner
from governance.ledger.merkle import EMPTY_ROOT, verify_consistency
from governance.ports import WitnessMemory

MAX_REQUEST_BYTES: Final = 1 << 18
_MAX_PROOF: Final = 63
_OLD: Final = re.compile(r"old (0|[1-9][0-9]{0,18})")


class Witness:
    """Cosigns the trees of the logs that it knows."""

    def __init__(
        self, signer: CosignerSigner, logs: Mapping[str, Sequence[CosignerKey]], memory: WitnessMemory
    ) -> None:
        """Use a key and a memory.

        Args:
            signer: The witness's.
            logs: By origin, the keys that may sign for it. A key that the log has replaced is taken out.
            memory: What was cosigned before.
        """
        self._signer, self._logs, self._memory = signer, logs, memory

    def add_checkpoint(self, request: str, *, now: datetime) -> str:
        """Answer a request of a log.

        1. The log is known.
        2. It signed the checkpoint.
        3. The proof begins where the witness is.
        4. The tree began as the one before.
        5. Remember it, then cosign.

        Args:
            request: From write_request.
            now: The time.

        Returns:
            The witness's signature line.

        Raises:
            NoteError: The request is none.
            UnknownLogError: (1)
            SignatureError: (2)
            WitnessBehindError: (3) It says where the witness is; ask again from there.
            InconsistentLogError: (4)
        """
        old, proof, found = _parse_request(request)
        head = found.head
        keys = self._logs.get(head.origin)
        if not keys:  # 1
            raise UnknownLogError(f"This witness does not know the log {head.origin!r}; add its verifier key.")
        if not [key for key in keys if found.signed_by(key) is not None]:  # 2
            raise SignatureError(f"The checkpoint of {head.origin} is not signed by a key that this witness believes.")
        before = self._memory.last(head.origin)
        last = parse_checkpoint(before).head if before else None
        if old != (last.size if last else 0):  # 3
            size = last.size if last else 0
            raise WitnessBehindError(f"This witness has cosigned {size} entries of {head.origin}, not {old}.", size)
        try:  # 4
            _check_grown(old, last.root if last else EMPTY_ROOT, head, proof)
        except ProofError as fault:
            raise InconsistentLogError(
                f"{head.origin}: the tree of {head.size} entries did not begin as the one of {old} that this witness "
                f"has cosigned: the log was forked or rolled back. {fault}"
            ) from fault
        if not self._memory.advance(head.origin, before, found.text()):  # 5
            raise WitnessBehindError(f"Another process cosigned {head.origin} meanwhile; ask again.", old)
        return self._signer.sign_tree(head.origin, head.size, head.root, now=now).line()


def write_request(old: int, proof: Sequence[bytes], checkpoint: SignedCheckpoint) -> str:
    """The body of `add-checkpoint`.

    Args:
        old: Size of the tree that the witness has cosigned last; 0 for none.
        proof: From log.prove_consistency.
        checkpoint: To be cosigned.
    """
    lines = [f"old {old}", *(base64.b64encode(each).decode() for each in proof), "", checkpoint.text()]
    return "\n".join(lines)


def _check_grown(old: int, root: bytes, head: Checkpoint, proof: Sequence[bytes]) -> None:
    if old:
        verify_consistency(old, head.size, proof, root, head.root)
    elif proof:
        raise ProofError("Expected no proof from the empty tree.")


def _parse_request(request: str) -> tuple[int, list[bytes], SignedCheckpoint]:
    if len(request) > MAX_REQUEST_BYTES:
        raise NoteError(f"Expected a request of at most {MAX_REQUEST_BYTES} characters, got {len(request)}.")
    head, blank, note = request.partition("\n\n")
    first, *proof = head.split("\n")
    old = _OLD.fullmatch(first)
    if not blank or old is None or len(proof) > _MAX_PROOF:
        raise NoteError("Expected a request to a witness: 'old SIZE', the proof's lines, a blank line, a checkpoint.")
    try:
        hashes = [base64.b64decode(line, validate=True) for line in proof]
    except (binascii.Error, ValueError) as fault:
        raise NoteError("Expected a proof in base64.") from fault
    found = parse_checkpoint(note)
    if int(old[1]) > found.head.size:
        raise NoteError(f"Expected a checkpoint of at least {old[1]} entries, got one of {found.head.size}.")
    return int(old[1]), hashes, found
