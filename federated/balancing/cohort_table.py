"""A cohort as the corrector sees it: of each case its groups and its outcome, and how often they meet."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from federated.demographics import Demographics, age_band
from federated.errors import BalanceDataError

Floats = npt.NDArray[np.float64]

ATTRIBUTES: Final = ("sex", "age", "ethnicity", "site")
MINIMUM_GROUP: Final = 10
"""Cases. About a smaller group nothing is concluded."""
SMALL: Final = "small tumour"
LARGE: Final = "large tumour"


@dataclass(frozen=True)
class CohortCase:
    """One case.

    Attributes:
        groups: By attribute; what is not known is left out.
        outcome: What must not depend on the groups, in a few kinds, e.g. of size_outcomes.
    """

    name: str
    groups: Mapping[str, str]
    outcome: str


@dataclass(frozen=True, eq=False)
class CrossTable:
    """How much weight each group has with each outcome.

    Attributes:
        groups, outcomes: Names of the rows and of the columns, sorted.
        weights: float64 (groups, outcomes); without case weights these are counts.
    """

    groups: tuple[str, ...]
    outcomes: tuple[str, ...]
    weights: Floats


def groups_of(person: Demographics | None, site: str | None) -> dict[str, str]:
    """The groups that a case belongs to, by attribute, as far as they are known."""
    known = {} if site is None else {"site": site}
    if person is not None:
        known |= {"sex": person.sex, "age": age_band(person.age_years), "ethnicity": person.ethnicity}
    return known


def size_outcomes(volumes: Sequence[float]) -> tuple[str, ...]:
    """Whether each tumour is larger than the cohort's median one.

    Dice depends on size, so a group that is trained on with small tumours only is served worse.
    """
    middle = float(np.median(volumes)) if len(volumes) else 0.0
    return tuple(LARGE if volume > middle else SMALL for volume in volumes)


def check_cohort(cases: Sequence[CohortCase], attributes: Sequence[str]) -> None:
    """Check that a cohort can be looked at.

    Raises:
        BalanceDataError: There is no case, two share a name, no attribute is asked for, or one is unknown.
    """
    unknown = [name for name in attributes if name not in ATTRIBUTES]
    if not attributes or unknown or len(set(attributes)) != len(attributes):
        raise BalanceDataError(
            f"Expected different attributes of {', '.join(ATTRIBUTES)}, got {', '.join(attributes) or 'none'}."
        )
    if not cases:
        raise BalanceDataError("Expected at least one case to balance, got none.")
    if len({case.name for case in cases}) != len(cases):
        raise BalanceDataError("Expected cases with different names, got a name twice; list each case once.")


def group_sizes(cases: Sequence[CohortCase], attribute: str) -> dict[str, int]:
    """Cases of each known group of an attribute, sorted by name."""
    counts = Counter(case.groups[attribute] for case in cases if attribute in case.groups)
    return dict(sorted(counts.items()))


def cross_table(
    cases: Sequence[CohortCase],
    attribute: str,
    weights: Sequence[float] | None = None,
    *,
    minimum: int = MINIMUM_GROUP,
) -> CrossTable:
    """Count an attribute's groups against the outcomes; groups below the minimum, and unknown ones, are left out.

    Raises:
        BalanceDataError: There are more or fewer weights than cases.
    """
    if weights is not None and len(weights) != len(cases):
        raise BalanceDataError(f"Expected a weight for each of {len(cases)} cases, got {len(weights)}.")
    groups = tuple(name for name, count in group_sizes(cases, attribute).items() if count >= minimum)
    outcomes = tuple(sorted({case.outcome for case in cases}))
    found = np.zeros((len(groups), len(outcomes)))
    for case, weight in zip(cases, weights if weights is not None else [1.0] * len(cases), strict=True):
        group = case.groups.get(attribute)
        if group in groups:
            found[groups.index(group), outcomes.index(case.outcome)] += weight
    return CrossTable(groups, outcomes, found)
