"""A masked sum of made-up sites, step by step, without a network."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from federated.secure_aggregation.aggregator import Aggregator
from federated.secure_aggregation.fixed_point import Ring
from federated.secure_aggregation.parties import default_threshold
from federated.secure_aggregation.session import SiteSession
from governance.signatures import SigningKey, VerifyingKey

CONTEXT = b"federation a, run 1, round 1"


@cache
def identity(site: str) -> SigningKey:
    """A site's identity, the same as long as the tests run."""
    return SigningKey.generate()


def roster(sites: Sequence[str]) -> dict[str, VerifyingKey]:
    return {site: identity(site).verifying_key for site in sites}


def site_names(count: int) -> tuple[str, ...]:
    return tuple(f"site-{number:02}" for number in range(count))


def random_vectors(sites: Sequence[str], size: int, seed: int = 0, bits: int = 32) -> dict[str, Ring]:
    random = np.random.default_rng(seed)
    return {site: random.integers(0, 1 << bits, size, np.uint32, endpoint=False) for site in sites}


@dataclass
class MaskedSum:
    """The coordinator, the sites, and what they said.

    Attributes:
        restarting: Store and restore everyone between any two steps.
    """

    sites: tuple[str, ...]
    size: int
    threshold: int = 0
    bits: int = 32
    context: bytes = CONTEXT
    restarting: bool = False
    sessions: dict[str, SiteSession] = field(default_factory=dict)
    masked: dict[str, Ring] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.threshold = self.threshold or default_threshold(len(self.sites))
        self.roster = roster(self.sites)
        self.aggregator = Aggregator(
            self.context, self.sites, self.threshold, self.roster, size=self.size, bits=self.bits
        )

    def join(self, sites: Collection[str] | None = None) -> None:
        for site in self.sites if sites is None else sites:
            self.sessions[site] = SiteSession.start(
                site, self.context, self.sites, self.threshold, identity(site), self.roster, bits=self.bits
            )
            self.aggregator.add_public(site, self.sessions[site].public())
        self.restart()

    def share(self, sites: Collection[str] | None = None) -> None:
        publics = self.aggregator.publics
        for site in self.sessions if sites is None else sites:
            self.aggregator.add_shares(site, self.sessions[site].share(publics))
        self.restart()

    def mask(self, vectors: Mapping[str, Ring]) -> None:
        """Of the sites that have a vector; the others drop out."""
        for site, vector in vectors.items():
            self.masked[site] = self.sessions[site].mask(vector, self.aggregator.inbox(site))
            self.aggregator.add_masked(site, self.masked[site], self.sessions[site].statement)
        self.restart()

    def unmask(self, sites: Collection[str] | None = None) -> Ring:
        survivors = self.aggregator.survivors
        for site in survivors if sites is None else sites:
            self.aggregator.add_revealed(site, self.sessions[site].reveal(survivors))
        self.restart()
        return self.aggregator.total()

    def restart(self) -> None:
        """Everyone's process ends and starts again, if the test asks for it."""
        if not self.restarting:
            return
        self.aggregator = Aggregator.from_bytes(self.aggregator.to_bytes(), self.roster)
        self.sessions = {
            site: SiteSession.from_bytes(session.to_bytes(), identity(site), self.roster)
            for site, session in self.sessions.items()
        }


def plain_sum(vectors: Mapping[str, Ring], bits: int = 32) -> Ring:
    """What should come out: Python's own integers, so that nothing can wrap."""
    columns = zip(*(vector.tolist() for vector in vectors.values()), strict=True)
    return np.array([sum(column) % (1 << bits) for column in columns], np.uint32)
