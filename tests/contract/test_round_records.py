"""One suite over the round records in memory, SQLite and PostgreSQL: a hospital's budget, departures, participation."""

import multiprocessing
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import inspect, text

from federated.errors import PrivacyBudgetError, RoundRecordError, TermsRefusedError
from federated.privacy.budget import spending_of_round
from federated.rounds.messages import Stage
from federated.rounds.ports import Finding
from federated.rounds.terms import Learning, Privacy, RoundTerms
from governance.adapters.sql_ledger import SqlLedger
from governance.ledger.completeness import Problem
from governance.ledger.entries import keyed_digest, parse_leaf
from plugin.adapters import sql_engine
from plugin.adapters.round_secrets import RoundSecrets
from plugin.adapters.sql_coverage import SqlCoverage
from plugin.adapters.sql_rounds import SqlRounds
from plugin.errors import ParticipationError, SitePolicyError
from plugin.services.governance.coverage import coverage_of
from plugin.services.governance.journal import Journal
from plugin.services.governance.round_journal import RoundJournal
from plugin.services.policy_model import CohortCount, ParticipationState, PrivacyLimits
from plugin.services.round_records import Outcome, RoundRecords
from tests.fakes.round_records import InMemoryRounds
from tests.fakes.round_terms import example_terms
from tests.servers.postgres import postgres

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
LIMITS = PrivacyLimits(required=True, epsilon_per_round=2.0, epsilon_per_run=3.0, epsilon_per_year=4.0, delta=1e-3)
JOURNAL = RoundJournal(lambda what, name: keyed_digest(b"k" * 32, f"{what}:{name}"), "north")
REFUSED = Finding("participants", "1 site", False, "Expected 3 participants, got 1.")


class Limits:
    """A policy's limits, which a test may change."""

    def __init__(self) -> None:
        self.now = LIMITS
        self.fault: SitePolicyError | None = None

    def __call__(self) -> PrivacyLimits:
        if self.fault:
            raise self.fault
        return self.now


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of this version's schema; empty for none at all."""
    if request.param == "memory":
        return ""
    url = f"sqlite:///{tmp_path}/qfl.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_server")
        engine = sql_engine.connect(url)
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        engine.dispose()
    engine = sql_engine.connect(url)
    sql_engine.migrate(engine)
    SqlLedger(engine).open("hospital.example/ledger")
    engine.dispose()
    return url


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
def reopen(database: str, tmp_path: Path, limits: Limits) -> Iterator[Callable[[], RoundRecords]]:
    """Gives the records as a process that has just started sees them."""
    memory, engines = InMemoryRounds(limits), []

    def opened() -> RoundRecords:
        if not database:
            return memory
        engines.append(sql_engine.connect(database))
        return SqlRounds(engines[-1], RoundSecrets(tmp_path / "secrets"), limits, JOURNAL)

    yield opened
    for engine in engines:
        engine.dispose()


@pytest.fixture
def records(reopen: Callable[[], RoundRecords]) -> RoundRecords:
    return reopen()


def terms(number: int = 1, **changes: object) -> RoundTerms:
    privacy = Privacy(record_noise=1.0, record_epsilon=2.0, delta=1e-5)
    return example_terms(**{"round": number, "rounds": 1000, "privacy": privacy, **changes})


def spent(records: RoundRecords) -> list[float]:
    return [charge.spending.epsilon for charge in records.charges()]


# The budget


def test_a_round_is_charged_once_however_often_it_is_asked(records, reopen):
    for _ in range(3):
        records.charge(terms(), 1.5, now=NOW)
    reopen().charge(terms(), 1.5, now=NOW + DAY)
    assert spent(records) == [1.5]


def test_a_round_that_turns_out_dearer_is_charged_the_higher_price(records):
    records.charge(terms(), 1.0, now=NOW)
    records.charge(terms(), 1.8, now=NOW)
    records.charge(terms(), 0.2, now=NOW)
    assert spent(records) == [1.8]


