"""What the rounds need from the world: a transport, a site's worker, its policy and records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from federated.rounds.layout import Vector, Weights
from federated.rounds.messages import Progress, Stage
from federated.rounds.terms import RoundTerms


class Transport(Protocol):
    """The coordinator's way to the sites. It carries bytes that it cannot read."""

    def online(self) -> frozenset[str]:
        """Names of the sites that are connected now."""

    def ask(self, requests: Mapping[str, bytes]) -> None:
        """Send each site a question; a question that an earlier one still waits for replaces it.

        Raises:
            EngineError: The engine does not answer.
        """

    def answers(self) -> Mapping[str, bytes]:
        """The answers that came since the last call, by site; it does not wait.

        Raises:
            EngineError: The engine does not answer.
        """


@dataclass(frozen=True, eq=False)
class LocalResult:
    """What a site's worker made of a round, before anything leaves.

    Attributes:
        update: float32: the change of the weights in the round's layout; SCAFFOLD appends the change of its control
            variate, so it is twice as long.
        examples: Cases it was trained on.
        figures: As JSON, e.g. {"loss": .., "seconds": .., "joules": ..}; numbers of the whole site, of no case.
        epsilon: What the round cost each patient at record level, with delta; 0 without record-level privacy.
    """

    update: Vector
    examples: int
    figures: Mapping[str, Any] = field(default_factory=dict)
    epsilon: float = 0.0


@dataclass(frozen=True, eq=False)
class Work:
    """Where a site's work on a stage is.

    Attributes:
        result: Of TRAIN, once done.
        figures: Of EVALUATE, once done: {"cases": n, "dice": {region: mean}, "groups": {...}}.
        failure: Why it ended without either.
    """

    progress: Progress = field(default_factory=Progress)
    result: LocalResult | None = None
    figures: Mapping[str, Any] | None = None
    failure: str = ""


class SiteWorker(Protocol):
    """Trains and evaluates, in another process, however often that is killed."""

    def work(self, terms: RoundTerms, stage: Stage, weights: Weights, extras: Mapping[str, bytes]) -> Work:
        """Have a stage done, and say how far it is. Calling again asks again; it is never done twice.

        Args:
            terms: Of the round.
            stage: TRAIN or EVALUATE.
            weights: The global model.
            extras: Pieces of the request that the strategy needs, e.g. SCAFFOLD's "control".
        """

    def forget(self, terms: RoundTerms) -> None:
        """The round is over: its files may go."""


@dataclass(frozen=True)
class Finding:
    """One rule of a policy, applied.

    Attributes:
        rule: Its name, e.g. "epsilon-per-year".
        inputs: What it looked at, in words without patients.
        allowed: What it says.
        reason: For people: expected, got, what to do.
    """

    rule: str
    inputs: str
    allowed: bool
    reason: str


class SiteRules(Protocol):
    """What this hospital allows, at this moment."""

    def check(self, terms: RoundTerms, *, now: datetime) -> Sequence[Finding]:
        """Apply every rule to a round's terms: policy, consent, cohort, pause, hours, budget."""


class SiteRecords(Protocol):
    """What this hospital keeps of its rounds."""

    def charge(
        self, terms: RoundTerms, epsilon: float, *, now: datetime, patients: int | None = None, what: str = "training"
    ) -> None:
        """Take a round's epsilon from the site's budget, durably; once for a round, however often it is called.

        Args:
            terms: Of the round.
            epsilon: What it cost each patient; of training 0 where the terms have no record-level noise.
            now: The time.
            patients: That were trained on, where known: the accountant then composes the round with the others, which
                costs less than adding its epsilon to theirs.
            what: "training", or "statistics" for the noised sums of subgroups.

        Raises:
            PrivacyBudgetError: The budget of the run or of the year would be passed; nothing is taken.
        """

    def note_departure(
        self, terms: RoundTerms, stage: Stage, *, what: str, digest: str, size: int, now: datetime
    ) -> None:
        """Record that something left the site, before it leaves; once for the same bytes."""

    def note_refusal(self, terms: RoundTerms, findings: Sequence[Finding], *, now: datetime) -> None:
        """Record that the site did not take part, and why."""

    def load(self, key: str) -> bytes | None:
        """What was kept under a key; None where nothing is."""

    def keep(self, key: str, data: bytes) -> None:
        """Keep a round's state or secrets, durably, readable by the site's owner only."""

    def drop(self, prefix: str) -> None:
        """Forget everything whose key begins so."""


class RoundRecorder(Protocol):
    """The seam to governance: every transaction of the rounds is told to it."""

    def record(self, event: str, facts: Mapping[str, Any]) -> None:
        """Take note, durably, of e.g. "round-terms", "update-sent", "aggregate", "epsilon-spent".

        Args:
            event: Its name.
            facts: Digests and numbers; no personal data.
        """
