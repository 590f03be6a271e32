"""What a hospital keeps of its rounds, for itself: what left, what was refused, what it cost, whether it takes part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from federated.privacy.budget import Spending
from federated.rounds.ports import SiteRecords
from federated.rounds.terms import RoundTerms
from plugin.services.policy_model import CohortCount, Cost, Forecast, Participation, ParticipationState


class Outcome(StrEnum):
    """What the site did in a round."""

    CHECKED = "checked"
    """Its terms were allowed."""
    REFUSED = "refused"
    SENT = "sent"
    """Something left for it."""


@dataclass(frozen=True)
class RoundRow:
    """One round as the site saw it.

    Attributes:
        policy_digest: SHA-256 of the policy file that the terms were held against last.
        cohort_digest: Keyed digest of the cohort.
        left_out: Studies by the reason why they were not used.
    """

    federation: str
    run: str
    round: int
    terms_digest: str
    outcome: Outcome
    model: str
    participants: int
    rule: str
    strategy: str
    preset: str
    policy_digest: str | None
    cohort_digest: str | None
    cases: int | None
    left_out: Mapping[str, int]
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True)
class Departure:
    """Something that left the site.

    Attributes:
        what: In the agent's words, e.g. "update".
        digest: SHA-256 of the bytes.
        size: Bytes.
        epsilon: What the round was charged with; None where it was not.
    """

    at: datetime
    federation: str
    run: str
    round: int
    stage: str
    what: str
    digest: str
    size: int
    epsilon: float | None


@dataclass(frozen=True)
class Refusal:
    """A round that the site did not take part in.

    Attributes:
        findings: The rules that refused, as they were told: rule, inputs, allowed, reason.
        count: How often it was asked.
    """

    federation: str
    run: str
    round: int
    findings: Sequence[Mapping[str, Any]]
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True)
class ChargeRow:
    """A spending, as it was charged."""

    federation: str
    spending: Spending
    at: datetime


class RoundRecords(SiteRecords, Protocol):
    """SiteRecords, with what the site's own people ask for. All of it may raise RoundRecordError."""

    def note_check(
        self, terms: RoundTerms, *, policy_digest: str, cohort_digest: str, cohort: CohortCount, now: datetime
    ) -> None:
        """Record what a round's terms were held against."""

    def forecast(self, terms: RoundTerms, expected: Spending | None, *, delta: float, now: datetime) -> Forecast:
        """What would have been spent after a round; what it was charged already is not counted twice.

        Args:
            terms: Of the round.
            expected: What its training will cost; None for nothing.
            delta: At which totals are stated.
            now: The time; a charge dated after it counts.
        """

    def has_begun(self, terms: RoundTerms) -> bool:
        """Whether these very terms were allowed before, and not refused since."""

    def participation(self, federation: str) -> Participation:
        """What the site said last of a federation."""

    def set_participation(self, federation: str, state: ParticipationState, *, reason: str, now: datetime) -> None:
        """Say whether the site takes part; LEFT also deletes the secrets of all rounds.

        What stays is that the site took part in them: it must not be asked for a round again.

        Raises:
            ParticipationError: It has left: only a new admission brings it back.
        """

    def rejoin(self, federation: str, *, reason: str, now: datetime) -> None:
        """Take part again after having left."""

    def federations(self) -> Sequence[str]:
        """Names of all federations that there is a record of."""

    def charges(self, *, since: datetime | None = None) -> Sequence[ChargeRow]:
        """What was charged after a moment; all of it without one. The oldest first."""

    def departures(self, *, limit: int, run: str | None = None) -> Sequence[Departure]:
        """The newest first."""

    def refusals(self, *, limit: int) -> Sequence[Refusal]:
        """The newest first."""

    def rounds(self, *, limit: int) -> Sequence[RoundRow]:
        """The newest first."""


def cost_of(spendings: Sequence[Spending], delta: float) -> Cost:
    """What releases cost each patient together, at a delta where they can be composed.

    Those with a known mechanism are composed by the accountant at what the others leave of delta; the others' epsilons
    and deltas are added. Either way it is an upper bound.

    Raises:
        PrivacySettingsError: A release is beyond what can be accounted for.
    """
    from federated.privacy.budget import total

    unknown = [each for each in spendings if not each.noise]
    known = [each for each in spendings if each.noise]
    if not known:
        return Cost(sum(each.epsilon for each in unknown), sum(each.delta for each in unknown))
    taken = sum(each.delta for each in unknown) + sum(each.delta for each in known if each.what == "statistics")
    guarantee = total(spendings, delta - taken if taken < delta else delta)
    # Rounding must not make a sum that is delta by construction larger than it.
    return Cost(guarantee.epsilon, delta if taken < delta else guarantee.delta)


def added_up(spendings: Sequence[Spending]) -> Cost:
    """The plain sums: an upper bound that needs no accountant."""
    return Cost(sum(each.epsilon for each in spendings), sum(each.delta for each in spendings))