def test_the_budget_of_a_run_is_kept(records):
    records.charge(terms(1), 1.5, now=NOW)
    records.charge(terms(2), 1.5, now=NOW)
    with pytest.raises(PrivacyBudgetError, match=r"run.*round 3|epsilon 3"):
        records.charge(terms(3), 0.1, now=NOW)
    records.charge(terms(1, run="run-2"), 1.0, now=NOW)
    assert spent(records) == [1.5, 1.5, 1.0] or sorted(spent(records)) == [1.0, 1.5, 1.5]


def test_the_budget_of_the_year_spans_runs_and_federations(records):
    records.charge(terms(1, run="run-1"), 2.0, now=NOW)
    records.charge(terms(1, run="run-2", federation="other"), 2.0, now=NOW)
    with pytest.raises(PrivacyBudgetError):
        records.charge(terms(1, run="run-3"), 0.01, now=NOW)
    assert len(spent(records)) == 2


def test_what_is_a_year_old_costs_the_year_nothing_and_the_run_still(records):
    records.charge(terms(1), 2.0, now=NOW)
    later = NOW + timedelta(days=366)
    for number in (1, 2):
        records.charge(terms(number, run=f"later-{number}"), 2.0, now=later)
    with pytest.raises(PrivacyBudgetError):
        records.charge(terms(2), 1.5, now=later + timedelta(days=366))


def test_a_clock_that_was_put_back_frees_nothing(records):
    for number in (1, 2):
        records.charge(terms(number, run=f"run-{number}"), 2.0, now=NOW)
    with pytest.raises(PrivacyBudgetError):
        records.charge(terms(1, run="run-3"), 1.0, now=NOW - timedelta(days=500))


def test_a_charge_under_a_clock_that_was_put_back_does_not_leave_the_year_early(records):
    records.charge(terms(1, run="run-1"), 2.0, now=NOW)
    records.charge(terms(1, run="run-2"), 2.0, now=NOW - timedelta(days=364))
    # Were it dated by that clock, it would be out of the year two days later.
    with pytest.raises(PrivacyBudgetError):
        records.charge(terms(1, run="run-3"), 1.0, now=NOW + 2 * DAY)


@pytest.mark.parametrize(
    "epsilon",
    [
        pytest.param(float("nan"), id="not-a-number"),
        pytest.param(float("inf"), id="infinite"),
        pytest.param(-1.0, id="negative"),
        pytest.param(0.0, id="none-although-there-is-noise"),
        pytest.param(2.01, id="above-a-round's"),
    ],
)
def test_an_epsilon_that_cannot_be_is_refused(records, epsilon):
    with pytest.raises(PrivacyBudgetError):
        records.charge(terms(), epsilon, now=NOW)
    assert not spent(records)


def test_a_round_may_not_cost_more_than_its_terms_promise(records):
    with pytest.raises(PrivacyBudgetError):
        records.charge(terms(privacy=Privacy(record_noise=1.0, record_epsilon=0.5)), 0.6, now=NOW)


def test_without_noise_nothing_is_charged_and_nothing_leaves_where_the_policy_requires_it(records, limits):
    bare = terms(privacy=Privacy())
    with pytest.raises(PrivacyBudgetError):
        records.charge(bare, 0.0, now=NOW)
    limits.now = replace(LIMITS, required=False)
    records.charge(bare, 0.0, now=NOW)
    assert not spent(records)


def test_a_policy_edited_to_less_is_kept_to_at_once(records, limits):
    records.charge(terms(1), 1.5, now=NOW)
    limits.now = replace(LIMITS, epsilon_per_year=2.0, epsilon_per_run=2.0)
    with pytest.raises(PrivacyBudgetError):
        records.charge(terms(2), 1.0, now=NOW)


def test_a_policy_edited_to_more_does_not_forget_what_was_spent(records, limits):
    records.charge(terms(1), 2.0, now=NOW)
    limits.now = replace(LIMITS, epsilon_per_year=3.5, epsilon_per_run=3.5)
    with pytest.raises(PrivacyBudgetError):
        records.charge(terms(2), 2.0, now=NOW)
    records.charge(terms(2), 1.5, now=NOW)


