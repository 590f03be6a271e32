"""Who masks together, in which round."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from federated.errors import SecureAggregationError
from federated.secure_aggregation.fixed_point import MAX_BITS


def default_threshold(sites: int) -> int:
    """Above two thirds: what Bonawitz et al. 2017 ask for against a coordinator that lies."""
    return 2 * sites // 3 + 1


def transcript(*parts: bytes) -> bytes:
    """SHA-256 over the parts, each with its length before it: no two lists of parts give the same bytes."""
    return hashlib.sha256(b"".join(len(part).to_bytes(8) + part for part in parts)).digest()


@dataclass(frozen=True)
class Parties:
    """The sites of one masked sum. Every key, share and signature is bound to it.

    Attributes:
        context: What it belongs to: federation, run, round and digest of the terms; never used twice.
        participants: Names, sorted, at least two.
        threshold: Sites whose vectors must be in a sum, and whose shares open a mask.
        bits: Of the ring of the sum.

    Raises:
        SecureAggregationError: The names are not sorted, or the threshold is not above half of them.
    """

    context: bytes
    participants: tuple[str, ...]
    threshold: int
    bits: int = MAX_BITS

    def __post_init__(self) -> None:
        """Check what protects the sites from a coordinator that asks for too much."""
        names = self.participants
        if len(names) < 2 or list(names) != sorted(set(names)):
            raise SecureAggregationError("Expected the names of at least two participants, sorted, each once.")
        if not len(names) < 2 * self.threshold <= 2 * len(names):
            # At half or less, a coordinator could have both kinds of shares, each from another half of the sites.
            raise SecureAggregationError(
                f"Expected a threshold above half of {len(names)} sites and at most all of them, got {self.threshold}."
            )
        if not 1 <= self.bits <= MAX_BITS:
            raise SecureAggregationError(f"Expected a ring of 1 to {MAX_BITS} bits, got {self.bits}.")

    @cached_property
    def id(self) -> bytes:
        """Binds signatures and keys to these sites and this round, 32 bytes."""
        numbers = f"{self.threshold} {self.bits}".encode()
        return transcript(b"qfl/masking", self.context, numbers, *(name.encode() for name in self.participants))

    def point(self, site: str) -> int:
        """Where a site's share of a secret lies."""
        return self.participants.index(site) + 1

    def check_member(self, site: str) -> None:
        """Refuse a stranger.

        Raises:
            SecureAggregationError: The site does not take part.
        """
        if site not in self.participants:
            raise SecureAggregationError(f"{site}: expected one of the round's participants, got another site.")


@dataclass(frozen=True)
class PublicKeys:
    """A site's fresh public keys of one round.

    Attributes:
        masks: For the pairwise masks; opened by the other sites if this one drops out.
        shares: For what the other sites encrypt to it; nobody else can ever open those.
    """

    masks: bytes
    shares: bytes


@dataclass(frozen=True)
class KeyBook:
    """Everyone's keys: what a site was told before it dealt its shares.

    Attributes:
        keys: By site, of those of the parties that joined.
    """

    parties: Parties
    keys: Mapping[str, PublicKeys]

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """Names, sorted."""
        return tuple(sorted(self.keys))

    @cached_property
    def id(self) -> bytes:
        """Binds to the parties and to every key: sites that were told different keys reject each other's shares."""
        parts = [part for name in self.sites for part in (name.encode(), self.keys[name].masks, self.keys[name].shares)]
        return transcript(b"qfl/masking-keys", self.parties.id, *parts)

    def pair_id(self, lower: str, higher: str) -> bytes:
        """What a pair's seed depends on beside its secrets: the round, everyone's keys, both names."""
        keys = self.keys[lower].masks, self.keys[higher].masks
        return transcript(b"qfl/pair", self.id, lower.encode(), higher.encode(), *keys)

    def above(self, site: str) -> tuple[str, ...]:
        """The sites for which this one makes the ciphertext of the pair: those after it in the alphabet."""
        return tuple(name for name in self.sites if name > site)
