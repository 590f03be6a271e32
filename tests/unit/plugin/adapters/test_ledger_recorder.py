"""What the rounds tell becomes entries, once each, without what a canonical form cannot hold."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from federated.errors import RoundRecordError
from governance.errors import LedgerStoreError
from governance.ledger import log
from governance.ledger.cosignature import CosignerSigner
from governance.ledger.entries import Entry, parse_leaf
from plugin.adapters.ledger_recorder import LedgerRecorder, Recorders
from tests.fakes.ledger_store import ORIGIN, InMemoryLedger

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
PLACE = {"site": "north", "run": "r1", "round": 1, "terms": "a" * 64}


@pytest.fixture
def store() -> InMemoryLedger:
    store = InMemoryLedger()
    log.open_log(store, CosignerSigner.generate(ORIGIN).public, now=NOW)
    return store


def entries(store: InMemoryLedger) -> list[Entry]:
    return [parse_leaf(row.leaf) for row in list(store.rows())[1:]]


def recorder(store: InMemoryLedger) -> LedgerRecorder:
    return LedgerRecorder(lambda new: log.append(store, new), lambda: NOW)


def test_a_transaction_is_an_entry_of_its_name(store: InMemoryLedger) -> None:
    recorder(store).record("epsilon-spent", {**PLACE, "epsilon": repr(0.25)})
    (entry,) = entries(store)
    assert (entry.kind, entry.at) == ("epsilon-spent", NOW)
    assert entry.facts == {**PLACE, "epsilon": "0.25"}


def test_numbers_that_are_not_whole_and_sets_are_written_as_texts(store: InMemoryLedger) -> None:
    recorder(store).record("sum-opened", {**PLACE, "survivors": {"b", "a"}, "more": {"loss": 0.5, "at": NOW}})
    (entry,) = entries(store)
    # A set has no order, so it is written in one.
    assert entry.facts["survivors"] == ["a", "b"]
    assert entry.facts["more"] == {"loss": "0.5", "at": NOW.isoformat()}


def test_what_is_told_again_after_a_restart_is_one_entry(store: InMemoryLedger) -> None:
    for _ in range(2):
        recorder(store).record("terms-accepted", PLACE)
    recorder(store).record("terms-accepted", {**PLACE, "round": 2})
    assert len(entries(store)) == 2


def test_what_is_an_entry_with_its_row_is_only_signed() -> None:
    told: list[Sequence[Entry]] = []
    LedgerRecorder(told.append, lambda: NOW, {"departure"}).record("departure", {"site": "north"})
    assert told == [[]]


def test_failures_of_one_round_are_each_told(store: InMemoryLedger) -> None:
    for _ in range(2):
        recorder(store).record("round-failed", {"run": "r1", "round": 1})
    assert len(entries(store)) == 2


@pytest.mark.parametrize(
    ("event", "facts"),
    [
        pytest.param("round-forgotten", PLACE, id="unknown-event"),
        pytest.param("departure", PLACE, id="missing-facts"),
        pytest.param("terms-accepted", {**PLACE, "cases": {1: object()}}, id="no-canonical-form"),
        pytest.param("terms-accepted", {**PLACE, "study": "1.2.840.113619.2.1"}, id="personal-data"),
    ],
)
def test_what_cannot_be_recorded_stops_the_round(store: InMemoryLedger, event: str, facts: dict) -> None:
    with pytest.raises(RoundRecordError, match=event):
        recorder(store).record(event, facts)
    assert entries(store) == []


def test_a_ledger_that_is_down_stops_the_round() -> None:
    def down(_: Sequence[Entry]) -> None:
        raise LedgerStoreError("the database is down")

    with pytest.raises(RoundRecordError, match="is down"):
        LedgerRecorder(down, lambda: NOW).record("terms-accepted", PLACE)


def test_several_recorders_are_told_in_order(store: InMemoryLedger) -> None:
    class Notes:
        def __init__(self) -> None:
            self.events: list[str] = []

        def record(self, event: str, facts: dict) -> None:
            self.events.append(event)

    notes = Notes()
    both = Recorders(recorder(store), notes)
    both.record("terms-accepted", PLACE)
    with pytest.raises(RoundRecordError):
        both.record("unknown", {})
    assert notes.events == ["terms-accepted"]
