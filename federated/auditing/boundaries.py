"""Where a model must not be used: labelled cases are made worse step by step until its Dice falls below a floor."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np

from federated.auditing.audited_model import AuditedModel, chosen_cases, ignore
from federated.auditing.stress import STRESSES, Stress
from federated.cases import REFERENCE, Case, CaseSource
from federated.errors import EvaluationError, ModelInputError
from federated.metrics import dice_of_masks
from federated.ports import Image, Progress
from federated.preprocessing import to_model_input
from federated.resampling import resample_labels
from federated.statistics import mean_interval

Found = Literal["reached", "not-reached", "insufficient-evidence"]
SIZES_ML: Final = (60.0, 20.0, 5.0, 0.0)
"""Lower edges of the bins of the whole tumour's volume, from large, which is easy, to small."""
NORMAL: Final = "as-they-come"


@dataclass(frozen=True)
class Level:
    """One severity.

    Attributes:
        severity: In the condition's unit; 0 for the cases as they come.
        cases: That were measured.
        refused: That the preparation refused, rather than answer: no part of the mean.
        dice: Mean whole-tumour Dice; None without a case. low, high: Its bootstrap interval over cases.
    """

    severity: float
    cases: int
    refused: int
    dice: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Boundary:
    """What one condition does.

    Attributes:
        condition: For machines: NORMAL, the name of a stress, or "tumour-volume".
        title: For people.
        unit: Of the severities; empty for none.
        levels: From mild to severe.
        outcome: "reached" where the mean of enough cases is below the floor at some level; "not-reached" where it is
            above it at every level with enough cases; else there is insufficient evidence.
        threshold: The first severity at which it is reached.
        finding: When the model must not be used, or that nothing was found.
    """

    condition: str
    title: str
    unit: str
    levels: tuple[Level, ...]
    outcome: Found
    threshold: float | None
    finding: str


@dataclass(frozen=True)
class BoundaryReport:
    """All conditions, the cases as they come first.

    Attributes:
        floor: Of mean whole-tumour Dice.
        minimum: Fewest cases of a level.
        cases: That were looked at.
    """

    floor: float
    minimum: int
    cases: int
    boundaries: tuple[Boundary, ...]

    @property
    def reached(self) -> tuple[Boundary, ...]:
        """Where the model must not be used."""
        return tuple(each for each in self.boundaries if each.outcome == "reached")

    @property
    def unknown(self) -> tuple[Boundary, ...]:
        """Of what too few cases were seen."""
        return tuple(each for each in self.boundaries if each.outcome == "insufficient-evidence")


def find_boundaries(
    model: AuditedModel,
    cases: Sequence[Case | CaseSource],
    *,
    floor: float,
    minimum: int,
    stresses: Sequence[Stress] = STRESSES,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress = ignore,
) -> BoundaryReport:
    """Look at each case as it comes and under every stress, one look each, and compare means with the floor.

    Args:
        model: The audited model.
        cases: With labels; one that is not read yet is read when its turn comes, and dropped after it.
        floor: Mean whole-tumour Dice below which a model must not be used, 0 to 1.
        minimum: Fewest cases from which anything is concluded.
        stresses: What is tried.
        limit: Most cases.
        seed: Of noise and fields.
        progress: Takes the finished fraction.

    Raises:
        EvaluationError: There is no case, or a number is out of range.
        TrainingDataError: A case cannot be read.
    """
    chosen = chosen_cases(cases, limit)
    if not 0 <= floor <= 1 or minimum < 1:
        raise EvaluationError(f"Expected a floor from 0 to 1 and a minimum from 1, got {floor} and {minimum}.")
    trials = [(stress, severity) for stress in stresses for severity in stress.severities]
    seen: dict[tuple[str, float], list[float | None]] = {}
    sizes: list[tuple[float, float]] = []
    for place, source in enumerate(chosen):
        case = source if isinstance(source, Case) else source.read()
        plain = _dice(model, case, case.images)
        seen.setdefault((NORMAL, 0.0), []).append(plain)
        if plain is not None:
            sizes.append((_volume_ml(case), plain))
        for number, (stress, severity) in enumerate(trials, start=1):
            rng = np.random.default_rng([seed, place, number])
            images = stress.apply(case.images, severity, rng)
            if images is not None:
                seen.setdefault((stress.name, severity), []).append(_dice(model, case, images))
            progress((place + number / (len(trials) + 1)) / len(chosen))
    progress(1.0)
    rule = _Rule(floor, minimum)
    normal = rule.boundary(
        NORMAL, "cases as they come", "", [_level(0.0, seen[NORMAL, 0.0])], "cases are like those of this audit"
    )
    stressed = [
        rule.boundary(
            stress.name,
            stress.title,
            stress.unit,
            [_level(severity, seen.get((stress.name, severity), [])) for severity in stress.severities],
            stress.refusal,
        )
        for stress in stresses
    ]
    volumes, plain_dice = [volume for volume, _ in sizes], [found for _, found in sizes]
    by_size = size_boundary(volumes, plain_dice, floor=floor, minimum=minimum)
    return BoundaryReport(floor, minimum, len(chosen), (normal, *stressed, by_size))


