"""Thresholds chosen after training so that no group is served much worse: the best Dice under a bound on the gap.

From validation cases only. Two kinds of thresholds are offered: one set for everybody, and one set for each known
group, which needs the group at inference and is lawful and wanted in few places; the first one is what a model stores.
A gap that is met on the cases that chose the thresholds is flattered: measure it again on other cases.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch

from federated.balancing.cohort_table import MINIMUM_GROUP
from federated.cases import Example
from federated.errors import BalanceDataError
from federated.metrics import REGIONS
from federated.models import NetworkConfig, build_network
from federated.numerics import autocast
from federated.sampling import Split
from federated.statistics import Interval
from federated.validation import LabelledInput, to_device

Floats = npt.NDArray[np.float64]
Thresholds = tuple[float, float, float]

THRESHOLDS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
RESAMPLES: Final = 1000
TIE: Final = 1e-9

Outcome = Literal["met", "not met", "insufficient evidence"]


@dataclass(frozen=True)
class OperatingPoint:
    """Thresholds, and what they reach on the cases that chose them.

    Attributes:
        thresholds: Of whole tumour, tumour core and enhancing tumour.
        dice: Mean over cases and regions.
        dice_by_group: The same in each group that takes part.
        gap: Largest minus smallest of these.
    """

    thresholds: Thresholds
    dice: float
    dice_by_group: dict[str, float]
    gap: float


@dataclass(frozen=True)
class FairOperatingPoint:
    """The choice under the bound, beside the choice without it.

    Attributes:
        outcome: "not met" where no thresholds meet the bound: the fair point is the one of the smallest gap then.
        bound: That the gap was to keep.
        sizes: Cases of each group that takes part.
        free: The best thresholds without the bound.
        fair: The best thresholds under the bound; the free ones with insufficient evidence.
        gap_interval: Of the fair point's gap, over resampled cases of each group; None with insufficient evidence.
        by_group: Thresholds of each group, so that together they are best under the bound; empty with insufficient
            evidence.
        by_group_dice: Mean Dice that these reach, over the cases of groups that take part.
        by_group_gap: Their gap.
        worse_off: Groups that the thresholds by group serve worse than the free ones do: their gap is closed by
            levelling down.
    """

    outcome: Outcome
    bound: float
    sizes: dict[str, int]
    free: OperatingPoint
    fair: OperatingPoint
    gap_interval: Interval | None
    by_group: Mapping[str, Thresholds]
    by_group_dice: float | None
    by_group_gap: float | None
    worse_off: tuple[str, ...]

    @property
    def given_up(self) -> float:
        """Mean Dice that the bound costs with one set of thresholds; not negative."""
        return self.free.dice - self.fair.dice


def dice_by_threshold(
    split: Split,
    network_config: NetworkConfig,
    weights: Mapping[str, torch.Tensor],
    device: torch.device,
    *,
    temperatures: Thresholds = (1.0, 1.0, 1.0),
    precision: str = "float32",
) -> Floats:
    """Dice of each held-out case, region and threshold: (cases, 3, thresholds), both empty being 1.

    Only split.validation is looked at.

    Raises:
        BalanceDataError: No case is held out.
    """
    examples: Sequence[Example] = split.validation
    if not examples:
        raise BalanceDataError("Expected held-out cases to choose thresholds on, got none; hold some out.")
    network = build_network(network_config).to(device, memory_format=torch.channels_last_3d).eval()  # type: ignore[call-overload]
    network.load_state_dict(dict(weights))
    scale = torch.tensor(temperatures, device=device)[:, None, None, None]
    found = np.empty((len(examples), len(REGIONS), len(THRESHOLDS)))
    for row, case in enumerate(to_device(examples, device)):
        with torch.inference_mode(), autocast(precision, device):
            logits = network(case.channels)[0]
        found[row] = _dice((logits.float() / scale).sigmoid() * case.head, case)
    return found


def choose_operating_point(
    dice: Floats,
    groups: Sequence[str | None],
    *,
    bound: float,
    minimum: int = MINIMUM_GROUP,
    thresholds: Sequence[float] = THRESHOLDS,
    seed: int = 0,
) -> FairOperatingPoint:
    """Choose thresholds from validation cases.

    Every set of thresholds is tried. Among equals the one nearest 0.5 is taken.

    Args:
        dice: (cases, 3, thresholds), 0 to 1.
        groups: Of each case; None where it is not known: the case counts for the mean, and for no group.
        bound: Of the gap between the groups' mean Dice, 0 to 1.
        minimum: Cases of a group that takes part.
        thresholds: That the last axis stands for.
        seed: Of the interval.

    Raises:
        BalanceDataError: There is no case, arrays do not fit each other, or a number is out of range.
    """
    _check(dice, groups, bound, thresholds)
    names = sorted({group for group in groups if group is not None})
    members = {name: np.array([group == name for group in groups]) for name in names}
    members = {name: inside for name, inside in members.items() if inside.sum() >= minimum}
    sets = _sets(len(thresholds), dice.shape[1], thresholds)
    by_case = _mean_over_regions(dice, sets)
    points = _Points(by_case, members, sets, thresholds)
    free = int(points.means.argmax())
    sizes = {name: int(inside.sum()) for name, inside in members.items()}
    if len(members) < 2:
        point = points.at(free)
        return FairOperatingPoint("insufficient evidence", bound, sizes, point, point, None, {}, None, None, ())
    meets = points.gaps <= bound + TIE
    fair = int(np.where(meets, points.means, -1).argmax()) if meets.any() else int(points.gaps.argmin())
    chosen = _by_group(points.group_means, np.array(list(sizes.values())), bound)
    reached = points.group_means[np.arange(len(members)), chosen]
    return FairOperatingPoint(
        "met" if meets.any() else "not met",
        bound,
        sizes,
        points.at(free),
        points.at(fair),
        _gap_interval(by_case[:, fair], list(members.values()), seed),
        {name: points.thresholds(place) for name, place in zip(members, chosen, strict=True)},
        float(np.average(reached, weights=list(sizes.values()))),
        float(np.ptp(reached)),
        tuple(name for row, name in enumerate(members) if reached[row] < points.group_means[row, free] - TIE),
    )


class _Points:
    """All sets of thresholds: what each reaches."""

    def __init__(
        self,
        by_case: Floats,
        members: Mapping[str, npt.NDArray[np.bool_]],
        sets: npt.NDArray[np.int64],
        thresholds: Sequence[float],
    ) -> None:
        self._sets, self._thresholds, self._names = sets, thresholds, list(members)
        self.means: Floats = by_case.mean(0)
        self.group_means: Floats = np.array([by_case[inside].mean(0) for inside in members.values()])
        self.gaps: Floats = np.ptp(self.group_means, axis=0) if len(members) > 1 else np.zeros(len(sets))

    def thresholds(self, place: int) -> Thresholds:
        whole, core, enhancing = (float(self._thresholds[index]) for index in self._sets[place])
        return whole, core, enhancing

    def at(self, place: int) -> OperatingPoint:
        by_group = {name: float(row[place]) for name, row in zip(self._names, self.group_means, strict=True)}
        return OperatingPoint(self.thresholds(place), float(self.means[place]), by_group, float(self.gaps[place]))


def _check(dice: Floats, groups: Sequence[str | None], bound: float, thresholds: Sequence[float]) -> None:
    expected = (len(groups), len(REGIONS), len(thresholds))
    if not groups or dice.shape != expected:
        raise BalanceDataError(f"Expected Dice of at least one case as {expected}, got {dice.shape}.")
    if not ((dice >= 0) & (dice <= 1)).all():
        raise BalanceDataError("Expected Dice from 0 to 1, got a number outside.")
    if not 0 <= bound <= 1:
        raise BalanceDataError(f"Expected a bound of the gap from 0 to 1, got {bound!r}.")


def _sets(count: int, regions: int, thresholds: Sequence[float]) -> npt.NDArray[np.int64]:
    """Indices of every set of thresholds, (sets, regions); those nearest 0.5 first, so that they win ties."""
    found = np.array(list(product(range(count), repeat=regions)))
    distance = np.abs(np.asarray(thresholds)[found] - 0.5).sum(1)
    ordered: npt.NDArray[np.int64] = found[np.argsort(distance, kind="stable")]
    return ordered


def _mean_over_regions(dice: Floats, sets: npt.NDArray[np.int64]) -> Floats:
    """(cases, sets)."""
    found: Floats = np.mean([dice[:, region, sets[:, region]] for region in range(dice.shape[1])], axis=0)
    return found


def _by_group(means: Floats, sizes: npt.NDArray[np.int64], bound: float) -> npt.NDArray[np.int64]:
    """For each group its set of thresholds: the best mean over all cases whose gap keeps the bound.

    The worst group's mean is one of `means`: with each of them as the floor, every group takes its best mean between
    the floor and the floor plus the bound. Where no floor serves, each group takes what is nearest the best floor.
    """
    best, chosen = -1.0, np.asarray(means.argmax(1))
    for floor in np.unique(means):
        allowed = (means >= floor - TIE) & (means <= floor + bound + TIE)
        if not allowed.any(1).all():
            continue
        places = np.where(allowed, means, -1).argmax(1)
        reached = float(np.average(means[np.arange(len(means)), places], weights=sizes))
        if reached > best + TIE:
            best, chosen = reached, places
    if best < 0:
        # The groups' ranges lie further apart than the bound: as near to each other as they come.
        worst = int(means.max(1).argmin())
        chosen = np.asarray(np.abs(means - means[worst].max()).argmin(1))
    return chosen


def _gap_interval(by_case: Floats, members: Sequence[npt.NDArray[np.bool_]], seed: int) -> Interval:
    rng = np.random.default_rng(seed)
    drawn = [by_case[rng.choice(np.flatnonzero(inside), (RESAMPLES, int(inside.sum())))].mean(1) for inside in members]
    low, high = np.quantile(np.ptp(drawn, axis=0), [0.025, 0.975])
    return Interval(float(low), float(high))


def _dice(probabilities: torch.Tensor, case: LabelledInput) -> Floats:
    levels = torch.tensor(THRESHOLDS, device=probabilities.device)[None, :, None, None, None]
    found = probabilities[:, None] > levels
    axes = (-3, -2, -1)
    overlap = (found & case.regions[:, None]).sum(axes).double()
    total = found.sum(axes).double() + case.regions.sum(axes)[:, None]
    dice: Floats = torch.where(total > 0, 2 * overlap / total.clamp(min=1), torch.ones_like(overlap)).cpu().numpy()
    return dice
