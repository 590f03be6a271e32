"""A site's side of the rounds: questions in, answers out, whatever dies in between.

Each question is checked in this order: signed by the coordinator, of the round that the site is in, not another
question of the same stage, and then by what the stage itself needs. What an answer holds is kept, and the departure
noted, before it leaves; the same question again gets the same answer. Nothing here trains: that is the worker's.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final

from federated.errors import FederatedError, FederationError, MessageError, RoundRecordError
from federated.rounds import site_evaluation, site_joining, site_masking, site_training
from federated.rounds.envelope import Sizes, open_request, seal_reply
from federated.rounds.messages import Reply, Request, Stage, State
from federated.rounds.ports import RoundRecorder, SiteRecords, SiteRules, SiteWorker
from federated.rounds.roster import Roster
from federated.rounds.site_desk import Desk, refused
from federated.rounds.site_memory import SiteMemory
from governance.signatures import SigningKey

_STAGES: Final[dict[Stage, Callable[[Desk, Request], Reply]]] = {
    Stage.JOIN: site_joining.join,
    Stage.SHARE: site_masking.share,
    Stage.TRAIN: site_training.train,
    Stage.UNMASK: site_masking.unmask,
    Stage.EVALUATE: site_evaluation.evaluate,
}
_log = logging.getLogger(__name__)


class SiteRounds:
    """One site, in one federation."""

    def __init__(
        self,
        site: str,
        app: str,
        signing: SigningKey,
        roster: Roster,
        worker: SiteWorker,
        rules: SiteRules,
        records: SiteRecords,
        recorder: RoundRecorder,
        clock: Callable[[], datetime],
    ) -> None:
        """Put together what the site has.

        Args:
            site: Its name in the roster.
            app: Digest of the app that is installed here; terms that name another are refused.
            signing: Its identity.
            roster: Of the federation.
            worker: Trains and evaluates.
            rules: What the hospital allows.
            records: What the hospital keeps.
            recorder: The seam to governance.
            clock: Gives the time, UTC.
        """
        self._desk = Desk(site, app, signing, roster, worker, rules, records, SiteMemory(records), recorder, clock)

    def handle(self, message: bytes) -> bytes:
        """Answer a question of the coordinator.

        Args:
            message: Of whoever.

        Returns:
            The answer, sealed; empty where the question is not the coordinator's, or not for this site.

        Raises:
            RoundRecordError: The site's records cannot be used; asking again may help.
        """
        desk = self._desk
        try:
            question = open_request(message, desk.roster.coordinator, desk.site, Sizes(sites=len(desk.roster.sites)))
        except FederationError as fault:
            _log.warning("A question was dropped: %s", fault)
            return b""
        reply = self._reply(question)
        return seal_reply(reply, question, desk.signing, desk.roster.sealing, federation=desk.roster.federation)

    def _reply(self, question: Request) -> Reply:
        try:
            reply = _STAGES[question.stage](self._desk, question)
            if reply.state is State.DONE:
                self._desk.note_departure(question, reply)
            _check_header(reply)
        except RoundRecordError:
            raise
        except FederatedError as fault:
            # The coordinator is told why; of the site's patients the package's errors say nothing.
            _log.warning(
                "Round %d of run %s, %s was refused: %s", question.round, question.run[:64], question.stage, fault
            )
            return refused(question, str(fault))
        return reply


def _check_header(reply: Reply) -> None:
    if any(not isinstance(name, str) for name in reply.header):
        raise MessageError("Expected figures with names, got others.")
