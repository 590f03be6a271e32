import threading
from types import SimpleNamespace

import pytest

from federated.engine import site_connection
from federated.engine.payload import payload_of, question
from federated.engine.site_connection import answer_questions, serve_site
from federated.engine.site_node import SiteNode
from federated.errors import MessageError, ProvisioningError
from tests.fakes.flower_fleet import RUN, InMemoryEngine, InMemoryFleet

KEY = b"a public key"


@pytest.fixture
def coordinator(monkeypatch):
    """An engine that admits one site, whose agent waits in milliseconds where it would wait in seconds."""
    monkeypatch.setattr(site_connection, "_FIRST_RETRY_S", 0.001)
    monkeypatch.setattr(site_connection, "_LAST_RETRY_S", 0.002)
    engine = InMemoryEngine()
    engine.admit(KEY)
    return engine


def ask(engine, payload, ttl_s=60.0):
    asked = question(RUN, engine.numbers[KEY], payload, ttl_s)
    engine.waiting.append(asked)
    return asked.metadata.message_id


def serve(engine, handle, *, until, digest="a" * 64, number_file=None, limit=1000):
    """Run an agent until a condition holds."""
    rounds = iter(range(2000))

    def should_stop():
        assert next(rounds) < 1999, f"it did not happen: {engine.calls[-20:]}"
        return until()

    node = SiteNode(InMemoryFleet(engine, KEY), number_file, limit=limit)
    answer_questions(node, digest, handle, should_stop, 0.0005)
    return node


def test_answers_each_question_once_and_in_order(coordinator):
    names = [ask(coordinator, text) for text in (b"one", b"two")]
    heard = []

    def handle(payload):
        heard.append(payload)
        return payload.upper()

    serve(coordinator, handle, until=lambda: len(coordinator.replies) == 2)
    assert heard == [b"one", b"two"]
    assert [payload_of(coordinator.replies[name]) for name in names] == [b"ONE", b"TWO"]


def test_says_goodbye_when_told_to_stop(coordinator):
    serve(coordinator, bytes, until=lambda: "pull-messages" in coordinator.calls)
    assert coordinator.calls[-1] == "deactivate-node"
    assert not coordinator.online


def test_refuses_a_run_of_another_app_and_does_not_look_at_its_question(coordinator):
    name = ask(coordinator, b"?")
    heard = []
    serve(coordinator, heard.append, until=lambda: coordinator.replies, digest="b" * 64)
    assert heard == []
    with pytest.raises(MessageError, match="takes part in the app bbbb"):
        payload_of(coordinator.replies[name])


def test_a_handler_that_fails_costs_one_answer(coordinator, caplog):
    names = [ask(coordinator, text) for text in (b"bad", b"good")]

    def handle(payload):
        if payload == b"bad":
            raise ZeroDivisionError
        return payload

    serve(coordinator, handle, until=lambda: len(coordinator.replies) == 2)
    with pytest.raises(MessageError, match="its log says why"):
        payload_of(coordinator.replies[names[0]])
    assert payload_of(coordinator.replies[names[1]]) == b"good"
    assert "ZeroDivisionError" in caplog.text


def test_an_answer_past_the_limit_stays_here(coordinator, caplog):
    ask(coordinator, b"long")
    ask(coordinator, b"short")
    serve(coordinator, lambda text: text * 500 if text == b"long" else text, until=lambda: coordinator.replies)
    assert len(coordinator.replies) == 1
    assert "at most 1000 bytes" in caplog.text


def test_a_question_past_the_limit_is_not_handed_on(coordinator):
    ask(coordinator, bytes(1001))
    ask(coordinator, b"small")
    heard = []
    serve(coordinator, lambda text: heard.append(text) or b"", until=lambda: coordinator.replies)
    assert heard == [b"small"]


def test_goes_on_after_the_coordinator_was_away(coordinator):
    seen = SimpleNamespace(looks=0)

    def until():
        seen.looks += 1
        coordinator.is_away = 5 < seen.looks < 20
        if seen.looks == 25:
            ask(coordinator, b"?")
        return bool(coordinator.replies)

    serve(coordinator, bytes, until=until)
    assert coordinator.calls.count("activate-node") == 1, "the number of before was good"


def test_finds_a_coordinator_that_came_back_with_nothing(coordinator):
    old = coordinator.numbers[KEY]
    seen = SimpleNamespace(looks=0)

    def until():
        seen.looks += 1
        if seen.looks == 10:
            coordinator.forget()
        if seen.looks == 30:
            ask(coordinator, b"?")
        return bool(coordinator.replies)

    serve(coordinator, bytes, until=until)
    assert coordinator.numbers[KEY] != old
    assert coordinator.calls.count("activate-node") == 2


def test_a_new_process_goes_on_under_the_noted_number(coordinator, tmp_path):
    file = tmp_path / "number"
    coordinator.online.add(coordinator.numbers[KEY])
    file.write_text(str(coordinator.numbers[KEY]))
    ask(coordinator, b"?")
    serve(coordinator, bytes, until=lambda: coordinator.replies, number_file=file)
    assert "activate-node" not in coordinator.calls


@pytest.mark.parametrize("text", ["", "rubbish", "-1", "0", str(1 << 64), "12345"])
def test_a_wrong_number_is_replaced(coordinator, tmp_path, text):
    file = tmp_path / "number"
    file.write_text(text)
    ask(coordinator, b"?")
    serve(coordinator, bytes, until=lambda: coordinator.replies, number_file=file)
    assert file.read_text() == str(coordinator.numbers[KEY])


def test_without_a_number_waits_until_the_old_node_is_gone(coordinator, caplog):
    coordinator.online.add(coordinator.numbers[KEY])
    ask(coordinator, b"?")
    seen = SimpleNamespace(looks=0)

    def until():
        seen.looks += 1
        if seen.looks == 10:
            coordinator.online.clear()
        return bool(coordinator.replies)

    serve(coordinator, bytes, until=until)
    assert "counts this node as online" in caplog.text


def test_an_unknown_key_asks_on_and_is_never_connected(coordinator, caplog):
    coordinator.numbers.clear()
    seen = SimpleNamespace(looks=0)

    def until():
        seen.looks += 1
        return seen.looks > 20

    serve(coordinator, bytes, until=until)
    assert "does not let this site in" in caplog.text
    assert set(coordinator.calls) == {"activate-node"}


def test_hearts_beat_while_a_question_is_worked_on(coordinator, monkeypatch):
    monkeypatch.setattr("federated.engine.site_node.HEARTBEAT_S", 0.01)
    ask(coordinator, b"?")
    enough = threading.Event()

    def handle(payload):
        before = coordinator.calls.count("send-node-heartbeat")
        for _ in range(300):
            if coordinator.calls.count("send-node-heartbeat") > before + 2:
                enough.set()
                break
            enough.wait(0.01)
        return payload

    serve(coordinator, handle, until=lambda: coordinator.replies)
    assert enough.is_set()


@pytest.mark.parametrize("what", ["node.key", "ca.pem"])
def test_a_missing_file_is_named(tmp_path, what, monkeypatch):
    if what == "ca.pem":
        monkeypatch.setattr(site_connection, "read_node_key", lambda _file: None)
    with pytest.raises(ProvisioningError, match=what):
        serve_site("127.0.0.1:1", tmp_path / "ca.pem", tmp_path / "node.key", "", bytes, lambda: True)