def test_a_policy_that_cannot_be_read_lets_nothing_be_spent(records, limits, database):
    if not database:
        pytest.skip("The one in memory has no policy file.")
    limits.fault = SitePolicyError("policy.yaml: is empty")
    with pytest.raises(PrivacyBudgetError, match="is empty"):
        records.charge(terms(), 1.0, now=NOW)


def test_deltas_add_up_too(records, limits):
    limits.now = replace(LIMITS, delta=2e-5)
    for number in (1, 2):
        records.charge(terms(number), 0.1, now=NOW)
    with pytest.raises(PrivacyBudgetError):
        records.charge(terms(3), 0.1, now=NOW)


def test_statistics_are_charged_beside_the_training_of_the_same_round(records):
    records.charge(terms(), 1.0, now=NOW)
    records.charge(terms(), 0.5, now=NOW, what="statistics")
    records.charge(terms(), 0.5, now=NOW, what="statistics")
    assert sorted((charge.spending.what, charge.spending.epsilon) for charge in records.charges()) == [
        ("statistics", 0.5),
        ("training", 1.0),
    ]


def test_rounds_whose_mechanism_is_known_cost_less_together_than_their_sum(records, limits):
    asked = {"privacy": Privacy(record_noise=4.0, record_epsilon=1.0), "learning": Learning(steps=5, batch=2)}
    one = spending_of_round(terms(**asked), 20)
    limits.now = replace(LIMITS, epsilon_per_run=1.5 * one.epsilon, epsilon_per_year=1.5 * one.epsilon)
    for number in range(1, 5):
        records.charge(terms(number, **asked), one.epsilon, now=NOW, patients=20)
    assert sum(spent(records)) > limits.now.epsilon_per_run
    assert {charge.spending.sample_rate for charge in records.charges()} == {0.1}
    charged = 0
    with suppress(PrivacyBudgetError):
        for charged in range(5, 12):
            records.charge(terms(charged, **asked), one.epsilon, now=NOW, patients=20)
    assert 5 < charged < 11


def test_the_forecast_counts_a_charged_round_once(records):
    expected = spending_of_round(
        terms(privacy=Privacy(record_noise=4.0, record_epsilon=1.0), learning=Learning(steps=5, batch=2)), 20
    )
    before = records.forecast(terms(), None, delta=1e-3, now=NOW)
    assert (before.run.epsilon, before.year.epsilon) == (0.0, 0.0)
    records.charge(terms(), 1.5, now=NOW)
    assert records.forecast(terms(), expected, delta=1e-3, now=NOW).year.epsilon == pytest.approx(1.5)
    assert records.forecast(terms(2), expected, delta=1e-3, now=NOW).run.epsilon > 1.5
    other = records.forecast(terms(1, run="run-2"), expected, delta=1e-3, now=NOW)
    assert other.run.epsilon < other.year.epsilon


def test_threads_do_not_overspend(records):
    charged = _count(
        lambda number: records.charge(terms(number), 0.5, now=NOW), lambda work: threading.Thread(target=work)
    )
    assert (charged, sum(spent(records))) == (6, pytest.approx(3.0))


