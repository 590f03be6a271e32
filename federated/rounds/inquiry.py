"""How the coordinator waits: it asks, and asks again, until every site has answered or is not waited for any more."""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from federated.errors import FederationError
from federated.rounds.correspondence import Correspondence
from federated.rounds.envelope import Sizes
from federated.rounds.messages import Progress, Reply, Request, State
from federated.rounds.questions import MISSING, again

Take = Callable[[str, Reply], None]
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _PAUSE_GROWTH = 0.02, 0.5, 1.3
_FIRST_PATIENCE, _LONGEST_PATIENCE = timedelta(seconds=0.1), timedelta(seconds=5)
_PATIENCE_SHARE: Final = 0.02
"""Of the time that a site is at work already: asking too late costs a round no more than that."""
_REPEAT_S: Final = 5.0
"""A question without an answer is asked again after so long, and later twice as long each time."""
_LONGEST_REPEAT_S: Final = 60.0
_log = logging.getLogger(__name__)


class Fate(StrEnum):
    """What became of a question to a site."""

    DONE = "done"
    REFUSED = "refused"
    LATE = "late"
    """It was still at work when the time was over."""
    LOST = "lost"
    """It said nothing."""
    SPARED = "spared"
    """Enough others had answered."""


@dataclass(frozen=True)
class Told:
    """What became of the questions of a stage.

    Attributes:
        fates: By site.
        reasons: Of those that are not done, where known.
        sent, received: Bytes by site.
    """

    fates: Mapping[str, Fate]
    reasons: Mapping[str, str]
    sent: Mapping[str, int]
    received: Mapping[str, int]

    def those(self, *fates: Fate) -> tuple[str, ...]:
        """Sites of these fates, sorted."""
        return tuple(sorted(site for site, fate in self.fates.items() if fate in fates))


@dataclass(frozen=True)
class Wait:
    """How long a stage may take.

    Attributes:
        until: Then it is over.
        silence_s: A site that says nothing for so long is not waited for, where the others are enough.
        is_enough: Whether answers of these sites are enough to go on with.
        is_plenty: Whether nobody else is waited for once these are done; None to wait for all.
        unhurried: Sites that are asked, but never waited for.
    """

    until: datetime
    silence_s: float
    is_enough: Callable[[Collection[str]], bool]
    is_plenty: Callable[[Collection[str]], bool] | None = None
    unhurried: frozenset[str] = frozenset()


@dataclass
class _Open:
    """A site that has not answered finally."""

    question: Request
    message: bytes
    asked_at: datetime
    heard_at: datetime
    due_at: datetime
    repeat_s: float = _REPEAT_S
    asked: list[Request] = field(default_factory=list)
    is_working: bool = False
    shown: Progress | None = None
    fault: str = ""


