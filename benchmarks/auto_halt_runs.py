"""Many hospitals at once: cases drawn, reviewed one after the other, and judged after each by the product's own bounds.

The product judges one hospital's records; here the same bounds are asked for thousands of hospitals in arrays. Tests
compare the two, case by case.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from governance.monitoring.budget import Budget, comparison_shares, share_out, spans
from governance.monitoring.means import mean_bounds
from governance.monitoring.shares import least_gap, log_evidence_of_difference, share_bounds
from governance.policy import GovernancePolicy

Flags = npt.NDArray[np.bool_]
Whole = npt.NDArray[np.int64]

POPULATION: Final[Mapping[str, tuple[float, ...]]] = {
    "sex": (0.42, 0.58),
    "age": (0.15, 0.35, 0.42, 0.08),
    "ethnicity": (0.893, 0.069, 0.016, 0.022),
}
"""Shares as in cohorts of glioma; see federated/demographics.py."""
CONFIDENCE: Final = (17.0, 3.0)
"""Beta distribution of the expected Dice, the same for all."""
_CHUNK: Final = 100


@dataclass(frozen=True)
class Scenario:
    """What is drawn.

    Attributes:
        share: Of cases at the scanner that may be degraded.
        rejected: Chance of rejection elsewhere.
        degraded: Chance of rejection at that scanner.
    """

    share: float
    rejected: float
    degraded: float
    cases: int
    runs: int
    seed: int

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.rejected:g} to {self.degraded:g}, {self.share:.0%} of cases"


@dataclass(frozen=True, eq=False)
class Hospitals:
    """Cases of several hospitals in the order of review.

    Attributes:
        groups: By attribute, (runs, cases) places of groups in the order of their first case.
        rejected: (runs, cases).
        confidence: (runs, cases).
    """

    groups: Mapping[str, Whole]
    rejected: Flags
    confidence: npt.NDArray[np.float64]


def draw(scenario: Scenario) -> Iterator[Hospitals]:
    """The scenario's hospitals, some at a time."""
    rng = np.random.default_rng(scenario.seed)
    for begun in range(0, scenario.runs, _CHUNK):
        shape = (min(_CHUNK, scenario.runs - begun), scenario.cases)
        groups = {name: rng.choice(len(shares), shape, p=shares) for name, shares in POPULATION.items()}
        is_degraded = rng.random(shape) < scenario.share
        groups["site"] = is_degraded.astype(np.int64)
        rejected = rng.random(shape) < np.where(is_degraded, scenario.degraded, scenario.rejected)
        ordered = {name: _by_appearance(codes) for name, codes in groups.items()}
        yield Hospitals(ordered, rejected, rng.beta(*CONFIDENCE, shape))


def halts(hospitals: Hospitals, policy: GovernancePolicy) -> dict[str, Whole]:
    """After how many reviewed cases each rule first halts each hospital's model; 0 where it never does.

    Returns:
        By rule: bias, confidence, rejections; and "any".
    """
    budget, when = share_out(policy), {}
    for name, flags in (
        ("bias", _bias(hospitals, policy, budget)),
        ("confidence", _confidence(hospitals, policy)),
        ("rejections", _rejections(hospitals, policy, budget)),
    ):
        when[name] = np.where(flags.any(axis=1), flags.argmax(axis=1) + 1, 0)
    each = np.stack(list(when.values()))
    first = np.where(each > 0, each, np.iinfo(np.int64).max).min(axis=0)
    when["any"] = np.where((each > 0).any(axis=0), first, 0)
    return when


def _bias(hospitals: Hospitals, policy: GovernancePolicy, budget: Budget) -> Flags:
    found = np.zeros(hospitals.rejected.shape, bool)
    alpha, threshold = 1 - policy.fairness.confidence, policy.fairness.bias_threshold
    for attribute in policy.fairness.attributes:
        codes = hospitals.groups[attribute]
        shares = comparison_shares(attribute, int(codes.max()) + 1)
        low, unlike = np.zeros(codes.shape), np.zeros(codes.shape, bool)
        for group, share in enumerate(shares):
            for start, part in _spans(codes.shape[1], policy.monitoring.window):
                inside = codes == group
                counts = [
                    _since(each, start)
                    for each in (inside, inside & hospitals.rejected, ~inside, ~inside & hospitals.rejected)
                ]
                smallest = np.minimum(counts[0], counts[2]) >= policy.fairness.minimum_group
                evidence = log_evidence_of_difference(*counts)
                unlike |= smallest & (evidence >= -np.log(budget.acceptance * share * part))
                # Only where the shares as seen lie far enough apart can the lower end.
                seen = np.abs(counts[1] / np.maximum(counts[0], 1) - counts[3] / np.maximum(counts[2], 1))
                asked = smallest & (seen > threshold) & (evidence > 0)
                level = np.broadcast_to(alpha * share * part, codes.shape)[asked]
                one, has, two, had = (each[asked] for each in counts)
                low[asked] = np.maximum(low[asked], least_gap(one, has, two, had, level))
        found |= _enough_groups(codes, policy) & (low > threshold) & unlike
    return found


