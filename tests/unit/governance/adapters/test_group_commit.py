"""Who waits shares a commit, and hears of its own outcome only."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from governance.adapters.group_commit import GroupCommit
from governance.errors import EntryConflictError, LedgerStoreError


class Slow:
    """A commit that takes as long as the test wants."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.begun = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        self.begun.set()
        self.go.wait(10)
        return [EntryConflictError("no") if item < 0 else item * 10 for item in items]


def waiting(group: GroupCommit, count: int) -> None:
    while len(group._waiting) < count:
        threading.Event().wait(0.002)


def test_whoever_comes_during_a_commit_shares_the_next_one_in_order() -> None:
    commit = Slow()
    group: GroupCommit[int, int] = GroupCommit(commit, most=100)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(group.submit, 1)
        commit.begun.wait(10)
        others = []
        for number in range(2, 7):
            others.append(pool.submit(group.submit, number))
            waiting(group, number - 1)
        commit.go.set()
        assert [each.result(10) for each in (first, *others)] == [10, 20, 30, 40, 50, 60]
    assert commit.batches == [[1], [2, 3, 4, 5, 6]]


def test_a_commit_takes_so_many_and_no_more() -> None:
    commit = Slow()
    group: GroupCommit[int, int] = GroupCommit(commit, most=2)
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(group.submit, 1)]
        commit.begun.wait(10)
        futures += [pool.submit(group.submit, number) for number in range(2, 7)]
        waiting(group, 5)
        commit.go.set()
        assert sorted(each.result(10) for each in futures) == [10, 20, 30, 40, 50, 60]
    assert [len(batch) for batch in commit.batches] == [1, 2, 2, 1]


def test_one_outcome_is_one_waiters() -> None:
    commit = Slow()
    commit.go.set()
    group: GroupCommit[int, int] = GroupCommit(commit, most=10)
    with pytest.raises(EntryConflictError):
        group.submit(-1)
    assert group.submit(2) == 20


def test_a_failed_commit_fails_for_all_who_were_in_it_and_the_next_goes_on() -> None:
    commit, fails = Slow(), threading.Event()

    def sometimes(items: Sequence[int]) -> list[int | Exception]:
        found = commit(items)
        if fails.is_set():
            raise LedgerStoreError("database is down")
        return found

    group: GroupCommit[int, int] = GroupCommit(sometimes, most=10)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(group.submit, 1)
        commit.begun.wait(10)
        others = [pool.submit(group.submit, number) for number in (2, 3)]
        waiting(group, 2)
        fails.set()
        commit.go.set()
        for each in (first, *others):
            with pytest.raises(LedgerStoreError, match="is down"):
                each.result(10)
    fails.clear()
    assert group.submit(4) == 40


def test_nobody_waits_for_ever_for_a_thread_that_was_interrupted() -> None:
    commit = Slow()

    def interrupted(items: Sequence[int]) -> list[int | Exception]:
        commit(items)
        raise KeyboardInterrupt

    group: GroupCommit[int, int] = GroupCommit(interrupted, most=10)
    outcomes: list[BaseException] = []

    def submit(number: int) -> None:
        try:
            group.submit(number)
        except (LedgerStoreError, KeyboardInterrupt) as fault:
            outcomes.append(fault)

    threads = [threading.Thread(target=submit, args=(number,)) for number in (1, 2, 3)]
    threads[0].start()
    commit.begun.wait(10)
    for thread in threads[1:]:
        thread.start()
    waiting(group, 2)
    commit.go.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert len(outcomes) == 3