def test_processes_do_not_overspend(records, database, tmp_path):
    if not database:
        pytest.skip("Processes do not share memory.")
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(4), context.Queue()
    workers = [
        context.Process(target=_charge_many, args=(database, str(tmp_path), first, barrier, results))
        for first in range(4)
    ]
    for worker in workers:
        worker.start()
    charged = sum(results.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join(timeout=30)
    assert (charged, sum(spent(records))) == (6, pytest.approx(3.0))


def _charge_many(database, folder, first, barrier, results):
    """Charge every fourth round, in a process of its own."""
    engine = sql_engine.connect(database)
    records = SqlRounds(engine, RoundSecrets(Path(folder) / "secrets"), lambda: LIMITS, JOURNAL)
    barrier.wait(timeout=60)
    results.put(sum(_is_charged(records, number) for number in range(first + 1, 13, 4)))
    engine.dispose()


def _is_charged(records, number):
    try:
        records.charge(terms(number), 0.5, now=NOW)
    except PrivacyBudgetError:
        return False
    return True


def _count(charge, start):
    """How many of twelve rounds four workers could charge."""
    charged = []

    def work(first):
        for number in range(first + 1, 13, 4):
            try:
                charge(number)
            except PrivacyBudgetError:
                continue
            charged.append(number)

    workers = [start(lambda first=first: work(first)) for first in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    return len(charged)


# What left


def test_a_departure_is_recorded_once_for_the_same_bytes(records, reopen):
    for again in (records, reopen(), records):
        again.note_departure(terms(), Stage.JOIN, what="public keys", digest="a" * 64, size=100, now=NOW)
    records.note_departure(terms(), Stage.JOIN, what="public keys", digest="b" * 64, size=100, now=NOW + DAY)
    assert [(row.digest[0], row.at) for row in records.departures(limit=9)] == [("b", NOW + DAY), ("a", NOW)]


def test_the_departure_of_an_update_tells_its_epsilon(records):
    records.charge(terms(), 1.5, now=NOW)
    records.note_departure(terms(), Stage.TRAIN, what="masked update", digest="a" * 64, size=2**40, now=NOW)
    records.note_departure(terms(), Stage.UNMASK, what="shares", digest="c" * 64, size=10, now=NOW + DAY)
    shares, update = records.departures(limit=9, run="run-1")
    assert (update.what, update.size, update.epsilon, update.stage) == ("masked update", 2**40, 1.5, "train")
    assert shares.epsilon is None
    assert not records.departures(limit=9, run="run-2")


def test_several_processes_may_note_the_same_departure(records, database, reopen):
    if not database:
        pytest.skip("There is one process in memory.")
    faults = []

    def note(own):
        try:
            own.note_departure(terms(), Stage.TRAIN, what="update", digest="a" * 64, size=1, now=NOW)
        except RoundRecordError as fault:
            faults.append(fault)

    threads = [threading.Thread(target=note, args=(reopen(),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not faults
    assert len(records.departures(limit=9)) == 1


def test_a_round_is_seen_as_it_went(records):
    records.note_check(
        terms(), policy_digest="b" * 64, cohort_digest="d" * 64, cohort=CohortCount(7, {"no consent": 2}), now=NOW
    )
    assert records.has_begun(terms())
    assert not records.has_begun(terms(minimum_cases=2))
    records.note_refusal(terms(2), [REFUSED], now=NOW + DAY)
    records.note_departure(terms(), Stage.JOIN, what="public keys", digest="a" * 64, size=1, now=NOW + DAY)
    records.note_refusal(terms(), [REFUSED], now=NOW + 2 * DAY)
    second, first = sorted(records.rounds(limit=9), key=lambda row: -row.round)
    assert (first.outcome, first.cases, first.left_out) == (Outcome.SENT, 7, {"no consent": 2})
    assert (first.policy_digest, first.cohort_digest) == ("b" * 64, "d" * 64)
    assert (first.first_at, first.last_at) == (NOW, NOW + 2 * DAY)
    assert (second.outcome, second.participants, second.cases) == (Outcome.REFUSED, 3, None)
    assert not records.has_begun(terms(2))


def test_the_same_refusal_again_is_counted(records):
    allowed = Finding("model", "any", True, "fine")
    for day in range(3):
        records.note_refusal(terms(), [REFUSED, allowed], now=NOW + day * DAY)
    records.note_refusal(terms(), [replace(REFUSED, rule="model")], now=NOW)
    first = records.refusals(limit=1)[0]
    assert (first.count, first.first_at, first.last_at) == (3, NOW, NOW + 2 * DAY)
    assert [finding["rule"] for finding in first.findings] == ["participants"]
    assert len(records.refusals(limit=9)) == 2


# The ledger


def do_everything(records):
    for day, cases in enumerate((7, 7, 8)):  # the same check again, then one of another cohort
        counted = CohortCount(cases, {"no consent": 2})
        digest = f"{cases:064}"
        records.note_check(terms(), policy_digest="b" * 64, cohort_digest=digest, cohort=counted, now=NOW + day * DAY)
    records.charge(terms(), 0.5, now=NOW)
    records.charge(terms(), 1.0, now=NOW + DAY)  # it grows
    records.charge(terms(), 1.0, now=NOW + 2 * DAY)  # nothing new
    records.charge(terms(), 0.25, now=NOW, what="statistics")
    for _ in range(2):
        records.note_departure(terms(), Stage.TRAIN, what="masked update", digest="a" * 64, size=2**40, now=NOW)
        records.note_refusal(terms(2), [REFUSED], now=NOW)
    # Other terms for a round that was checked before: what was checked stays what was checked.
    records.note_refusal(terms(minimum_cases=2), [REFUSED], now=NOW + DAY)
    records.set_participation("test", ParticipationState.PAUSED, reason="Dr Doe asked for it", now=NOW)


def coverage(database):
    engine = sql_engine.connect(database)
    found = coverage_of(SqlCoverage(engine, Journal(JOURNAL.digest), JOURNAL))
    with SqlLedger(engine).snapshot() as view:
        entries = [parse_leaf(row.leaf) for row in view.rows()]
    engine.dispose()
    return found, entries


def test_each_transaction_is_an_entry_of_the_same_commit(records, database):
    if not database:
        pytest.skip("There is no ledger in memory.")
    do_everything(records)
    found, entries = coverage(database)
    assert found.gaps == ()
    assert found.recorded == {
        "federation_rounds": 2,
        "federation_spendings": 2,
        "federation_departures": 1,
        "federation_refusals": 2,
        "federation_participation": 1,
    }
    kinds = [entry.kind for entry in entries]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "consent-applied": 2,
        "cohort-drawn": 2,
        "epsilon-spent": 3,
        "departure": 1,
        "terms-refused": 2,
        "participation-changed": 1,
    }
    assert {entry.facts["site"] for entry in entries if "site" in entry.facts} == {"north"}
    assert "Doe" not in str(entries)


@pytest.mark.parametrize(
    ("statement", "problem", "kind"),
    [
        pytest.param("UPDATE federation_spendings SET epsilon = 0.1", Problem.MISSING, "epsilon-spent", id="epsilon"),
        pytest.param("DELETE FROM federation_spendings", Problem.NO_ROW, "epsilon-spent", id="spending"),
        pytest.param("DELETE FROM federation_departures", Problem.NO_ROW, "departure", id="departure"),
        pytest.param("UPDATE federation_departures SET size = 1", Problem.DIFFERS, "departure", id="size"),
        pytest.param("DELETE FROM federation_refusals", Problem.NO_ROW, "terms-refused", id="refusal"),
        pytest.param("UPDATE federation_rounds SET cases = 99", Problem.MISSING, "cohort-drawn", id="cases"),
        pytest.param("DELETE FROM federation_rounds", Problem.NO_ROW, "consent-applied", id="round"),
        pytest.param(
            "UPDATE federation_participation SET state = 'active'", Problem.MISSING, "participation-changed", id="state"
        ),
    ],
)
def test_whoever_changes_a_record_is_named(records, database, statement, problem, kind):
    if not database:
        pytest.skip("There is no ledger in memory.")
    do_everything(records)
    engine = sql_engine.connect(database)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()
    found, _ = coverage(database)
    assert (problem, kind) in {(gap.problem, gap.kind) for gap in found.gaps}


def test_without_an_open_ledger_nothing_is_charged(tmp_path):
    engine = sql_engine.connect(f"sqlite:///{tmp_path}/qfl.db")
    sql_engine.migrate(engine)
    records = SqlRounds(engine, RoundSecrets(tmp_path / "secrets"), lambda: LIMITS, JOURNAL)
    with pytest.raises(RoundRecordError, match="qfl migrate"):
        records.charge(terms(), 1.0, now=NOW)
    assert spent(records) == []
    engine.dispose()


# Participation


def test_a_site_takes_part_until_it_says_otherwise(records, reopen):
    assert records.participation("test").state is ParticipationState.ACTIVE
    records.set_participation("test", ParticipationState.PAUSED, reason="audit", now=NOW)
    found = reopen().participation("test")
    assert (found.state, found.reason, found.since) == (ParticipationState.PAUSED, "audit", NOW)
    assert records.participation("other").state is ParticipationState.ACTIVE
    records.set_participation("test", ParticipationState.ACTIVE, reason="", now=NOW + DAY)
    assert records.participation("test").state is ParticipationState.ACTIVE
    assert records.federations() == ["test"]


def test_after_leaving_nothing_leaves_and_no_secret_is_left(records, reopen):
    records.keep("work/1/attempt/session", b"secret")
    records.keep("run/1", b"what was opened")
    records.set_participation("test", ParticipationState.LEFT, reason="", now=NOW)
    assert reopen().load("work/1/attempt/session") is None
    assert reopen().load("run/1") == b"what was opened"
    with pytest.raises(TermsRefusedError, match="left"):
        records.note_departure(terms(), Stage.UNMASK, what="shares", digest="a" * 64, size=1, now=NOW)
    assert not records.departures(limit=9)


def test_a_site_that_left_comes_back_by_rejoining_only(records):
    with pytest.raises(ParticipationError):
        records.rejoin("test", reason="", now=NOW)
    records.set_participation("test", ParticipationState.LEFT, reason="", now=NOW)
    for state in ParticipationState:
        with pytest.raises(ParticipationError):
            records.set_participation("test", state, reason="", now=NOW)
    records.rejoin("test", reason="admitted again", now=NOW + DAY)
    assert records.participation("test").state is ParticipationState.ACTIVE


# State and secrets


def test_state_survives_a_restart_and_goes_by_prefix(records, reopen):
    records.keep("work/1/a", b"one")
    records.keep("work/1/a", b"two")
    records.keep("work/10/a", b"three")
    records.keep("../../x", b"four")
    records.drop("work/1/")
    again = reopen()
    assert (again.load("work/1/a"), again.load("work/10/a"), again.load("../../x")) == (None, b"three", b"four")
    records.drop("")
    assert again.load("work/10/a") is None


def test_a_name_that_the_records_cannot_hold_is_refused(records, database):
    if not database:
        pytest.skip("Memory holds any name.")
    with pytest.raises(RoundRecordError, match="200"):
        records.charge(terms(run="r" * 201), 1.0, now=NOW)


def test_a_database_without_the_tables_is_an_error_in_our_words(tmp_path):
    engine = sql_engine.connect(f"sqlite:///{tmp_path}/empty.db")
    records = SqlRounds(engine, RoundSecrets(tmp_path / "secrets"), lambda: LIMITS, JOURNAL)
    with pytest.raises(RoundRecordError, match="qfl migrate"):
        records.charge(terms(), 1.0, now=NOW)
    engine.dispose()


def test_the_migration_goes_both_ways_and_keeps_secrets_out_of_the_database(database):
    if not database:
        pytest.skip("There is no schema in memory.")
    engine = sql_engine.connect(database)
    config = sql_engine._config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        tables = {name for name in inspect(connection).get_table_names() if name.startswith("federation_")}
        kinds = {str(column["type"]) for table in tables for column in inspect(connection).get_columns(table)}
        command.downgrade(config, "0001")
    with engine.begin() as connection:
        assert not any(name.startswith("federation_") for name in inspect(connection).get_table_names())
    sql_engine.migrate(engine)
    engine.dispose()
    assert len(tables) == 5
    assert not {"BLOB", "BYTEA"} & kinds


def test_secrets_are_for_their_owner_only(tmp_path):
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o755)
    RoundSecrets(folder).keep("work/1/session", b"secret")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600]
