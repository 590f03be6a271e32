"""Fairness of outlines: one number that a mean and its unevenness share, the worst group, and Dice without its size."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from governance.errors import AuditDataError
from governance.fairness.bias import Gap
from governance.fairness.groups import GroupedCase, members_of
from governance.fairness.intervals import Figure, stratified_figure


@dataclass(frozen=True)
class EquityScaled:
    """An equity-scaled mean of one attribute.

    Attributes:
        figure: None where fewer than two groups have enough cases.
        plain: The mean over the same cases, without scaling.
    """

    attribute: str
    figure: Figure | None
    plain: float | None


@dataclass(frozen=True)
class WorstGroup:
    """The group that is served worst, of all attributes.

    Attributes:
        figure: Its mean; the ends are of the least mean of all groups, corrected for the choice.
    """

    attribute: str
    group: str
    figure: Figure


def equity_scaled(values: Mapping[str, npt.ArrayLike]) -> float:
    """The mean over all cases, divided by one plus the standard deviation of the groups' means.

    The deviation is that of these groups, not an estimate for others: it is divided by their number.

    Args:
        values: By group.

    References:
        Tian et al. (2023), FairSeg, arXiv:2311.02189: the equity-scaled Dice coefficient.
    """
    found = [np.asarray(each, np.float64) for each in values.values()]
    means = [float(each.mean()) for each in found]
    overall = float(np.concatenate(found).mean())
    return overall / (1 + float(np.std(means)))


def equity_scaled_by(
    cases: Sequence[GroupedCase],
    outcome: str,
    attribute: str,
    *,
    minimum_group: int,
    confidence: float,
    seed: int = 0,
) -> EquityScaled:
    """The equity-scaled mean over the sufficiently large groups of an attribute.

    Raises:
        AuditDataError: An outcome is not finite.
    """
    concerned = [each for each in cases if outcome in each.outcomes]
    judged = members_of(concerned, attribute, minimum_group).judged
    if len(judged) < 2:
        return EquityScaled(attribute, None, None)
    groups = {
        name: [each.outcomes[outcome] for each in concerned if each.groups.get(attribute) == name] for name in judged
    }
    figure = stratified_figure(groups, equity_scaled, confidence=confidence, seed=seed)
    return EquityScaled(attribute, figure, float(np.mean([value for values in groups.values() for value in values])))


def worst_group(gaps: Sequence[Gap], *, confidence: float) -> WorstGroup | None:
    """The least mean of all groups; None where no group has enough cases.

    The lower end is the least of the groups' lower ends. The upper end must not be too low for a group that was picked
    because it did badly by chance: each group's is taken at a level that is divided by their number (Bonferroni).

    Args:
        gaps: Of one outcome, by attribute, with the groups' means and intervals.
        confidence: That the intervals have.
    """
    found = [(gap.attribute, each) for gap in gaps for each in gap.groups]
    if not found:
        return None
    from scipy.stats import t

    tail = (1 - confidence) / 2

    def upper(cases: int, width: float) -> float:
        return width * float(t.ppf(1 - tail / len(found), cases - 1) / t.ppf(1 - tail, cases - 1))

    attribute, worst = min(found, key=lambda each: each[1].mean)
    high = min(each.mean + upper(each.cases, each.mean - each.low) for _, each in found if each.cases > 1)
    low = min(each.low for _, each in found)
    return WorstGroup(attribute, worst.group, Figure(worst.mean, low, min(max(high, worst.mean), 1.0), worst.cases))


def size_normalised_dice(
    found_rightly: int, found_wrongly: int, missed: int, rest: int, *, reference_share: float
) -> float:
    """Dice as it would be if the region filled the same share of every head.

    A small region has a lower Dice than a large one at the same rates of voxels found wrongly and missed, because few
    voxels of its own stand against many of the rest. Those found wrongly are weighted by what this share is to the
    reference.

    Args:
        found_rightly, found_wrongly, missed, rest: Voxels; the rest of the head is neither drawn nor found.
        reference_share: That a region fills, above 0 and below 1, e.g. the mean of the cohort.

    Returns:
        0 to 1; 1 where nothing is drawn and nothing found, 0 where nothing is drawn and something found.

    Raises:
        AuditDataError: The share is not between 0 and 1.

    References:
        Raina et al. (2023), arXiv:2302.05432: the normalised Dice similarity coefficient.
    """
    if not 0 < reference_share < 1 or not math.isfinite(reference_share):
        raise AuditDataError(f"Expected a reference share between 0 and 1, got {reference_share!r}.")
    drawn, others = found_rightly + missed, rest + found_wrongly
    if not drawn:
        return 0.0 if found_wrongly else 1.0
    weight = drawn / others * (1 / reference_share - 1) if others else 1.0
    return 2 * found_rightly / (weight * found_wrongly + 2 * found_rightly + missed)
