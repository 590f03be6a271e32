"""A site's work on a federated round: assigned by its agent, done by a worker of the training queue.

Agent and worker meet only in the store, which both can lose sight of at any time: what is assigned stays assigned until
it has a result, whoever dies.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from federated.errors import FederatedError
from federated.rounds.layout import Weights
from federated.rounds.messages import Progress, Stage
from federated.rounds.ports import LocalResult, Work
from federated.rounds.terms import RoundTerms
from plugin.errors import PluginError, RoundWorkOverError
from plugin.services.running import describe, place_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Assignment:
    """What a stage of a round asks of this site's worker.

    Attributes:
        stage: TRAIN or EVALUATE.
        weights: The global model.
        extras: Pieces of the request that the strategy needs.
    """

    terms: RoundTerms
    stage: Stage
    weights: Weights
    extras: Mapping[str, bytes] = field(default_factory=dict)


class RoundWorkStore(Protocol):
    """Assignments, and how far each is; a key names one."""

    def assign(self, assignment: Assignment) -> str:
        """Keep an assignment, durably; the same one has the same key, and is kept once."""

    def look(self, key: str) -> Work:
        """How far an assignment is."""

    def is_held(self, key: str) -> bool:
        """Whether a worker that lives is at it."""

    def hold(self, key: str) -> AbstractContextManager[bool]:
        """Hold an assignment while working on it: True for one process at a time, while that process lives."""

    def read(self, key: str) -> Assignment | None:
        """What is to be done; None where it is done, given up or forgotten.

        Raises:
            RoundWorkError: It is damaged.
        """

    def begin(self, key: str) -> int:
        """Count a start; gives how many there were since the work last got further."""

    def report(self, key: str, progress: Progress) -> None:
        """Keep how far it is."""

    def finish(self, key: str, result: LocalResult | Mapping[str, Any]) -> None:
        """Keep the result of TRAIN, or the figures of EVALUATE."""

    def fail(self, key: str, reason: str) -> None:
        """Keep why there will be no result."""

    def is_wanted(self, key: str) -> bool:
        """Whether it was not forgotten meanwhile."""

    def checkpoints(self, key: str) -> Path:
        """Folder for the work's own checkpoints."""

    def site_state(self, run: str) -> Path:
        """Folder for what the site keeps from round to round of a run."""

    def forget(self, terms: RoundTerms) -> None:
        """Drop the assignments of a round and of those before it."""

    def sweep(self, now: datetime) -> None:
        """Drop assignments that are long past their deadline: nobody will ask for them again."""


class Perform(Protocol):
    """Does an assignment; see plugin.services.round_training."""

    def __call__(
        self, assignment: Assignment, *, state: Path, checkpoints: Path, report: Callable[[Progress], None]
    ) -> LocalResult | Mapping[str, Any]:
        """Do it, or go on with it from its checkpoints; an exception of report ends it.

        Raises:
            FederatedError: It cannot be done.
        """


@dataclass(frozen=True)
class RoundWork:
    """What a worker needs for rounds.

    Attributes:
        max_attempts: A worker that dies so often without getting further gives the work up.
    """

    store: RoundWorkStore
    perform: Perform
    clock: Callable[[], datetime]
    max_attempts: int


def do_round_work(work: RoundWork, key: str) -> None:
    """Be the worker of an assignment: do it, from its last checkpoint.

    Does nothing when it is done or forgotten, or when another worker is at it.
    """
    with work.store.hold(key) as is_mine:
        assignment = work.store.read(key) if is_mine else None
        if assignment is None:
            return
        attempt = work.store.begin(key)
        if attempt > work.max_attempts:
            work.store.fail(key, f"The worker was lost {work.max_attempts} times without getting further; see its log.")
            return
        try:
            work.store.finish(key, _result(work, key, assignment))
        except RoundWorkOverError as over:
            _log.info("%s", over)
        except (FederatedError, PluginError) as error:
            _log.error("round work %s failed: %s", key, error)
            work.store.fail(key, describe(error))
        except Exception as error:
            _log.error("round work %s: %s at %s", key, type(error).__name__, place_of(error))
            work.store.fail(key, describe(error))
            raise


def _result(work: RoundWork, key: str, assignment: Assignment) -> LocalResult | Mapping[str, Any]:
    """Of the assignment; its seconds are the site's whole work, from imports and the cohort's preparation on."""
    terms, began = assignment.terms, work.clock()

    def report(progress: Progress) -> None:
        if work.clock() > terms.deadline or not work.store.is_wanted(key):
            raise RoundWorkOverError(f"Round {terms.round} of run {terms.run} is over: its work stops.")
        work.store.report(key, progress)

    state, checkpoints = work.store.site_state(terms.run), work.store.checkpoints(key)
    found = work.perform(assignment, state=state, checkpoints=checkpoints, report=report)
    seconds = round((work.clock() - began).total_seconds(), 3)
    if not isinstance(found, LocalResult):
        return {**found, "seconds": seconds}
    # Of work that was gone on with after a death, what was done before counts too.
    return replace(found, figures={**found.figures, "seconds": max(seconds, found.figures.get("seconds") or 0.0)})
