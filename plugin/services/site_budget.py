"""What rounds have cost the hospital's patients, and what is left: for the hospital's own people."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from federated.privacy.budget import YEAR, Spending
from plugin.services.policy_model import Cost, PrivacyLimits
from plugin.services.round_records import RoundRecords, cost_of


@dataclass(frozen=True)
class BudgetView:
    """The budget at a moment.

    Attributes:
        year: All that was charged in the last 365 days, or is dated in the future.
        runs: By "federation/run", of all time.
        ahead: Charges that are dated in the future.
    """

    limits: PrivacyLimits
    year: Cost
    runs: Mapping[str, Cost]
    ahead: int


def look(records: RoundRecords, limits: PrivacyLimits, *, now: datetime) -> BudgetView:
    """Add up what was charged.

    Raises:
        RoundRecordError: The records cannot be used.
    """
    charges = records.charges()
    runs: dict[str, list[Spending]] = defaultdict(list)
    for charge in charges:
        runs[f"{charge.federation}/{charge.spending.run}"].append(charge.spending)
    return BudgetView(
        limits=limits,
        year=cost_of([charge.spending for charge in charges if charge.at > now - YEAR], limits.delta),
        runs={name: cost_of(spendings, limits.delta) for name, spendings in runs.items()},
        ahead=sum(charge.at > now for charge in charges),
    )
