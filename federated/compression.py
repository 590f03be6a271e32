"""Updates in fewer bytes that can still be masked: whole numbers in a ring, over places that all sites agree on.

    compressor = Compressor.of(terms, size)
    sent = compressor.compress(update, residual, weight, rounding(terms, site))     # at a site
    mean = compressor.mean(sum of sent.ring modulo 2^bits)                          # at the coordinator

"quantised" rounds each number at random to one of few levels, so that its expectation stays what it was. "sparse" sends
a random part of the numbers, another one each round, the same at all sites. What is lost either way, and what is cut
off at the range, is kept as the site's residual and added to its next update: error feedback, by which everything
arrives in the end.

References:
    Alistarh et al. (2017), arXiv:1610.02132: stochastic quantisation. Stich et al. (2018), arXiv:1809.07599, and
    Karimireddy et al. (2019), arXiv:1901.09847: error feedback. Konecny et al. (2016), arXiv:1610.05492: random masks.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from federated.errors import AggregationError, UpdateError
from federated.rounds.layout import Vector
from federated.rounds.terms import RoundTerms
from federated.secure_aggregation.fixed_point import FixedPoint, Ring, packed_bytes

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Compressed:
    """What a site sends, and what it keeps.

    Attributes:
        ring: uint32, as FixedPoint.encode gives it: numbers times weight, and the weight.
        residual: float32 (size,): what did not fit in; of the next round.
        clipped: Numbers that were cut off at the range.
    """

    ring: Ring
    residual: Vector
    clipped: int


@dataclass(frozen=True, eq=False)
class Compressor:
    """How the updates of one round are written.

    Attributes:
        size: Numbers of an update.
        fixed: How a number is written.
        places: Which numbers are sent, sorted; None for all.
        stochastic: Whether numbers are rounded at random.
        feeds_back: Whether there is a residual.
    """

    size: int
    fixed: FixedPoint
    places: Places | None
    stochastic: bool
    feeds_back: bool

    @classmethod
    def of(cls, terms: RoundTerms, size: int) -> "Compressor":
        """By a round's terms; the same for all its sites.

        Args:
            terms: Of the round.
            size: Numbers of an update.

        Raises:
            AggregationError: The ring has no room for so many sites.
        """
        rule, sites = terms.aggregation, len(terms.participants)
        if rule.compression == "quantised":
            return cls(size, FixedPoint.quantised(rule.value_range, sites, rule.bits), None, True, True)
        fixed = FixedPoint(rule.value_range, sites)
        if rule.compression == "sparse":
            return cls(size, fixed, kept_places(terms, size), False, True)
        return cls(size, fixed, None, False, False)

    @property
    def bytes(self) -> int:
        """Of a site's update on the wire, packed."""
        return packed_bytes(self.length, self.fixed.bits)

    @property
    def length(self) -> int:
        """Elements of a compressed update."""
        return self.fixed.length(self.size if self.places is None else len(self.places))

    def compress(self, update: Vector, residual: Vector | None, weight: float, rng: np.random.Generator) -> Compressed:
        """Write an update.

        Args:
            update: float32 (size,).
            residual: What the last compress of this site left, where its update arrived; None before the first.
            weight: Above 0 and at most 1; see FixedPoint.encode.
            rng: Of the rounding.

        Raises:
            UpdateError: The update, or the residual, is of another size or not finite.
            AggregationError: The weight is out of range.
        """
        wanted = _checked(update, self.size)
        if residual is not None and self.feeds_back:
            wanted = wanted + _checked(residual, self.size)
        sent = wanted if self.places is None else wanted[self.places]
        clipped = int((np.abs(sent) > self.fixed.value_range).sum())
        if self.stochastic and weight > 0:
            sent = self._rounded(sent, weight, rng)
        ring = self.fixed.encode(sent, weight)
        left = self._left(wanted, ring) if self.feeds_back else np.zeros(self.size, np.float32)
        return Compressed(ring, left, clipped)

    def mean(self, total: Ring) -> Vector:
        """The weighted mean of the updates whose compressed forms were summed; of one alone, what it came to.

        Returns:
            float32 (size,); 0 where nothing was sent.

        Raises:
            AggregationError: It is no such sum.
        """
        return self._spread(self.fixed.mean(total))

    def _rounded(self, numbers: Vector, weight: float, rng: np.random.Generator) -> Vector:
        """Numbers that the fixed point writes exactly, equal to the given ones in expectation."""
        limit = np.floor(weight * self.fixed.levels)
        if limit < 1:
            raise AggregationError(
                f"Expected a weight of at least {1 / self.fixed.levels:.3g}, got {weight:.3g}: so few bits leave "
                "nothing of the update; take more bits, or equal weights."
            )
        step = self.fixed.value_range / self.fixed.levels / weight
        steps = np.floor(numbers.astype(np.float64) / step + rng.random(len(numbers)))
        found: Vector = (np.clip(steps, -limit, limit) * step).astype(np.float32)
        return found

    def _left(self, wanted: Vector, ring: Ring) -> Vector:
        left: Vector = wanted - self._spread(self.fixed.mean(ring))
        return left

    def _spread(self, numbers: Vector) -> Vector:
        if self.places is None:
            return numbers
        found = np.zeros(self.size, np.float32)
        found[self.places] = numbers
        return found


def kept_places(terms: RoundTerms, size: int) -> Places:
    """Which numbers a sparse update keeps in this round; the same for everyone who has the terms.

    Returns:
        Sorted, at least one.
    """
    kept = max(1, round(terms.aggregation.kept * size))
    # The raw stream of a bit generator is the same in every version of numpy; that of Generator.choice is not.
    drawn = np.random.Philox(key=_number(terms, "places")).random_raw(size)
    return np.sort(np.argpartition(drawn, kept - 1)[:kept]).astype(np.int64)


def rounding(terms: RoundTerms, site: str) -> np.random.Generator:
    """What a site rounds with in this round: the same when it does the round again."""
    return np.random.Generator(np.random.Philox(key=_number(terms, f"rounding\n{site}")))


def _number(terms: RoundTerms, what: str) -> int:
    text = f"qfl/compression\n{terms.run}\n{terms.learning.seed}\n{terms.round}\n{what}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


def _checked(vector: Vector, size: int) -> Vector:
    if vector.shape != (size,) or not np.isfinite(vector).all():
        raise UpdateError(f"Expected an update of {size} finite numbers, got {vector.shape}, or some are not finite.")
    return np.asarray(vector, np.float32)