class Inquiry:
    """One stage's questions, from the first one to the last answer."""

    def __init__(
        self,
        post: Correspondence,
        clock: Callable[[], datetime],
        sleep: Callable[[float], None],
        questions: Mapping[str, Request],
        wait: Wait,
        take: Take,
        sizes: Sizes,
    ) -> None:
        """Prepare to ask.

        Args:
            post: With the sites.
            clock: Gives the time, UTC.
            sleep: Waits so many seconds.
            questions: By site.
            wait: How long.
            take: Gets each final answer once; an error of the federation from it refuses the answer by name.
            sizes: Of the round's messages.
        """
        self._post, self._clock, self._sleep = post, clock, sleep
        self._wait, self._take, self._sizes = wait, take, sizes
        now = clock()
        self._open = {
            site: _Open(question, post.sign(question), now, now, now, asked=[question])
            for site, question in questions.items()
        }
        self._fates: dict[str, Fate] = {}
        self._reasons: dict[str, str] = {}
        self._sent, self._received = dict.fromkeys(questions, 0), dict.fromkeys(questions, 0)

    def run(self) -> Told:
        """Ask until it is over."""
        for site in sorted(self._open):
            self._post.tell(self._open[site].question, "asked")
        pause = _FIRST_PAUSE_S
        while not self._is_over():
            self._ask_those_due()
            answers = self._post.answers()
            for site, message in answers.items():
                self._hear(site, message)
            if self._is_over():
                break
            pause = _FIRST_PAUSE_S if answers else min(pause * _PAUSE_GROWTH, _LONGEST_PAUSE_S)
            self._sleep(pause)
        self._give_up()
        return Told(self._fates, self._reasons, self._sent, self._received)

    def _is_over(self) -> bool:
        now, wait = self._clock(), self._wait
        awaited = {site: each for site, each in self._open.items() if site not in wait.unhurried}
        if not awaited or now >= wait.until:
            return True
        done = [site for site, fate in self._fates.items() if fate is Fate.DONE]
        if not wait.is_enough([*done, *awaited]):
            return True  # whatever they answer
        if self._has_plenty(done):
            return True
        return wait.is_enough(done) and all(self._is_silent(each) for each in awaited.values())

    def _has_plenty(self, done: Collection[str]) -> bool:
        return self._wait.is_plenty is not None and self._wait.is_plenty(done)

    def _is_silent(self, each: _Open) -> bool:
        return self._clock() - each.heard_at > timedelta(seconds=self._wait.silence_s)

    def _ask_those_due(self) -> None:
        now = self._clock()
        due = {site: each for site, each in self._open.items() if now >= each.due_at}
        if not due:
            return
        for site, each in due.items():
            each.due_at = now + timedelta(seconds=each.repeat_s)
            each.repeat_s = min(2 * each.repeat_s, _LONGEST_REPEAT_S)
            self._sent[site] += len(each.message)
        self._post.send({site: each.message for site, each in due.items()})

    def _hear(self, site: str, message: bytes) -> None:
        each = self._open.get(site)
        if each is None:
            _log.info("%s: an answer of %d bytes came that nobody waits for.", site, len(message))
            return
        self._received[site] += len(message)
        try:
            reply = self._post.open(site, message, each.asked, self._sizes)
        except FederationError as fault:
            # Whoever forges answers must not make a site drop out, so it is asked on; its reason is told at the end.
            _log.warning("%s: an answer was dropped: %s", site, fault)
            each.fault = str(fault)
            return
        each.heard_at, each.fault, each.repeat_s = self._clock(), "", _REPEAT_S
        if reply.state is State.WORKING:
            self._go_on(each, reply)
            return
        fate, reason = Fate.REFUSED, reply.reason
        if reply.state is State.DONE:
            fate, reason = self._taken(site, reply)
        self._settle(site, fate, reason, reply)

    def _taken(self, site: str, reply: Reply) -> tuple[Fate, str]:
        try:
            self._take(site, reply)
        except FederationError as fault:
            _log.warning("%s: its answer was refused: %s", site, fault)
            return Fate.REFUSED, str(fault)
        return Fate.DONE, ""

    def _go_on(self, each: _Open, reply: Reply) -> None:
        full = each.asked[0]
        wanted = full if reply.header.get(MISSING) else again(full)
        if wanted != each.question:
            each.question, each.message = wanted, self._post.sign(wanted)
            each.asked = [full] if wanted is full else [full, wanted]
        each.is_working = True
        now = self._clock()
        patience = _PATIENCE_SHARE * (now - each.asked_at)
        each.due_at = now + min(max(patience, _FIRST_PATIENCE), _LONGEST_PATIENCE)
        if reply.progress != each.shown:
            each.shown = reply.progress
            self._post.tell(full, "working", reply=reply)

    def _settle(self, site: str, fate: Fate, reason: str, reply: Reply | None = None) -> None:
        question = self._open.pop(site).asked[0]
        self._fates[site], self._reasons[site] = fate, reason
        self._post.tell(question, fate.value, reason=reason, reply=reply)

    def _give_up(self) -> None:
        is_spared = self._has_plenty([site for site, fate in self._fates.items() if fate is Fate.DONE])
        for site in sorted(self._open):
            each = self._open[site]
            if is_spared and not each.fault:
                self._settle(site, Fate.SPARED, "enough others had answered")
                continue
            is_late = each.is_working and not self._is_silent(each)
            reason = each.fault or ("it was still at work" if is_late else "it did not answer")
            self._settle(site, Fate.LATE if is_late else Fate.LOST, reason)
