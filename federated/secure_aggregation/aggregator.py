"""The coordinator's side of a masked sum: it carries keys and shares, adds vectors up, and takes the masks off the sum.

    add_public... -> publics -> add_shares... -> inbox... -> add_masked... -> survivors -> add_revealed... -> total

The first message of a step closes the step before it: what comes later is refused by name, because every site must be
told the same. A message that comes again is ignored. Memory is one vector, however many sites send one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from federated.errors import (
    FederationError,
    QuorumError,
    RoundRecordError,
    SecureAggregationError,
    SenderError,
    UpdateError,
)
from federated.rounds.wire import pack, unpack
from federated.secure_aggregation.fixed_point import MAX_BITS, Ring, reduce_to
from federated.secure_aggregation.messages import (
    Roster,
    read_group,
    read_keys,
    read_parcel,
    read_recovery,
    read_statement,
    vector_digest,
    write_group,
)
from federated.secure_aggregation.parties import KeyBook, Parties, PublicKeys
from federated.secure_aggregation.unmasking import Dealt, Masking
from governance.canonical import Canonical

Messages = Mapping[str, bytes]


class Aggregator:
    """One masked sum."""

    def __init__(
        self,
        context: bytes,
        participants: Sequence[str],
        threshold: int,
        roster: Roster,
        *,
        size: int,
        bits: int = MAX_BITS,
    ) -> None:
        """Begin.

        Args:
            context: Of this sum and no other, as the sites have it.
            participants: Names of all that are asked, sorted.
            threshold: Sites without which there is no sum; above half of the participants.
            roster: Everyone's identity.
            size: Elements of a vector: FixedPoint.length.
            bits: Of the ring: FixedPoint.bits.

        Raises:
            SecureAggregationError: The threshold protects nobody.
        """
        self._parties = Parties(context, tuple(participants), threshold, bits)
        self._roster, self._size = roster, size
        self._publics: dict[str, bytes] = {}
        self._keys: dict[str, PublicKeys] = {}
        self._book: KeyBook | None = None
        self._messages: dict[str, dict[str, bytes]] = {}
        self._dealt: dict[str, Dealt] = {}
        self._view: tuple[str, ...] = ()
        self._statements: dict[str, bytes] = {}
        self._sum: Ring = np.zeros(size, np.uint32)
        self._revealed: dict[str, bytes] = {}
        self._shares: dict[str, dict[str, bytes]] = {}

    @property
    def publics(self) -> dict[str, bytes]:
        """Everyone's keys so far; once a site dealt shares for them, they stay as they are."""
        return dict(self._publics)

    @property
    def dealers(self) -> tuple[str, ...]:
        """Sites that dealt shares, sorted; once an inbox was handed out, they stay as they are."""
        return tuple(sorted(self._dealt))

    @property
    def survivors(self) -> dict[str, bytes]:
        """Sites whose vector is in the sum, with their statements: what reveal asks for."""
        return dict(self._statements)

    @property
    def revealed(self) -> tuple[str, ...]:
        """Sites that revealed their shares, sorted; total needs as many as the threshold."""
        return tuple(sorted(self._revealed))

    def add_public(self, site: str, message: bytes) -> None:
        """Take a site's keys.

        Raises:
            SenderError: The site did not sign them for this round.
            SecureAggregationError: They are no keys, others than before, or come after shares were dealt.
        """
        if self._is_repeat(site, message, self._publics, "keys"):
            return
        if self._book is not None:
            raise SecureAggregationError(f"{site}: its keys came after the others had dealt their shares.")
        self._keys[site] = read_keys(self._parties, site, message, self._roster)
        self._publics[site] = bytes(message)

    def add_shares(self, site: str, messages: Messages) -> None:
        """Take what a site dealt.

        Args:
            messages: A message for each other site that sent keys, and under its own name its recovery.

        Raises:
            QuorumError: Fewer sites than the threshold sent keys.
            SenderError: The site did not sign them for this round and these keys.
            SecureAggregationError: They are not for these sites, others than before, or came too late.
        """
        known = self._messages.get(site)
        if known is not None:
            if known != dict(messages):
                raise SecureAggregationError(f"{site}: expected the shares it sent before, got others.")
            return
        if self._view:
            raise SecureAggregationError(f"{site}: its shares came after the others' had been handed out.")
        self._dealt[site] = self._read_dealt(self._close_keys(), site, messages)
        self._messages[site] = {name: bytes(message) for name, message in messages.items()}

    def inbox(self, site: str) -> dict[str, bytes]:
        """What the others dealt to a site; the first call fixes with whom everyone is masked.

        Raises:
            QuorumError: Fewer sites than the threshold dealt shares.
            SecureAggregationError: This site did not.
        """
        self._check_number(self._dealt, "sites that dealt shares")
        if site not in self._dealt:
            raise SecureAggregationError(f"{site}: expected a site that dealt shares.")
        self._view = self.dealers
        return {name: self._messages[name][site] for name in self._view if name != site}

    def add_masked(self, site: str, vector: Ring, statement: bytes) -> None:
        """Add a site's masked vector to the sum.

        Args:
            vector: uint32 (size,) below 2^bits.
            statement: The site's own, on this vector.

        Raises:
            UpdateError: The vector has another size or type.
            SenderError: The statement is not the site's, or not on this vector and these sites.
            SecureAggregationError: The site dealt no shares, sent another vector before, or came too late.
        """
        if site not in self._view:
            raise SecureAggregationError(f"{site}: expected a vector of a site that the others are masked with.")
        if self._is_repeat(site, statement, self._statements, "masked vector"):
            return
        if self._revealed:
            raise SecureAggregationError(f"{site}: its vector came after shares had been revealed for the others.")
        if vector.dtype != np.uint32 or vector.shape != (self._size,):
            raise UpdateError(
                f"{site}: expected a uint32 vector of {self._size}, got {vector.dtype} of {vector.shape}."
            )
        digest = read_statement(self._dealt_book(), site, self._view, statement, self._roster)
        if digest != vector_digest(vector):
            raise SenderError(f"{site}: expected the masked vector that it signed, got another.")
        self._sum += vector
        self._statements[site] = bytes(statement)

    def add_revealed(self, site: str, message: bytes) -> None:
        """Take the shares that a site revealed for the survivors.

        Raises:
            QuorumError: The survivors are fewer than the threshold.
            SecureAggregationError: The site holds no shares, or these are not the ones that were dealt to it.
        """
        self._check_number(self._statements, "masked vectors")
        if site not in self._view:
            raise SecureAggregationError(f"{site}: expected a site that holds shares.")
        if not self._is_repeat(site, message, self._revealed, "revealed shares"):
            self._shares[site] = self._masking().read_revealed(site, message)
            self._revealed[site] = bytes(message)

    def total(self) -> Ring:
        """The sum of the survivors' vectors, uint32 (size,) below 2^bits.

        Raises:
            QuorumError: Too few vectors, or too few revealed shares.
            SecureAggregationError: A site dealt shares of something else than it committed to.
        """
        self._check_number(self._statements, "masked vectors")
        self._check_number(self._revealed, "sites that revealed their shares")
        total = self._sum.copy()
        self._masking().remove_from(total, self._shares)
        return reduce_to(total, self._parties.bits)

    def to_bytes(self) -> bytes:
        """Everything that from_bytes needs; no more than the coordinator is allowed to see."""
        header: dict[str, Canonical] = {
            "context": self._parties.context.hex(),
            "participants": list(self._parties.participants),
            "threshold": self._parties.threshold,
            "bits": self._parties.bits,
            "size": self._size,
            "view": list(self._view),
        }
        pieces = {
            "publics": write_group(self._publics),
            "messages": write_group({name: write_group(messages) for name, messages in self._messages.items()}),
            "statements": write_group(self._statements),
            "revealed": write_group(self._revealed),
            "sum": self._sum.astype("<u4").tobytes() if self._statements else b"",
        }
        return pack(header, pieces)

    @classmethod
    def from_bytes(cls, data: bytes, roster: Roster) -> "Aggregator":
        """Go on after a restart.

        Raises:
            RoundRecordError: It is not what to_bytes gave.
        """
        try:
            return cls._restore(*unpack(data, limit=len(data)), roster)
        except (FederationError, KeyError, TypeError, ValueError) as fault:
            raise RoundRecordError("Expected a stored masked sum, got a damaged one.") from fault

    @classmethod
    def _restore(cls, header: Mapping[str, Any], pieces: Mapping[str, memoryview], roster: Roster) -> "Aggregator":
        context, size = bytes.fromhex(header["context"]), header["size"]
        made = cls(context, header["participants"], header["threshold"], roster, size=size, bits=header["bits"])
        for site, message in read_group(pieces["publics"]).items():
            made.add_public(site, message)
        for site, messages in read_group(pieces["messages"]).items():
            made.add_shares(site, read_group(memoryview(messages)))
        made._view = tuple(header["view"])
        made._statements = read_group(pieces["statements"])
        if made._statements:
            made._sum = np.frombuffer(pieces["sum"], "<u4").astype(np.uint32).reshape(size)
        for site, message in read_group(pieces["revealed"]).items():
            made.add_revealed(site, message)
        return made

    def _close_keys(self) -> KeyBook:
        if self._book is None:
            self._check_number(self._keys, "sites that sent keys")
            self._book = KeyBook(self._parties, dict(self._keys))
        return self._book

    def _read_dealt(self, book: KeyBook, site: str, messages: Messages) -> Dealt:
        if site not in book.keys or set(messages) != set(book.sites):
            raise SecureAggregationError(
                f"{site}: expected shares for the {len(book.sites)} sites that sent keys, got {len(messages)} others."
            )
        parcels = {
            peer: read_parcel(book, site, peer, messages[peer], self._roster) for peer in book.sites if peer != site
        }
        return Dealt(read_recovery(book, site, messages[site], self._roster), parcels)

    def _dealt_book(self) -> KeyBook:
        if self._book is None:
            raise SecureAggregationError("Expected shares before anything that is masked with them.")
        return self._book

    def _masking(self) -> Masking:
        dealt = {name: self._dealt[name] for name in self._view}
        return Masking(self._dealt_book(), dealt, frozenset(self._statements))

    def _check_number(self, found: Mapping[str, object], what: str) -> None:
        if len(found) < self._parties.threshold:
            raise QuorumError(
                f"Expected at least {self._parties.threshold} of {len(self._parties.participants)} {what}, "
                f"got {len(found)}."
            )

    def _is_repeat(self, site: str, message: bytes, known: Mapping[str, bytes], what: str) -> bool:
        if site in known and known[site] != message:
            raise SecureAggregationError(f"{site}: expected the {what} it sent before, got others.")
        return site in known
