"""The site's worker behind Celery: an assignment in a folder, and a message that says so."""

import time
from collections.abc import Callable, Mapping

from federated.rounds.layout import Weights
from federated.rounds.messages import Stage
from federated.rounds.ports import Work
from federated.rounds.terms import RoundTerms
from plugin.services.round_work import Assignment, RoundWorkStore


class CelerySiteWorker:
    """SiteWorker by the training queue.

    The message is only a hint. It is repeated as long as nobody is at the work, because the broker, or the worker that
    took it, may have died; a worker that finds the work done does nothing.
    """

    def __init__(
        self,
        store: RoundWorkStore,
        hint: Callable[[str], None],
        *,
        repeat_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use a store that the workers share.

        Args:
            store: Of the assignments.
            hint: Tells a worker of an assignment, by its key; it may fail to, silently.
            repeat_s: Time between two hints at work that nobody is at.
            clock: Seconds, of any beginning.
        """
        self._store = store
        self._hint = hint
        self._repeat_s = repeat_s
        self._clock = clock
        self._hinted: dict[str, float] = {}
        self._seen_held: set[str] = set()

    def work(self, terms: RoundTerms, stage: Stage, weights: Weights, extras: Mapping[str, bytes]) -> Work:
        """Have a stage done, and say how far it is."""
        key = self._store.assign(Assignment(terms, stage, weights, extras))
        found = self._store.look(key)
        if found.result is None and found.figures is None and not found.failure:
            self._see_to(key)
        return found

    def forget(self, terms: RoundTerms) -> None:
        """The round is over: its files go."""
        self._store.forget(terms)
        self._hinted.clear()
        self._seen_held.clear()

    def _see_to(self, key: str) -> None:
        if self._store.is_held(key):
            self._seen_held.add(key)
            return
        has_died = key in self._seen_held
        if has_died or self._clock() - self._hinted.get(key, -self._repeat_s) >= self._repeat_s:
            self._seen_held.discard(key)
            self._hinted[key] = self._clock()
            self._hint(key)