def _confidence(hospitals: Hospitals, policy: GovernancePolicy) -> Flags:
    """Of all cases since the release, without the second look at what is not chance: it halts no less often."""
    found = np.zeros(hospitals.rejected.shape, bool)
    _, part = next(_spans(hospitals.rejected.shape[1], policy.monitoring.window))
    whole = float(part[0])
    alpha = np.full(len(found), 1 - policy.fairness.confidence)
    for attribute in policy.fairness.attributes:
        codes = hospitals.groups[attribute]
        enough = _enough_groups(codes, policy)
        for group, share in enumerate(comparison_shares(attribute, int(codes.max()) + 1)):
            inside = codes == group
            level = alpha * share * whole / 2
            one, two = (mean_bounds(hospitals.confidence, each, level) for each in (inside, ~inside))
            gap = np.maximum(one.low - two.high, two.low - one.high)
            smallest = np.minimum(inside.cumsum(axis=1), (~inside).cumsum(axis=1)) >= policy.fairness.minimum_group
            found |= enough & smallest & (gap > policy.fairness.bias_threshold)
    return found


def _rejections(hospitals: Hospitals, policy: GovernancePolicy, budget: Budget) -> Flags:
    number = np.arange(1, hospitals.rejected.shape[1] + 1)
    low = np.zeros(hospitals.rejected.shape)
    for start, part in _spans(len(number), policy.monitoring.window):
        hits = _since(hospitals.rejected, start)
        cases = np.broadcast_to(number - start, hits.shape)
        asked = hits / np.maximum(cases, 1) > policy.monitoring.rejection_limit
        level = np.broadcast_to(budget.rejections * part, hits.shape)[asked]
        low[asked] = np.maximum(low[asked], share_bounds(cases[asked], hits[asked], level).low)
    return (low > policy.monitoring.rejection_limit) & (number >= policy.monitoring.minimum_cases)


def _enough_groups(codes: Whole, policy: GovernancePolicy) -> Flags:
    """Where two groups are large enough, and there are enough cases."""
    groups = [(codes == group).cumsum(axis=1) for group in range(int(codes.max()) + 1)]
    large: Whole = np.sum([each >= policy.fairness.minimum_group for each in groups], axis=0)
    enough: Flags = (large >= 2) & (np.arange(1, codes.shape[1] + 1) >= policy.monitoring.minimum_cases)
    return enough


def _spans(cases: int, window: int) -> Iterator[tuple[Whole, npt.NDArray[np.float64]]]:
    """What is judged together after each number of cases: all, and the newest window; the first case, and the part."""
    every = [list(spans(number, window)) for number in range(1, cases + 1)]
    for place in range(max(map(len, every))):
        held = [each[place] if place < len(each) else None for each in every]
        # Without such a span it is empty, and a tiny part keeps the logarithm finite.
        starts = [span.start if span else number + 1 for number, span in enumerate(held)]
        yield np.array(starts), np.array([span.share if span else 1e-12 for span in held])


def _since(flags: Flags, start: Whole) -> Whole:
    """How many there are from the start of the span on, after each case."""
    total = np.concatenate([np.zeros((len(flags), 1), np.int64), flags.cumsum(axis=1)], axis=1)
    counted: Whole = total[:, 1:] - total[:, np.minimum(start, flags.shape[1])]
    return np.maximum(counted, 0)


def _by_appearance(codes: Whole) -> Whole:
    """Number the groups of each hospital in the order of their first case."""
    kinds = int(codes.max()) + 1
    first = np.stack(
        [np.where((codes == kind).any(axis=1), (codes == kind).argmax(axis=1), 1 << 30) for kind in range(kinds)]
    )
    rank = first.argsort(axis=0).argsort(axis=0)
    found: Whole = np.take_along_axis(rank.T, codes, axis=1)
    return found


def power_calculation(scenario: Scenario, threshold: float, alpha: float, power: float) -> int:
    """Cases that a single look at a number fixed in advance takes to find the gap above the threshold.

    Whoever plans it knows both rates and which group to compare; normal approximation.
    """
    from scipy.special import ndtri

    one, two = scenario.degraded, scenario.rejected
    spread = one * (1 - one) / scenario.share + two * (1 - two) / (1 - scenario.share)
    needed: float = ((ndtri(1 - alpha) + ndtri(power)) / (one - two - threshold)) ** 2 * spread
    return int(np.ceil(needed))


def wald_bound(scenario: Scenario, threshold: float, alpha: float) -> float:
    """Cases that any sequential test of the chance alpha takes on average, even one that knows both rates."""
    one, two, share = scenario.degraded, scenario.rejected, scenario.share
    near = np.linspace(max(threshold, two) + 1e-4, min(one, 1 - 1e-4), 20_000)
    rate = share * _divergence(one, near) + (1 - share) * _divergence(two, near - threshold)
    return float(-np.log(alpha) / rate.min())


def _divergence(share: float, other: Any) -> Any:
    return share * np.log(share / other) + (1 - share) * np.log((1 - share) / (1 - other))
