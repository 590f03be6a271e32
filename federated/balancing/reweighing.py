"""Reweighing: case weights in closed form, after which groups and outcomes are independent.

References:
    Kamiran and Calders (2012), doi:10.1007/s10115-011-0463-8; AIF360's Reweighing gives the same numbers for two groups
    and two outcomes.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from federated.errors import BalanceDataError

Shares = Literal["present", "equal"]


def reweigh(groups: Sequence[str], outcomes: Sequence[str], shares: Shares = "present") -> tuple[float, ...]:
    """Weights that make each group have each outcome as often as the whole cohort has it.

    A pair of group and outcome that no case has cannot be weighed up: the groups are then as independent of the
    outcomes as the cases allow, and no more.

    Args:
        groups: Of each case.
        outcomes: Of each case.
        shares: "present" keeps each group's share of the whole weight, as Kamiran and Calders do; "equal" gives every
            group the same.

    Returns:
        One a case. Their mean is 1 where each group has each outcome.

    Raises:
        BalanceDataError: There is no case, or not as many outcomes as groups.
    """
    if not groups or len(groups) != len(outcomes):
        raise BalanceDataError(f"Expected a group and an outcome a case, got {len(groups)} and {len(outcomes)}.")
    by_group, by_outcome = Counter(groups), Counter(outcomes)
    cells = Counter(zip(groups, outcomes, strict=True))
    wanted = {
        group: 1 / len(by_group) if shares == "equal" else count / len(groups) for group, count in by_group.items()
    }
    return tuple(
        wanted[group] * by_outcome[outcome] / cells[group, outcome]
        for group, outcome in zip(groups, outcomes, strict=True)
    )
