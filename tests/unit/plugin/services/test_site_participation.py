"""Pause, resume, leave."""

from datetime import UTC, datetime

import pytest

from plugin.errors import ParticipationError
from plugin.services.policy_model import ParticipationState
from plugin.services.site_participation import choose_federation, say
from tests.fakes.round_records import InMemoryRounds

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def records():
    return InMemoryRounds()


def test_leaving_deletes_what_is_not_masked_yet(records, tmp_path):
    update = tmp_path / "rounds" / "work" / "run-1.000001.train" / "update.safetensors"
    update.parent.mkdir(parents=True)
    update.write_bytes(b"not masked")
    health = tmp_path / "rounds" / "health.json"
    health.write_text("{}")
    records.keep("work/1/attempt/session", b"secret")
    for state in (ParticipationState.PAUSED, ParticipationState.ACTIVE):
        say(records, "test", state, reason="", work=tmp_path / "rounds", now=NOW)
        assert update.exists()
    found = say(records, "test", ParticipationState.LEFT, reason="enough", work=tmp_path / "rounds", now=NOW)
    assert (found.state, found.reason) == (ParticipationState.LEFT, "enough")
    assert not update.exists()
    assert health.exists()
    assert not records.kept


def test_leaving_without_any_work_is_fine(records, tmp_path):
    say(records, "test", ParticipationState.LEFT, reason="", work=tmp_path / "none", now=NOW)
    with pytest.raises(ParticipationError):
        say(records, "test", ParticipationState.ACTIVE, reason="", work=tmp_path / "none", now=NOW)


def test_which_federation_is_meant(records):
    with pytest.raises(ParticipationError, match="--federation"):
        choose_federation(records, None, None)
    assert choose_federation(records, "joined", None) == "joined"
    with pytest.raises(ParticipationError, match="'typo'"):
        choose_federation(records, "joined", "typo")
    records.set_participation("one", ParticipationState.PAUSED, reason="", now=NOW)
    assert choose_federation(records, None, None) == "one"
    records.set_participation("two", ParticipationState.PAUSED, reason="", now=NOW)
    with pytest.raises(ParticipationError, match="one, two"):
        choose_federation(records, None, None)
    assert choose_federation(records, "joined", "two") == "two"
