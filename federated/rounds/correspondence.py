"""The coordinator's correspondence with the sites: questions signed, answers opened, and whoever watches told."""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from federated.errors import EngineError, FederationError, MessageError
from federated.rounds.envelope import Sizes, open_reply, sign_request
from federated.rounds.events import Watch
from federated.rounds.messages import Reply, Request
from federated.rounds.ports import Transport
from federated.rounds.roster import Roster
from federated.rounds.sealing import SealingKey
from governance.signatures import SigningKey

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CoordinatorKeys:
    """What the coordinator signs and reads with.

    Attributes:
        signing: Its identity.
        sealing: Opens the answers.
        roster: Everyone's public keys.
    """

    signing: SigningKey
    sealing: SealingKey
    roster: Roster


class Correspondence:
    """With all sites, over whatever transport."""

    def __init__(
        self, keys: CoordinatorKeys, transport: Transport, clock: Callable[[], datetime], watch: Watch
    ) -> None:
        """Use keys and a transport.

        Args:
            keys: The coordinator's.
            transport: To the sites.
            clock: Gives the time, UTC.
            watch: Is told each change of a site's state.
        """
        self._keys, self._transport, self._clock, self._watch = keys, transport, clock, watch

    def sign(self, question: Request) -> bytes:
        """A question as bytes."""
        return sign_request(question, self._keys.signing)

    def send(self, messages: Mapping[str, bytes]) -> None:
        """Hand messages to the transport; when it does not take them they are due again later."""
        try:
            self._transport.ask(messages)
        except EngineError as fault:
            _log.warning("Questions could not be sent: %s", fault)

    def answers(self) -> Mapping[str, bytes]:
        """What came."""
        try:
            return self._transport.answers()
        except EngineError as fault:
            _log.warning("Answers could not be fetched: %s", fault)
            return {}

    def open(self, site: str, message: bytes, asked: Collection[Request], sizes: Sizes) -> Reply:
        """Open an answer to one of the questions that were asked.

        Raises:
            FederationError: It answers none of them, or is not the site's.
        """
        fault: FederationError | None = None
        for question in asked:
            try:
                return open_reply(
                    message,
                    question,
                    self._keys.roster.identity(site),
                    self._keys.sealing,
                    federation=self._keys.roster.federation,
                    sizes=sizes,
                )
            except FederationError as found:
                fault = found
        raise fault or MessageError(f"{site}: expected an answer to a question, nothing was asked.")

    def tell(self, question: Request, state: str, *, reason: str = "", reply: Reply | None = None) -> None:
        """Tell who watches."""
        progress = reply.progress if reply else None
        self._watch(
            {
                "event": "site",
                "at": self._clock().isoformat(),
                "run": question.run,
                "round": question.round,
                "site": question.site,
                "stage": question.stage.value,
                "state": state,
                "reason": reason,
                "step": progress.step if progress else None,
                "steps": progress.steps if progress else None,
                "loss": progress.loss if progress else None,
            }
        )
