"""Dice by subgroup, as it may leave a site: noised sums and counts, and nothing at all of small groups.

A patient adds to one group of each attribute: 1 to its count and a Dice from 0 to 1 to each region's sum. Over A
attributes and R regions a patient moves the whole statistic by at most sqrt(A (1 + R)) in 2-norm; Gaussian noise over
it is accounted like a training's, and charged to the same patients. That a group is there at all would tell something
too: a group leaves only if its true count and its noised count are high enough, so that one that would vanish without
one patient is almost never shown (Korolova et al. 2009, doi:10.1145/1526709.1526733). Half of delta is for that.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from federated.errors import PrivacySettingsError
from federated.privacy.accounting import Release, check_delta, noise_for
from federated.privacy.budget import Spending
from federated.privacy.randomness import SecretRandom

DiceByRegion = Mapping[str, float]


@dataclass(frozen=True)
class NoisedGroup:
    """One group's statistic.

    Attributes:
        count: Patients, noised.
        dice: By region, the sum of their Dice, noised. A mean is dice / count, best after adding up several sites.
    """

    count: float
    dice: Mapping[str, float]


@dataclass(frozen=True)
class NoisedGroups:
    """What may leave.

    Attributes:
        groups: By attribute and value, e.g. ("sex", "female"); which others there are is not told.
        noise: Standard deviation of the noise on each number.
        spending: What it costs each patient, to be charged before it leaves.
    """

    groups: Mapping[tuple[str, str], NoisedGroup]
    noise: float
    spending: Spending


def noised_groups(
    dice: Mapping[str, DiceByRegion],
    attributes: Mapping[str, Mapping[str, str]],
    *,
    regions: tuple[str, ...],
    kinds: tuple[str, ...],
    minimum_count: int,
    epsilon: float,
    delta: float,
    run: str,
    number: int,
    random: SecretRandom,
) -> NoisedGroups:
    """Sum up Dice and counts by subgroup, with noise.

    Args:
        dice: By case, one a patient; by region, 0 to 1.
        attributes: By case; e.g. {"sex": "female", "age": "60-79"}; a case without one counts in none of its groups.
        regions: Which are told, the same at every site.
        kinds: Which attributes are told, the same at every site.
        minimum_count: Groups of fewer patients leave not at all.
        epsilon: What this may cost each patient.
        delta: Of it.
        run: Id of the training, for the charge.
        number: Of the round, for the charge.
        random: A fresh stream.

    Raises:
        PrivacySettingsError: A number is out of range, or a Dice is not from 0 to 1.
    """
    _check(dice, regions, kinds, minimum_count, delta)
    multiplier = noise_for(epsilon, 1.0, 1, delta / 2)
    noise = multiplier * sensitivity(len(kinds), len(regions))
    sums = _sums(dice, attributes, regions, kinds)
    # A patient appears in one group of each kind, each of which may show by chance.
    margin = noise * NormalDist().inv_cdf(1 - delta / 2 / len(kinds))
    groups = {}
    for group, exact in sorted(sums.items()):
        noised = exact + noise * random.normal(len(exact))
        if exact[0] >= minimum_count and noised[0] >= minimum_count + margin:
            groups[group] = NoisedGroup(float(noised[0]), dict(zip(regions, map(float, noised[1:]), strict=True)))
    release = Release(multiplier)
    spending = Spending.of(run, number, release, delta / 2, extra_delta=delta / 2, what="statistics")
    return NoisedGroups(groups, noise, spending)


def sensitivity(kinds: int, regions: int) -> float:
    """By how much one patient moves the statistic, 2-norm."""
    return math.sqrt(kinds * (1 + regions))


def _sums(
    dice: Mapping[str, DiceByRegion],
    attributes: Mapping[str, Mapping[str, str]],
    regions: tuple[str, ...],
    kinds: tuple[str, ...],
) -> dict[tuple[str, str], np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """By group: the count, then a sum for each region."""
    sums: dict[tuple[str, str], np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
    for case, found in dice.items():
        for kind in kinds:
            value = attributes.get(case, {}).get(kind)
            if value is not None:
                group = sums.setdefault((kind, value), np.zeros(1 + len(regions)))
                group += np.array([1.0, *(found[region] for region in regions)])
    return sums


def _check(
    dice: Mapping[str, DiceByRegion], regions: tuple[str, ...], kinds: tuple[str, ...], minimum_count: int, delta: float
) -> None:
    check_delta(delta)
    if not kinds or not regions or len(set(kinds)) < len(kinds) or len(set(regions)) < len(regions):
        raise PrivacySettingsError("Expected attributes and regions to tell of, each once.")
    if minimum_count < 1:
        raise PrivacySettingsError(f"Expected a minimum count from 1 on, got {minimum_count!r}.")
    for found in dice.values():
        if not all(region in found and 0 <= found[region] <= 1 for region in regions):
            raise PrivacySettingsError("Expected a Dice from 0 to 1 for each case and region, got another.")
