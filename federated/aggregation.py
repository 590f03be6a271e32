"""Many updates to one: the mean, and rules that hold while some sites lie.

    combine(rule, updates, weights, *, sites, size, tolerated=0) -> Vector
    check_update(site, update, size)
    draw_groups(sites, group_size, run, round_number) -> tuple[tuple[str, ...], ...]

The robust rules weigh every site alike: a site that lies would claim a million cases. Beside the updates themselves
memory for a block of columns is taken, whatever their length.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from federated.errors import AggregationError, UpdateError
from federated.rounds.layout import Vector
from federated.rounds.terms import Rule

Floats = npt.NDArray[np.float64]
_BLOCK: Final = 1 << 16
"""Columns that are worked on at once."""


def combine(
    rule: Rule,
    updates: Sequence[Vector],
    weights: Sequence[float],
    *,
    sites: Sequence[str],
    size: int,
    tolerated: int = 0,
) -> Vector:
    """Combine updates by a rule.

    Args:
        rule: "mean" is by weight. "grouped-masked" combines what each group's sum came to, as a mean: by weight where
            nobody is tolerated, else as "trimmed-mean". The others ignore the weights.
        updates: float32 (size,), one a site or group.
        weights: Of each, above 0.
        sites: Their names, for messages.
        size: Numbers that an update has.
        tolerated: Sites, or groups, that may lie.

    Returns:
        float32 (size,).

    Raises:
        UpdateError: An update is of another size or kind, or not finite; the message names the site.
        AggregationError: There are too few updates for what is tolerated, a weight is not above 0, or the rule cannot
            see single updates.

    References:
        Median and trimmed mean: Yin et al. (2018), arXiv:1803.01498. Multi-Krum: Blanchard et al. (2017),
        arXiv:1703.02757. Norm bounding: Sun et al. (2019), arXiv:1911.07963, here at the median of the norms.
    """
    if not len(updates) == len(weights) == len(sites):
        raise AggregationError(
            f"Expected a weight and a name for each update, got {len(updates)}, {len(weights)} and {len(sites)}."
        )
    for site, update in zip(sites, updates, strict=True):
        check_update(site, update, size)
    if rule == "grouped-masked":
        rule = "trimmed-mean" if tolerated else "mean"
    if rule not in _RULES:
        raise AggregationError(f"The rule {rule} has no single updates to combine; take the sum that came out of it.")
    needed = updates_needed(rule, tolerated)
    if len(updates) < needed:
        raise AggregationError(
            f"{rule} with {tolerated} tolerated: expected at least {needed} updates, got {len(updates)}; wait for more "
            "sites, or tolerate fewer."
        )
    if not all(0 < weight < math.inf for weight in weights):
        raise AggregationError("Expected weights above 0.")
    return _RULES[rule](updates, weights, tolerated)


def check_update(site: str, update: Vector, size: int) -> None:
    """Refuse an update that is no float32 vector of that size, or not finite.

    Raises:
        UpdateError: It is; the message names the site.
    """
    if update.dtype != np.float32 or update.shape != (size,):
        raise UpdateError(
            f"{site}: expected an update of {size} float32 numbers, got {update.dtype} of shape {update.shape}."
        )
    for columns in _blocks(size):
        broken = int((~np.isfinite(update[columns])).sum())
        if broken:
            raise UpdateError(f"{site}: expected finite numbers, got {broken} or more that are not.")


def updates_needed(rule: Rule, tolerated: int) -> int:
    """How many updates the rule needs, so that so many lies cannot move the result at will.

    Raises:
        AggregationError: The rule tolerates nobody, as a plain mean.
    """
    if rule in {"masked", "mean"}:
        if tolerated:
            raise AggregationError(f"A plain mean tolerates nobody who lies, expected 0, got {tolerated}.")
        return 1
    # Krum's scores need n - f - 2 neighbours that are mostly honest: 2f + 2 < n.
    return 2 * tolerated + (3 if rule == "multi-krum" else 1)


def draw_groups(sites: Sequence[str], group_size: int, run: str, round_number: int) -> tuple[tuple[str, ...], ...]:
    """Assign sites to groups anew in each round; the same for everyone who knows the run and the round.

    Each group has at least group_size sites; where there are fewer in all, there is one group.
    """
    shuffled = sorted(sites, key=lambda site: hashlib.sha256(f"{run}\n{round_number}\n{site}".encode()).digest())
    count = max(1, len(shuffled) // group_size)
    return tuple(tuple(sorted(shuffled[index::count])) for index in range(count))


def _mean(updates: Sequence[Vector], weights: Sequence[float], _tolerated: int) -> Vector:
    total = math.fsum(weights)
    found = np.empty(len(updates[0]), np.float32)
    for columns in _blocks(len(found)):
        # One after the other: adding up is exact enough in float64, and no site's update is copied.
        block = np.zeros(columns.stop - columns.start)
        for update, weight in zip(updates, weights, strict=True):
            block += update[columns] * (weight / total)
        found[columns] = block
    return found


def _median(updates: Sequence[Vector], _weights: Sequence[float], _tolerated: int) -> Vector:
    return _by_column(updates, lambda block: np.median(block, axis=0))


def _trimmed_mean(updates: Sequence[Vector], _weights: Sequence[float], tolerated: int) -> Vector:
    def trimmed(block: Floats) -> Floats:
        block.sort(axis=0)
        mean: Floats = block[tolerated : len(block) - tolerated].mean(axis=0)
        return mean

    return _by_column(updates, trimmed)


def _multi_krum(updates: Sequence[Vector], _weights: Sequence[float], tolerated: int) -> Vector:
    """The mean of the n - f - 2 updates that have their nearest neighbours nearest."""
    distances = _squared_distances(updates)
    neighbours = len(updates) - tolerated - 2
    # The first column is the distance to itself.
    scores = np.sort(distances, axis=1)[:, 1 : neighbours + 1].sum(axis=1)
    chosen = np.argsort(scores, kind="stable")[:neighbours]
    return _mean([updates[index] for index in sorted(chosen)], [1.0] * neighbours, 0)


def _norm_bounded(updates: Sequence[Vector], _weights: Sequence[float], _tolerated: int) -> Vector:
    """The mean of the updates, each shortened to the median of their norms: nobody pulls harder than that."""
    norms = np.array([_norm(update) for update in updates])
    bound = np.median(norms)
    scales = [min(1.0, bound / norm) if norm else 1.0 for norm in norms]
    found = np.empty(len(updates[0]), np.float32)
    for columns in _blocks(len(found)):
        found[columns] = sum(
            update[columns].astype(np.float64) * scale for update, scale in zip(updates, scales, strict=True)
        ) / len(updates)
    return found


def _by_column(updates: Sequence[Vector], rule: Callable[[Floats], Floats]) -> Vector:
    found = np.empty(len(updates[0]), np.float32)
    for columns in _blocks(len(found)):
        found[columns] = rule(np.stack([update[columns] for update in updates]).astype(np.float64))
    return found


def _squared_distances(updates: Sequence[Vector]) -> Floats:
    """(updates, updates)."""
    count = len(updates)
    found = np.zeros((count, count))
    for columns in _blocks(len(updates[0])):
        block = np.stack([update[columns] for update in updates]).astype(np.float64)
        for row in range(count):
            # Differences first: two near updates far from 0 would cancel in |a|^2 + |b|^2 - 2ab.
            apart = block[row + 1 :] - block[row]
            found[row, row + 1 :] += np.einsum("ij,ij->i", apart, apart)
    return found + found.T


def _norm(update: Vector) -> float:
    parts = (update[columns].astype(np.float64) for columns in _blocks(len(update)))
    return math.sqrt(math.fsum(float(part @ part) for part in parts))


def _blocks(size: int) -> Iterator[slice]:
    return (slice(start, min(start + _BLOCK, size)) for start in range(0, size, _BLOCK))


_RULES: Final[Mapping[str, Callable[[Sequence[Vector], Sequence[float], int], Vector]]] = {
    "mean": _mean,
    "median": _median,
    "trimmed-mean": _trimmed_mean,
    "multi-krum": _multi_krum,
    "norm-bounded": _norm_bounded,
}
