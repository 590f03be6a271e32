import time
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from federated.engine.bells import Bells
from federated.engine.grid_transport import GridTransport
from federated.engine.payload import reply
from federated.errors import EngineError, MessageError, ProvisioningError
from tests.fakes.flower_fleet import InMemoryEngine, InMemoryFleet, InMemoryGrid


def make_key() -> bytes:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def federation():
    """Two sites that are online, and a clock that the test moves."""
    engine = InMemoryEngine()
    keys = {site: make_key() for site in ("a", "b")}
    engine.online = {engine.admit(key) for key in keys.values()}
    time = SimpleNamespace(now=1000.0)
    transport = GridTransport(InMemoryGrid(engine), keys, look_every_s=0, clock=lambda: time.now)
    sites = {site: InMemoryFleet(engine, key) for site, key in keys.items()}
    return SimpleNamespace(engine=engine, keys=keys, time=time, transport=transport, sites=sites)


def take(federation, site):
    """The next question to a site; None where there is none."""
    node = federation.engine.numbers[federation.keys[site]]
    waiting = [message for message in federation.engine.waiting if message.metadata.dst_node_id == node]
    if not waiting:
        return None
    federation.engine.waiting.remove(waiting[0])
    return waiting[0]


def answer(federation, question, payload):
    federation.engine.replies[question.metadata.message_id] = reply(question, payload)


def test_each_site_gets_its_own_question_and_its_answer_comes_under_its_name(federation):
    federation.transport.ask({"a": b"for a", "b": b"for b"})
    for site in ("b", "a"):
        answer(federation, take(federation, site), f"from {site}".encode())
    assert federation.transport.answers() == {"a": b"from a", "b": b"from b"}
    assert federation.transport.answers() == {}


def test_a_site_is_who_has_its_key_whatever_its_number(federation):
    federation.engine.forget()
    federation.engine.online = set(federation.engine.numbers.values())
    federation.transport.ask({"a": b"?"})
    assert take(federation, "a") is not None
    assert take(federation, "b") is None


def test_nodes_that_are_nobodys_are_not_online(federation):
    federation.engine.online |= {federation.engine.admit(make_key())}
    assert federation.transport.online() == {"a", "b"}


def test_only_connected_sites_are_asked(federation):
    federation.engine.online.discard(federation.engine.numbers[federation.keys["b"]])
    assert federation.transport.online() == {"a"}
    federation.transport.ask({"a": b"?", "b": b"?"})
    assert take(federation, "a") is not None
    assert take(federation, "b") is None


def test_the_same_question_is_not_sent_again_while_it_is_on_its_way(federation):
    for _ in range(3):
        federation.transport.ask({"a": b"?"})
    assert take(federation, "a") is not None
    assert take(federation, "a") is None


def test_the_same_question_is_sent_again_when_it_may_be_lost(federation):
    federation.transport.ask({"a": b"?"})
    lost = take(federation, "a")
    federation.time.now += 11
    federation.transport.ask({"a": b"?"})
    again = take(federation, "a")
    assert again.metadata.message_id != lost.metadata.message_id
    answer(federation, lost, b"late, and as good")
    assert federation.transport.answers() == {"a": b"late, and as good"}
    answer(federation, again, b"late, and as good")
    assert federation.transport.answers() == {}


def test_another_question_replaces_the_one_that_waits(federation):
    federation.transport.ask({"a": b"first"})
    first = take(federation, "a")
    federation.transport.ask({"a": b"second"})
    second = take(federation, "a")
    answer(federation, first, b"to the first")
    assert federation.transport.answers() == {}
    answer(federation, second, b"to the second")
    assert federation.transport.answers() == {"a": b"to the second"}


def test_an_answer_from_another_node_does_not_count(federation, caplog):
    federation.transport.ask({"a": b"?", "b": b"?"})
    question = take(federation, "a")
    forged = reply(question, b"in a's name")
    forged.metadata.src_node_id = federation.engine.numbers[federation.keys["b"]]
    federation.engine.replies[question.metadata.message_id] = forged
    assert federation.transport.answers() == {}
    assert "another node's" in caplog.text


