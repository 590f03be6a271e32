"""What governance needs from the world: a store of the ledger's rows, a witness's memory, a consortium's chain."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol


class Row(NamedTuple):
    """An entry as it is stored.

    Attributes:
        leaf_index: From 0.
        kind: As the leaf says; kept beside it for queries.
        key: As the leaf says; None without one.
        leaf: The bytes that are hashed.
    """

    leaf_index: int
    kind: str
    key: str | None
    leaf: bytes


class NewRow(NamedTuple):
    """An entry that is to be stored."""

    kind: str
    key: str | None
    leaf: bytes


class LedgerView(Protocol):
    """The ledger at one moment, whatever is appended meanwhile. Nothing in it has been verified."""

    @property
    def origin(self) -> str:
        """Name of the log; empty where it has not been opened."""

    @property
    def size(self) -> int:
        """How many entries it says that it has."""

    def rows(self, start: int | None = None, stop: int | None = None) -> Iterator[Row]:
        """The stored rows in their order, all unless limited to the indexes [start, stop)."""

    def rows_of_kind(self, *kinds: str) -> Iterator[Row]:
        """The stored rows of some kinds, in their order."""

    def row_of_key(self, key: str) -> Row | None:
        """The row of a transaction's key."""

    def rows_of_keys(self, keys: Sequence[str]) -> Mapping[str, Row]:
        """The rows of transactions' keys, by key; without those that are not there."""

    def tile(self, row: int, index: int) -> bytes:
        """A tile's hashes, one after the other; none where it is not stored."""

    def checkpoints(self) -> Iterator[str]:
        """The signed checkpoints, by size."""

    def last_checkpoint(self) -> str | None:
        """The largest one."""


class LedgerStore(Protocol):
    """Keeps the ledger. Everything is durable when a call returns.

    Every method raises LedgerStoreError where the store cannot be used.
    """

    def open(self, origin: str) -> None:
        """Give the log its name; one that has a name keeps it."""

    def append(self, rows: Sequence[NewRow]) -> Sequence[int]:
        """Append rows in their order, and the tree's hashes with them, all or none.

        Returns:
            Each row's index. A row whose key is there already, with the same kind and facts, is not stored again.

        Raises:
            LedgerNotOpenError: The log has no name yet.
            EntryConflictError: A row's key is that of another transaction.
        """

    def keep_checkpoint(self, size: int, note: str) -> None:
        """Keep a signed checkpoint; one of that size is replaced."""

    def snapshot(self) -> AbstractContextManager[LedgerView]:
        """Read the ledger as it is now."""


class WitnessMemory(Protocol):
    """What a witness has cosigned last, of each log; it must outlive the process."""

    def last(self, origin: str) -> str | None:
        """The checkpoint; None of a log that was never cosigned."""

    def advance(self, origin: str, before: str | None, now: str) -> bool:
        """Replace a checkpoint durably, if it is still the one that was seen before; says whether it was."""


class AnchoredHead(NamedTuple):
    """A tree head as the chain keeps it.

    Attributes:
        size: Entries of the tree.
        root: 32 bytes.
    """

    size: int
    root: bytes


class ModelOnChain(NamedTuple):
    """Where a consortium's contract says that a model stands.

    Attributes:
        released: Whether enough institutions approved it, and none has halted it since.
        halted: Whether one halted it.
        audit: SHA-256 of the audit that it was released under; None where it never was.
    """

    released: bool
    halted: bool
    audit: bytes | None


class Chain(Protocol):
    """The consortium's contract on its chain, as one of its institutions.

    Every method raises AnchorError where the chain does not answer in time, or refuses.
    """

    @property
    def name(self) -> str:
        """Chain and contract, for records, as in eip155:31337:0x..."""

    def anchor(self, ledger: bytes, head: AnchoredHead) -> str:
        """Anchor a tree head; returns the transaction's hash, hexadecimal.

        Args:
            ledger: 32 bytes that name the log.
            head: Larger than every one before.
        """

    def heads(self, ledger: bytes) -> Sequence[AnchoredHead]:
        """Everything that was anchored of a log, in its order."""

    def approve_release(self, model: bytes, audit: bytes) -> str:
        """Approve a release under an audit, 32 bytes each; returns the transaction's hash."""

    def approvals(self, model: bytes, audit: bytes) -> tuple[int, int]:
        """How many institutions approve it now, and how many must."""

    def halt(self, model: bytes, reason: bytes) -> str:
        """Halt a model for everybody; the reason is 32 bytes, e.g. a digest; returns the transaction's hash."""

    def model(self, model: bytes) -> ModelOnChain:
        """Where a model stands."""
