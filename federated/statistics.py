"""Paired comparison of two arms, over cases and seeds; deterministic.

Scores are arrays (seeds, cases): each row is a fresh training run of the arm, each column a case that all runs of both
arms were tested on. Cases are paired between arms; seeds are not, for the same seed means nothing to another network.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from federated.errors import EvaluationError

Floats = npt.NDArray[np.float64]
LEVEL: Final = 0.95
RESAMPLES: Final = 10_000


@dataclass(frozen=True)
class Interval:
    """A percentile bootstrap interval that holds the level's share of the resampled values."""

    low: float
    high: float
    level: float = LEVEL


@dataclass(frozen=True)
class PairedComparison:
    """The first arm's scores minus the second's.

    Attributes:
        mean: Mean difference, seeds averaged.
        median: Median over cases, seeds averaged.
        over_cases: Interval of the mean if other cases had been drawn, with these trained networks.
        over_cases_and_seeds: Interval of the mean if other cases and other seeds had been drawn: the one to claim by.
        p_value: Two-sided Wilcoxon signed-rank test over cases, seeds averaged; says nothing about other seeds.
        rank_biserial: Effect size, -1 (the first loses every pair) to 1 (it wins every pair).
        wins, ties, losses: Cases that the first arm wins, seeds averaged.
    """

    mean: float
    median: float
    over_cases: Interval
    over_cases_and_seeds: Interval
    p_value: float
    rank_biserial: float
    wins: int
    ties: int
    losses: int


def compare_paired(first: Floats, second: Floats, *, resamples: int = RESAMPLES, seed: int = 0) -> PairedComparison:
    """Compare two arms on the same cases.

    Args:
        first, second: (seeds, cases); as many cases, perhaps another number of seeds.
        resamples: Of each bootstrap.
        seed: The same one gives the same answer.

    Raises:
        EvaluationError: There are no scores, one is not finite, or the cases differ in number.
    """
    first, second = _checked(first), _checked(second)
    if first.shape[1] != second.shape[1]:
        raise EvaluationError(f"Expected the same cases, got {first.shape[1]} and {second.shape[1]}.")
    differences = first.mean(axis=0) - second.mean(axis=0)
    rng = np.random.default_rng(seed)
    cases = _weights(rng, resamples, len(differences))
    seeds = (_weights(rng, resamples, len(first)), _weights(rng, resamples, len(second)))
    both = _resampled_means(first, seeds[0], cases) - _resampled_means(second, seeds[1], cases)
    return PairedComparison(
        mean=float(differences.mean()),
        median=float(np.median(differences)),
        over_cases=_interval(cases @ differences),
        over_cases_and_seeds=_interval(both),
        p_value=wilcoxon_p(differences),
        rank_biserial=rank_biserial(differences),
        wins=int((differences > 0).sum()),
        ties=int((differences == 0).sum()),
        losses=int((differences < 0).sum()),
    )


def mean_interval(scores: Floats, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Interval of an arm's mean score if other cases and other seeds had been drawn.

    Seeds and cases are resampled independently of each other, the pigeonhole bootstrap: it errs towards wide intervals
    (Owen 2007, doi:10.1214/07-AOAS122). With a single seed only the cases vary.

    Args:
        scores: (seeds, cases).

    Raises:
        EvaluationError: There are no scores, or one is not finite.
    """
    scores = _checked(scores)
    rng = np.random.default_rng(seed)
    cases = _weights(rng, resamples, scores.shape[1])
    return _interval(_resampled_means(scores, _weights(rng, resamples, len(scores)), cases))


def wilcoxon_p(differences: Floats) -> float:
    """Two-sided p-value of the Wilcoxon signed-rank test.

    Zeros are ranked and then left out (Pratt 1959); ties share their mean rank. Exact for up to 50 differences without
    zeros and ties and for up to 13 with them, else by the normal approximation without continuity correction. 1 when
    all differences are zero.
    """
    if not np.any(differences):
        return 1.0
    return float(stats.wilcoxon(differences, zero_method="pratt", method="auto").pvalue)


def rank_biserial(differences: Floats) -> float:
    """Matched-pairs rank-biserial correlation: favourable minus unfavourable share of the ranks, -1 to 1.

    Ranks are those of the test, zeros as there; 0 when all differences are zero. Kerby (2014), doi:10.2466/11.IT.3.1.
    """
    if not np.any(differences):
        return 0.0
    ranks = stats.rankdata(np.abs(differences))
    return float((np.sign(differences) * ranks).sum() / ranks[differences != 0].sum())


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust the p-values of one family of comparisons; Holm (1979), Scand. J. Statist. 6, 65-70.

    Returns:
        By the same names, in the same order; each at most 1.

    Raises:
        EvaluationError: A p-value is not from 0 to 1.
    """
    if not all(0 <= p <= 1 for p in p_values.values()):
        raise EvaluationError(f"Expected p-values from 0 to 1, got {dict(p_values)}.")
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda each: p_values[each])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def _checked(scores: Floats) -> Floats:
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2 or not scores.size:
        raise EvaluationError(f"Expected scores (seeds, cases), got an array of shape {scores.shape}.")
    if not np.isfinite(scores).all():
        raise EvaluationError(f"Expected finite scores, got {int((~np.isfinite(scores)).sum())} that are not.")
    return scores


def _weights(rng: np.random.Generator, resamples: int, count: int) -> Floats:
    """How often each of count things is drawn with replacement, as a share; (resamples, count).

    One fewer is drawn than there are: the spread of the mean is then unbiased, which matters for five seeds (Rao and Wu
    1988, doi:10.1080/01621459.1988.10478591).
    """
    drawn = max(count - 1, 1)
    return rng.multinomial(drawn, np.full(count, 1 / count), size=resamples) / drawn


def _resampled_means(scores: Floats, seeds: Floats, cases: Floats) -> Floats:
    means: Floats = np.einsum("rs,rs->r", seeds, cases @ scores.T)
    return means


def _interval(values: Floats) -> Interval:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high))
