"""Updates that the coordinator sees one by one, combined by a rule."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from federated.aggregation import check_update, combine
from federated.compression import Compressor
from federated.errors import AggregationError, MessageError, QuorumError, UpdateError
from federated.rounds.layout import Vector
from federated.rounds.masking import case_weight
from federated.rounds.messages import Reply
from federated.rounds.questions import UPDATE, piece
from federated.rounds.terms import RoundTerms
from federated.secure_aggregation.fixed_point import unpack
from federated.strategies import late_weight

_FLOAT_BYTES: Final = 4


@dataclass(frozen=True, eq=False)
class Combined:
    """A round's mean update.

    Attributes:
        mean: float32, as long as an update.
        sites: Whose updates it holds, sorted.
    """

    mean: Vector
    sites: tuple[str, ...]


class SingleUpdates:
    """The updates of one round, and late ones of the rounds before."""

    def __init__(self, terms: RoundTerms, size: int) -> None:
        """Collect updates of so many numbers."""
        self._terms, self._size = terms, size
        self._updates: dict[str, Vector] = {}
        self._weights: dict[str, float] = {}

    def take(self, site: str, reply: Reply, examples: int) -> None:
        """Take a site's update.

        Raises:
            UpdateError: It is of another size, or not finite; the message names the site.
            MessageError: The answer holds none.
        """
        self.take_late(site, reply, examples, self._terms)

    def take_late(self, site: str, reply: Reply, examples: int, terms: RoundTerms) -> None:
        """Take an update of an earlier round, which counts for less.

        Args:
            site: Whose it is.
            reply: That brought it.
            examples: Cases it was trained on.
            terms: Under which it was made.

        Raises:
            UpdateError: It is of another size, or not finite; the message names the site.
            MessageError: The answer holds none.
        """
        update = read_update(site, piece(reply.pieces, UPDATE), terms, self._size)
        check_update(site, update, self._size)
        self._updates[site] = update
        self._weights[site] = late_weight(case_weight(terms, examples), self._terms.round - terms.round)

    def combine(self) -> Combined:
        """The updates by the terms' rule.

        Raises:
            QuorumError: They are fewer than the threshold.
            AggregationError: They are too few for the rule.
        """
        sites, rule = sorted(self._updates), self._terms.aggregation
        if len(sites) < rule.threshold:
            raise QuorumError(f"Expected updates of {rule.threshold} sites, got {len(sites)}.")
        mean = combine(
            rule.rule,
            [self._updates[site] for site in sites],
            [self._weights[site] for site in sites],
            sites=sites,
            size=self._size,
            tolerated=rule.tolerated,
        )
        return Combined(mean, tuple(sites))


def read_update(site: str, data: bytes, terms: RoundTerms, size: int) -> Vector:
    """An update from its bytes, whose length is checked before anything is made of them.

    Raises:
        UpdateError: They are too many or too few, or hold no update.
    """
    if terms.aggregation.compression == "none":
        if len(data) != _FLOAT_BYTES * size:
            raise UpdateError(f"{site}: expected an update of {_FLOAT_BYTES * size} bytes, got {len(data)}.")
        return np.frombuffer(data, "<f4").astype(np.float32)
    compressor = Compressor.of(terms, size)
    try:
        return compressor.mean(unpack(data, compressor.fixed.bits, compressor.length))
    except (MessageError, AggregationError) as fault:
        raise UpdateError(f"{site}: {fault}") from fault
