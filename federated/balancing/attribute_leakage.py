"""What a site's data tell about a protected attribute: how well a classifier finds the group from a case's features.

A ridge classifier, one group against the rest, is trained on all folds but one and scores the cases of that one;
scores are means over several ways to make folds. Folds do not look at the groups, so that dealing the groups anew and
doing all of it again is an exact permutation test.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from federated.balancing.cohort_table import MINIMUM_GROUP
from federated.errors import BalanceDataError
from federated.statistics import Interval

Floats = npt.NDArray[np.float64]

FOLDS: Final = 5
REPEATS: Final = 4
RIDGE: Final = 10.0
"""Penalty on standardised features: of the order of their number, against a handful of cases."""
PERMUTATIONS: Final = 500
RESAMPLES: Final = 1000
ALPHA: Final = 0.05

Finding = Literal["leaks", "no evidence", "insufficient evidence"]


@dataclass(frozen=True)
class Leakage:
    """How well the features tell one attribute.

    Attributes:
        sizes: Cases of each group that takes part.
        finding: "leaks" when the p-value is below 0.05.
        auc: Mean over the groups of the area under the ROC of one against the rest, out of fold: 0.5 tells nothing, 1
            everything; weighted by the case weights. None with insufficient evidence, as are the others.
        interval: Over resampled cases of each group; the classifiers are not trained anew, so it errs towards narrow.
        null_auc: Mean area when the groups are dealt anew.
        p_value: Chance of an area as large then; None for weighted cases, where dealing anew is no fair comparison.
        information_bits: A lower bound on the mutual information of features and groups: that of the best guess, less
            its mean when the groups are dealt anew; at least 0.
    """

    attribute: str
    sizes: dict[str, int]
    finding: Finding
    auc: float | None = None
    interval: Interval | None = None
    null_auc: float | None = None
    p_value: float | None = None
    information_bits: float | None = None


def measure_leakage(
    attribute: str,
    features: Floats,
    groups: Sequence[str | None],
    *,
    weights: Sequence[float] | None = None,
    minimum: int = MINIMUM_GROUP,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Leakage:
    """Measure one attribute.

    Args:
        attribute: Its name, for the answer.
        features: (cases, features), as of image_features or a network's embedding.
        groups: Of each case; None where it is not known, and the case is left out.
        weights: Of the cases, not all alike: then there is no p-value, and the finding is by the interval.
        minimum: Cases of a group that takes part.
        permutations: How often the groups are dealt anew.
        seed: The same one gives the same answer.

    Raises:
        BalanceDataError: Features, groups and weights are not of the same cases, or a feature is not finite.
    """
    counts = Counter(group for group in groups if group is not None)
    names = sorted(name for name, count in counts.items() if count >= minimum)
    sizes = {name: counts[name] for name in names}
    chances = np.ones(len(groups)) if weights is None else np.asarray(weights, np.float64)
    if features.ndim != 2 or not len(features) == len(groups) == len(chances):
        raise BalanceDataError(
            f"Expected features, a group and a weight a case, got {len(features)}, {len(groups)} and {len(chances)}."
        )
    if not np.isfinite(features).all():
        raise BalanceDataError("Expected finite features; leave out the case whose images cannot be measured.")
    if len(names) < 2:
        return Leakage(attribute, sizes, "insufficient evidence")
    taking_part = np.array([group in sizes for group in groups])
    codes = np.array([names.index(group) for group in groups if group in sizes])
    part, chances = features[taking_part], chances[taking_part]
    rng = np.random.default_rng(seed)
    splits = [rng.permutation(len(codes)) % FOLDS for _ in range(REPEATS)]
    dealt = np.stack([codes, *(rng.permutation(codes) for _ in range(permutations))])
    scores = np.mean([_scores(part, dealt, len(names), folds, chances) for folds in splits], axis=0)
    areas = np.array([_mean_area(each, row, chances) for each, row in zip(scores, dealt, strict=True)])
    told = np.array([_information(each.argmax(1), row, chances) for each, row in zip(scores, dealt, strict=True)])
    interval = _interval(scores[0], codes, chances, rng)
    is_weighted = bool(np.ptp(chances) > 0)
    p_value = None if is_weighted else float((1 + (areas[1:] >= areas[0] - 1e-12).sum()) / (permutations + 1))
    leaks = interval.low > 0.5 if p_value is None else p_value < ALPHA
    return Leakage(
        attribute,
        sizes,
        "leaks" if leaks else "no evidence",
        auc=float(areas[0]),
        interval=interval,
        null_auc=float(areas[1:].mean()) if permutations else None,
        p_value=p_value,
        information_bits=max(0.0, float(told[0] - (told[1:].mean() if permutations else 0.0))),
    )


def _scores(
    features: Floats, dealt: npt.NDArray[np.int64], kinds: int, folds: npt.NDArray[np.int64], weights: Floats
) -> Floats:
    """Out-of-fold scores (deals, cases, kinds), of all deals at once: they share the features."""
    targets = (dealt[:, :, None] == np.arange(kinds)).astype(np.float64)
    found = np.zeros(targets.shape)
    for fold in range(FOLDS):
        inside, outside = folds != fold, folds == fold
        share = weights[inside] / weights[inside].sum()
        mean = share @ features[inside]
        deviation = np.sqrt(share @ (features[inside] - mean) ** 2)
        # A feature that is the same everywhere tells nothing.
        scale = np.where(deviation > 1e-9, 1 / np.maximum(deviation, 1e-9), 0.0)
        trained, tested = (features[inside] - mean) * scale, (features[outside] - mean) * scale
        counted = share[:, None] * inside.sum() * trained
        gram = trained.T @ counted + RIDGE * np.eye(features.shape[1])
        # (cases outside, cases inside); without the intercept, which would tell how many of a group are in other folds.
        smoother = tested @ np.linalg.solve(gram, counted.T)
        found[:, outside] = np.einsum("oi,dik->dok", smoother, targets[:, inside])
    return found


def _mean_area(scores: Floats, codes: npt.NDArray[np.int64], weights: Floats) -> float:
    return float(_mean_areas(scores, codes, weights[None])[0])


def _mean_areas(scores: Floats, codes: npt.NDArray[np.int64], weights: Floats) -> Floats:
    """By weights (sets, cases): (sets,), mean over the groups."""
    found = [weighted_areas(scores[:, kind], codes == kind, weights) for kind in range(scores.shape[1])]
    mean: Floats = np.mean(found, axis=0)
    return mean


def weighted_areas(scores: Floats, positive: npt.NDArray[np.bool_], weights: Floats) -> Floats:
    """Areas under the ROC, ties counting half; one for each set of weights (sets, cases), 0.5 without both kinds."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    mine, others = (np.add.reduceat((weights * part)[:, order], starts, axis=1) for part in (positive, ~positive))
    total = mine.sum(1) * others.sum(1)
    above = (mine * (others.cumsum(1) - others / 2)).sum(1)
    found: Floats = np.where(total > 0, above / np.where(total > 0, total, 1.0), 0.5)
    return found


def _information(guessed: npt.NDArray[np.int64], codes: npt.NDArray[np.int64], weights: Floats) -> float:
    """Mutual information of guesses and groups, bits."""
    kinds = int(max(guessed.max(), codes.max())) + 1
    joint = np.bincount(guessed * kinds + codes, weights, minlength=kinds**2).reshape(kinds, kinds)
    joint = joint / joint.sum()
    expected, seen = np.outer(joint.sum(1), joint.sum(0)), joint > 0
    return float((joint[seen] * np.log2(joint[seen] / expected[seen])).sum())


def _interval(scores: Floats, codes: npt.NDArray[np.int64], weights: Floats, rng: np.random.Generator) -> Interval:
    drawn = np.zeros((RESAMPLES, len(codes)))
    for kind in range(scores.shape[1]):
        members = np.flatnonzero(codes == kind)
        drawn[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=RESAMPLES)
    low, high = np.quantile(_mean_areas(scores, codes, drawn * weights), [0.025, 0.975])
    return Interval(float(low), float(high))
