"""What the masks of a sum are, once enough shares of them are revealed. Every lie is found out, and who told it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from federated.errors import QuorumError, SecureAggregationError
from federated.secure_aggregation.fixed_point import Ring
from federated.secure_aggregation.messages import Parcel, Recovery, check_commitment, unlock_recovery
from federated.secure_aggregation.pairwise_masks import PairKey, add_mask
from federated.secure_aggregation.parties import KeyBook
from federated.secure_aggregation.shamir import SHARE_BYTES, combine_shares


@dataclass(frozen=True)
class Dealt:
    """What one site dealt: its recovery, and a parcel for each other site."""

    recovery: Recovery
    parcels: Mapping[str, Parcel]


@dataclass(frozen=True)
class Masking:
    """A sum's masks.

    Attributes:
        dealt: By site; its names are those with which every survivor is masked.
        survivors: Sites whose vectors are in the sum.
    """

    book: KeyBook
    dealt: Mapping[str, Dealt]
    survivors: Collection[str]

    def read_revealed(self, site: str, message: bytes) -> dict[str, bytes]:
        """The shares that a site revealed, by dealer.

        Raises:
            SecureAggregationError: They are not the shares that were dealt to it.
        """
        dealers = self._dealers(site)
        if len(message) != SHARE_BYTES * len(dealers):
            raise SecureAggregationError(
                f"{site}: expected {len(dealers)} shares of {SHARE_BYTES} bytes, got {len(message)} bytes."
            )
        parts = (message[start : start + SHARE_BYTES] for start in range(0, len(message), SHARE_BYTES))
        shares = dict(zip(dealers, parts, strict=True))
        for dealer, share in shares.items():
            kind = "own-mask" if dealer in self.survivors else "recovery"
            if not check_commitment(self._commitment(dealer, site), self.book.parties, kind, dealer, site, share):
                raise SecureAggregationError(f"{site}: expected the share that {dealer} dealt to it, got another.")
        return shares

    def remove_from(self, total: Ring, revealed: Mapping[str, Mapping[str, bytes]]) -> None:
        """Take every mask off a sum, in place.

        Args:
            total: uint32 (n,), the sum of the survivors' masked vectors.
            revealed: By site, what read_revealed gave.

        Raises:
            QuorumError: Too few sites revealed shares.
            SecureAggregationError: A site dealt shares of something else than it committed to.
        """
        for site in sorted(self.survivors):
            add_mask(total, self._own_seed(site, revealed), subtract=True)
        for site in sorted(set(self.dealt) - set(self.survivors)):
            for survivor, seed in self._pair_seeds(site, revealed).items():
                add_mask(total, seed, subtract=survivor < site)

    def _dealers(self, site: str) -> list[str]:
        dropped = [name for name in sorted(self.dealt) if name not in self.survivors and name != site]
        return [*sorted(self.survivors), *dropped]

    def _commitment(self, dealer: str, holder: str) -> bytes:
        if dealer == holder:
            return self.dealt[dealer].recovery.own_mask_commitment
        parcel = self.dealt[dealer].parcels[holder]
        return parcel.own_mask_commitment if dealer in self.survivors else parcel.recovery_commitment

    def _secret(self, dealer: str, revealed: Mapping[str, Mapping[str, bytes]]) -> bytes:
        parties = self.book.parties
        shares = {parties.point(site): given[dealer] for site, given in revealed.items() if dealer in given}
        if len(shares) < parties.threshold:
            raise QuorumError(f"{dealer}: expected {parties.threshold} shares of its secret, got {len(shares)}.")
        try:
            return combine_shares(shares, parties.threshold)
        except SecureAggregationError as fault:
            raise SecureAggregationError(f"{dealer}: it dealt shares that do not belong together.") from fault

    def _own_seed(self, site: str, revealed: Mapping[str, Mapping[str, bytes]]) -> bytes:
        seed = self._secret(site, revealed)
        if not check_commitment(
            self.dealt[site].recovery.seed_commitment, self.book.parties, "own-seed", site, site, seed
        ):
            raise SecureAggregationError(f"{site}: it dealt shares of another seed than the one it committed to.")
        return seed

    def _pair_seeds(self, site: str, revealed: Mapping[str, Mapping[str, bytes]]) -> dict[str, bytes]:
        """Of a site that dropped out, with each survivor."""
        private, made = unlock_recovery(self.book, site, self._secret(site, revealed), self.dealt[site].recovery)
        key = PairKey(private)
        if key.public != self.book.keys[site].masks:
            raise SecureAggregationError(f"{site}: its recovery holds another key than the one it signed.")
        return {
            survivor: made[survivor]
            if survivor > site
            else key.accept(self.book, site, survivor, self.dealt[survivor].parcels[site].ciphertext)
            for survivor in self.survivors
        }
