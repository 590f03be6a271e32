"""What a site remembers of a run, durably, so that its agent may die between any two messages.

    current                          hash of the run that the site is in
    run/<run>                        of each run, for good: its newest round, what was asked of it, what left
    work/<run>/update                the update of that round, noised already, until the round is over
    work/<run>/residual-<round>      what compression left over
    work/<run>/attempt/<what>        of the round's newest attempt: masking secrets, the question, the answers given

An attempt is a round under given terms; a round that failed, or whose coordinator died, is asked again with new terms.
The update of a round is made once. A later attempt masks the very same one, so nothing more is spent; and once a site
has helped to open a sum of a round, it takes part in no other attempt of it, because the difference of two sums over
almost the same sites would be one site's update.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from federated.errors import MessageError, RoundRecordError, TermsError
from federated.rounds.layout import Vector
from federated.rounds.messages import Reply, Request, Stage, State
from federated.rounds.ports import SiteRecords
from federated.rounds.terms import RoundTerms, describe_terms, parse_terms
from federated.rounds.wire import pack, unpack
from governance.canonical import Canonical, digest

_CURRENT = "current"


@dataclass(frozen=True)
class Entry:
    """The newest round of a run.

    Attributes:
        terms: Of its newest attempt.
        signature: The coordinator's, of the terms: the site's proof of what was asked.
        asked: By stage, the digest of the question; another one is refused.
        update_left: Whether the round's update left the site, in this attempt or an earlier one.
        is_opened: Whether the site gave shares that open a sum of the round.
    """

    terms: RoundTerms
    signature: bytes
    asked: Mapping[str, str] = field(default_factory=dict)
    update_left: bool = False
    is_opened: bool = False


@dataclass(frozen=True, eq=False)
class Update:
    """A round's update, as it may leave: clipped and noised, not yet compressed or masked.

    Attributes:
        work: Digest of what was asked for; see work_digest.
        epsilon: What it costs each patient.
        is_clipped: Whether it was clipped on site level.
        site_noise: Standard deviation of the site-level noise on each number.
    """

    work: str
    vector: Vector
    examples: int
    figures: Mapping[str, Any]
    epsilon: float
    is_clipped: bool = False
    site_noise: float = 0.0


class SiteMemory:
    """A site's memory, in its records."""

    def __init__(self, records: SiteRecords) -> None:
        """Use records that survive the process."""
        self._records = records

    def entry(self, run: str) -> Entry | None:
        """The newest round of a run; None for a run that the site does not know.

        Raises:
            RoundRecordError: It is damaged.
        """
        data = self._records.load(_entry_key(_hash(run)))
        return None if data is None else _read_entry(data)

    def begin(self, entry: Entry) -> Entry | None:
        """Enter an attempt. Everything of an earlier attempt goes, and of another run everything but its entry.

        Returns:
            The entry that the site was in, where it was in one.

        Raises:
            RoundRecordError: What is kept is damaged.
        """
        run = _hash(entry.terms.run)
        left = self._records.load(_CURRENT)
        before = None if left is None else self._records.load(_entry_key(left.decode()))
        if left is not None and left.decode() != run:
            self._records.drop(f"work/{left.decode()}/")
        # First: a crash on the way leaves an attempt that cannot go on, and no secrets of it.
        self._records.drop(f"work/{run}/attempt/")
        self._records.keep(_CURRENT, run.encode())
        self.keep_entry(entry)
        return None if before is None else _read_entry(before)

    def keep_entry(self, entry: Entry) -> None:
        """Keep what changed of the newest round."""
        header: dict[str, Canonical] = {
            "terms": describe_terms(entry.terms),
            "asked": dict(entry.asked),
            "update_left": entry.update_left,
            "is_opened": entry.is_opened,
        }
        self._records.keep(_entry_key(_hash(entry.terms.run)), pack(header, {"signature": entry.signature}))

    def secrets(self, terms: RoundTerms, name: str) -> bytes | None:
        """Something of the newest attempt, e.g. its masking session."""
        return self._records.load(f"{_attempt(terms)}{name}")

    def keep_secrets(self, terms: RoundTerms, name: str, data: bytes) -> None:
        """Keep something of the newest attempt."""
        self._records.keep(f"{_attempt(terms)}{name}", data)

    def answer(self, question: Request) -> Reply | None:
        """What was answered to this stage of the attempt already.

        Raises:
            RoundRecordError: It is damaged.
        """
        data = self._records.load(_answer_key(question))
        if data is None:
            return None
        header, pieces = _unpacked(data)
        place = (question.site, question.run, question.round, question.stage, question.terms)
        found = {name: bytes(content) for name, content in pieces.items()}
        return Reply(*place, State.DONE, header=json.loads(header["figures"]), pieces=found)

    def keep_answer(self, question: Request, reply: Reply) -> None:
        """Keep an answer before it leaves; the question is not needed any more.

        Raises:
            MessageError: Its figures are no JSON, or not finite.
        """
        try:
            figures = json.dumps(dict(reply.header), allow_nan=False)
        except (ValueError, TypeError, RecursionError) as fault:
            raise MessageError(f"Expected figures that JSON can hold, all finite: {fault}.") from fault
        self._records.keep(_answer_key(question), pack({"figures": figures}, reply.pieces))
        self._records.drop(_question_key(question))

    def question(self, asked: Request) -> Request | None:
        """The question of this stage with all its pieces, as it was asked first."""
        data = self._records.load(_question_key(asked))
        if data is None:
            return None
        header, pieces = _unpacked(data)
        found = {name: bytes(content) for name, content in pieces.items()}
        return replace(asked, header=json.loads(header["header"]), pieces=found)

    def keep_question(self, asked: Request) -> None:
        """Keep a question with its pieces: it is asked again without them."""
        self._records.keep(_question_key(asked), pack({"header": json.dumps(dict(asked.header))}, asked.pieces))

    def update(self, terms: RoundTerms) -> Update | None:
        """The update of the round, where it is made already.

        Raises:
            RoundRecordError: It is damaged.
        """
        data = self._records.load(f"work/{_hash(terms.run)}/update")
        if data is None:
            return None
        header, pieces = _unpacked(data)
        facts = json.loads(header["facts"])
        vector = np.frombuffer(pieces["vector"], "<f4").astype(np.float32)
        return Update(vector=vector, **facts) if header["round"] == terms.round else None

    def keep_update(self, terms: RoundTerms, update: Update) -> None:
        """Keep the update that may leave, before it does."""
        facts = {name: value for name, value in vars(update).items() if name != "vector"}
        header: dict[str, Canonical] = {"round": terms.round, "facts": json.dumps(facts, allow_nan=False)}
        vector = update.vector.astype("<f4").tobytes()
        self._records.keep(f"work/{_hash(terms.run)}/update", pack(header, {"vector": vector}))

    def residual(self, terms: RoundTerms, number: int) -> Vector | None:
        """What compression left over in a round of this run."""
        data = self._records.load(_residual_key(terms, number))
        return None if data is None else np.frombuffer(data, "<f4").astype(np.float32)

    def keep_residual(self, terms: RoundTerms, residual: Vector, counted: int) -> None:
        """Keep what this round left over; those before the last one that counted go."""
        self._records.keep(_residual_key(terms, terms.round), residual.astype("<f4").tobytes())
        for number in range(max(1, counted - 8), counted):
            self._records.drop(_residual_key(terms, number))

    def close(self, terms: RoundTerms) -> None:
        """The round is over: its update and masking secrets go."""
        run = _hash(terms.run)
        for what in ("update", "attempt/session", f"attempt/question-{Stage.TRAIN}", f"attempt/answer-{Stage.TRAIN}"):
            self._records.drop(f"work/{run}/{what}")


