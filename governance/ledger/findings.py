"""What a verifier found wrong, and where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """What can be wrong with a ledger."""

    NOT_OPENED = "not-opened"
    """There is nothing, or no first entry that names a key."""
    EDITED = "entry-edited"
    """An entry's bytes are not those that were appended."""
    MISSING = "entry-missing"
    """An entry was deleted."""
    INSERTED = "entry-inserted"
    """An entry stands where none was appended."""
    MOVED = "entry-moved"
    """An entry stands at another place."""
    MISLABELLED = "entry-mislabelled"
    """The kind or key beside an entry is not the one in it."""
    MALFORMED = "entry-malformed"
    """An entry's bytes are no entry, or it lacks facts of its kind."""
    TRUNCATED = "log-truncated"
    """The last entries are missing."""
    REWRITTEN = "log-rewritten"
    """Entries were changed together with their hashes."""
    FORKED = "log-forked"
    """The log signed two histories."""
    ROLLED_BACK = "log-rolled-back"
    """The log signed more entries than there are."""
    HASHES_DAMAGED = "hashes-damaged"
    """The stored hashes of the tree are not those of the entries, which are right."""
    CHECKPOINT_MALFORMED = "checkpoint-malformed"
    """A kept checkpoint is none, or of another log."""
    CHECKPOINT_UNSIGNED = "checkpoint-not-signed"
    """The log's key did not sign a checkpoint."""
    REPLACED_KEY = "checkpoint-by-replaced-key"
    """A key that the log had replaced signed a checkpoint."""
    ROTATION = "key-not-handed-over"
    """A key was replaced without the old and the new key's signatures, or names another log."""
    OTHER_KEY = "other-key"
    """The log's first key is not the one that the verifier believes."""
    TOO_FEW_WITNESSES = "too-few-witnesses"
    """Fewer witnesses have cosigned than are asked for."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        fault: What.
        message: For people.
        first: The entry it begins at, from 0; for a checkpoint its size; None for the whole log.
        last: The entry it ends at.
        kind: Of that entry, where it can still be read.
    """

    fault: Fault
    message: str
    first: int | None = None
    last: int | None = None
    kind: str = ""


@dataclass(frozen=True)
class Report:
    """What a verifier says of a ledger or of a part of it.

    Attributes:
        origin: Name of the log.
        size: Entries that the log says it has.
        checked: Entries that were read and hashed.
        signed_size: The largest tree with a signature that holds; 0 for none.
        signed_at: When, as the log says.
        checkpoints: How many were checked.
        witnesses: Who cosigned that tree, and when.
        findings: Nothing is wrong where there are none.
        notes: What was not checked, and why it matters.
    """

    origin: str
    size: int
    checked: int
    signed_size: int
    signed_at: datetime | None
    checkpoints: int
    witnesses: Mapping[str, datetime] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    notes: Sequence[str] = ()

    @property
    def is_intact(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return {
            "origin": self.origin,
            "intact": self.is_intact,
            "size": self.size,
            "checked": self.checked,
            "signed_size": self.signed_size,
            "signed_at": self.signed_at.isoformat() if self.signed_at else None,
            "checkpoints": self.checkpoints,
            "witnesses": {name: at.isoformat() for name, at in self.witnesses.items()},
            "findings": [{**vars(each), "fault": str(each.fault)} for each in self.findings],
            "notes": list(self.notes),
        }
