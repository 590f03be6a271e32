import time

from federated.engine.bells import Bells


def test_listeners_hear_each_ring_and_only_theirs(tmp_path):
    app, gateway = Bells(tmp_path), Bells(tmp_path)
    assert gateway.questions.state() == b""
    heard = set()
    for _ in range(3):
        app.questions.ring()
        time.sleep(0.025)
        heard.add(gateway.questions.state())
    assert len(heard) == 3
    assert app.answers.state() == b""


def test_silence_is_the_same_every_time(tmp_path):
    bells = Bells(tmp_path)
    bells.answers.ring()
    time.sleep(0.025)
    state = bells.answers.state()
    time.sleep(0.025)
    assert bells.answers.state() == state
