"""Which sites a round begins with."""

import hashlib
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from federated.errors import EngineError, QuorumError
from federated.rounds.plan import RunPlan
from federated.rounds.ports import Transport
from federated.rounds.stragglers import Stragglers

_LOOK_S: Final = 0.25
_log = logging.getLogger(__name__)


class SiteChoice:
    """Chooses among the sites that are connected."""

    def __init__(
        self,
        plan: RunPlan,
        transport: Transport,
        stragglers: Stragglers,
        clock: Callable[[], datetime],
        sleep: Callable[[float], None],
    ) -> None:
        """Choose by a plan; who is late in an earlier round is left out."""
        self._plan, self._transport, self._stragglers = plan, transport, stragglers
        self._clock, self._sleep, self._has_begun = clock, sleep, False

    def choose(self, number: int) -> tuple[str, ...]:
        """The connected sites, once they are enough; when the coordinator has started, the others get a moment too.

        Raises:
            QuorumError: Too few are connected in time.
        """
        patience = self._plan.patience
        began = self._clock()
        settled = began if self._has_begun else began + timedelta(seconds=patience.settle_s)
        while True:
            online = self._online()
            if online == set(self._plan.sites) or (len(online) >= self._plan.quorum and self._clock() >= settled):
                self._has_begun = True
                return self._draw(number, online)
            if self._clock() >= began + timedelta(seconds=patience.sites_s):
                raise QuorumError(
                    f"Round {number}: expected {self._plan.quorum} connected sites within {patience.sites_s:g} s, got "
                    f"{len(online)}: {', '.join(sorted(online)) or 'none'}. Start the agents of the others."
                )
            self._sleep(_LOOK_S)

    def _online(self) -> set[str]:
        try:
            found = set(self._transport.online()) & set(self._plan.sites)
        except EngineError as fault:
            _log.warning("The engine does not say who is connected: %s", fault)
            return set()
        free = found - set(self._stragglers.questions)
        if len(free) < self._plan.quorum <= len(found):
            self._stragglers.forget()
            return found
        return free

    def _draw(self, number: int, online: set[str]) -> tuple[str, ...]:
        if not self._plan.sites_per_round:
            return tuple(sorted(online))

        def lot(site: str) -> bytes:
            return hashlib.sha256(f"{self._plan.run}\n{number}\n{site}".encode()).digest()

        return tuple(sorted(sorted(online, key=lot)[: self._plan.sites_per_round]))
