"""How often something happens, and how far two such shares lie apart, by intervals that hold at every look.

A case adds 1 or 0. For a true share p the ratio of a mixture of all shares to p is a martingale with the value 1 at
the beginning; the chance that it ever reaches 1/alpha is at most alpha (Ville). The shares at which it has not
reached it are a confidence sequence: it may be looked at after each case. For two groups the two ratios are
multiplied, so that their difference is bounded by both groups' evidence together. Only counts matter, not the order.

The mixture is Beta(1/2, 2): it expects small shares, as those of rejections are; with other ones the bounds hold as
well, and are somewhat wider.

References:
    H. Robbins, Ann. Math. Statist. 41 (1970), 1397; S. Howard et al., Ann. Statist. 49 (2021), 1055, 3.3;
    R. Turner, P. Gruenwald, AISTATS 2023 (two groups).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_HITS, _MISSES = 0.5, 2.0
"""Of the mixture."""
_STEPS: Final = 32
_FIRST, _LAST = -15.0, 40.0
"""Of the logarithm of the slope that is searched for."""


@dataclass(frozen=True, eq=False)
class Bounds:
    """Lower and upper ends, arrays of one shape."""

    low: "npt.NDArray[np.float64]"
    high: "npt.NDArray[np.float64]"


def log_evidence(cases: Any, hits: Any, share: Any) -> "npt.NDArray[np.float64]":
    """The logarithm of the mixture's ratio to a share.

    Args:
        cases: How many, arrays that fit together.
        hits: How many of them had it.
        share: 0 to 1.
    """
    import numpy as np

    cases, hits, share = (np.asarray(each, np.float64) for each in (cases, hits, share))
    found: npt.NDArray[np.float64] = _log_mixture(cases, hits) + _surprise(cases, hits, share)
    return found


def share_bounds(cases: Any, hits: Any, alpha: Any) -> Bounds:
    """The shares that are not refuted.

    Args:
        cases: How many, arrays that fit together.
        hits: How many of them had it.
        alpha: Chance that the true share ever lies outside.
    """
    import numpy as np

    cases, hits, alpha = np.broadcast_arrays(*(np.asarray(each, np.float64) for each in (cases, hits, alpha)))
    limit = -np.log(alpha) - _log_mixture(cases, hits)

    def refuted(slope: "npt.NDArray[np.float64]", sign: float) -> "npt.NDArray[np.bool_]":
        found: npt.NDArray[np.bool_] = _surprise(cases, hits, _at_slope(cases, hits, sign * slope)) >= limit
        return found

    low = _at_slope(cases, hits, -_search(lambda slope: refuted(slope, -1.0), limit))
    high = _at_slope(cases, hits, _search(lambda slope: refuted(slope, 1.0), limit))
    return Bounds(np.where(cases > 0, low, 0.0), np.where(cases > 0, high, 1.0))


def least_gap(cases: Any, hits: Any, other_cases: Any, other_hits: Any, alpha: Any) -> "npt.NDArray[np.float64]":
    """How far two shares lie apart at least, whichever is larger; 0 to 1.

    Args:
        cases: Of the first group, arrays that fit together.
        hits: How many of them had it.
        other_cases: Of the other group.
        other_hits: How many of them had it.
        alpha: Chance that the shares ever lie less far apart.
    """
    import numpy as np

    parts = (cases, hits, other_cases, other_hits, alpha)
    one, has, two, had, level = np.broadcast_arrays(*(np.asarray(each, np.float64) for each in parts))
    is_larger = has * two >= had * one
    first = (np.where(is_larger, one, two), np.where(is_larger, has, had))
    second = (np.where(is_larger, two, one), np.where(is_larger, had, has))
    gap = np.maximum(_lowest_difference(*first, *second, level), 0.0)
    found: npt.NDArray[np.float64] = np.where((one > 0) & (two > 0), gap, 0.0)
    return found


def log_evidence_of_difference(cases: Any, hits: Any, other_cases: Any, other_hits: Any) -> "npt.NDArray[np.float64]":
    """The logarithm of the evidence against two groups having one and the same share.

    The chance that it ever reaches log(1 / alpha), when they have, is at most alpha.
    """
    import numpy as np

    one, has, two, had = (np.asarray(each, np.float64) for each in (cases, hits, other_cases, other_hits))
    # The share that both together are most likely to have.
    share = (has + had) / np.maximum(one + two, 1.0)
    found: npt.NDArray[np.float64] = log_evidence(one, has, share) + log_evidence(two, had, share)
    return found


def _log_mixture(cases: Any, hits: Any) -> Any:
    """The logarithm of what the mixture of all shares gave to these cases."""
    from scipy.special import betaln

    return betaln(hits + _HITS, cases - hits + _MISSES) - betaln(_HITS, _MISSES)


def _surprise(cases: Any, hits: Any, share: Any) -> Any:
    """Minus the logarithm of what a share gave to these cases."""
    from scipy.special import xlog1py, xlogy

    return -xlogy(hits, share) - xlog1py(cases - hits, -share)


def _lowest_difference(
    cases: Any, hits: Any, other_cases: Any, other_hits: Any, alpha: Any
) -> "npt.NDArray[np.float64]":
    """The smallest p - q of all pairs that are not refuted.

    The refuted pairs lie outside a convex set. On its edge, where p - q is smallest, the evidence against p falls with
    p as steeply as that against q rises with q; each slope gives one pair, by a quadratic equation.
    """
    import numpy as np

    limit = -np.log(alpha) - _log_mixture(cases, hits) - _log_mixture(other_cases, other_hits)

    def pair(slope: "npt.NDArray[np.float64]") -> tuple[Any, Any]:
        return _at_slope(cases, hits, -slope), _at_slope(other_cases, other_hits, slope)

    def refuted(slope: "npt.NDArray[np.float64]") -> "npt.NDArray[np.bool_]":
        first, second = pair(slope)
        found: npt.NDArray[np.bool_] = (
            _surprise(cases, hits, first) + _surprise(other_cases, other_hits, second) >= limit
        )
        return found

    first, second = pair(_search(refuted, limit))
    gap: npt.NDArray[np.float64] = first - second
    return gap


def _search(refuted: Any, like: "npt.NDArray[np.float64]") -> "npt.NDArray[np.float64]":
    """The smallest slope that is refuted, for each place; found from above, so that the bound is not too tight."""
    import numpy as np

    low, high = np.full_like(like, _FIRST), np.full_like(like, _LAST)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        beyond = refuted(np.exp(middle))
        low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
    found: npt.NDArray[np.float64] = np.exp(high)
    return found


def _at_slope(cases: Any, hits: Any, slope: Any) -> "npt.NDArray[np.float64]":
    """The share at which the evidence rises with the share by a slope: slope p^2 + (cases - slope) p - hits = 0."""
    import numpy as np

    half = cases - slope
    root = np.sqrt(np.maximum(half * half + 4.0 * slope * hits, 0.0))
    # Two forms of one solution; each loses no digits where it is used, and the slope is not 0 where the second one is.
    is_first = half > 0
    share: npt.NDArray[np.float64] = np.where(is_first, 2.0 * hits, root - half) / np.where(
        is_first, half + root, 2.0 * slope
    )
    return np.clip(share, 0.0, 1.0)
