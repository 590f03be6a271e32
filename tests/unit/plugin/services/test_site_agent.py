"""An agent says that it lives, and its log one line for each thing that left."""

import logging
from datetime import timedelta

from plugin.services.site_agent import Health, LoggedRecorder, read_health
from tests.fakes.round_terms import NOW


class Clock:
    now = NOW

    def __call__(self):
        return self.now


def test_a_living_agent_is_told_from_a_dead_one(tmp_path):
    clock, path = Clock(), tmp_path / "rounds" / "agent.json"
    Health(path, clock).beat()
    assert read_health(path, NOW + timedelta(seconds=10))["alive"] is True
    assert read_health(path, NOW + timedelta(seconds=60))["alive"] is False


def test_a_sign_of_life_is_written_now_and_then_only(tmp_path):
    clock, path = Clock(), tmp_path / "agent.json"
    health = Health(path, clock)
    health.beat()
    for seconds, expected in ((1, NOW), (6, NOW + timedelta(seconds=6))):
        clock.now = NOW + timedelta(seconds=seconds)
        health.beat()
        assert read_health(path, clock.now)["at"] == expected.isoformat()


def test_an_agent_that_never_ran_said_nothing(tmp_path):
    assert read_health(tmp_path / "agent.json", NOW) is None
    (tmp_path / "agent.json").write_text("{")
    assert read_health(tmp_path / "agent.json", NOW) is None


def test_transactions_are_kept_and_logged(caplog):
    kept = []

    class Kept:
        def record(self, event, facts):
            kept.append((event, dict(facts)))

    facts = {"site": "site-01", "run": "r", "round": 2, "terms": "t" * 64, "what": "masked update", "digest": "d" * 64}
    with caplog.at_level(logging.INFO):
        LoggedRecorder(Kept()).record("departure", facts)
    assert kept == [("departure", facts)]
    assert caplog.messages == ["run r round 2: departure what=masked update digest=dddddddddddd"]
