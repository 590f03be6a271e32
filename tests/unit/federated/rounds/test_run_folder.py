from datetime import UTC, datetime

import numpy as np
import pytest

from federated.errors import RoundRecordError
from federated.rounds.figures import Trained
from federated.rounds.round_report import RoundFacts
from federated.rounds.run_folder import Checkpoint, RunFolder, Unmasking
from federated.strategies import ServerState
from tests.fakes.round_terms import example_terms

FACTS = RoundFacts(example_terms(), datetime(2026, 11, 1, tzinfo=UTC), {"a": Trained(3, 0.1, None, 2.0)}, {"b": 1})


def checkpoint(number, **changes):
    state = ServerState({"w": np.arange(3, dtype=np.float32)}, ("w",), number)
    return Checkpoint(**{"run": "run-1", "state": state, "network": {"arm": "x"}, **changes})


def test_a_checkpoint_comes_back_and_the_last_two_stay(tmp_path):
    folder = RunFolder(tmp_path / "run")
    for number in range(4):
        folder.save(checkpoint(number, history=[{"round": each} for each in range(number)], unfinished=FACTS))
    found = folder.latest("run-1")
    assert found.state.round == 3
    assert (found.network, found.history[-1]) == ({"arm": "x"}, {"round": 2})
    assert found.unfinished == FACTS
    assert np.array_equal(found.state.weights["w"], [0, 1, 2])
    assert len(list((tmp_path / "run").iterdir())) == 2
    assert (tmp_path / "run").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "run").iterdir())


def test_there_is_none_in_an_empty_folder(tmp_path):
    assert RunFolder(tmp_path / "run").latest("run-1") is None


def test_a_damaged_checkpoint_is_passed_over_and_none_is_an_error(tmp_path):
    folder = RunFolder(tmp_path)
    folder.save(checkpoint(1))
    folder.save(checkpoint(2))
    newest = tmp_path / "round-00002.checkpoint"
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(data)
    assert folder.latest("run-1").state.round == 1
    (tmp_path / "round-00001.checkpoint").write_bytes(b"QFL1")
    with pytest.raises(RoundRecordError, match="no checkpoint of run run-1 can be read"):
        folder.latest("run-1")


def test_another_runs_folder_is_refused(tmp_path):
    RunFolder(tmp_path).save(checkpoint(1))
    with pytest.raises(RoundRecordError, match="run-2"):
        RunFolder(tmp_path).latest("run-2")


def test_masked_sums_are_kept_until_the_next_checkpoint(tmp_path):
    folder = RunFolder(tmp_path)
    folder.keep(Unmasking(FACTS, {"0": b"sum"}), "run-1")
    found = folder.unmasking("run-1", 1)
    assert (found.facts, found.sums) == (FACTS, {"0": b"sum"})
    assert folder.unmasking("run-1", 2) is None
    folder.save(checkpoint(1))
    assert folder.unmasking("run-1", 1) is None


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    folder.save(checkpoint(1))

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RoundRecordError, match="No space left on device"):
        folder.save(checkpoint(2))
    assert folder.latest("run-1").state.round == 1
