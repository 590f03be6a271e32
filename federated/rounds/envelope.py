"""Questions and answers as the bytes that travel: signed, sealed, limited in size, each bound to its place.

A question is the coordinator's signature, then its body (federated.rounds.wire). It names the site, run, round, stage
and the digest of the terms; the terms name the federation. TLS hides it on the way; it holds nothing that a site of the
federation may not know.

An answer is the site's signature and its body, sealed for the coordinator (HPKE), so that nothing between the two
reads or changes it. Signature and seal both bind federation, run, round, stage, terms, site, the reader's key and the
digest of the question.

Replays. An answer opens only against the very question that it answers: a question with other content, such as UNMASK
with other survivors, has another digest, and an older answer is refused. The same question asked again has the same
digest: there an older "working" could stand in for a newer one, which costs the time until the next question and no
more, and a "done" or "refused" is final and the same whenever it comes; so answers carry no sequence number, and
nothing has to survive a restart for them. A question that is replayed to its site finds the round done or its deadline
past; check_round is how the site tells.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from federated.errors import MessageError, TermsError
from federated.rounds.messages import Progress, Reply, Request, Stage, State
from federated.rounds.roster import MAX_SITES
from federated.rounds.sealing import OVERHEAD_BYTES, SealingKey, seal
from federated.rounds.signed_bytes import put_signature, take_signature
from federated.rounds.terms import RoundTerms, describe_terms, parse_terms
from federated.rounds.wire import pack, unpack
from governance.canonical import canonical_bytes
from governance.signatures import SIGNATURE_BYTES, SigningKey, VerifyingKey

REQUEST_PURPOSE: Final = "qfl/round-request"
REPLY_PURPOSE: Final = "qfl/round-reply"
MAX_NUMBERS: Final = 1 << 27
"""Numbers of the largest model of a federation whose layout is not known yet: 512 MiB."""
MAX_REASON_CHARACTERS: Final = 2000
_BASE_BYTES: Final = 1 << 18
_BYTES_A_SITE: Final = 1 << 14
"""Signed public keys (about 5 kB), or an encrypted share (about 2 kB), with room."""
_BYTES_A_NUMBER: Final = 8
"""A float32 or a masked uint32, twice: SCAFFOLD's control variate is as long as the update."""
_PLACE: Final = ("site", "run", "round", "stage", "terms")


@dataclass(frozen=True)
class Sizes:
    """What the messages of a round can need; the defaults are for who does not know the round yet.

    Attributes:
        sites: Participants of the round.
        numbers: Of the whole model.
    """

    sites: int = MAX_SITES
    numbers: int = MAX_NUMBERS

    def request_limit(self, stage: Stage) -> int:
        """Bytes of a question at most."""
        return SIGNATURE_BYTES + _BASE_BYTES + self._keys(stage) + self._vectors(stage)

    def reply_limit(self, stage: Stage) -> int:
        """Bytes of an answer at most."""
        vectors = self._vectors(stage) if stage is Stage.TRAIN else 0
        return SIGNATURE_BYTES + OVERHEAD_BYTES + _BASE_BYTES + self._keys(stage) + vectors

    def _keys(self, stage: Stage) -> int:
        return 0 if stage is Stage.EVALUATE else self.sites * _BYTES_A_SITE

    def _vectors(self, stage: Stage) -> int:
        return self.numbers * _BYTES_A_NUMBER if stage in {Stage.TRAIN, Stage.EVALUATE} else 0


def sign_request(request: Request, signing: SigningKey) -> bytes:
    """A question as bytes.

    Args:
        request: To one site.
        signing: The coordinator's.

    Raises:
        MessageError: Its header holds a number that is not finite.
    """
    return put_signature(_request_body(request), signing, purpose=REQUEST_PURPOSE)


def open_request(message: bytes, coordinator: VerifyingKey, site: str, sizes: Sizes | None = None) -> Request:
    """The question that sign_request wrote for this site.

    Args:
        message: Of whoever.
        coordinator: Who may ask.
        site: Who is asked.
        sizes: Of the round, where the site knows them.

    Raises:
        MessageError: It is too long, malformed, or for another site.
        SenderError: The coordinator did not sign it.
    """
    sizes = sizes or Sizes()
    _limit(message, max(sizes.request_limit(stage) for stage in Stage), "the coordinator")
    body = take_signature(message, coordinator, purpose=REQUEST_PURPOSE, sender="the coordinator")
    header, pieces = unpack(body, limit=len(body))
    request = Request(**_place(header), header=_json(header), pieces=_bytes(pieces))
    _limit(message, sizes.request_limit(request.stage), "the coordinator")
    if request.site != site:
        raise MessageError(f"Expected a question to {site}, got one to {request.site!r}.")
    return request


