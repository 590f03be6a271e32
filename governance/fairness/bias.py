"""The bias score: the largest gap between groups, and the interval in which it truly lies.

    score   of all outcomes, attributes and pairs of sufficiently large groups, the largest difference of the groups'
            mean outcomes: 0, all groups are served alike, to 1, one group is fully served and another not at all
    low     at the confidence, the true score is at least so much
    high    at the confidence, the true score is at most so much

The largest of many differences is large by chance alone: among twelve equal sites of ten cases each, gaps of 0.15 are
common. So the lower end is corrected for the choice. Each difference is studentised; how large the largest of them gets
when groups mean nothing is found by dealing the outcomes to the cases anew; only what exceeds that counts:

    low  = max over pairs of |difference| - q * standard error,  q: quantile of the largest such statistic
    high = max over pairs of |difference| + t * standard error,  t: Student's quantile of that pair (Welch)

The upper end needs no such correction: it is too low only if the bound of the truly largest pair is, which is one pair.
Each end is wrong with half of what the confidence leaves.

References:
    Westfall and Young (1993), Resampling-based multiple testing: the distribution of the largest statistic.
    Chung and Romano (2013), doi:10.1214/13-AOS1090: studentised permutation tests hold where variances differ.
    Berger (1982), doi:10.1080/00401706.1982.10487790: a union's upper bound at the level of one of its members.
    Agresti and Caffo (2000), doi:10.1080/00031305.2000.10474560: shares of few cases, two added to each group.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from governance.errors import AuditDataError
from governance.fairness.groups import GroupedCase, Membership, members_of, missing_evidence

Floats = npt.NDArray[np.float64]
DEALS: Final = 1999
"""How often the outcomes are dealt anew."""
_AT_ONCE: Final = 4_000_000
"""Numbers in memory."""
_PRIOR_CASES: Final = 4.0
"""Weight of the variance within all groups in that of each: a group of ten can look even by chance.

