"""The ledger in use: opened with its first entry, signed, verified, exported, witnessed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from governance.errors import BundleError, LedgerNotOpenError, LogKeyError, NoteError
from governance.ledger import log
from governance.ledger.bundle import Bundle, export
from governance.ledger.checkpoint import SignedCheckpoint, parse_checkpoint
from governance.ledger.cosignature import CosignerKey, CosignerSigner
from governance.ledger.entries import Entry, parse_leaf
from governance.ledger.findings import Report
from governance.ledger.note import parse_signatures
from governance.ledger.proof_file import EntryProof
from governance.ledger.verification import Trust, verify_ledger
from governance.ledger.witness import Witness, write_request
from governance.ports import LedgerStore, LedgerView


class LedgerFiles(Protocol):
    """What the ledger keeps outside its database; a WitnessMemory as well."""

    def key(self, origin: str) -> CosignerSigner:
        """The log's private key; made where there is none."""

    def present_key(self, present: CosignerKey) -> CosignerSigner | None:
        """The private key of the log's present one; None where it is elsewhere."""

    def next_key(self, origin: str) -> CosignerSigner:
        """The key that is to replace it; made where there is none."""

    def finish_rotation(self) -> None:
        """The next key has become the present one."""

    def first_key(self) -> CosignerKey | None:
        """The key that the log was opened with, as this installation believes."""

    def pin_first_key(self, key: CosignerKey) -> None:
        """Hold on to it."""

    def checkpoint(self) -> str | None:
        """The last checkpoint that was signed here."""

    def keep_checkpoint(self, note: str) -> None:
        """Hold on to a checkpoint."""

    def witnesses(self) -> Sequence[CosignerKey]:
        """Whose cosignatures count."""

    def witness_key(self, name: str) -> CosignerSigner:
        """This site's private key as a witness; made where there is none."""

    def logs(self) -> Mapping[str, Sequence[CosignerKey]]:
        """The logs that this site witnesses, and who may sign for them."""

    def last(self, origin: str) -> str | None:
        """What this site has cosigned last of a log."""

    def advance(self, origin: str, before: str | None, now: str) -> bool:
        """Replace it, if it is still what was seen."""


