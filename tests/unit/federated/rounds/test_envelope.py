import json
import struct
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from federated.errors import MessageError, SenderError, TermsError
from federated.rounds.envelope import (
    MAX_REASON_CHARACTERS,
    REQUEST_PURPOSE,
    Sizes,
    check_round,
    open_reply,
    open_request,
    read_terms,
    seal_reply,
    sign_request,
    terms_piece,
)
from federated.rounds.messages import Progress, Reply, Request, Stage, State
from federated.rounds.sealing import SealingKey
from federated.rounds.signed_bytes import put_signature
from federated.rounds.terms import Aggregation, RoundTerms
from federated.rounds.wire import MAGIC, pack
from governance.signatures import SIGNATURE_BYTES, SigningKey

COORDINATOR, SITE, OTHER = SigningKey.generate(), SigningKey.generate(), SigningKey.generate()
SEALING = SealingKey.generate()
TERMS = RoundTerms(
    federation="brain-tumours",
    run="run-1",
    round=3,
    rounds=10,
    participants=("north", "south", "west"),
    app="a" * 64,
    model="b" * 64,
    layout="c" * 64,
    network={},
    deadline=datetime(2026, 11, 1, 12, tzinfo=UTC),
    aggregation=Aggregation(threshold=2),
)
QUESTION = Request(
    site="north",
    run="run-1",
    round=3,
    stage=Stage.TRAIN,
    terms=TERMS.digest,
    header={"epoch": 1, "rate": 0.25},
    pieces={"weights": b"w" * 1000, "control": b""},
)
ANSWER = Reply(
    site="north",
    run="run-1",
    round=3,
    stage=Stage.TRAIN,
    terms=TERMS.digest,
    state=State.DONE,
    progress=Progress(step=20, steps=20, loss=0.5),
    header={"loss": 0.25, "groups": {"under 50": None}},
    pieces={"update": b"\x01\x02" * 500},
)


def sealed(answer=ANSWER, question=QUESTION, key=SITE, federation="brain-tumours"):
    return seal_reply(answer, question, key, SEALING.public, federation=federation)


def opened(message, question=QUESTION, key=SITE, sealing=SEALING, federation="brain-tumours", sizes=None):
    return open_reply(message, question, key.verifying_key, sealing, federation=federation, sizes=sizes)


def signed_body(header, pieces=None, key=COORDINATOR):
    return put_signature(pack(header, pieces), key, purpose=REQUEST_PURPOSE)


def place(**changes):
    return {"site": "north", "run": "run-1", "round": 3, "stage": "train", "terms": "t", "json": "{}"} | changes


def test_a_question_arrives_as_it_was_asked():
    found = open_request(sign_request(QUESTION, COORDINATOR), COORDINATOR.verifying_key, "north")
    assert vars(found) == vars(QUESTION)


def test_an_answer_arrives_as_it_was_given():
    assert vars(opened(sealed())) == vars(ANSWER)


def test_an_answer_to_a_question_that_travelled_opens_against_the_question_that_was_asked():
    arrived = open_request(sign_request(QUESTION, COORDINATOR), COORDINATOR.verifying_key, "north")
    assert vars(opened(sealed(question=arrived))) == vars(ANSWER)


def test_an_answer_is_unreadable_on_the_way():
    message = sealed(replace(ANSWER, pieces={"update": b"patient-level secret"}))
    assert b"patient-level secret" not in message
    assert b"north" not in message


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"run": "run-2"}, id="other run"),
        pytest.param({"round": 2}, id="earlier round"),
        pytest.param({"stage": Stage.EVALUATE}, id="other stage"),
        pytest.param({"terms": "0" * 64}, id="other terms"),
        pytest.param({"site": "south"}, id="other site"),
        pytest.param({"pieces": {"weights": b"w" * 1000, "control": b"x"}}, id="same stage, other content"),
        pytest.param({"header": {"epoch": 2, "rate": 0.25}}, id="same stage, other header"),
    ],
)
def test_an_answer_to_another_question_is_refused(change):
    earlier = replace(QUESTION, **change)
    placed = {name: value for name, value in change.items() if name not in {"pieces", "header"}}
    message = sealed(replace(ANSWER, **placed), earlier)
    with pytest.raises(MessageError, match=r"north.*question"):
        opened(message)


def test_an_answer_to_unmask_counts_only_for_the_survivors_that_were_named():
    first = replace(QUESTION, stage=Stage.UNMASK, header={"survivors": ["north", "south"]}, pieces={})
    second = replace(first, header={"survivors": ["north", "west"]})
    message = sealed(replace(ANSWER, stage=Stage.UNMASK, pieces={"shares": b"s"}), first)
    assert opened(message, first).pieces == {"shares": b"s"}
    with pytest.raises(MessageError):
        opened(message, second)


def test_an_answer_of_another_federation_is_refused():
    with pytest.raises(MessageError, match="sealed for this coordinator"):
        opened(sealed(federation="lungs"))


