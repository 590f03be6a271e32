"""The bias score of a model that runs: how far apart groups lie in what radiologists accept, and in confidence.

The score of an attribute is the difference between its best and its worst group: 0 where all groups are served alike, 1
where one is always served and another never. Each group is compared with all other cases of the attribute. A group that
lies so far from the rest lies at least so far from some other group, so the lower end holds for the score.

Two things are asked. How large is the score at least, at the policy's confidence, for each attribute by itself? And is
the evidence against all groups being alike so strong that a model that serves them alike would ever show it only with
the chance that the policy allows for all of its rules together?
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from governance.monitoring.budget import comparison_shares, spans
from governance.monitoring.cases import Case
from governance.monitoring.means import mean_bounds
from governance.monitoring.shares import Bounds, least_gap, log_evidence_of_difference, share_bounds

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

ACCEPTANCE: Final = "acceptance"
CONFIDENCE: Final = "confidence"
MOST_GROUPS: Final = 24
"""Of an attribute; later ones count among the others only."""


@dataclass(frozen=True)
class GroupFigure:
    """One group.

    Attributes:
        mean: Share of accepted results, or mean confidence.
        low, high: Ends of its interval.
    """

    name: str
    cases: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Score:
    """How far the groups of an attribute lie apart.

    Attributes:
        outcome: ACCEPTANCE or CONFIDENCE.
        cases: With a known group.
        score: The gap as seen, 0 to 1; None with insufficient evidence.
        low, high: Ends of its interval; 0 and 1 with insufficient evidence.
        group: The one whose gap to the others gives the lower end, of two the one that is served worse; None where the
            end is 0.
        are_unlike: Whether the groups are not alike, beyond the chance of a false halt.
        groups: Those that were judged, by name.
    """

    attribute: str
    outcome: str
    cases: int
    score: float | None
    low: float
    high: float
    group: str | None
    are_unlike: bool
    groups: tuple[GroupFigure, ...]


@dataclass(frozen=True)
class Rule:
    """By what is judged.

    Attributes:
        alpha: Chance that an end of an attribute's interval is ever wrong.
        false_halt: Chance that groups that are alike are ever called unlike, of one attribute and outcome.
        smallest: Cases of a group.
        fewest: Cases of all groups.
        window: Cases.
    """

    alpha: float
    false_halt: float
    smallest: int
    fewest: int
    window: int


def score(cases: Sequence[Case], attribute: str, outcome: str, rule: Rule) -> Score:
    """The score after all cases."""
    return score_at(cases, attribute, outcome, rule, [len(cases)])[0]


def score_at(
    cases: Sequence[Case], attribute: str, outcome: str, rule: Rule, looks: Sequence[int]
) -> tuple[Score, ...]:
    """The score after the first so many cases, for each look.

    Args:
        cases: In the order in which the outcome became known.
        attribute: By which they are grouped.
        outcome: ACCEPTANCE, of cases that were all decided, or CONFIDENCE.
        rule: By what is judged.
        looks: Numbers of cases.
    """
    import numpy as np

    names = list(dict.fromkeys(case.groups[attribute] for case in cases if attribute in case.groups))[:MOST_GROUPS]
    places = {name: place for place, name in enumerate(names)}
    codes = np.array([_code(case, attribute, places) for case in cases], np.int64)
    values = np.array([case.confidence if outcome == CONFIDENCE else float(bool(case.accepted)) for case in cases])
    return tuple(_score_once(codes[:look], values[:look], names, attribute, outcome, rule) for look in looks)


def _code(case: Case, attribute: str, places: dict[str, int]) -> int:
    """The group's place; -1 of the unknown, and the number of places of the others."""
    name = case.groups.get(attribute)
    return -1 if name is None else places.get(name, len(places))