@dataclass(frozen=True)
class Ledger:
    """A log, its files and its name.

    Attributes:
        store: The database.
        files: What is outside of it.
        origin: The name that a new log gets; one that is open keeps its own.
        clock: Gives the time.
    """

    store: LedgerStore
    files: LedgerFiles
    origin: str
    clock: Callable[[], datetime]

    def append(self, entries: Sequence[Entry]) -> Sequence[int]:
        """Append entries durably; see log.append. A log that is not open yet is opened."""
        try:
            return log.append(self.store, entries)
        except LedgerNotOpenError:
            self.open()
            return log.append(self.store, entries)

    def record(self, entries: Sequence[Entry]) -> Sequence[int]:
        """Append entries and sign them at once."""
        places = self.append(entries)
        self.sign()
        return places

    def open(self) -> None:
        """Open the log, unless it is."""
        key = self.files.key(self.origin).public
        log.open_log(self.store, key, now=self.clock())
        with self.store.snapshot() as view:
            self.files.pin_first_key(log.keys_of(view).periods[0].key)

    def sign(self) -> SignedCheckpoint:
        """Sign the log as it is, and hold on to the checkpoint outside the database.

        Raises:
            LedgerTamperedError: The log is not what was signed before.
            LogKeyError: This installation does not have the log's present key.
            ClockSetBackError: The clock is behind the last signature.
        """
        self.open()
        outside = self.files.checkpoint()
        known = parse_checkpoint(outside) if outside else None
        signed = log.sign_checkpoint(self.store, self._signer(), now=self.clock(), outside=known)
        if signed.text() != outside:
            self.files.keep_checkpoint(signed.text())
        return signed

    def sign_new(self) -> SignedCheckpoint | None:
        """Sign the log, if it has entries that are not signed; see sign."""
        with self.store.snapshot() as view:
            text = view.last_checkpoint()
            if text is not None and parse_checkpoint(text).head.size == view.size:
                return None
        return self.sign()

    def sign_statement(self, statement: bytes, *, purpose: str) -> tuple[CosignerKey, bytes]:
        """Sign something other than a tree with the log's present key, which is returned with the signature.

        Raises:
            LogKeyError: This installation does not have that key.
        """
        signer = self._signer()
        return signer.public, signer.sign(statement, purpose=purpose)

    def rotate_key(self) -> SignedCheckpoint:
        """Replace the log's key, e.g. because somebody may have read it, and sign with the new one."""
        self.sign()
        old = self._signer()
        log.rotate_key(self.store, old, self.files.next_key(old.public.name), now=self.clock())
        return self.sign()

    def verify(self, *, outside: Sequence[tuple[str, str]] = (), quorum: int = 0) -> Report:
        """Check everything.

        Args:
            outside: Further checkpoints, e.g. from a witness, with where they come from.
            quorum: How many witnesses must have cosigned.
        """
        kept = self.files.checkpoint()
        known = [("checkpoint file", kept)] if kept else []
        trust = Trust(self.files.first_key(), [*known, *outside], self.files.witnesses(), quorum)
        with self.store.snapshot() as view:
            return verify_ledger(view, trust)

    def last(self, number: int, kind: str | None = None) -> list[tuple[int, Entry]]:
        """The last entries with their indexes, the oldest first."""
        with self.store.snapshot() as view:
            rows = view.rows_of_kind(kind) if kind else view.rows(max(0, view.size - number))
            return [(row.leaf_index, parse_leaf(row.leaf)) for row in list(rows)[-number:]]

    def export(self, first: int, stop: int | None = None) -> Bundle:
        """Entries and what proves them; up to the last signed one unless told.

        Raises:
            BundleError: There are no such signed entries.
        """
        with self.store.snapshot() as view:
            signed = _last_signed(view)
            return export(view, first, signed.head.size if stop is None else stop, signed)

    def prove(self, place: int) -> EntryProof:
        """The proof of one entry, as C2SP writes it.

        Raises:
            ProofError: There is no such signed entry.
        """
        with self.store.snapshot() as view:
            signed = _last_signed(view)
            path = log.prove_inclusion(view, place, signed.head.size)
            return EntryProof(next(view.rows(place, place + 1)).leaf, place, path, signed)

    def ask_witness(self, old: int) -> str:
        """A request to a witness who has cosigned `old` entries, for the last signed tree."""
        with self.store.snapshot() as view:
            signed = _last_signed(view)
            return write_request(old, log.prove_consistency(view, old, signed.head.size), signed)

    def add_cosignatures(self, lines: str) -> SignedCheckpoint:
        """Add what witnesses answered.

        Raises:
            ProofError: Nothing of it is a known witness's signature of a checkpoint of this log.
        """
        whole = log.add_cosignatures(self.store, parse_signatures(lines), self.files.witnesses())
        kept = self.files.checkpoint()
        if kept is None or parse_checkpoint(kept).head.size <= whole.head.size:
            self.files.keep_checkpoint(whole.text())
        return whole

    def cosign(self, request: str) -> str:
        """As a witness, answer another log's request; see Witness.add_checkpoint."""
        signer = self.files.witness_key(f"{self.origin}-witness")
        return Witness(signer, self.files.logs(), self.files).add_checkpoint(request, now=self.clock())

    def witness_vkey(self) -> str:
        """This site's public key as a witness, for the logs that it witnesses."""
        return self.files.witness_key(f"{self.origin}-witness").public.vkey

    def _signer(self) -> CosignerSigner:
        with self.store.snapshot() as view:
            present = log.keys_of(view).present
        found = self.files.present_key(present)
        if found is None:
            raise LogKeyError(
                f"The private key {present.key_id.hex()} of the log {present.name} is not in this installation's "
                "ledger folder; restore it from its backup."
            )
        return found


def read_checkpoint_file(name: str, text: str) -> tuple[str, str]:
    """A checkpoint from outside, checked for its form.

    Raises:
        NoteError: It is none.
    """
    try:
        parse_checkpoint(text)
    except NoteError as fault:
        raise NoteError(f"{name}: {fault}") from fault
    return name, text


def _last_signed(view: LedgerView) -> SignedCheckpoint:
    text = view.last_checkpoint()
    if text is None:
        raise BundleError("Nothing is signed yet. Run `qfl governance checkpoint`.")
    return parse_checkpoint(text)
