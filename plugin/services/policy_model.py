"""The parts of a site's policy, and the situation in which it is applied."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from fhir_adapter.research_use import ResearchUse

Names = frozenset[str] | None
"""Those that are allowed; None for any."""

LOCAL: Final = "local"
NO_CIRCUIT: Final = "none"


class ParticipationState(StrEnum):
    """Whether the hospital takes part in a federation's rounds."""

    ACTIVE = "active"
    PAUSED = "paused"
    """Sends nothing new; a sum that holds its masked update already is still opened."""
    LEFT = "left"
    """In nothing any more; the secrets of its rounds are deleted."""


@dataclass(frozen=True)
class Participation:
    """What the hospital said last.

    Attributes:
        reason: In its own words.
        since: None where it never said anything: then it takes part.
    """

    state: ParticipationState = ParticipationState.ACTIVE
    reason: str = ""
    since: datetime | None = None


@dataclass(frozen=True)
class Leaves:
    """What may leave the site."""

    updates: bool
    metrics: bool
    subgroup_sums: bool


@dataclass(frozen=True)
class RoundLimits:
    """What a round may be like.

    Attributes:
        minimum_in_sum: Fewest sites whose updates may make up a sum that the coordinator sees.
        longest_hours: From now to the deadline.
    """

    aggregation: frozenset[str]
    strategies: frozenset[str]
    presets: Names
    networks: frozenset[str]
    quantum_backends: frozenset[str]
    minimum_participants: int
    maximum_participants: int
    minimum_in_sum: int
    models: Names
    apps: Names
    longest_hours: float
    largest_message_bytes: int


@dataclass(frozen=True)
class CohortLimits:
    """Whose cases are used, and how many there must be."""

    minimum_cases: int
    use: ResearchUse


@dataclass(frozen=True)
class PrivacyLimits:
    """Differential privacy on record level.

    Attributes:
        required: Whether rounds without it are refused.
        delta: Of everything in a year, and of each run.
    """

    required: bool
    epsilon_per_round: float
    epsilon_per_run: float
    epsilon_per_year: float
    delta: float


@dataclass(frozen=True)
class MachineLimits:
    """What training may use."""

    cpu_threads: int
    gpu: bool


@dataclass(frozen=True)
class Cost:
    """(epsilon, delta) of everything together."""

    epsilon: float = 0.0
    delta: float = 0.0


@dataclass(frozen=True)
class Forecast:
    """What would have been spent after a round, if it costs what its terms allow at most."""

    run: Cost
    year: Cost


@dataclass(frozen=True)
class CohortCount:
    """How many cases there are to train on.

    Attributes:
        cases: Of as many patients.
        left_out: Studies by the reason why they are not used.
        fault: Why no cohort could be drawn; then there are no cases.
    """

    cases: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True)
class Situation:
    """What a round meets at the site.

    Attributes:
        begun: Whether the round was allowed before, under the same terms: then it may end when it could not begin.
        cost_fault: Why the round's privacy cannot be what its terms promise, with the site's own numbers.
        backend: Where this site's worker would run circuits: LOCAL, or an Azure target.
        threads, gpu: What the worker would use.
        message_bytes: Of the largest message of the round, where it is known.
    """

    participation: Participation
    cohort: CohortCount
    forecast: Forecast
    begun: bool = False
    cost_fault: str = ""
    backend: str = LOCAL
    threads: int = 1
    gpu: bool = False
    message_bytes: int | None = None


def listed(names: Names | Sequence[str]) -> str:
    """Names for people."""
    return "any" if names is None else ", ".join(sorted(names))