def work_digest(terms: RoundTerms, question: Request) -> str:
    """Digest of what an update depends on: two attempts of a round with the same one have the same update."""
    changing = {"participants", "deadline", "aggregation"}
    kept = {name: value for name, value in describe_terms(terms).items() if name not in changing}
    pieces = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in question.pieces.items()
        if name.startswith("extra/")
    }
    return digest({"terms": kept, "pieces": pieces})


def _read_entry(data: bytes) -> Entry:
    header, pieces = _unpacked(data)
    try:
        return Entry(
            parse_terms(header["terms"]),
            bytes(pieces["signature"]),
            dict(header["asked"]),
            update_left=bool(header["update_left"]),
            is_opened=bool(header["is_opened"]),
        )
    except (TermsError, KeyError, TypeError, ValueError) as fault:
        raise RoundRecordError("Expected the stored state of a round, got a damaged one; leave the run.") from fault


def _unpacked(data: bytes) -> tuple[dict[str, Any], dict[str, memoryview]]:
    try:
        return unpack(data, limit=len(data))
    except MessageError as fault:
        raise RoundRecordError("Expected the stored state of a round, got a damaged one; leave the run.") from fault


def _hash(run: str) -> str:
    """A run's id comes from outside and may become part of a path."""
    return hashlib.sha256(run.encode()).hexdigest()[:32]


def _entry_key(run: str) -> str:
    return f"run/{run}"


def _attempt(terms: RoundTerms) -> str:
    return f"work/{_hash(terms.run)}/attempt/"


def _answer_key(question: Request) -> str:
    return f"work/{_hash(question.run)}/attempt/answer-{question.stage}"


def _question_key(question: Request) -> str:
    return f"work/{_hash(question.run)}/attempt/question-{question.stage}"


def _residual_key(terms: RoundTerms, number: int) -> str:
    return f"work/{_hash(terms.run)}/residual-{number:06d}"
