"""What the stages of the coordinator's rounds have in common."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from federated.rounds.correspondence import CoordinatorKeys, Correspondence
from federated.rounds.envelope import Sizes
from federated.rounds.inquiry import Inquiry, Take, Told, Wait
from federated.rounds.layout import write_weights
from federated.rounds.messages import Request
from federated.rounds.plan import RunPlan
from federated.rounds.questions import model_digest
from federated.rounds.round_report import RoundFacts
from federated.rounds.run_folder import RunFolder
from federated.rounds.stragglers import Stragglers
from federated.rounds.terms import RoundTerms
from federated.strategies import ServerState, update_size


@dataclass(frozen=True)
class Conduct:
    """A run's rounds.

    Attributes:
        post: With the sites.
        clock: Gives the time, UTC.
        sleep: Waits so many seconds.
        network: As federated.models.describe_network gives it.
        begun: Told the terms of each attempt.
    """

    plan: RunPlan
    keys: CoordinatorKeys
    post: Correspondence
    clock: Callable[[], datetime]
    sleep: Callable[[float], None]
    folder: RunFolder
    network: Mapping[str, Any]
    begun: Callable[[RoundTerms], None]
    stragglers: Stragglers = field(default_factory=Stragglers)

    def terms(self, state: ServerState, participants: tuple[str, ...]) -> RoundTerms:
        """Of the round after a state, from now on."""
        return self.plan.terms(
            state.round + 1,
            participants,
            model=model_digest(write_weights(state.weights)),
            layout=state.layout.digest,
            network=self.network,
            now=self.clock(),
        )

    def wait(self, seconds: float, least: int) -> Wait:
        """Wait so long, and for silent sites only where fewer than `least` are done."""
        until = self.clock() + timedelta(seconds=seconds)
        return Wait(until, self.plan.patience.silence_s, lambda sites: len(sites) >= least)

    def ask(
        self, state: ServerState, facts: RoundFacts, questions: Mapping[str, Request], wait: Wait, take: Take
    ) -> Told:
        """Ask a round's participants."""
        numbers = sum(tensor.size for tensor in state.weights.values())
        sizes = Sizes(sites=len(facts.terms.participants), numbers=numbers)
        return Inquiry(self.post, self.clock, self.sleep, questions, wait, take, sizes).run()

    def update_size(self, state: ServerState) -> int:
        """Numbers of an update."""
        return update_size(state.layout, self.plan.learning)
