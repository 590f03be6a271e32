"""Bootstrap intervals of what has no formula: cases are drawn anew, within their groups."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from governance.errors import AuditDataError

Floats = npt.NDArray[np.float64]
RESAMPLES: Final = 2000
_FEWEST_BCA: Final = 10
"""Below it the acceleration is noise."""


@dataclass(frozen=True)
class Figure:
    """A number that was measured on cases, and where it truly lies."""

    value: float
    low: float
    high: float
    cases: int


def mean_figure(values: Sequence[float], *, confidence: float, seed: int = 0) -> Figure:
    """A mean with its BCa interval; of fewer than ten cases, and of equal values, the percentile interval.

    Raises:
        AuditDataError: There is no value, or one is not finite.

    References:
        Efron (1987), doi:10.1080/01621459.1987.10478410.
    """
    found = _finite(values)
    if len(found) < _FEWEST_BCA or np.ptp(found) == 0:
        low, high = _ends(_means(found, np.random.default_rng(seed)), confidence)
        return Figure(float(found.mean()), low, high, len(found))
    from scipy.stats import bootstrap

    interval = bootstrap(
        (found,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Figure(float(found.mean()), float(interval.low), float(interval.high), len(found))


def stratified_figure(
    groups: Mapping[str, Sequence[float]],
    statistic: Callable[[Mapping[str, Floats]], float],
    *,
    confidence: float,
    seed: int = 0,
) -> Figure:
    """A statistic of groups with its percentile interval; each group keeps its size.

    Args:
        groups: Values by group.
        statistic: Of groups like these.
        confidence: Of the interval.
        seed: Of the resampling.

    Raises:
        AuditDataError: There is no group, an empty one, or a value is not finite.
    """
    if not groups:
        raise AuditDataError("Expected groups to compare, got none.")
    found = {name: _finite(values) for name, values in groups.items()}
    rng = np.random.default_rng(seed)
    drawn = np.array(
        [
            statistic({name: values[rng.integers(len(values), size=len(values))] for name, values in found.items()})
            for _ in range(RESAMPLES)
        ]
    )
    low, high = _ends(drawn, confidence)
    return Figure(statistic(found), low, high, sum(map(len, found.values())))


def _finite(values: Sequence[float]) -> Floats:
    found = np.asarray(values, np.float64)
    if not found.size or not np.isfinite(found).all():
        raise AuditDataError(f"Expected finite values, at least one, got {found.size} of which some are not.")
    return found


def _means(values: Floats, rng: np.random.Generator) -> Floats:
    means: Floats = values[rng.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
    return means


def _ends(drawn: Floats, confidence: float) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
