"""The mean of numbers from 0 to 1, by an interval that holds at every look.

Each case is weighted by what the cases before it let expect of the spread, so that numbers that scatter little soon
give a narrow interval. The order of the cases counts; the interval holds for any order that does not depend on the
numbers.

References:
    I. Waudby-Smith, A. Ramdas, J. R. Stat. Soc. B 86 (2024), 1, theorem 2 (predictable plug-in empirical Bernstein).
"""

from typing import TYPE_CHECKING, Any, Final

from governance.monitoring.shares import Bounds

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_MOST_WEIGHT: Final = 0.75
"""Below 1; a larger one is sharper for numbers that hardly scatter."""


def mean_bounds(values: "npt.NDArray[np.float64]", members: "npt.NDArray[np.bool_]", alpha: Any) -> Bounds:
    """The means that are not refuted, after each case.

    Args:
        values: 0 to 1, in the order in which they came along the last axis.
        members: Which of them belong to the group; of the same shape, or one that fits.
        alpha: Chance that the true mean ever lies outside; of a shape that fits without the last axis.

    Returns:
        Of the members up to each case; 0 to 1 before the first.
    """
    import numpy as np

    inside, values = np.broadcast_arrays(np.asarray(members, np.float64), np.asarray(values, np.float64))
    cost = np.log(2.0 / np.asarray(alpha, np.float64))[..., None]
    count = np.cumsum(inside, axis=-1)
    mean = (0.5 + np.cumsum(inside * values, axis=-1)) / (count + 1.0)
    spread = (0.25 + np.cumsum(inside * (values - mean) ** 2, axis=-1)) / (count + 1.0)
    # What was known before each case.
    mean_before, spread_before = _before(mean, 0.5), _before(spread, 0.25)
    size = np.maximum(count, 1.0)
    weight = inside * np.minimum(np.sqrt(2.0 * cost / (spread_before * size * np.log1p(size))), _MOST_WEIGHT)
    total = np.cumsum(weight, axis=-1)
    # 4 psi(w) = -log(1 - w) - w, and v = 4 (x - mean)^2.
    noise = np.cumsum((values - mean_before) ** 2 * (-np.log1p(-weight) - weight), axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = np.cumsum(weight * values, axis=-1) / total
        margin = (cost + noise) / total
    known = total > 0
    return Bounds(
        np.where(known, np.clip(centre - margin, 0.0, 1.0), 0.0),
        np.where(known, np.clip(centre + margin, 0.0, 1.0), 1.0),
    )


def _before(found: "npt.NDArray[np.float64]", first: float) -> "npt.NDArray[np.float64]":
    import numpy as np

    return np.concatenate([np.full_like(found[..., :1], first), found[..., :-1]], axis=-1)
