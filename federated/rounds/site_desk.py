"""What the stages of a site's round have in common."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from federated.errors import MessageError, TermsRefusedError
from federated.rounds.envelope import check_round
from federated.rounds.messages import Progress, Reply, Request, Stage, State
from federated.rounds.ports import Finding, RoundRecorder, SiteRecords, SiteRules, SiteWorker
from federated.rounds.questions import AGAIN, MISSING, content_digest
from federated.rounds.roster import Roster
from federated.rounds.site_memory import Entry, SiteMemory
from federated.rounds.terms import RoundTerms
from federated.rounds.wire import pack
from governance.signatures import SigningKey

_WHAT: Final[Mapping[Stage, str]] = {
    Stage.JOIN: "public keys",
    Stage.SHARE: "encrypted shares",
    Stage.UNMASK: "shares that open the sum",
    Stage.EVALUATE: "figures of the new model",
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Desk:
    """Where a site's questions are worked on; see SiteRounds."""

    site: str
    app: str
    signing: SigningKey
    roster: Roster
    worker: SiteWorker
    rules: SiteRules
    records: SiteRecords
    memory: SiteMemory
    recorder: RoundRecorder
    clock: Callable[[], datetime]

    def entry(self, question: Request) -> Entry:
        """The round that the site is in, which the question must be of, and which must not be over.

        Raises:
            MessageError: It is of another round, or of one that this site has not joined.
        """
        entry = self.memory.entry(question.run)
        if entry is None:
            raise MessageError(f"{self.site}: expected to be asked to join run {question.run!r} first.")
        check_round(question, entry.terms)
        if Stage.EVALUATE in entry.asked and question.stage is not Stage.EVALUATE:
            raise MessageError(
                f"{self.site}: round {question.round} is over, its new model was evaluated; ask for the next round."
            )
        return entry

    def bind(self, entry: Entry, question: Request, *, is_long: bool = False) -> tuple[Entry, Request | None]:
        """Hold the coordinator to its first question of a stage: two would tell more than one.

        Args:
            entry: Of the round.
            question: With its pieces, or asked again without.
            is_long: Whether it will be asked again without its pieces, so that they have to be kept.

        Returns:
            The entry; the question with its pieces, None where the site does not have them.

        Raises:
            MessageError: It is another question than before.
        """
        asked, found = entry.asked.get(question.stage), content_digest(question)
        if asked is not None and asked != found:
            raise MessageError(
                f"{self.site}: {question.stage} of round {question.round} was asked with other content before; "
                "a round has one question a stage."
            )
        if AGAIN in question.header:
            return entry, self.memory.question(question) if asked else None
        if asked is None:
            if is_long:
                self.memory.keep_question(question)
            entry = replace(entry, asked={**entry.asked, str(question.stage): found})
            self.memory.keep_entry(entry)
        return entry, question

    def check_rules(self, terms: RoundTerms) -> Sequence[Finding]:
        """Hold the terms against the hospital's rules.

        Raises:
            TermsRefusedError: A rule refuses them, or there is no rule; the refusal is recorded.
        """
        now = self.clock()
        findings = self.rules.check(terms, now=now)
        against = [finding for finding in findings if not finding.allowed]
        if findings and not against:
            return findings
        self.records.note_refusal(terms, findings, now=now)
        self.record("terms-refused", terms, rules=[finding.rule for finding in against])
        reasons = "; ".join(f"{finding.rule}: {finding.reason}" for finding in against)
        raise TermsRefusedError(f"{self.site}: {reasons or 'the site has no rule that allows any round'}")

    def check_deadline(self, terms: RoundTerms) -> None:
        """Refuse what comes too late.

        Raises:
            TermsRefusedError: The deadline has passed.
        """
        if self.clock() > terms.deadline:
            raise TermsRefusedError(
                f"{self.site}: round {terms.round} ended at {terms.deadline.isoformat()}; ask with a later deadline, "
                "and compare the clocks of coordinator and site."
            )

    def note_departure(self, question: Request, reply: Reply) -> None:
        """Record what an answer brings out of the site, before it leaves; once for the same content."""
        entry = self.memory.entry(question.run)
        if entry is None or not (reply.pieces or reply.header):
            return
        terms = entry.terms
        content = pack({"header": json.dumps(dict(reply.header), sort_keys=True)}, dict(sorted(reply.pieces.items())))
        what = _WHAT.get(question.stage, "masked update" if terms.is_masked else "update")
        named = hashlib.sha256(content).hexdigest()
        self.records.note_departure(terms, question.stage, what=what, digest=named, size=len(content), now=self.clock())
        self.record("departure", terms, stage=str(question.stage), what=what, digest=named, size=len(content))

    def record(self, event: str, terms: RoundTerms, **facts: Any) -> None:
        """Tell governance."""
        place = {"site": self.site, "run": terms.run, "round": terms.round, "terms": terms.digest}
        self.recorder.record(event, {**place, **facts})


def done(
    question: Request, pieces: Mapping[str, bytes] | None = None, header: Mapping[str, Any] | None = None
) -> Reply:
    """An answer."""
    return Reply(*_place(question), State.DONE, header=header or {}, pieces=pieces or {})


def working(question: Request, progress: Progress) -> Reply:
    """The answer that the site is at it."""
    return Reply(*_place(question), State.WORKING, progress=progress)


def missing(question: Request) -> Reply:
    """The answer to a question that is asked again, of which the site lost the first."""
    return Reply(*_place(question), State.WORKING, header={MISSING: True})


def refused(question: Request, reason: str) -> Reply:
    """The answer that the site does not do it."""
    return Reply(*_place(question), State.REFUSED, reason=reason)


def _place(question: Request) -> tuple[str, str, int, Stage, str]:
    return question.site, question.run, question.round, question.stage, question.terms