Only the statistic is steadied by it, and dealt outcomes alike: Smyth (2004), doi:10.2202/1544-6115.1027.
"""
_LEAST_ERROR: Final = 1e-9


@dataclass(frozen=True)
class GroupMean:
    """How one group is served.

    Attributes:
        low, high: Of its mean, each at half of what the confidence leaves.
    """

    group: str
    cases: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Gap:
    """The largest gap of one outcome between the groups of one attribute.

    Attributes:
        score, low, high: See the module; None where fewer than two groups have enough cases.
        by_chance: How large it is on average when groups mean nothing.
        best, worst: The groups that it is between.
        groups: With enough cases.
        missing: Why nothing final can be said, in a sentence; None where all groups can be judged.
    """

    outcome: str
    attribute: str
    score: float | None
    low: float | None
    high: float | None
    by_chance: float | None
    best: str | None
    worst: str | None
    groups: tuple[GroupMean, ...]
    missing: str | None


@dataclass(frozen=True)
class BiasScore:
    """The largest of all gaps; see the module.

    Attributes:
        score, low, high: None where no two groups have enough cases.
        by_chance: How large the largest gap is on average when groups mean nothing.
        gaps: By outcome and attribute.
        missing: Why nothing final can be said, a sentence each.
    """

    score: float | None
    low: float | None
    high: float | None
    by_chance: float | None
    gaps: tuple[Gap, ...]
    missing: tuple[str, ...]

    @property
    def largest(self) -> Gap | None:
        """Where the score is from."""
        known = [gap for gap in self.gaps if gap.score is not None]
        return max(known, key=lambda gap: gap.score or 0.0) if known else None


def bias_score(
    cases: Sequence[GroupedCase],
    outcomes: Sequence[str],
    attributes: Sequence[str],
    *,
    minimum_group: int,
    confidence: float,
    seed: int = 0,
    deals: int = DEALS,
) -> BiasScore:
    """Compare how groups are served.

    Args:
        cases: With their groups and outcomes from 0 to 1.
        outcomes: Which of them count. A case without one does not concern it.
        attributes: By which people are told apart.
        minimum_group: Fewest cases of a group that is judged.
        confidence: Of the interval, e.g. 0.95.
        seed: Of how outcomes are dealt.
        deals: How often.

    Raises:
        AuditDataError: There is no case, an outcome is not from 0 to 1, or no case has one of the outcomes.
    """
    _check(cases, outcomes)
    rng = np.random.default_rng(seed)
    parts = [_part(cases, outcome, attributes, minimum_group) for outcome in outcomes]
    tail = (1 - confidence) / 2
    # Outcomes are dealt independently: it is the largest over all of them that must not surprise.
    dealt = [_deal(part, deals, rng) for part in parts]
    largest = np.max([each.statistics.max(axis=1, initial=0.0) for each in dealt], axis=0)
    quantile = float(np.quantile(largest, 1 - tail, method="higher"))
    gaps = tuple(
        gap for part, each in zip(parts, dealt, strict=True) for gap in _gaps(part, each, quantile, tail, minimum_group)
    )
    known = [gap for gap in gaps if gap.score is not None]
    chance = np.max([each.differences.max(axis=1, initial=0.0) for each in dealt], axis=0)
    return BiasScore(
        score=max((gap.score or 0.0 for gap in known), default=None),
        low=max((gap.low or 0.0 for gap in known), default=None),
        high=max((gap.high or 0.0 for gap in known), default=None),
        by_chance=float(chance.mean()) if known else None,
        gaps=gaps,
        missing=tuple(dict.fromkeys(gap.missing for gap in gaps if gap.missing is not None)),
    )


def cases_to_show(gap: Gap, threshold: float, *, confidence: float) -> int | None:
    """About how many cases of each group it takes to show that a gap is at most a threshold, were it as it is here.

    Returns:
        None where it is not below the threshold, so that no number of cases would show it.
    """
    if gap.score is None or gap.score >= threshold or len(gap.groups) < 2:
        return None
    from scipy.stats import norm

    quantile = float(norm.ppf((1 + confidence) / 2))
    # A group's mean is known to half the width of its interval.
    deviation = max((each.high - each.low) / 2 / quantile * math.sqrt(each.cases) for each in gap.groups)
    return math.ceil(2 * (quantile * deviation / (threshold - gap.score)) ** 2)


@dataclass(frozen=True, eq=False)
class _Part:
    """One outcome.

    Attributes:
        values: float64 (cases,), of those that it concerns.
        columns: The attribute and group of each column.
        inside: float64 (cases, columns), 1 where a case is of a judged group.
        pairs: int64 (pairs, 2), columns of one attribute.
        is_share: Whether every value is 0 or 1.
    """

    outcome: str
    values: Floats
    memberships: tuple[Membership, ...]
    columns: tuple[tuple[str, str], ...]
    inside: Floats
    pairs: npt.NDArray[np.int64]
    is_share: bool

    @property
    def counts(self) -> Floats:
        """Cases of each column."""
        counts: Floats = self.inside.sum(axis=0)
        return counts


@dataclass(frozen=True, eq=False)
class _Dealt:
    """What is seen when groups mean nothing: (deals, pairs)."""

    statistics: Floats
    differences: Floats


def _check(cases: Sequence[GroupedCase], outcomes: Sequence[str]) -> None:
    if not cases:
        raise AuditDataError("Expected cases to judge fairness on, got none.")
    for outcome in outcomes:
        if not any(outcome in each.outcomes for each in cases):
            raise AuditDataError(f"Expected cases with the outcome {outcome}, none of {len(cases)} has one.")
    for each in cases:
        for outcome, value in each.outcomes.items():
            if not 0 <= value <= 1:
                raise AuditDataError(f"{each.name}: expected {outcome} from 0 to 1, got {value!r}.")


def _part(cases: Sequence[GroupedCase], outcome: str, attributes: Sequence[str], minimum_group: int) -> _Part:
    concerned = [each for each in cases if outcome in each.outcomes]
    memberships = tuple(members_of(concerned, attribute, minimum_group) for attribute in attributes)
    columns = tuple((each.attribute, group) for each in memberships for group in each.judged)
    inside = np.array(
        [[float(each.groups.get(attribute) == group) for attribute, group in columns] for each in concerned], np.float64
    ).reshape(len(concerned), len(columns))
    pairs = [
        (first, second)
        for first in range(len(columns))
        for second in range(first + 1, len(columns))
        if columns[first][0] == columns[second][0]
    ]
    values = np.array([each.outcomes[outcome] for each in concerned], np.float64)
    is_share = bool(np.isin(values, (0.0, 1.0)).all())
    return _Part(outcome, values, memberships, columns, inside, np.array(pairs, np.int64).reshape(-1, 2), is_share)


def _deal(part: _Part, deals: int, rng: np.random.Generator) -> _Dealt:
    if not len(part.pairs):
        return _Dealt(np.zeros((deals, 0)), np.zeros((deals, 0)))
    statistics, differences = [], []
    for count in _shares(deals, max(1, _AT_ONCE // len(part.values))):
        dealt = rng.permuted(np.broadcast_to(part.values, (count, len(part.values))), axis=1)
        difference, error = _contrasts(part, dealt)
        statistics.append(difference / error)
        differences.append(_plain_differences(part, dealt))
    return _Dealt(np.concatenate(statistics), np.concatenate(differences))


def _shares(total: int, most: int) -> list[int]:
    return [min(most, total - done) for done in range(0, total, most)]


def _plain_differences(part: _Part, values: Floats) -> Floats:
    """|difference| of the means of each pair, as the score has it."""
    first, second = part.pairs.T
    means = (values @ part.inside) / part.counts
    difference: Floats = np.abs(means[..., first] - means[..., second])
    return difference


def _contrasts(part: _Part, values: Floats) -> tuple[Floats, Floats]:
    """|difference| and steadied standard error of each pair; values (..., cases), both (..., pairs)."""
    counts, sums = part.counts, values @ part.inside
    if part.is_share:
        # Agresti and Caffo: one more of each kind.
        counts, sums = counts + 2, sums + 1
        means = sums / counts
        errors = means * (1 - means) / counts
    else:
        means = sums / counts
        squares = np.maximum((values**2) @ part.inside - counts * means**2, 0.0)
        errors = _steadied(part, squares) / counts
    first, second = part.pairs.T
    difference = np.abs(means[..., first] - means[..., second])
    return difference, np.maximum(np.sqrt(errors[..., first] + errors[..., second]), _LEAST_ERROR)


def _steadied(part: _Part, squares: Floats) -> Floats:
    """Variances of the columns, each drawn to that within all groups of its attribute."""
    counts = part.counts
    attributes = [attribute for attribute, _ in part.columns]
    same = np.array([[float(one == other) for other in attributes] for one in attributes])
    freedom = np.maximum((counts - 1) @ same, 1.0)
    common = (squares @ same) / freedom
    variances: Floats = (_PRIOR_CASES * common + squares) / (_PRIOR_CASES + counts - 1)
    return variances


def _gaps(part: _Part, dealt: _Dealt, quantile: float, tail: float, minimum_group: int) -> list[Gap]:
    found = []
    if len(part.pairs):
        difference, error = _contrasts(part, part.values)
        low = np.clip(difference - quantile * error, 0.0, 1.0)
        high = _upper_ends(part, tail)
    means = _group_means(part, tail)
    for membership in part.memberships:
        missing = missing_evidence(membership, minimum_group)
        here = [row for row, (first, _) in enumerate(part.pairs) if part.columns[first][0] == membership.attribute]
        groups = tuple(each for (attribute, _), each in means.items() if attribute == membership.attribute)
        if not here:
            missing = missing or f"{membership.attribute}: no two groups have {minimum_group} cases."
            found.append(Gap(part.outcome, membership.attribute, None, None, None, None, None, None, groups, missing))
            continue
        best, worst = max(groups, key=lambda each: each.mean), min(groups, key=lambda each: each.mean)
        score = best.mean - worst.mean
        found.append(
            Gap(
                outcome=part.outcome,
                attribute=membership.attribute,
                score=score,
                low=min(float(low[here].max()), score),
                high=max(float(high[here].max()), score),
                by_chance=float(dealt.differences[:, here].max(axis=1).mean()),
                best=best.group,
                worst=worst.group,
                groups=groups,
                missing=missing,
            )
        )
    return found


def _upper_ends(part: _Part, tail: float) -> Floats:
    """|difference| + t * standard error of each pair, by Welch; of shares after Agresti and Caffo."""
    from scipy.stats import norm, t

    counts, means, errors = _plain_errors(part)
    first, second = part.pairs.T
    error = np.sqrt(errors[first] + errors[second])
    if part.is_share:
        reach = float(norm.ppf(1 - tail))
    else:
        parts = errors**2 / np.maximum(counts - 1, 1.0)
        freedom = (errors[first] + errors[second]) ** 2 / np.maximum(parts[first] + parts[second], _LEAST_ERROR**4)
        reach = t.ppf(1 - tail, np.maximum(freedom, 1.0))
    high: Floats = np.clip(np.abs(means[first] - means[second]) + reach * error, 0.0, 1.0)
    return high


def _plain_errors(part: _Part) -> tuple[Floats, Floats, Floats]:
    """Cases, means and squared standard errors of the columns."""
    counts, sums = part.counts, part.values @ part.inside
    if part.is_share:
        counts, sums = counts + 2, sums + 1
        means = sums / counts
        return counts, means, means * (1 - means) / counts
    means = sums / counts
    squares = np.maximum((part.values**2) @ part.inside - counts * means**2, 0.0)
    return counts, means, squares / np.maximum(counts - 1, 1.0) / counts


def _group_means(part: _Part, tail: float) -> Mapping[tuple[str, str], GroupMean]:
    if not part.columns:
        return {}
    from scipy.stats import norm, t

    counts, centres, errors = _plain_errors(part)
    reach: Any = norm.ppf(1 - tail) if part.is_share else t.ppf(1 - tail, np.maximum(counts - 1, 1.0))
    width = reach * np.sqrt(errors)
    means = (part.values @ part.inside) / part.counts
    return {
        column: GroupMean(
            column[1],
            int(part.counts[index]),
            float(means[index]),
            float(max(min(centres[index] - width[index], means[index]), 0.0)),
            float(min(max(centres[index] + width[index], means[index]), 1.0)),
        )
        for index, column in enumerate(part.columns)
    }