def test_an_answer_to_a_question_that_was_not_asked_does_not_count(federation):
    federation.transport.ask({"a": b"?"})
    question = take(federation, "a")
    stray = reply(question, b"to something else")
    stray.metadata.reply_to_message_id = "f" * 64
    federation.engine.replies[question.metadata.message_id] = stray
    assert federation.transport.answers() == {}


def test_an_error_closes_the_question_so_that_it_can_be_asked_again(federation, caplog):
    federation.transport.ask({"a": b"?"})
    federation.engine.notice(take(federation, "a").metadata.message_id, "the node went away")
    assert federation.transport.answers() == {}
    assert "the node went away" in caplog.text
    federation.transport.ask({"a": b"?"})
    assert take(federation, "a") is not None


def test_an_expired_question_is_forgotten_here_and_once_more_asked_for_there(federation):
    federation.transport.ask({"a": b"?"})
    question = take(federation, "a")
    federation.time.now += 61
    federation.engine.notice(question.metadata.message_id, "expired")
    assert federation.transport.answers() == {}
    assert f"asked for {question.metadata.message_id}" in federation.engine.calls
    federation.engine.calls.clear()
    assert federation.transport.answers() == {}
    assert federation.engine.calls == []


def test_an_answer_past_the_limit_does_not_count(federation):
    small = GridTransport(InMemoryGrid(federation.engine), federation.keys, look_every_s=0, limit=10)
    small.ask({"a": b"?"})
    answer(federation, take(federation, "a"), b"x" * 11)
    assert small.answers() == {}
    with pytest.raises(MessageError, match="at most 10"):
        small.ask({"a": b"x" * 11})


def test_large_questions_go_in_several_calls(federation):
    federation.transport.ask({"a": bytes(20 << 20), "b": bytes(20 << 20)})
    assert federation.engine.calls.count("PushMessages") == 2


def test_looks_seldom_when_nothing_happens(federation):
    transport = GridTransport(
        InMemoryGrid(federation.engine), federation.keys, look_every_s=0.1, clock=lambda: federation.time.now
    )
    transport.ask({"a": b"?"})
    for _ in range(1000):
        federation.time.now += 0.02
        transport.answers()
    assert 15 < federation.engine.calls.count("PullMessages") < 60


def test_rings_for_its_questions_and_looks_when_it_hears_of_answers(federation, tmp_path):
    bells, listening = Bells(tmp_path), Bells(tmp_path)
    clock = lambda: federation.time.now  # noqa: E731
    grid = InMemoryGrid(federation.engine)
    transport = GridTransport(grid, federation.keys, bells, look_every_s=0.1, clock=clock)
    transport.ask({"a": b"?"})
    assert listening.questions.state() != b""
    looks = []
    for _ in range(50):
        federation.time.now += 0.02
        transport.answers()
        looks.append(federation.engine.calls.count("PullMessages"))
    assert looks[-1] <= 1
    answer(federation, take(federation, "a"), b"!")
    listening.answers.ring()
    time.sleep(0.025)
    federation.time.now += 0.1
    assert transport.answers() == {"a": b"!"}


def test_an_engine_that_is_away_is_a_named_fault(federation):
    federation.transport.ask({"a": b"?"})
    federation.engine.is_away = True
    for call in (
        federation.transport.online,
        federation.transport.answers,
        lambda: federation.transport.ask({"b": b"?"}),
    ):
        with pytest.raises(EngineError):
            call()
    federation.engine.is_away = False
    answer(federation, take(federation, "a"), b"!")
    assert federation.transport.answers() == {"a": b"!"}


def test_refuses_a_key_that_is_none():
    with pytest.raises(ProvisioningError):
        GridTransport(InMemoryGrid(InMemoryEngine()), {"a": b"not a key"})