def _score_once(
    codes: "npt.NDArray[np.int64]", values: "Numbers", names: Sequence[str], attribute: str, outcome: str, rule: Rule
) -> Score:
    import numpy as np

    known = codes >= 0
    codes, values = codes[known], values[known]
    members = np.equal.outer(np.arange(len(names)), codes)
    counts = members.sum(axis=1)
    enough = counts >= rule.smallest
    if enough.sum() < 2 or len(codes) < rule.fewest:
        return Score(attribute, outcome, len(codes), None, 0.0, 1.0, None, False, ())
    shares = np.array(comparison_shares(attribute, len(names)))
    compared = np.flatnonzero(enough[: len(shares)])
    compare = _compare_acceptance if outcome == ACCEPTANCE else _compare_confidence
    low, group, are_unlike = 0.0, None, False
    for span in spans(len(codes), rule.window):
        inside = members[compared, span.start :]
        judged = np.minimum(inside.sum(axis=1), (~inside).sum(axis=1)) >= rule.smallest
        if not judged.any():
            continue
        part = shares[compared][judged] * span.share
        gaps, unlike = compare(values[span.start :], inside[judged], part * rule.alpha, part * rule.false_halt)
        are_unlike |= bool(unlike.any())
        if gaps.max() > low:
            low = float(gaps.max())
            widest = compared[judged][gaps == gaps.max()]
            group = min((float(values[members[place]].mean()), names[int(place)]) for place in widest)[1]
    figures = _figures(values, members[enough], [names[int(place)] for place in np.flatnonzero(enough)], outcome, rule)
    gap = max(each.mean for each in figures) - min(each.mean for each in figures)
    high = max(each.high for each in figures) - min(each.low for each in figures)
    return Score(attribute, outcome, len(codes), gap, low, max(high, gap), group, are_unlike, figures)


def _compare_acceptance(
    values: "Numbers", members: "npt.NDArray[np.bool_]", alpha: "Numbers", false_halt: "Numbers"
) -> "tuple[Numbers, npt.NDArray[np.bool_]]":
    """How far each group lies from all others at least, and whether it is not like them."""
    import numpy as np

    rejected = 1.0 - values
    counts = (members.sum(axis=1), members @ rejected, (~members).sum(axis=1), ~members @ rejected)
    return least_gap(*counts, alpha), log_evidence_of_difference(*counts) >= -np.log(false_halt)


def _compare_confidence(
    values: "Numbers", members: "npt.NDArray[np.bool_]", alpha: "Numbers", false_halt: "Numbers"
) -> "tuple[Numbers, npt.NDArray[np.bool_]]":
    """The same of a mean."""
    return _mean_gap(values, members, alpha), _mean_gap(values, members, false_halt) > 0


def _mean_gap(values: "Numbers", members: "npt.NDArray[np.bool_]", alpha: "Numbers") -> "Numbers":
    import numpy as np

    one, two = _last(mean_bounds(values, members, alpha / 2)), _last(mean_bounds(values, ~members, alpha / 2))
    found: Numbers = np.maximum(np.maximum(one.low - two.high, two.low - one.high), 0.0)
    return found


def _figures(
    values: "Numbers", members: "npt.NDArray[np.bool_]", names: Sequence[str], outcome: str, rule: Rule
) -> tuple[GroupFigure, ...]:
    counts = members.sum(axis=1)
    sums = members @ values
    alpha = rule.alpha / len(names)
    if outcome == ACCEPTANCE:
        rejected = share_bounds(counts, counts - sums, alpha)
        bounds = Bounds(1.0 - rejected.high, 1.0 - rejected.low)
    else:
        bounds = _last(mean_bounds(values, members, alpha))
    figures = [
        GroupFigure(name, int(count), float(total / count), float(low), float(high))
        for name, count, total, low, high in zip(names, counts, sums, bounds.low, bounds.high, strict=True)
    ]
    return tuple(sorted(figures, key=lambda each: each.name))


def _last(bounds: Bounds) -> Bounds:
    return Bounds(bounds.low[..., -1], bounds.high[..., -1])