def check_round(request: Request, terms: RoundTerms) -> None:
    """Check that a question belongs to the round that this site is in.

    Args:
        request: Opened.
        terms: That the site agreed to when it joined the round.

    Raises:
        MessageError: It is of another run, round or terms.
    """
    asked, expected = (request.run, request.round, request.terms), (terms.run, terms.round, terms.digest)
    if asked != expected:
        raise MessageError(
            f"{request.site}: expected a question of run {terms.run}, round {terms.round}, terms {terms.digest[:12]}; "
            f"got one of run {request.run}, round {request.round}, terms {request.terms[:12]}."
        )


def terms_piece(terms: RoundTerms) -> bytes:
    """Terms as the piece "terms" of a JOIN brings them."""
    return canonical_bytes(describe_terms(terms))


def read_terms(request: Request) -> RoundTerms:
    """The terms that a JOIN brings, which are the ones that it names.

    Raises:
        TermsError: They cannot be read.
        MessageError: It brings none, or others than it names, or none for this site.
    """
    if "terms" not in request.pieces:
        raise MessageError(f"{request.site}: expected a question that brings the round's terms, got one without.")
    try:
        document = json.loads(request.pieces["terms"])
    except (ValueError, RecursionError) as fault:
        raise TermsError("Expected a round's terms as JSON, got something else.") from fault
    terms = parse_terms(document)
    check_round(request, terms)
    if request.site not in terms.participants:
        raise MessageError(f"Expected terms of a round that {request.site} takes part in, got others.")
    return terms


def seal_reply(reply: Reply, question: Request, signing: SigningKey, sealing: bytes, *, federation: str) -> bytes:
    """An answer as bytes.

    Args:
        reply: To this question; its reason is written on one line and cut at MAX_REASON_CHARACTERS.
        question: That was opened.
        signing: The site's.
        sealing: The public half of the coordinator's sealing key.
        federation: Its name.

    Raises:
        MessageError: It answers another question, or its header holds a number that is not finite.
        ProvisioningError: sealing is no such key.
    """
    _check_answers(reply, question)
    context = _context(question, sealing, federation)
    signed = put_signature(_reply_body(reply), signing, purpose=REPLY_PURPOSE, context=context)
    return seal(sealing, signed, context=context)


def open_reply(
    message: bytes,
    question: Request,
    site: VerifyingKey,
    sealing: SealingKey,
    *,
    federation: str,
    sizes: Sizes | None = None,
) -> Reply:
    """The answer that seal_reply wrote to this question.

    Args:
        message: Of whoever.
        question: That was asked, with the content that it had when it was asked.
        site: Who should have answered.
        sealing: The coordinator's.
        federation: Its name.
        sizes: Of the round.

    Raises:
        MessageError: It is too long, malformed, changed on the way, or answers another question: of another site, run,
            round, stage or terms, or an earlier one.
        SenderError: The site did not sign it.
    """
    sender = question.site
    _limit(message, (sizes or Sizes()).reply_limit(question.stage), sender)
    context = _context(question, sealing.public, federation)
    try:
        signed = sealing.open(message, context=context)
    except MessageError as fault:
        raise MessageError(
            f"{sender}: expected an answer to the question of run {question.run}, round {question.round}, stage "
            f"{question.stage}, sealed for this coordinator; got other bytes, or an answer to another question."
        ) from fault
    body = take_signature(signed, site, purpose=REPLY_PURPOSE, sender=sender, context=context)
    header, pieces = unpack(body, limit=len(body))
    reply = Reply(
        **_place(header),
        state=_state(header),
        reason=_reason(header),
        progress=_progress(header),
        header=_json(header),
        pieces=_bytes(pieces),
    )
    _check_answers(reply, question)
    return reply


def _request_body(request: Request) -> bytes:
    header = {**_described_place(request), "json": _text(request.header)}
    return pack(header, dict(sorted(request.pieces.items())))


