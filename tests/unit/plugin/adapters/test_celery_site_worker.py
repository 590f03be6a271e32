"""The site's worker is told, told again when nobody is at the work, and not told when somebody is."""

import numpy as np
import pytest

from federated.rounds.messages import Stage
from federated.rounds.ports import LocalResult
from plugin.adapters.celery_site_worker import CelerySiteWorker
from tests.fakes.round_terms import example_terms
from tests.fakes.round_work_store import InMemoryRoundWorkStore

KEY = "run-1.1.train"


class Site:
    def __init__(self):
        self.store, self.hints, self.now = InMemoryRoundWorkStore(), [], 0.0
        self.worker = self.new_agent()

    def new_agent(self):
        return CelerySiteWorker(self.store, self.hints.append, repeat_s=10, clock=lambda: self.now)

    def ask(self):
        return self.worker.work(example_terms(), Stage.TRAIN, {"w": np.zeros(2, np.float32)}, {})


@pytest.fixture
def site():
    return Site()


def test_work_is_assigned_and_hinted_at(site):
    assert site.ask().result is None
    assert site.hints == [KEY]


def test_asking_again_is_no_second_hint(site):
    for _ in range(5):
        site.now += 1
        site.ask()
    assert site.hints == [KEY]


def test_a_lost_message_is_sent_again_after_a_while(site):
    site.ask()
    site.now = 10
    site.ask()
    assert site.hints == [KEY, KEY]


def test_work_that_somebody_is_at_is_left_alone(site):
    site.ask()
    site.store.held.add(KEY)
    site.now = 100
    site.ask()
    assert site.hints == [KEY]


def test_a_worker_that_died_is_followed_at_once(site):
    site.ask()
    site.store.held.add(KEY)
    site.now = 1
    site.ask()
    site.store.held.clear()
    site.now = 2
    site.ask()
    site.ask()
    assert site.hints == [KEY, KEY]


def test_an_agent_that_starts_again_hints_again(site):
    site.ask()
    site.worker = site.new_agent()
    site.ask()
    assert site.hints == [KEY, KEY]


def test_done_work_needs_no_hint(site):
    site.ask()
    site.store.finish(KEY, LocalResult(np.ones(2, np.float32), 3))
    site.now = 100
    assert site.ask().result.examples == 3
    assert site.hints == [KEY]


def test_a_forgotten_round_is_gone(site):
    site.ask()
    site.worker.forget(example_terms())
    assert not site.store.assigned
