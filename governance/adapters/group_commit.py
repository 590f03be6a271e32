"""One durable write for all who wait: while one thread commits, the others queue up for the next commit."""

import time
from collections.abc import Callable, Sequence
from threading import Event, Lock
from typing import Final, Generic, TypeVar, cast

from governance.errors import LedgerError, LedgerStoreError

_GATHER_S: Final = 0.002

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Ticket(Generic[Item, Result]):
    def __init__(self, item: Item) -> None:
        self.item = item
        self.outcome: Result | Exception | None = None
        self.called = Event()  # it has an outcome, or is to lead the next commit


class GroupCommit(Generic[Item, Result]):
    """Turns concurrent submissions into few commits. Submissions keep the order in which they came.

    A thread leads one commit, of all that wait by then, and hands the lead to the first that came meanwhile.
    """

    def __init__(self, commit: Callable[[Sequence[Item]], Sequence[Result | Exception]], *, most: int) -> None:
        """Use a commit.

        Args:
            commit: Writes items durably, all or none; gives each item's result, or why it was not taken. A LedgerError
                that it raises is raised to everybody whose item it was given.
            most: Items of one commit.
        """
        self._commit, self._most = commit, most
        self._guard = Lock()
        self._waiting: list[_Ticket[Item, Result]] = []
        self._has_leader = False

    def submit(self, item: Item) -> Result:
        """Have an item written; returns when it is durable.

        Raises:
            LedgerError: The commit failed, or did not take this item.
        """
        ticket: _Ticket[Item, Result] = _Ticket(item)
        with self._guard:
            self._waiting.append(ticket)
            leads, self._has_leader = not self._has_leader, True
        if not leads:
            ticket.called.wait()
            if ticket.outcome is None:
                # Those whose commit has just ended come again: waiting for them fills the next one.
                time.sleep(_GATHER_S)
        if ticket.outcome is None:
            self._lead()
        if isinstance(ticket.outcome, Exception):
            raise ticket.outcome
        return cast("Result", ticket.outcome)  # whoever leads is the first in the queue, so it has one

    def _lead(self) -> None:
        with self._guard:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        try:
            for ticket, outcome in zip(batch, self._commit([ticket.item for ticket in batch]), strict=True):
                ticket.outcome = outcome
        except LedgerError as fault:
            for ticket in batch:
                ticket.outcome = fault
        finally:
            self._finish(batch)

    def _finish(self, batch: Sequence[_Ticket[Item, Result]]) -> None:
        """Wake everybody, also when this thread was interrupted, and hand over the lead."""
        for ticket in batch:
            if ticket.outcome is None:
                ticket.outcome = LedgerStoreError("The commit of this entry was interrupted; append it again.")
            ticket.called.set()
        with self._guard:
            self._has_leader = bool(self._waiting)
            if self._waiting:
                self._waiting[0].called.set()