def _reply_body(reply: Reply) -> bytes:
    loss = reply.progress.loss
    shown = replace(reply.progress, loss=float(loss) if loss is not None and math.isfinite(loss) else None)
    header = {
        **_described_place(reply),
        "state": reply.state.value,
        "reason": _printable(reply.reason),
        "json": _text(reply.header),
        "progress": _text(vars(shown)),
    }
    return pack(header, dict(sorted(reply.pieces.items())))


def _described_place(message: Request | Reply) -> dict[str, str | int]:
    return {
        "site": message.site,
        "run": message.run,
        "round": message.round,
        "stage": message.stage.value,
        "terms": message.terms,
    }


def _context(question: Request, reader: bytes, federation: str) -> bytes:
    return canonical_bytes(
        {
            **_described_place(question),
            "federation": federation,
            "reader": hashlib.sha256(reader).hexdigest(),
            "question": hashlib.sha256(_request_body(question)).hexdigest(),
        }
    )


def _check_answers(reply: Reply, question: Request) -> None:
    for name in _PLACE:
        if getattr(reply, name) != getattr(question, name):
            raise MessageError(
                f"{question.site}: expected an answer whose {name} is {getattr(question, name)}, got "
                f"{getattr(reply, name)!r}."
            )


def _limit(message: bytes, limit: int, sender: str) -> None:
    if len(message) > limit:
        raise MessageError(f"{sender}: expected a message of at most {limit} bytes at this stage, got {len(message)}.")


def _place(header: Mapping[str, Any]) -> dict[str, Any]:
    site, run, round_, stage, terms = (header.get(name) for name in _PLACE)
    if not all(isinstance(each, str) and each and len(each) <= 200 for each in (site, run, terms)):
        raise MessageError("Expected a message that names its site, run and terms, got one that does not.")
    if type(round_) is not int or round_ < 1:
        raise MessageError(f"Expected a message that names its round, from 1, got {type(round_).__name__}.")
    if not isinstance(stage, str) or stage not in set(Stage):
        raise MessageError("Expected a message of a known stage, got another one.")
    return {"site": site, "run": run, "round": round_, "stage": Stage(stage), "terms": terms}


def _state(header: Mapping[str, Any]) -> State:
    state = header.get("state")
    if not isinstance(state, str) or state not in set(State):
        raise MessageError("Expected an answer that is done, working or refused, got another one.")
    return State(state)


def _reason(header: Mapping[str, Any]) -> str:
    reason = header.get("reason")
    # A terminal shows it: no control characters from another hospital.
    if not isinstance(reason, str) or len(reason) > MAX_REASON_CHARACTERS or not reason.isprintable():
        raise MessageError(f"Expected a reason of at most {MAX_REASON_CHARACTERS} printable characters, got another.")
    return reason


def _printable(reason: str) -> str:
    line = " ".join(reason.split())[:MAX_REASON_CHARACTERS]
    return "".join(character if character.isprintable() else "?" for character in line)


def _progress(header: Mapping[str, Any]) -> Progress:
    found = _parse(header.get("progress"))
    step, steps, loss = found.get("step"), found.get("steps"), found.get("loss")
    if type(step) is not int or type(steps) is not int or step < 0 or steps < 0:
        raise MessageError("Expected an answer that counts its steps from 0, got another one.")
    if loss is not None and type(loss) is not float:
        raise MessageError("Expected an answer whose loss is a number with a fraction, got another one.")
    return Progress(step=step, steps=steps, loss=loss)


def _json(header: Mapping[str, Any]) -> dict[str, Any]:
    return _parse(header.get("json"))


def _text(document: Mapping[str, Any]) -> str:
    """As one string of the header: the header's own canonical form has no floats."""
    try:
        return json.dumps(dict(document), allow_nan=False, sort_keys=True, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError) as fault:
        raise MessageError(f"Expected figures that JSON can hold, all of them finite: {fault}.") from fault


def _parse(text: Any) -> dict[str, Any]:
    try:
        document = json.loads(text, parse_constant=_finite, parse_float=_finite)
    except (ValueError, TypeError, RecursionError) as fault:
        raise MessageError(f"Expected a message's figures as JSON, got something else ({type(fault).__name__}).") from (
            fault
        )
    if not isinstance(document, dict):
        raise MessageError("Expected a message's figures as a JSON object, got another value.")
    return document


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("A number is not finite.")
    return number


def _bytes(pieces: Mapping[str, memoryview]) -> dict[str, bytes]:
    return {name: bytes(piece) for name, piece in pieces.items()}
