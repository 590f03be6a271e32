"""What a run is to be: which sites, how many rounds, how they learn, and how long anybody is waited for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from federated.errors import PrivacySettingsError, SecureAggregationError, TermsError
from federated.privacy.site_level import check_site_level
from federated.rounds.masking import masking_groups
from federated.rounds.terms import Aggregation, Learning, Privacy, RoundTerms, describe_part, parse_part
from federated.secure_aggregation.parties import default_threshold

_MAX_SECONDS: Final = 30 * 86_400
_MAX_PLAN_BYTES: Final = 1 << 20
_RUN_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


@dataclass(frozen=True)
class Patience:
    """How long the coordinator waits, seconds.

    Attributes:
        sites_s: For enough sites to be connected; then the run ends.
        settle_s: For the other sites, at the beginning of a run, once enough are connected.
        silence_s: A site that says nothing for so long is not waited for any more, where the others are enough.
        stage_s: For JOIN, SHARE and UNMASK, each.
        train_s: For the updates.
        evaluate_s: For the figures of the new model.
    """

    sites_s: float = 300.0
    settle_s: float = 10.0
    silence_s: float = 30.0
    stage_s: float = 60.0
    train_s: float = 1800.0
    evaluate_s: float = 600.0

    @property
    def round(self) -> timedelta:
        """From a round's terms to its deadline."""
        return timedelta(seconds=3 * self.stage_s + self.train_s + self.evaluate_s)


@dataclass(frozen=True)
class RunPlan:
    """A run.

    Attributes:
        federation: Its name.
        run: Id of the run: 1 to 64 of a-z, 0-9 and "-".
        sites: Names of those that may take part, sorted.
        app: Digest of the app that they must have installed.
        quorum: Sites that a round begins with at least.
        sites_per_round: Sites that a round begins with at most, drawn anew each round; 0 for all that are connected.
        minimum_cases: A site with fewer does not take part.
        model: Folder of the released model to start from; empty for fresh weights by the seed of `learning`.
        learning, privacy, aggregation: Of every round. The threshold of `aggregation` is the least; with masking it
            grows to more than two thirds of a round's participants.

    Raises:
        TermsError: A number is out of range, or two contradict each other.
    """

    federation: str
    run: str
    sites: tuple[str, ...]
    rounds: int
    app: str
    quorum: int = 2
    sites_per_round: int = 0
    minimum_cases: int = 1
    model: str = ""
    learning: Learning = field(default_factory=Learning)
    privacy: Privacy = field(default_factory=Privacy)
    aggregation: Aggregation = field(default_factory=Aggregation)
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        """Check the whole by writing the terms of a first round."""
        if not 1 <= len(self.run) <= 64 or not set(self.run) <= _RUN_CHARACTERS:
            raise TermsError(f"Expected a run's id of 1 to 64 of a-z, 0-9 and '-', got {self.run[:80]!r}.")
        least = self.aggregation.threshold
        if not least <= self.quorum <= len(self.sites):
            raise TermsError(
                f"Expected a quorum from the threshold, {least}, to the {len(self.sites)} sites, got {self.quorum}."
            )
        if self.sites_per_round and not self.quorum <= self.sites_per_round <= len(self.sites):
            raise TermsError(
                f"Expected from the quorum, {self.quorum}, to {len(self.sites)} sites a round, got "
                f"{self.sites_per_round}."
            )
        for name, seconds in vars(self.patience).items():
            if not 0 <= seconds <= _MAX_SECONDS:
                raise TermsError(f"Expected {name} from 0 to {_MAX_SECONDS} seconds, got {seconds!r}.")
        terms = self.terms(1, self.sites, model="", layout="", network={}, now=datetime.now(UTC))
        try:
            check_site_level(terms)
            masking_groups(terms)
        except (PrivacySettingsError, SecureAggregationError) as fault:
            raise TermsError(str(fault)) from fault

    @property
    def is_masked(self) -> bool:
        """Whether single updates stay hidden from the coordinator."""
        return self.aggregation.rule in {"masked", "grouped-masked"}

    def terms(
        self,
        number: int,
        participants: tuple[str, ...],
        *,
        model: str,
        layout: str,
        network: Mapping[str, Any],
        now: datetime,
    ) -> RoundTerms:
        """The terms of a round that begins now.

        Args:
            number: Of the round, from 1.
            participants: Names, sorted.
            model: Digest of the weights that it starts from.
            layout: Digest of the layout of the weights that change.
            network: As federated.models.describe_network gives it.
            now: With its time zone.

        Raises:
            TermsError: There is no such round.
        """
        return RoundTerms(
            federation=self.federation,
            run=self.run,
            round=number,
            rounds=self.rounds,
            participants=participants,
            app=self.app,
            model=model,
            layout=layout,
            network=network,
            deadline=now + self.patience.round,
            minimum_cases=self.minimum_cases,
            learning=self.learning,
            privacy=self.privacy,
            aggregation=self._aggregation(len(participants)),
        )

    def _aggregation(self, participants: int) -> Aggregation:
        if not self.is_masked:
            return self.aggregation
        return replace(self.aggregation, threshold=max(self.aggregation.threshold, default_threshold(participants)))


def describe_plan(plan: RunPlan) -> str:
    """A plan as JSON: numbers that are no integers are strings."""
    return json.dumps(describe_part(plan), indent=2) + "\n"


def parse_plan(text: str | bytes) -> RunPlan:
    """The plan that describe_plan wrote.

    Raises:
        TermsError: Something is missing, unknown, of another type or out of range.
    """
    if len(text) > _MAX_PLAN_BYTES:
        raise TermsError(f"Expected a run's plan of at most {_MAX_PLAN_BYTES} bytes, got {len(text)}.")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as fault:
        raise TermsError(f"Expected a run's plan as JSON, got something else ({type(fault).__name__}).") from fault
    return parse_part(RunPlan, document, "a run's plan")
