"""Whether the studies that come in are still like those at the beginning.

The first studies after a release are the reference. From then on, each time a block of new ones is complete, the newest
blocks are compared with it: every feature by Kolmogorov and Smirnov's test, and all features together by the maximum
mean discrepancy (MMD), whose significance is found by permutation. Half of the budget is the features', in equal parts,
half the MMD's. The looks share it as 1/2, 1/6, 1/12, ..., so that the chance that studies of one kind are ever called
drifted is at most the policy's limit, however long the model runs.

References:
    A. Gretton et al., J. Mach. Learn. Res. 13 (2012), 723 (MMD; the median distance as the kernel's width).
    B. Phipson, G. Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010), 39 (a permutation's p is never 0).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from governance.monitoring.budget import look_share
from governance.monitoring.cases import Case

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

REFERENCE: Final = 100
"""Studies."""
BLOCK: Final = 50
MOST_COMPARED: Final = 200
"""Newest studies of a look."""
TOGETHER: Final = "all features together"
_FEWEST: Final = 20
"""Studies with a feature, on each side; with fewer it is not tested."""
_FIRST_DEALS: Final = 199
_MOST_DEALS: Final = 100_000
_DEALS_AT_ONCE: Final = 5_000
_KEPT_LOOKS: Final = 256


@dataclass(frozen=True)
class Look:
    """One comparison.

    Attributes:
        number: From 1, since the release.
        at_case: After how many studies.
        p: Of the whole look, corrected for features and looks; below the policy's limit the studies have drifted.
        feature: The one that differs most, or TOGETHER.
    """

    number: int
    at_case: int
    p: float
    feature: str


@dataclass(frozen=True)
class Drift:
    """What is known of drift.

    Attributes:
        cases: Studies since the release.
        needed: Studies before the first look.
        looks: All that were possible.
    """

    cases: int
    needed: int
    looks: tuple[Look, ...]


def find_drift(cases: Sequence[Case], *, limit: float, newest_only: bool = False) -> Drift:
    """Compare the newest studies with the first ones.

    Args:
        cases: In the order in which they were analysed.
        limit: Below it the studies have drifted.
        newest_only: Only the last look, e.g. where the others were judged when they were new.
    """
    number = max(0, (len(cases) - REFERENCE) // BLOCK)
    numbers = range(max(1, number) if newest_only else 1, number + 1)
    names = tuple(sorted({name for case in cases[:REFERENCE] for name in case.features}))
    return Drift(
        len(cases), REFERENCE + BLOCK, tuple(_look(cases, names, each, limit) for each in numbers) if names else ()
    )


def _look(cases: Sequence[Case], names: tuple[str, ...], number: int, limit: float) -> Look:
    end = REFERENCE + number * BLOCK
    first, new = _table(cases[:REFERENCE], names), _table(cases[max(REFERENCE, end - MOST_COMPARED) : end], names)
    p, feature = _compare(first.tobytes(), new.tobytes(), names, number, limit)
    return Look(number, end, p, feature)


# A look's studies do not change any more, and whoever watches asks again and again.
@lru_cache(_KEPT_LOOKS)
def _compare(
    first_bytes: bytes, new_bytes: bytes, names: tuple[str, ...], number: int, limit: float
) -> tuple[float, str]:
    """The p of a look, and the feature that it is of."""
    import numpy as np

    first, new = (np.frombuffer(each).reshape(-1, len(names)) for each in (first_bytes, new_bytes))
    found = [(_feature_p(first[:, place], new[:, place]) * 2 * len(names), name) for place, name in enumerate(names)]
    share = look_share(number)
    together = _together_p(first, new, np.random.default_rng(number), limit=limit * share / 2)
    p, feature = min([*found, (together * 2, TOGETHER)])
    return min(1.0, p / share), feature


def _table(cases: Sequence[Case], names: Sequence[str]) -> "Numbers":
    import numpy as np

    return np.array([[case.features.get(name, np.nan) for name in names] for case in cases], np.float64)


def _feature_p(first: "Numbers", new: "Numbers") -> float:
    """Kolmogorov and Smirnov's two-sided p; ties only make it larger."""
    import numpy as np
    from scipy.stats import ks_2samp

    first, new = first[np.isfinite(first)], new[np.isfinite(new)]
    if min(len(first), len(new)) < _FEWEST:
        return 1.0
    return float(ks_2samp(first, new, method="exact").pvalue)


def _together_p(first: "Numbers", new: "Numbers", rng: "np.random.Generator", *, limit: float) -> float:
    """The permutation test's p of the MMD over all features, of the studies that have them all.

    There are as many permutations as a p below the limit takes. It ends before that only once p would stay above the
    limit whatever the others give, so the test is that of all permutations.
    """
    import numpy as np

    usable = np.isfinite(first).mean(axis=0) >= 0.9
    first, new = first[:, usable], new[:, usable]
    first, new = first[np.isfinite(first).all(axis=1)], new[np.isfinite(new).all(axis=1)]
    if not usable.any() or min(len(first), len(new)) < _FEWEST:
        return 1.0
    kernel = _kernel(np.concatenate([first, new]))
    sides = np.concatenate([np.full(len(first), 1 / len(first)), np.full(len(new), -1 / len(new))])
    # A deal that differs by rounding alone counts as equal.
    seen = sides @ kernel @ sides - 1e-12
    most = int(min(_MOST_DEALS, 20 / limit))
    hopeless = max(10.0, limit * (1 + most))
    deals = beyond = 0
    while deals < most and beyond < hopeless:
        count = min(_DEALS_AT_ONCE if deals else _FIRST_DEALS, most - deals)
        dealt = rng.permuted(np.tile(sides, (count, 1)), axis=1)
        beyond += int((((dealt @ kernel) * dealt).sum(axis=1) >= seen).sum())
        deals += count
    return (1 + beyond) / (1 + deals)


def _kernel(points: "Numbers") -> "Numbers":
    """Gaussian, of the standardised features; its width is the median distance."""
    import numpy as np

    # By both samples together, so that dealing them anew changes nothing.
    centre, scale = points.mean(axis=0), points.std(axis=0)
    varies = scale > 1e-12 * np.maximum(np.abs(centre), 1.0)
    scaled = np.where(varies, points - centre, 0.0) / np.where(varies, scale, 1.0)
    lengths = (scaled**2).sum(axis=1)
    distances = np.maximum(lengths[:, None] + lengths[None, :] - 2.0 * scaled @ scaled.T, 0.0)
    width = float(np.median(distances[np.triu_indices(len(points), 1)]))
    found: Numbers = np.exp(-distances / (width if width > 0 else 1.0))
    return found
