"""What the coordinator tells: events to whoever watches, transactions to governance."""

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Any

from federated.rounds.events import Watch
from federated.rounds.plan import RunPlan
from federated.rounds.ports import RoundRecorder
from federated.rounds.round_report import RoundFacts
from federated.rounds.run_folder import Checkpoint
from federated.rounds.single_updates import Combined
from federated.rounds.terms import RoundTerms, describe_terms


class News:
    """Of one run; see federated.rounds.events."""

    def __init__(self, plan: RunPlan, clock: Callable[[], datetime], watch: Watch, recorder: RoundRecorder) -> None:
        """Tell of a plan's run."""
        self._plan, self._clock, self._watch, self._recorder = plan, clock, watch, recorder

    def started(self, checkpoint: Checkpoint) -> None:
        """The run begins, or goes on; then its last round is told again, because nobody may have heard of it."""
        plan, privacy = self._plan, self._plan.privacy
        self._tell(
            "run-started",
            federation=plan.federation,
            sites=list(plan.sites),
            rounds=plan.rounds,
            rule=plan.aggregation.rule,
            strategy=plan.learning.strategy,
            preset=plan.learning.preset,
            model=checkpoint.model,
            secure_aggregation=plan.is_masked,
            resumed_at_round=checkpoint.state.round,
            epsilon_limit=plan.rounds * privacy.record_epsilon if privacy.record_noise else None,
            delta=privacy.delta if privacy.record_noise else None,
        )
        if checkpoint.history:
            self._watch(checkpoint.history[-1])

    def begun(self, terms: RoundTerms) -> None:
        """An attempt of a round begins."""
        self._recorder.record("round-terms", {"terms": describe_terms(terms), "digest": terms.digest})
        self._tell(
            "round-started",
            round=terms.round,
            model=terms.model,
            deadline=terms.deadline.isoformat(),
            participants=list(terms.participants),
        )

    def failed(self, number: int, reason: str) -> None:
        """An attempt of a round failed."""
        self._tell("round-failed", round=number, reason=reason)
        self._recorder.record("round-failed", {"run": self._plan.run, "round": number})

    def aggregated(self, facts: RoundFacts, combined: Combined, model: str) -> None:
        """A round's new model is on disk."""
        self._recorder.record(
            "aggregate",
            {
                "run": self._plan.run,
                "round": facts.terms.round,
                "terms": facts.terms.digest,
                "update": hashlib.sha256(combined.mean.astype("<f4").tobytes()).hexdigest(),
                "sites": list(combined.sites),
                "model": model,
            },
        )

    def finished(self, checkpoint: Checkpoint) -> None:
        """A round is finished, on disk."""
        event = checkpoint.history[-1]
        self._recorder.record(
            "round-finished", {"run": self._plan.run, "round": event["round"], "model": checkpoint.model}
        )
        self._watch(event)

    def ended(self, checkpoint: Checkpoint, reason: str) -> None:
        """The run is over."""
        self._tell("run-finished", model=checkpoint.model, rounds_finished=len(checkpoint.history), reason=reason)

    def _tell(self, event: str, **facts: Any) -> None:
        self._watch({"event": event, "at": self._clock().isoformat(), "run": self._plan.run, **facts})
