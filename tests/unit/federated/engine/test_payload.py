import time

import pytest
from flwr.proto.error_pb2 import Error
from flwr.proto.message_pb2 import Message, Metadata
from flwr.proto.recorddict_pb2 import Array, ArrayRecord, RecordDict

from federated.engine.payload import payload_of, question, reply, tree
from federated.errors import MessageError


def carried(message: Message) -> Message:
    """As it arrives."""
    copy = Message()
    copy.ParseFromString(message.SerializeToString())
    return copy


@pytest.mark.parametrize("payload", [b"", b"\0", bytes(range(256)) * 400], ids=["empty", "zero", "100 kB"])
def test_bytes_come_back_as_they_were(payload):
    assert payload_of(carried(question(1, 2, payload, 60))) == payload


def test_an_answer_names_its_question_and_lives_no_longer():
    asked = question(7, 5, b"?", 60)
    asked.metadata.created_at -= 20
    answered = reply(asked, b"!").metadata
    assert (answered.run_id, answered.src_node_id, answered.dst_node_id) == (7, 5, 1)
    assert answered.reply_to_message_id == asked.metadata.message_id
    assert answered.ttl == pytest.approx(40, abs=1)
    assert answered.created_at == pytest.approx(time.time(), abs=1)


def test_messages_have_names_that_nobody_can_guess():
    names = {question(1, 2, b"same", 60).metadata.message_id for _ in range(20)}
    assert len(names) == 20
    assert all(len(name) == 64 and int(name, 16) for name in names)


def test_announces_nothing_but_itself():
    asked = question(1, 2, b"x", 60)
    assert tree(asked).object_id == asked.metadata.message_id
    assert not tree(asked).children


def test_refuses_more_than_the_limit():
    with pytest.raises(MessageError, match="at most 9 bytes"):
        payload_of(question(1, 2, b"0123456789", 60), limit=9)


def test_an_error_is_no_answer():
    with pytest.raises(MessageError, match="the site's own words"):
        payload_of(carried(reply(question(1, 2, b"", 60), "the site's own words")))


def test_a_long_reason_is_cut():
    assert len(reply(question(1, 2, b"", 60), "x" * 10_000).error.reason) == 500
    with pytest.raises(MessageError) as fault:
        payload_of(Message(metadata=Metadata(), error=Error(code=1, reason="x" * 10_000)))
    assert len(str(fault.value)) < 600


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(RecordDict(), id="nothing"),
        pytest.param(RecordDict(items=[RecordDict.Item(key="qfl")]), id="another kind of record"),
        pytest.param(
            RecordDict(
                items=[
                    RecordDict.Item(
                        key="qfl",
                        array_record=ArrayRecord(
                            items=[ArrayRecord.Item(key="qfl", value=Array(stype="numpy.ndarray", data=b"\x93NUMPY"))]
                        ),
                    )
                ]
            ),
            id="an array",
        ),
        pytest.param(
            RecordDict(items=[*question(1, 2, b"a", 60).content.items, *question(1, 2, b"b", 60).content.items]),
            id="two pieces",
        ),
    ],
)
def test_refuses_other_contents(content):
    with pytest.raises(MessageError):
        payload_of(Message(metadata=Metadata(), content=content))
