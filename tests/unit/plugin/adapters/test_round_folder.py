"""Round work on disk: assigned once, seen by two processes, never half there."""

import multiprocessing
import os
from datetime import timedelta

import numpy as np
import pytest

from federated.rounds.messages import Progress, Stage
from federated.rounds.ports import LocalResult
from plugin.adapters.round_folder import RESULT, UPDATE, WEIGHTS, RoundFolder
from plugin.errors import RoundWorkError
from plugin.services.round_work import Assignment
from tests.fakes.round_terms import NOW, example_terms

WEIGHTS_OF_ROUND = {"head.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}


@pytest.fixture
def store(tmp_path):
    return RoundFolder(tmp_path / "rounds")


def assignment(stage=Stage.TRAIN, extras=None, **changes):
    return Assignment(example_terms(**changes), stage, WEIGHTS_OF_ROUND, extras or {})


def test_what_is_assigned_is_read_back(store):
    key = store.assign(assignment(extras={"control": b"\x00\x01"}))
    found = store.read(key)
    assert found.terms == example_terms()
    assert found.stage is Stage.TRAIN
    assert found.extras == {"control": b"\x00\x01"}
    np.testing.assert_array_equal(found.weights["head.weight"], WEIGHTS_OF_ROUND["head.weight"])


def test_the_same_assignment_is_kept_once(store, tmp_path):
    keys = {store.assign(assignment()) for _ in range(3)}
    assert len(keys) == len(list((tmp_path / "rounds" / "work").iterdir())) == 1


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(assignment(Stage.EVALUATE), id="stage"),
        pytest.param(assignment(model="d" * 64), id="terms"),
        pytest.param(assignment(extras={"control": b"1"}), id="extras"),
        pytest.param(
            Assignment(example_terms(), Stage.TRAIN, {"head.weight": np.ones((2, 3), np.float32)}), id="model"
        ),
    ],
)
def test_another_assignment_has_another_key(store, other):
    assert store.assign(other) != store.assign(assignment())


def test_a_round_that_comes_again_goes_on_with_the_same_work_under_its_new_terms(store):
    key = store.assign(assignment())
    store.report(key, Progress(3, 4))
    later = NOW + timedelta(hours=9)
    assert store.assign(assignment(deadline=later, participants=("site-01", "site-02"))) == key
    assert store.read(key).terms.deadline == later
    assert store.look(key).progress.step == 3


def test_a_round_that_comes_again_tries_again_what_failed(store):
    key = store.assign(assignment())
    store.fail(key, "The archive is away.")
    store.assign(assignment())
    assert store.look(key).failure
    store.assign(assignment(deadline=NOW + timedelta(hours=9)))
    assert not store.look(key).failure
    assert store.read(key) is not None


def test_files_are_for_their_owner_only(store, tmp_path):
    key = store.assign(assignment())
    store.finish(key, LocalResult(np.ones(3, np.float32), 4))
    folder = tmp_path / "rounds" / "work" / key
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / WEIGHTS).stat().st_mode & 0o077 == 0
    assert (folder / UPDATE).stat().st_mode & 0o077 == 0


def test_result_of_training_comes_back(store):
    key = store.assign(assignment())
    store.report(key, Progress(2, 4, 0.5))
    assert store.look(key).progress == Progress(2, 4, 0.5)
    store.finish(key, LocalResult(np.array([1.5, -2], np.float32), 7, {"loss": 0.25}, 0.125))
    found = store.look(key).result
    assert (found.update.tolist(), found.examples, found.figures, found.epsilon) == (
        [1.5, -2],
        7,
        {"loss": 0.25},
        0.125,
    )
    assert store.read(key) is None, "it is done"


def test_figures_of_evaluation_come_back(store):
    key = store.assign(assignment(Stage.EVALUATE))
    store.finish(key, {"cases": 2, "dice": {"whole-tumour": 0.5}})
    assert store.look(key).figures == {"cases": 2, "dice": {"whole-tumour": 0.5}}
    assert store.look(key).result is None


def test_damaged_result_is_done_again(store, tmp_path):
    key = store.assign(assignment())
    store.finish(key, LocalResult(np.ones(3, np.float32), 4))
    update = tmp_path / "rounds" / "work" / key / UPDATE
    update.write_bytes(update.read_bytes()[:-1] + b"\x7f")
    assert store.look(key).result is None
    assert not (tmp_path / "rounds" / "work" / key / RESULT).exists()
    assert store.read(key) is not None


def test_failure_says_why(store):
    key = store.assign(assignment())
    store.fail(key, "Expected 4 cases, got 2.")
    assert store.look(key).failure == "Expected 4 cases, got 2."
    assert store.read(key) is None


def test_starts_without_progress_are_counted(store):
    key = store.assign(assignment())
    assert [store.begin(key) for _ in range(3)] == [1, 2, 3]
    store.report(key, Progress(1, 4))
    assert store.begin(key) == 1
    assert store.begin(key) == 2


def test_result_for_a_forgotten_round_goes_nowhere(store):
    key = store.assign(assignment())
    store.forget(example_terms())
    assert not store.is_wanted(key)
    store.report(key, Progress(1, 4))
    store.finish(key, LocalResult(np.ones(3, np.float32), 4))
    assert store.look(key).result is None


def test_forgetting_takes_the_rounds_before_along_and_no_later_one(store):
    keys = [store.assign(assignment(round=number, rounds=3)) for number in (1, 2, 3)]
    other = store.assign(assignment(run="run-10"))
    store.forget(example_terms(round=2))
    assert [store.is_wanted(key) for key in (*keys, other)] == [False, False, True, True]


def test_sweeping_drops_what_nobody_will_ask_for_again(store, tmp_path):
    old, new = store.assign(assignment()), store.assign(assignment(run="run-2", deadline=NOW + timedelta(days=2)))
    half = tmp_path / "rounds" / "work" / ".run-1.half"
    half.mkdir()
    store.sweep(NOW + timedelta(days=1, hours=2))
    assert (store.is_wanted(old), store.is_wanted(new), half.exists()) == (False, True, False)


@pytest.mark.parametrize("key", ["", "..", "../other", "a/b", ".hidden", "a" * 300])
def test_a_key_is_no_way_to_another_folder(store, key):
    with pytest.raises(RoundWorkError):
        store.look(key)


def test_a_killed_worker_holds_nothing(store, tmp_path):
    key = store.assign(assignment())
    assert not store.is_held(key)
    context = multiprocessing.get_context("fork")
    said, unheard = context.Queue(), context.Queue()

    def run():
        with RoundFolder(tmp_path / "rounds").hold(key) as is_mine:
            said.put(is_mine)
            unheard.get()

    process = context.Process(target=run)
    process.start()
    assert said.get(timeout=20) is True
    assert store.is_held(key)
    with store.hold(key) as is_mine:
        assert not is_mine
    os.kill(process.pid, 9)
    process.join()
    assert not store.is_held(key)
    with store.hold(key) as is_mine:
        assert is_mine