def test_an_answer_for_another_coordinator_is_refused():
    with pytest.raises(MessageError, match="sealed for this coordinator"):
        opened(sealed(), sealing=SealingKey.generate())


def test_an_answer_that_another_site_signed_is_refused():
    with pytest.raises(SenderError, match="north"):
        opened(sealed(key=OTHER))


def test_an_answer_without_a_signature_is_refused():
    from federated.rounds.envelope import _context, _reply_body
    from federated.rounds.sealing import seal

    context = _context(QUESTION, SEALING.public, "brain-tumours")
    with pytest.raises(SenderError):
        opened(seal(SEALING.public, _reply_body(ANSWER), context=context))


def test_a_signature_of_another_round_cannot_be_sealed_anew():
    """The seal needs no secret, so whoever holds an opened answer could seal it for another round."""
    from federated.rounds.envelope import _context
    from federated.rounds.sealing import seal

    earlier = replace(QUESTION, header={"epoch": 0})
    context = _context(earlier, SEALING.public, "brain-tumours")
    signed = SEALING.open(sealed(question=earlier), context=context)
    moved = seal(SEALING.public, signed, context=_context(QUESTION, SEALING.public, "brain-tumours"))
    with pytest.raises(SenderError):
        opened(moved)


@pytest.mark.parametrize("position", [0, 1200, -1], ids=["key part", "body", "tag"])
def test_an_answer_that_was_changed_is_refused(position):
    message = bytearray(sealed())
    message[position] ^= 1
    with pytest.raises(MessageError):
        opened(bytes(message))


def test_an_answer_cannot_be_written_to_another_question():
    with pytest.raises(MessageError, match="round is 3"):
        sealed(replace(ANSWER, round=2))


@pytest.mark.parametrize("length", [0, 1, SIGNATURE_BYTES, SIGNATURE_BYTES + 4], ids=str)
def test_a_message_that_is_cut_off_is_refused(length):
    with pytest.raises(SenderError):
        open_request(sign_request(QUESTION, COORDINATOR)[:length], COORDINATOR.verifying_key, "north")
    with pytest.raises(MessageError):
        opened(sealed()[:length])


def test_a_question_to_another_site_is_refused():
    message = sign_request(QUESTION, COORDINATOR)
    with pytest.raises(MessageError, match="south"):
        open_request(message, COORDINATOR.verifying_key, "south")


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(sign_request(QUESTION, OTHER), id="signed by another"),
        pytest.param(sign_request(QUESTION, COORDINATOR)[SIGNATURE_BYTES:], id="unsigned"),
        pytest.param(sign_request(QUESTION, COORDINATOR)[:-1] + b"X", id="changed"),
        pytest.param(put_signature(pack(place()), COORDINATOR, purpose="qfl/roster"), id="signed as something else"),
    ],
)
def test_a_question_that_the_coordinator_did_not_sign_is_refused(message):
    with pytest.raises(SenderError, match="the coordinator"):
        open_request(message, COORDINATOR.verifying_key, "north")


@pytest.mark.parametrize(
    "header",
    [
        pytest.param({}, id="empty"),
        pytest.param(place(site=""), id="no site"),
        pytest.param(place(site=["north"]), id="site is a list"),
        pytest.param(place(run="r" * 201), id="endless run"),
        pytest.param(place(round=0), id="round 0"),
        pytest.param(place(round=True), id="round is a truth value"),
        pytest.param(place(round="3"), id="round is text"),
        pytest.param(place(stage="attack"), id="unknown stage"),
        pytest.param(place(stage=["train"]), id="stage is a list"),
        pytest.param(place(json=None), id="no figures"),
        pytest.param(place(json="[1]"), id="figures are a list"),
        pytest.param(place(json='{"loss": NaN}'), id="not a number"),
        pytest.param(place(json='{"loss": 1e999}'), id="infinite"),
        pytest.param(place(json='{"a": ' * 100_000), id="nested without end"),
        pytest.param(place(json='{"a": ' + "9" * 5000 + "}"), id="endless integer"),
    ],
)
def test_a_malformed_question_is_refused(header):
    with pytest.raises(MessageError):
        open_request(signed_body(header), COORDINATOR.verifying_key, "north")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"state": "perhaps"}, id="unknown state"),
        pytest.param({"state": None}, id="no state"),
        pytest.param({"reason": 3}, id="reason is a number"),
        pytest.param({"reason": "r" * (MAX_REASON_CHARACTERS + 1)}, id="endless reason"),
        pytest.param({"reason": "\x1b[2J"}, id="reason writes on the terminal"),
        pytest.param({"progress": "{}"}, id="no progress"),
        pytest.param({"progress": '{"step":-1,"steps":0,"loss":null}'}, id="step below 0"),
        pytest.param({"progress": '{"step":1.5,"steps":0,"loss":null}'}, id="half a step"),
        pytest.param({"progress": '{"step":1,"steps":2,"loss":"low"}'}, id="loss is text"),
        pytest.param({"progress": '{"step":1,"steps":2,"loss":' + "9" * 400 + "}"}, id="loss is a huge integer"),
        pytest.param({"round": 4}, id="signed for this question, says another round"),
    ],
)
def test_a_malformed_answer_of_a_site_is_refused(changes):
    from federated.rounds.envelope import REPLY_PURPOSE, _context
    from federated.rounds.sealing import seal

    header = place(terms=TERMS.digest, state="done", reason="", progress='{"step":0,"steps":0,"loss":null}') | changes
    context = _context(QUESTION, SEALING.public, "brain-tumours")
    body = put_signature(pack(header), SITE, purpose=REPLY_PURPOSE, context=context)
    with pytest.raises(MessageError):
        opened(seal(SEALING.public, body, context=context))


