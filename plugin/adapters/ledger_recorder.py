"""RoundRecorder that makes entries of the ledger: what the rounds tell is appended, and signed at once."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from federated.errors import RoundRecordError
from federated.rounds.ports import RoundRecorder
from governance.canonical import Canonical, digest
from governance.errors import GovernanceError
from governance.ledger.entries import Entry


class LedgerRecorder:
    """Every transaction of the rounds becomes an entry of its name."""

    def __init__(
        self,
        record: Callable[[Sequence[Entry]], object],
        clock: Callable[[], datetime],
        stored: Collection[str] = (),
    ) -> None:
        """Use a ledger.

        Args:
            record: Appends entries durably, e.g. plugin.services.ledger.Ledger.record.
            clock: Gives the time.
            stored: Transactions that are entries already, made in the transaction that stored their rows: with them
                what there is gets signed, and nothing is appended.
        """
        self._record, self._clock, self._stored = record, clock, frozenset(stored)

    def record(self, event: str, facts: Mapping[str, Any]) -> None:
        """Take note, durably.

        What has terms is told once, however often it happens: a site that starts again says the same again.

        Raises:
            RoundRecordError: The ledger does not take it; the round must not go on unrecorded.
        """
        try:
            if event in self._stored:
                self._record([])
                return
            said = {name: _canonical(value) for name, value in facts.items()}
            key = f"round-{digest([event, said])}" if "terms" in said else ""
            self._record([Entry(event, self._clock(), said, key)])
        except GovernanceError as fault:
            raise RoundRecordError(f"The ledger did not take the transaction {event!r}: {fault}") from fault


class Recorders:
    """Tells several recorders, one after the other; what one does not take the next is not told."""

    def __init__(self, *recorders: RoundRecorder) -> None:
        self._recorders = recorders

    def record(self, event: str, facts: Mapping[str, Any]) -> None:
        """Take note."""
        for each in self._recorders:
            each.record(event, facts)


def _canonical(value: Any) -> Canonical:
    """A fact as entries take it: numbers that are not whole as text."""
    match value:
        case float():
            return repr(value)
        case Mapping():
            return {str(name): _canonical(each) for name, each in value.items()}
        case list() | tuple():
            return [_canonical(each) for each in value]
        case set() | frozenset():
            return sorted(str(each) for each in value)
        case datetime():
            return value.isoformat()
        case _:
            found: Canonical = value
            return found
