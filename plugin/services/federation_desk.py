"""What this installation can show of federated rounds: those that it coordinates, and those that it takes part in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from plugin.errors import SitePolicyError
from plugin.services.federation_runs import RunViews
from plugin.services.policy_model import Participation, PrivacyLimits
from plugin.services.round_records import Departure, Refusal, RoundRecords, RoundRow
from plugin.services.site_budget import BudgetView, look

NEWEST: Final = 50
"""Rows of each kind; the command line shows all."""


@dataclass(frozen=True)
class SiteDesk:
    """This hospital as a site of a federation.

    Attributes:
        name: Of the site.
        records: Its own.
        limits: Of its policy, read anew.
    """

    name: str
    federation: str
    records: RoundRecords
    limits: Callable[[], PrivacyLimits]


@dataclass(frozen=True)
class FederationDesk:
    """Both sides.

    Attributes:
        runs: Of the coordinator whose folder is here; None where there is none.
        site: Gives the site; None as long as it has joined no federation.
    """

    runs: RunViews | None = None
    site: Callable[[], SiteDesk | None] = lambda: None


@dataclass(frozen=True)
class SiteOverview:
    """What the hospital's own people see of its rounds, the newest first.

    Attributes:
        budget: None where the policy cannot be read.
        fault: Why not.
    """

    name: str
    federation: str
    participation: Participation
    rounds: Sequence[RoundRow]
    refusals: Sequence[Refusal]
    departures: Sequence[Departure]
    budget: BudgetView | None
    fault: str


def site_overview(desk: SiteDesk, *, now: datetime) -> SiteOverview:
    """Look everything up.

    Raises:
        RoundRecordError: The records cannot be used.
    """
    budget, fault = None, ""
    try:
        budget = look(desk.records, desk.limits(), now=now)
    except SitePolicyError as error:
        fault = str(error)
    return SiteOverview(
        name=desk.name,
        federation=desk.federation,
        participation=desk.records.participation(desk.federation),
        rounds=desk.records.rounds(limit=NEWEST),
        refusals=desk.records.refusals(limit=NEWEST),
        departures=desk.records.departures(limit=NEWEST),
        budget=budget,
        fault=fault,
    )
