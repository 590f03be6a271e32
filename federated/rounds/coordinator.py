"""The coordinator's side of a run: round after round, each one finished on disk before anyone is told.

    choose sites -> JOIN -> SHARE -> TRAIN -> UNMASK -> new model -> checkpoint -> EVALUATE -> checkpoint -> events

A coordinator that is killed goes on from its folder: with the round that was not finished, from its beginning; or, once
sites were asked to open its sums, from there. A round that fails is tried once more, and then ends the run by an error.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from federated.errors import AggregationError, FederationError, QuorumError, SecureAggregationError, UpdateError
from federated.rounds.choosing import SiteChoice
from federated.rounds.conduct import Conduct
from federated.rounds.coordinator_evaluation import evaluate
from federated.rounds.coordinator_joining import join, share
from federated.rounds.coordinator_opening import open_sums, resume_opening
from federated.rounds.coordinator_training import train_masked, train_openly
from federated.rounds.correspondence import CoordinatorKeys, Correspondence
from federated.rounds.events import Watch
from federated.rounds.news import News
from federated.rounds.plan import RunPlan
from federated.rounds.ports import RoundRecorder, Transport
from federated.rounds.round_report import RoundFacts, finished_event
from federated.rounds.run_folder import Checkpoint, RunFolder
from federated.rounds.single_updates import Combined
from federated.rounds.summary import RunSummary, summarise_run
from federated.strategies import ServerState, advance

_ATTEMPTS: Final = 2
_MAY_PASS: Final = (QuorumError, AggregationError, SecureAggregationError, UpdateError)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Start:
    """What a run begins with.

    Attributes:
        network: As federated.models.describe_network gives it.
        state: Before the first round.
    """

    network: Mapping[str, Any]
    state: ServerState


def run_rounds(
    plan: RunPlan,
    keys: CoordinatorKeys,
    transport: Transport,
    folder: Path,
    *,
    start: Callable[[RunPlan], Start],
    clock: Callable[[], datetime],
    sleep: Callable[[float], None],
    watch: Watch,
    recorder: RoundRecorder,
    should_stop: Callable[[], bool] = lambda: False,
) -> RunSummary:
    """Run a plan's rounds, or those that are left of them.

    Args:
        plan: The same one each time that the run goes on.
        keys: The coordinator's.
        transport: To the sites.
        folder: Of this run alone; checkpoints are written there.
        start: Makes the first model; federated.rounds.starting.start_run does.
        clock: Gives the time, UTC.
        sleep: Waits so many seconds.
        watch: See federated.rounds.events. After a restart the last "round-finished" is told again.
        recorder: The seam to governance.
        should_stop: Asked between two rounds.

    Raises:
        QuorumError: A round failed twice; everything before it is on disk.
        RoundRecordError: The folder cannot be used.
    """
    run_folder, news = RunFolder(folder), News(plan, clock, watch, recorder)
    checkpoint = run_folder.latest(plan.run)
    if checkpoint is None:
        first = start(plan)
        checkpoint = Checkpoint(plan.run, first.state, first.network)
        run_folder.save(checkpoint)
    post = Correspondence(keys, transport, clock, watch)
    conduct = Conduct(plan, keys, post, clock, sleep, run_folder, checkpoint.network, news.begun)
    choice = SiteChoice(plan, transport, conduct.stragglers, clock, sleep)
    return _Run(conduct, choice, news, checkpoint, should_stop).run()


class _Run:
    def __init__(
        self,
        conduct: Conduct,
        choice: SiteChoice,
        news: News,
        checkpoint: Checkpoint,
        should_stop: Callable[[], bool],
    ) -> None:
        self._conduct, self._choice, self._news = conduct, choice, news
        self._checkpoint, self._should_stop = checkpoint, should_stop
        self._plan, self._folder = conduct.plan, conduct.folder

    def run(self) -> RunSummary:
        self._news.started(self._checkpoint)
        try:
            reason = self._rounds()
        except FederationError as fault:
            self._news.ended(self._checkpoint, str(fault))
            raise
        self._news.ended(self._checkpoint, reason)
        return summarise_run(
            self._checkpoint.history,
            run=self._plan.run,
            model=self._checkpoint.model,
            sites=self._plan.sites,
            secure_aggregation=self._plan.is_masked,
            reason=reason,
        )

    def _rounds(self) -> str:
        if self._checkpoint.unfinished is not None:
            self._finish(self._checkpoint.unfinished)
        while self._state.round < self._plan.rounds:
            if self._should_stop():
                return "stopped"
            facts = self._advance(*self._combined())
            self._finish(facts)
        return "done"

    @property
    def _state(self) -> ServerState:
        return self._checkpoint.state

    def _combined(self) -> tuple[RoundFacts, Combined]:
        """The next round up to its mean update.

        Raises:
            QuorumError: It failed twice.
        """
        number = self._state.round + 1
        attempts = 0
        while True:
            try:
                return self._attempt(number)
            except _MAY_PASS as fault:
                attempts += 1
                _log.warning("Round %d failed in attempt %d: %s", number, attempts, fault)
                self._news.failed(number, str(fault))
                if attempts == _ATTEMPTS:
                    raise QuorumError(
                        f"Round {number} of run {self._plan.run} failed {_ATTEMPTS} times, at last because: {fault} "
                        "The rounds before it are safe; start the coordinator again when the sites are back."
                    ) from fault

    def _attempt(self, number: int) -> tuple[RoundFacts, Combined]:
        """From the beginning, or from where the round's sums were to be opened."""
        if (unmasking := self._folder.unmasking(self._plan.run, number)) is not None:
            return resume_opening(self._conduct, self._state, unmasking)
        facts, sums = join(self._conduct, self._state, self._choice.choose(number))
        if sums is None:
            return facts, train_openly(self._conduct, self._state, facts).combine()
        share(self._conduct, self._state, facts, sums)
        train_masked(self._conduct, self._state, facts, sums)
        return facts, open_sums(self._conduct, self._state, facts, sums)

    def _advance(self, facts: RoundFacts, combined: Combined) -> RoundFacts:
        """The new model, on disk."""
        state = advance(self._state, facts.terms, combined.mean, combined.sites)
        # Of a late update its own round counts, which is how the site finds what it kept of it.
        late = {site: facts.late[site] for site in combined.sites if site in facts.late}
        state = replace(state, counted={**state.counted, **late})
        facts.counted = combined.sites
        self._checkpoint = replace(self._checkpoint, state=state, unfinished=facts)
        self._folder.save(self._checkpoint)
        self._news.aggregated(facts, combined, self._checkpoint.model)
        return facts

    def _finish(self, facts: RoundFacts) -> None:
        """What the sites say of the new model, on disk before it is told."""
        evaluated = evaluate(self._conduct, self._state, facts)
        before = self._checkpoint
        now = self._conduct.clock()
        event = finished_event(facts, evaluated, before.history, model=before.model, now=now)
        self._checkpoint = replace(before, history=[*before.history, event], unfinished=None)
        self._folder.save(self._checkpoint)
        self._news.finished(self._checkpoint)