@dataclass(frozen=True)
class _Rule:
    floor: float
    minimum: int

    def boundary(self, condition: str, title: str, unit: str, levels: Sequence[Level], refusal: str) -> Boundary:
        """Judge a condition's levels."""
        enough = [level for level in levels if level.dice is not None and level.cases >= self.minimum]
        low = next((level for level in enough if level.dice is not None and level.dice < self.floor), None)
        how: dict[str, Any] = {"condition": condition, "title": title, "unit": unit, "levels": tuple(levels)}
        if low is not None and low.dice is not None:
            finding = (
                f"Must not be used when {refusal.format(severity=low.severity)}: mean Dice {low.dice:.2f} of "
                f"{low.cases} cases."
            )
            return Boundary(**how, outcome="reached", threshold=low.severity, finding=finding)
        if len(enough) < len(levels):
            fewest = min(level.cases for level in levels)
            finding = f"Insufficient evidence: a level has {fewest} cases, fewer than {self.minimum}."
            return Boundary(**how, outcome="insufficient-evidence", threshold=None, finding=finding)
        return Boundary(
            **how, outcome="not-reached", threshold=None, finding="Not reached at the levels that were tried."
        )


def _dice(model: AuditedModel, case: Case, images: Mapping[str, Image]) -> float | None:
    """Whole-tumour Dice on the model's grid; None where the preparation refuses the images."""
    try:
        model_input = to_model_input(images, REFERENCE, model.model.preprocessing)
    except ModelInputError:
        return None
    # The labels lie on the reference as it came, which a stress may have given another grid.
    drawn = resample_labels(case.labels, case.images[REFERENCE].affine_lps, model_input.grid)
    return dice_of_masks(model.labels(model_input) > 0, drawn > 0)


def _volume_ml(case: Case) -> float:
    voxel_ml = abs(float(np.linalg.det(case.images[REFERENCE].affine_lps))) / 1000
    return int((case.labels > 0).sum()) * voxel_ml


def _level(severity: float, dice: Sequence[float | None]) -> Level:
    found = [each for each in dice if each is not None]
    if not found:
        return Level(severity, 0, len(dice), None, None, None)
    interval = mean_interval(np.array([found]))
    return Level(severity, len(found), len(dice) - len(found), float(np.mean(found)), interval.low, interval.high)


def size_boundary(volumes_ml: Sequence[float], dice: Sequence[float], *, floor: float, minimum: int) -> Boundary:
    """How small a tumour may be, from cases as they come: measured anywhere, so that many can be put together.

    Args:
        volumes_ml: Of the drawn whole tumours.
        dice: Of the same cases.
        floor, minimum: See find_boundaries.

    Raises:
        EvaluationError: The numbers of volumes and figures differ.
    """
    if len(volumes_ml) != len(dice):
        raise EvaluationError(f"Expected a volume for each Dice, got {len(volumes_ml)} and {len(dice)}.")
    # A level's severity is the upper edge of its bin: the largest bin ends above everything that was seen.
    edges = (float(math.floor(max([*volumes_ml, SIZES_ML[0]]))) + 1, *SIZES_ML)
    levels = [
        _level(upper, [each for volume, each in zip(volumes_ml, dice, strict=True) if lower <= volume < upper])
        for upper, lower in pairwise(edges)
    ]
    refusal = "the tumour is smaller than {severity:g} ml"
    return _Rule(floor, minimum).boundary("tumour-volume", "volume of the whole tumour, below", "ml", levels, refusal)
