"""The comparison of tables and log, with tables that a test makes: each way to differ is named, and nothing else is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from governance.ledger import log
from governance.ledger.completeness import (
    Coverage,
    Earlier,
    Problem,
    Transaction,
    Unreadable,
    check_coverage,
    count_before,
)
from governance.ledger.cosignature import CosignerSigner
from governance.ledger.entries import Entry
from tests.fakes.ledger_store import ORIGIN, InMemoryLedger

BEGAN = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
LATER = BEGAN + timedelta(hours=1)
BEFORE = BEGAN - timedelta(hours=1)


@dataclass
class Tables:
    """OperationalTables in a list."""

    rows: list[Transaction | Unreadable] = field(default_factory=list)
    past: Sequence[Earlier] = ()
    prefixes: frozenset[str] = frozenset({"review"})
    kinds: frozenset[str] = frozenset({"account-changed"})
    check_value: str = "c" * 64

    def transactions(self) -> Iterator[Transaction | Unreadable]:
        return iter(self.rows)

    def earlier(self) -> Sequence[Earlier]:
        return self.past


def review(number: int, *, at: datetime = LATER, decision: str = "final") -> Entry:
    facts = {"analysis": f"{number:064x}", "decision": decision, "reviewer": "a" * 64}
    return Entry("review-decided", at, facts, f"review-{number:064x}")


def account(user: int, role: str, *, at: datetime = LATER) -> Entry:
    return Entry("account-changed", at, {"user": f"{user:064x}", "role": role, "account": "0" * 64})


def row(entry: Entry, name: str = "1") -> Transaction:
    return Transaction("analyses", name, entry)


def person(entry: Entry) -> Transaction:
    return Transaction("users", "u", entry, has_time=False, by="user")


def ledger(*entries: Entry) -> InMemoryLedger:
    store = InMemoryLedger()
    log.open_log(store, CosignerSigner.generate(ORIGIN).public, now=BEGAN)
    log.append(store, entries)
    return store


def problems(found: Coverage) -> list[tuple[Problem, str, int | None]]:
    assert found.is_complete == (not found.gaps)
    assert found.number_of_gaps == len(found.gaps)
    return [(gap.problem, gap.row, gap.index) for gap in found.gaps]


def test_rows_that_are_all_in_the_log_are_complete() -> None:
    entries = [review(number) for number in range(1, 1001)]
    found = check_coverage(ledger(*entries), Tables([row(each) for each in entries]))
    assert problems(found) == []
    assert (found.transactions, found.recorded) == ({"analyses": 1000}, {"analyses": 1000})


def test_a_row_that_is_not_in_the_log_is_missing() -> None:
    found = check_coverage(ledger(review(1)), Tables([row(review(1), "one"), row(review(2), "two")]))
    assert problems(found) == [(Problem.MISSING, "two", None)]
    assert (sum(found.transactions.values()), sum(found.recorded.values())) == (2, 1)
    assert "two" in found.gaps[0].message


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        pytest.param(review(1, decision="entered-in-error"), "decision", id="fact"),
        pytest.param(review(1, at=LATER + timedelta(microseconds=1)), "time", id="time"),
        pytest.param(replace(review(1), kind="result-overridden"), "what was done", id="kind"),
    ],
)
def test_a_row_that_says_something_else_than_its_entry_is_named(changed: Entry, named: str) -> None:
    found = check_coverage(ledger(review(1)), Tables([row(changed)]))
    assert problems(found) == [(Problem.DIFFERS, "1", 1)]
    assert f": {named} differs" in found.gaps[0].message
    assert not found.recorded


def test_a_fact_that_its_kind_does_not_ask_for_may_be_left_out_by_whoever_recorded_it() -> None:
    wanted = replace(review(1), facts={**review(1).facts, "comment": "e" * 64})
    assert problems(check_coverage(ledger(review(1)), Tables([row(wanted)]))) == []
    differs = check_coverage(
        ledger(replace(wanted, facts={**wanted.facts, "comment": "f" * 64})), Tables([row(wanted)])
    )
    assert problems(differs) == [(Problem.DIFFERS, "1", 1)]


def test_an_entry_whose_row_is_gone_is_named() -> None:
    found = check_coverage(ledger(review(1), review(2)), Tables([row(review(2))]))
    assert problems(found) == [(Problem.NO_ROW, "", 1)]
    # Entries of other keys need no row.
    assert problems(check_coverage(ledger(review(1)), Tables(prefixes=frozenset({"event"})))) == []


def test_an_earlier_state_of_a_row_is_right() -> None:
    one = f"{1:064x}"
    allowed = Tables(past=[Earlier("review", "analysis", {one}, {"decision": "final"})])
    assert problems(check_coverage(ledger(review(1)), allowed)) == []
    assert problems(check_coverage(ledger(review(2)), allowed)) == [(Problem.NO_ROW, "", 1)]
    other = check_coverage(ledger(review(1, decision="entered-in-error")), allowed)
    assert problems(other) == [(Problem.NO_ROW, "", 1)]
    prefix = Tables(past=[Earlier("event", "analysis", {one})])
    assert problems(check_coverage(ledger(review(1)), prefix)) == [(Problem.NO_ROW, "", 1)]


def test_the_last_entry_of_an_account_counts() -> None:
    entries = [account(1, "radiologist"), account(1, "administrator"), account(2, "auditor")]
    past = [Earlier("", "user", {f"{1:064x}", f"{2:064x}"})]
    rows = [person(account(1, "administrator")), person(account(2, "auditor"))]
    assert problems(check_coverage(ledger(*entries), Tables(rows, past))) == []
    back = Tables([person(account(1, "radiologist")), rows[1]], past)
    assert problems(check_coverage(ledger(*entries), back)) == [(Problem.DIFFERS, "u", 2)]
    planted = Tables([*rows, person(account(3, "administrator"))], past)
    assert problems(check_coverage(ledger(*entries), planted)) == [(Problem.MISSING, "u", None)]


def test_what_is_older_than_the_log_is_counted_apart() -> None:
    found = check_coverage(ledger(), Tables([row(review(1, at=BEFORE))]))
    assert problems(found) == []
    assert (found.before, found.transactions) == ({"analyses": 1}, {})


def test_more_rows_from_before_than_there_were_are_antedated() -> None:
    rows: list[Transaction | Unreadable] = [row(review(number, at=BEFORE), str(number)) for number in range(1, 4)]
    counted = count_before(rows[:2], lambda _: False)
    began = Entry("recording-began", BEGAN, {"before": dict(counted), "check": "c" * 64}, "began")
    assert problems(check_coverage(ledger(began), Tables(rows[:2]))) == []
    # One fewer may have been erased, or queued again.
    assert problems(check_coverage(ledger(began), Tables(rows[:1]))) == []
    assert problems(check_coverage(ledger(began), Tables(rows))) == [(Problem.ANTEDATED, "", None)]


def test_what_the_log_had_already_is_not_counted_as_before() -> None:
    rows = [row(review(1)), row(review(2)), person(account(1, "auditor"))]
    assert count_before(rows, {review(1).key}.__contains__) == {"analyses": 1}


def test_what_was_erased_for_a_patient_needs_no_row_and_no_match() -> None:
    one, two = f"{1:064x}", f"{2:064x}"
    erased = Entry("subject-erased", LATER, {"subject": "d" * 64, "removed": 2, "analyses": [one, two]})
    store = ledger(review(1), review(2), review(3), erased)
    found = check_coverage(store, Tables([row(review(2, decision="changed")), row(review(3))]))
    assert problems(found) == []
    assert (found.erased, found.recorded) == (1, {"analyses": 1})


def test_a_row_that_cannot_be_read_is_named() -> None:
    found = check_coverage(ledger(), Tables([Unreadable("events", "7")]))
    assert problems(found) == [(Problem.UNREADABLE, "7", None)]


def test_with_another_key_of_digests_only_that_is_said() -> None:
    began = Entry("recording-began", BEGAN, {"before": {}, "check": "b" * 64}, "began")
    found = check_coverage(ledger(began, review(1)), Tables([row(review(2))]))
    assert problems(found) == [(Problem.OTHER_KEY, "", 1)]
    assert "digest.key" in found.gaps[0].message


def test_a_key_that_stands_beside_another_entry_proves_nothing() -> None:
    store = ledger(review(1))
    store.put(1, store.stored[1]._replace(key=review(2).key))
    found = check_coverage(store, Tables([row(review(2), "two")]))
    assert (Problem.MISSING, "two", None) in problems(found)


def test_entries_that_are_none_are_left_to_the_verification() -> None:
    store = ledger(review(1))
    store.put(1, store.stored[1]._replace(leaf=b"{}"))
    assert problems(check_coverage(store, Tables([row(review(1), "one")]))) == [(Problem.MISSING, "one", None)]


def test_many_gaps_are_counted_and_the_first_are_named() -> None:
    found = check_coverage(ledger(), Tables([row(review(number)) for number in range(500)]))
    assert (len(found.gaps), found.number_of_gaps) == (200, 500)
    told = found.to_json()
    assert (told["transactions"], told["recorded"], told["complete"]) == (500, 0, False)
    assert told["gaps"][0]["problem"] == "not-in-the-log"
