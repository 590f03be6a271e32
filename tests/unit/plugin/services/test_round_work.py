"""What a worker does with an assignment: once, further after a death, not beyond the round, and never silently."""

from datetime import timedelta

import numpy as np
import pytest

from federated.errors import TrainingDataError
from federated.rounds.messages import Progress, Stage
from federated.rounds.ports import LocalResult
from plugin.services.round_work import Assignment, RoundWork, do_round_work
from tests.fakes.round_terms import NOW, example_terms
from tests.fakes.round_work_store import InMemoryRoundWorkStore

RESULT = LocalResult(np.ones(2, np.float32), 4)


class Worker:
    """Performs by a script; counts how often."""

    takes = timedelta()

    def __init__(self, outcome=RESULT):
        self.store, self.now, self.outcome, self.performed = InMemoryRoundWorkStore(), NOW, outcome, 0
        self.work = RoundWork(self.store, self.perform, lambda: self.now, max_attempts=3)
        self.key = self.store.assign(Assignment(example_terms(), Stage.TRAIN, {"w": np.zeros(2, np.float32)}))

    def perform(self, assignment, *, state, checkpoints, report):
        self.performed += 1
        self.now += self.takes
        report(Progress(1, 2, 0.5))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def run(self):
        do_round_work(self.work, self.key)


def test_work_is_done_once_however_often_it_is_hinted_at():
    worker = Worker()
    for _ in range(3):
        worker.run()
    assert worker.performed == 1
    assert worker.store.look(worker.key).result.examples == 4


def test_seconds_are_those_of_the_whole_work():
    worker = Worker()
    worker.takes = timedelta(seconds=7)
    worker.run()
    assert worker.store.look(worker.key).result.figures == {"seconds": 7.0}


def test_progress_is_kept():
    worker = Worker()
    worker.run()
    assert worker.store.progress == [Progress(1, 2, 0.5)]


def test_work_of_another_worker_is_left_alone():
    worker = Worker()
    worker.store.held.add(worker.key)
    worker.run()
    assert worker.performed == 0


def test_an_unknown_key_is_nothing_to_do():
    worker = Worker()
    do_round_work(worker.work, "run-9.1.train")
    assert worker.performed == 0


def test_a_fault_of_the_data_is_told_with_its_reason():
    worker = Worker(TrainingDataError("case-7: expected T1ce, got T1 only."))
    worker.run()
    assert worker.store.look(worker.key).failure == "case-7: expected T1ce, got T1 only."


def test_a_foreign_error_is_named_and_its_text_kept_back():
    worker = Worker(ValueError("Doe, John"))
    with pytest.raises(ValueError, match="Doe"):
        worker.run()
    failure = worker.store.look(worker.key).failure
    assert "ValueError" in failure
    assert "Doe" not in failure


def test_work_stops_when_the_round_is_over():
    worker = Worker()
    worker.now = example_terms().deadline + timedelta(seconds=1)
    worker.run()
    found = worker.store.look(worker.key)
    assert (found.result, found.failure) == (None, "")


def test_a_worker_that_dies_again_and_again_gives_up():
    worker = Worker()
    worker.store.starts[worker.key] = 3
    worker.run()
    assert worker.performed == 0
    assert "lost 3 times" in worker.store.look(worker.key).failure