def test_a_claimed_size_takes_no_memory():
    head = json.dumps({"header": place(), "pieces": [["weights", 1 << 40]]}).encode()
    body = struct.pack(">4sI", MAGIC, len(head)) + head
    message = put_signature(body, COORDINATOR, purpose=REQUEST_PURPOSE)
    tracemalloc.start()
    with pytest.raises(MessageError):
        open_request(message, COORDINATOR.verifying_key, "north")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("stage", list(Stage), ids=str)
def test_an_oversized_answer_is_refused_before_it_is_opened(stage):
    sizes = Sizes(sites=3, numbers=1000)
    limit, question = sizes.reply_limit(stage), replace(QUESTION, stage=stage)
    with pytest.raises(MessageError, match=f"at most {limit} bytes"):
        opened(bytes(limit + 1), question, sizes=sizes)


def test_an_answer_before_training_cannot_be_as_large_as_a_model():
    sizes = Sizes(sites=10, numbers=10_000_000)
    assert sizes.reply_limit(Stage.TRAIN) > 80_000_000
    assert max(sizes.reply_limit(stage) for stage in Stage if stage is not Stage.TRAIN) < 1_000_000


def test_an_oversized_question_is_refused():
    sizes = Sizes(sites=3, numbers=1000)
    question = replace(QUESTION, stage=Stage.JOIN, pieces={"terms": bytes(sizes.request_limit(Stage.JOIN))})
    with pytest.raises(MessageError, match="at most"):
        open_request(sign_request(question, COORDINATOR), COORDINATOR.verifying_key, "north", sizes)
    with pytest.raises(MessageError, match="at most"):
        open_request(
            bytes(sizes.request_limit(Stage.TRAIN) + sizes.request_limit(Stage.SHARE)),
            COORDINATOR.verifying_key,
            "north",
            sizes,
        )


def test_a_full_update_fits_the_limit():
    sizes = Sizes(sites=2, numbers=50_000)
    answer = replace(ANSWER, pieces={"update": bytes(8 * 50_000)})
    assert len(opened(sealed(answer), sizes=sizes).pieces["update"]) == 400_000


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"run": "run-0"}, id="other run"),
        pytest.param({"round": 2}, id="earlier round"),
        pytest.param({"terms": "0" * 64}, id="other terms"),
    ],
)
def test_a_stale_question_is_told_apart(change):
    check_round(QUESTION, TERMS)
    with pytest.raises(MessageError, match="expected a question of run run-1, round 3"):
        check_round(replace(QUESTION, **change), TERMS)


def join(terms=TERMS, **changes):
    asked = replace(QUESTION, stage=Stage.JOIN, pieces={"terms": terms_piece(terms)})
    return replace(asked, **changes)


def test_a_join_brings_the_terms_that_it_names():
    assert read_terms(join()) == TERMS


@pytest.mark.parametrize(
    ("question", "error"),
    [
        pytest.param(join(pieces={}), MessageError, id="no terms"),
        pytest.param(join(replace(TERMS, minimum_cases=2)), MessageError, id="other terms than named"),
        pytest.param(join(site="east"), MessageError, id="not a participant"),
        pytest.param(join(pieces={"terms": b"{"}), TermsError, id="not JSON"),
        pytest.param(join(pieces={"terms": b"[" * 100_000}), TermsError, id="nested without end"),
        pytest.param(join(pieces={"terms": b"{}"}), TermsError, id="not terms"),
    ],
)
def test_a_join_with_wrong_terms_is_refused(question, error):
    with pytest.raises(error):
        read_terms(question)


def test_a_reason_is_written_on_one_printable_line():
    answer = replace(ANSWER, state=State.REFUSED, reason="the policy\nforbids\x1b it " + "x" * 5000)
    reason = opened(sealed(answer)).reason
    assert reason.startswith("the policy forbids? it x")
    assert len(reason) == MAX_REASON_CHARACTERS


def test_progress_without_a_finite_loss_arrives_without_a_loss():
    answer = replace(ANSWER, state=State.WORKING, progress=Progress(step=3, steps=20, loss=float("nan")))
    assert opened(sealed(answer)).progress == Progress(step=3, steps=20)


def test_figures_that_are_not_finite_do_not_leave():
    with pytest.raises(MessageError, match="finite"):
        sealed(replace(ANSWER, header={"loss": float("inf")}))
