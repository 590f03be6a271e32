"""One site's side of a masked sum (Bonawitz et al. 2017, https://doi.org/10.1145/3133956.3133982, with signed keys).

    start -> public -> share -> mask -> reveal

Asking for a step again gives the same answer; asking for it with other facts is refused, because two answers would tell
more than one: two vectors under the same masks show their difference, and both kinds of shares of a site unmask it.
Keep to_bytes() after each step, before its answer leaves: from_bytes goes on from there.

It departs from the paper in two things. The others hold shares not of the pair key but of a key that opens it, because
ML-KEM's private keys are too long to share. And each masked vector comes with a signed statement of whom it is masked
with; a site reveals nothing unless all survivors signed the list that it has itself: else a coordinator with two
accomplices among seven sites could show each site another list, and unmask one.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from federated.errors import QuorumError, RoundRecordError, SecureAggregationError, SenderError, UpdateError
from federated.rounds.sealing import SealingKey
from federated.secure_aggregation.fixed_point import MAX_BITS, Ring, reduce_to
from federated.secure_aggregation.messages import (
    Parcel,
    Recovery,
    Roster,
    Shares,
    commit,
    lock_recovery,
    open_shares,
    read_keys,
    read_parcel,
    read_statement,
    seal_shares,
    vector_digest,
    write_keys,
    write_parcel,
    write_recovery,
    write_statement,
)
from federated.secure_aggregation.pairwise_masks import PairKey, add_mask
from federated.secure_aggregation.parties import KeyBook, Parties, PublicKeys, transcript
from federated.secure_aggregation.session_state import SessionState
from federated.secure_aggregation.shamir import split_secret
from governance.signatures import SigningKey


class SiteSession:
    """What one site does in one sum, and the secrets it needs for it. Begin with start, or go on with from_bytes."""

    def __init__(self, state: SessionState, signing: SigningKey, roster: Roster) -> None:
        self._state, self._signing, self._roster = state, signing, roster
        self._site, self._parties = state.site, state.parties
        self._book = self._read_book(state.keys) if state.keys else None

    @classmethod
    def start(
        cls,
        site: str,
        context: bytes,
        participants: Sequence[str],
        threshold: int,
        signing: SigningKey,
        roster: Roster,
        *,
        bits: int = MAX_BITS,
    ) -> "SiteSession":
        """Begin with fresh keys.

        Args:
            site: This site's name.
            context: Of this sum and no other: federation, run, round, group, digest of the terms.
            participants: Names of all that are asked, sorted.
            threshold: Fewer sites than this are never summed; above half of the participants.
            signing: This site's identity.
            roster: Everyone's identity.
            bits: Of the ring of the sum: FixedPoint.bits.

        Raises:
            SecureAggregationError: The site is no participant, or the threshold protects nobody.
        """
        parties = Parties(context, tuple(participants), threshold, bits)
        parties.check_member(site)
        state = SessionState.fresh(site, parties)
        keys = PublicKeys(PairKey(state.pair_key).public, SealingKey(state.share_key).public)
        state.public = write_keys(parties, site, keys, signing)
        return cls(state, signing, roster)

    def to_bytes(self) -> bytes:
        """Everything that from_bytes needs. It holds secrets: keep it where only the site's owner reads it."""
        return self._state.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes, signing: SigningKey, roster: Roster) -> "SiteSession":
        """Go on after a restart.

        Raises:
            RoundRecordError: It is not what to_bytes gave.
        """
        try:
            return cls(SessionState.from_bytes(data), signing, roster)
        except (QuorumError, SecureAggregationError, SenderError) as fault:
            raise RoundRecordError("Expected a masking session of this roster, got another.") from fault

    def public(self) -> bytes:
        """This site's fresh keys, signed; for the coordinator and every other site."""
        return self._state.public

    def share(self, publics: Mapping[str, bytes]) -> dict[str, bytes]:
        """Deal the shares.

        Args:
            publics: Everyone's public(), this site's among them.

        Returns:
            A message for each other site, and under this site's own name one that the coordinator keeps.

        Raises:
            QuorumError: Fewer sites than the threshold sent keys.
            SenderError: A site did not sign its keys for this round.
            SecureAggregationError: They hold no keys, or they are others than before.
        """
        book = self._read_book(publics)
        if self._book is None:
            self._deal(book)
            self._book, self._state.keys = book, dict(publics)
        elif book.id != self._book.id:
            raise SecureAggregationError(f"{self._site}: expected the keys it already dealt shares for, got others.")
        return dict(self._state.outgoing)

    def mask(self, vector: Ring, inbox: Mapping[str, bytes]) -> Ring:
        """Hide a vector behind this site's own mask and one with each site that dealt it shares.

        Args:
            vector: uint32 (n,), as FixedPoint.encode gives it.
            inbox: By sender, what they dealt to this site.

        Returns:
            uint32 (n,) below 2^bits; `statement` goes with it.

        Raises:
            QuorumError: Fewer sites than the threshold dealt shares.
            SenderError: A message is not its sender's, or not for this site, round and keys.
            SecureAggregationError: Shares or ciphertext cannot be right, or it already masked something else.
            UpdateError: The vector is no uint32 vector.
        """
        book, state = self._dealt(), self._state
        if vector.dtype != np.uint32 or vector.ndim != 1:
            raise UpdateError(f"Expected a uint32 vector to mask, got {vector.dtype} of shape {vector.shape}.")
        parts = (part for name in sorted(inbox) for part in (name.encode(), inbox[name]))
        work = transcript(vector_digest(vector), *parts)
        if state.work not in {b"", work}:
            raise SecureAggregationError(f"{self._site}: it masked another vector already; each round masks one.")
        parcels = self._read_inbox(book, inbox)
        held = self._open_inbox(book, parcels)
        masked = self._add_masks(book, vector, parcels)
        if not state.work:
            statement = write_statement(book, self._site, held, vector_digest(masked), self._signing)
            state.held, state.statement, state.work = held, statement, work
        return masked

    @property
    def statement(self) -> bytes:
        """This site's signed word on the vector that mask gave: its digest, and with which sites it is masked."""
        if not self._state.statement:
            raise SecureAggregationError(f"{self._site}: expected a masked vector before a statement on it.")
        return self._state.statement

    def reveal(self, survivors: Mapping[str, bytes]) -> bytes:
        """Give the shares that open the sum: of own masks of survivors, of the recoveries of the others.

        Args:
            survivors: By site whose vector is in the sum, its statement.

        Returns:
            66 bytes a share: survivors, then the others, each by name; never of this site's own recovery.

        Raises:
            QuorumError: They are fewer than the threshold.
            SenderError: A statement is not its site's, or lists other sites than this site's own.
            SecureAggregationError: A survivor dealt no shares, or shares were revealed for others already.
        """
        book, state, names = self._dealt(), self._state, tuple(sorted(survivors))
        if not state.work:
            raise SecureAggregationError(f"{self._site}: expected to mask before it reveals.")
        if strangers := [name for name in names if name not in state.held]:
            raise SecureAggregationError(f"{strangers[0]}: expected a survivor that dealt shares, got one without.")
        if len(names) < self._parties.threshold:
            raise QuorumError(f"{self._site}: expected {self._parties.threshold} survivors, got {len(names)}.")
        if state.survivors not in {(), names}:
            raise SecureAggregationError(f"{self._site}: it revealed shares for other survivors already.")
        for name in names:
            read_statement(book, name, state.held, survivors[name], self._roster)
        state.survivors = names
        held = {name: Shares.parse(raw) for name, raw in state.held.items()}
        dropped = [name for name in sorted(held) if name not in survivors and name != self._site]
        return b"".join([held[name].own_mask for name in names] + [held[name].recovery for name in dropped])

    def _dealt(self) -> KeyBook:
        if self._book is None:
            raise SecureAggregationError(f"{self._site}: expected to deal shares first.")
        return self._book

    def _read_book(self, publics: Mapping[str, bytes]) -> KeyBook:
        if len(publics) < self._parties.threshold:
            raise QuorumError(f"{self._site}: expected keys of {self._parties.threshold} sites, got {len(publics)}.")
        if publics.get(self._site) != self._state.public:
            raise SecureAggregationError(f"{self._site}: expected its own keys among everyone's, got others or none.")
        keys = {name: read_keys(self._parties, name, message, self._roster) for name, message in publics.items()}
        return KeyBook(self._parties, keys)

    def _deal(self, book: KeyBook) -> None:
        state, site, key = self._state, self._site, PairKey(self._state.pair_key)
        offers = {peer: key.offer(book, site, peer) for peer in book.above(site)}
        seeds = {peer: seed for peer, (seed, _) in offers.items()}
        shares = self._split(book)
        outgoing = {site: self._recovery(book, seeds, shares[site])}
        for peer in book.sites:
            if peer != site:
                outgoing[peer] = self._parcel(book, peer, offers[peer][1] if peer in offers else b"", shares[peer])
        state.seeds, state.held, state.outgoing = seeds, {site: shares[site].raw}, outgoing

    def _split(self, book: KeyBook) -> dict[str, Shares]:
        points = {name: self._parties.point(name) for name in book.sites}
        recovery = split_secret(self._state.recovery_key, self._parties.threshold, points.values())
        own_mask = split_secret(self._state.own_seed, self._parties.threshold, points.values())
        return {name: Shares(recovery[point], own_mask[point]) for name, point in points.items()}

    def _parcel(self, book: KeyBook, peer: str, ciphertext: bytes, shares: Shares) -> bytes:
        parcel = Parcel(
            ciphertext,
            commit(self._parties, "recovery", self._site, peer, shares.recovery),
            commit(self._parties, "own-mask", self._site, peer, shares.own_mask),
            seal_shares(book, self._site, peer, shares),
        )
        return write_parcel(book, self._site, peer, parcel, self._signing)

    def _recovery(self, book: KeyBook, seeds: Mapping[str, bytes], shares: Shares) -> bytes:
        state, site = self._state, self._site
        recovery = Recovery(
            lock_recovery(book, site, state.recovery_key, state.pair_key, seeds),
            commit(self._parties, "own-seed", site, site, state.own_seed),
            commit(self._parties, "own-mask", site, site, shares.own_mask),
        )
        return write_recovery(book, site, recovery, self._signing)

    def _read_inbox(self, book: KeyBook, inbox: Mapping[str, bytes]) -> dict[str, Parcel]:
        if strangers := [name for name in inbox if name not in book.keys or name == self._site]:
            raise SecureAggregationError(f"{strangers[0]}: expected shares of sites that sent keys, got another's.")
        with_own = len(inbox) + 1
        if with_own < self._parties.threshold:
            raise QuorumError(
                f"{self._site}: expected shares of {self._parties.threshold} sites, its own included, got {with_own}."
            )
        return {peer: read_parcel(book, peer, self._site, inbox[peer], self._roster) for peer in sorted(inbox)}

    def _open_inbox(self, book: KeyBook, parcels: Mapping[str, Parcel]) -> dict[str, bytes]:
        key = SealingKey(self._state.share_key)
        opened = {peer: open_shares(book, peer, self._site, parcel, key).raw for peer, parcel in parcels.items()}
        return {self._site: self._state.held[self._site], **opened}

    def _add_masks(self, book: KeyBook, vector: Ring, parcels: Mapping[str, Parcel]) -> Ring:
        key, masked = PairKey(self._state.pair_key), vector.copy()
        add_mask(masked, self._state.own_seed)
        for peer, parcel in parcels.items():
            offered = self._state.seeds.get(peer)
            seed = offered or key.accept(book, self._site, peer, parcel.ciphertext)
            add_mask(masked, seed, subtract=self._site > peer)
        return reduce_to(masked, self._parties.bits)
