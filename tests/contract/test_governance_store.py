"""One suite over governance in memory, SQLite and PostgreSQL: what is kept, and what the gate rests on."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from governance.adapters.sql_ledger import SqlLedger
from governance.errors import EntryError, ModelNotInUseError, ReleaseError
from governance.ledger.entries import Entry, keyed_digest
from governance.policy import Act
from governance.ports import LedgerStore
from plugin.adapters import sql_engine
from plugin.adapters.sql_governance import SqlGovernance, is_released
from plugin.adapters.sql_store import SqlAnalysisStore
from plugin.services.governance.audit_record import record_of
from plugin.services.governance.journal import Journal
from plugin.services.governance.ports import GovernanceStore
from plugin.services.governance.values import (
    GovernanceReport,
    ModelState,
    ModelStatus,
    Observation,
    Officer,
    SignedAct,
)
from plugin.services.ports import AnalysisStore
from plugin.services.values import AnalysisResult, AnalysisState, EventState, Patient, Role, User
from tests.fakes.analysis_store import InMemoryStore
from tests.fakes.audits import audit_document
from tests.fakes.governance_store import InMemoryGovernance
from tests.servers.postgres import postgres

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MODEL = "a" * 64
RESULT = AnalysisResult(True, "Suspected tumour.", (), (), (), "1.2.4", "1.2.5", ())
RELEASED = ModelStatus(MODEL, ModelState.RELEASED, "released", "Released.", "d" * 64, NOW)
HALTED = replace(RELEASED, state=ModelState.HALTED, reason_code="bias", reason="Biased.", since=NOW + MINUTE)
ACT = SignedAct(Act.RELEASE, MODEL, "eve", "ethics-officer", b'{"a":1}', b"\x00\x01", NOW)


@dataclass
class Records:
    """The stores that share a database."""

    governance: GovernanceStore
    analyses: AnalysisStore
    ledger: LedgerStore

    def kinds(self) -> list[str]:
        with self.ledger.snapshot() as view:
            return [row.kind for row in view.rows()]

    def analysis(self, key: str = "1") -> str:
        """One that a worker has begun."""
        _, analysis_id = self.analyses.add_event(
            subscription="main",
            event_key=key,
            state=EventState.ACCEPTED,
            detail="ImagingStudy/1",
            imaging_study_reference="ImagingStudy/1",
            study_instance_uid=None,
            requested_by="subscription main",
            open_analysis=True,
            now=NOW,
        )
        assert analysis_id
        assert self.analyses.claim(analysis_id, owner="w", now=NOW, lease=MINUTE)
        self.analyses.identify(
            analysis_id,
            study_instance_uid=f"1.2.{key}",
            work_key=key * 64,
            model_version=MODEL,
            patient=Patient("Doe^Jane", "P1", "19700101", "F"),
            accession_number=None,
            study_date=None,
            study_description=None,
            now=NOW,
        )
        return analysis_id

    def halted(self, key: str = "1") -> str:
        analysis_id = self.analysis(key)
        self.analyses.finish(analysis_id, AnalysisState.HALTED, reason_code="X", reason="why", now=NOW)
        return analysis_id

    def save_result(self, analysis_id: str) -> None:
        self.analyses.save_result(analysis_id, owner="w", result=RESULT, artefacts=[], deliveries=[], now=NOW)

    def state_of(self, analysis_id: str) -> AnalysisState:
        found = self.analyses.get(analysis_id)
        assert found
        return found.state


@pytest.fixture(scope="session")
def governance_postgres() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    if request.param == "memory":
        analyses = InMemoryStore()
        governance = InMemoryGovernance(analyses)
        yield Records(governance, analyses, governance.ledger)
        return
    if request.param == "sqlite":
        engine = sql_engine.connect(f"sqlite:///{tmp_path}/qfl.db")
    else:
        engine = sql_engine.connect(request.getfixturevalue("governance_postgres"))
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
    sql_engine.migrate(engine)
    ledger = SqlLedger(engine)
    ledger.open("hospital.example/ledger")
    journal = Journal(lambda what, name: keyed_digest(b"k" * 32, f"{what}:{name}"))
    yield Records(SqlGovernance(engine), SqlAnalysisStore(engine, hint_interval=MINUTE, journal=journal), ledger)
    engine.dispose()


def entry(kind: str = "report-issued", **facts: Any) -> Entry:
    return Entry(kind, NOW, facts or {"report": "e" * 64, "period": "2026-1"})


def broken() -> Entry:
    return Entry("report-issued", NOW, {})


def test_officers_and_their_acts_are_kept(records: Records) -> None:
    store = records.governance
    for name in ("eve", "ed"):
        records.analyses.save_user(User(name, name, Role.ETHICS_OFFICER), now=NOW)
    eve, ed = Officer("eve", b"public", b"sealed", NOW), Officer("ed", b"other", b"sealed", NOW)
    store.save_officer(eve, act=replace(ACT, act=Act.ENROL, subject="s"), entries=[entry()])
    store.save_officer(ed, act=replace(ACT, act=Act.ENROL, subject="t"), entries=[])
    revoked = replace(eve, public_key=b"new", revoked_at=NOW + MINUTE)
    store.save_officer(revoked, act=replace(ACT, act=Act.ENROL, subject="s", at=NOW + MINUTE), entries=[])
    assert (store.officer("eve"), store.officer("nobody")) == (revoked, None)
    assert store.officers() == [ed, revoked]
    store.add_act(ACT, entries=[entry(report="f" * 64, period="p")])
    assert store.acts(MODEL) == [ACT]
    assert [(act.act, act.subject, act.at) for act in store.acts()] == [
        (Act.ENROL, "s", NOW),
        (Act.ENROL, "t", NOW),
        (Act.ENROL, "s", NOW + MINUTE),
        (Act.RELEASE, MODEL, NOW),
    ]
    assert records.kinds().count("report-issued") == 2


def test_a_models_state_is_kept(records: Records) -> None:
    store = records.governance
    assert store.model_status(MODEL) is None
    store.set_model_status(RELEASED, was=None, act=ACT, entries=[entry()])
    assert (store.model_status(MODEL), store.acts(MODEL)) == (RELEASED, [ACT])
    store.set_model_status(HALTED, was=RELEASED, entries=[])
    assert store.model_statuses() == [HALTED]


@pytest.mark.parametrize("was", [None, HALTED, replace(RELEASED, since=NOW - MINUTE)])
def test_a_change_from_what_is_no_more_changes_nothing(records: Records, was: ModelStatus | None) -> None:
    records.governance.set_model_status(RELEASED, was=None, entries=[])
    before = records.kinds()
    with pytest.raises(ReleaseError, match="changed meanwhile"):
        records.governance.set_model_status(HALTED, was=was, act=ACT, entries=[entry()])
    assert records.governance.model_status(MODEL) == RELEASED
    assert (records.governance.acts(), records.kinds()) == ([], before)


def test_of_many_changes_at_once_one_is_done(records: Records) -> None:
    records.governance.set_model_status(RELEASED, was=None, entries=[])

    def halt(number: int) -> bool:
        status = replace(HALTED, since=NOW + number * MINUTE)
        try:
            records.governance.set_model_status(status, was=RELEASED, entries=[])
        except ReleaseError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(halt, range(1, 9))) == [*[False] * 7, True]


def test_what_the_ledger_refuses_is_not_done(records: Records) -> None:
    store = records.governance
    with pytest.raises(EntryError):
        store.set_model_status(RELEASED, was=None, act=ACT, entries=[broken()])
    with pytest.raises(EntryError):
        store.add_act(ACT, entries=[broken()])
    assert (store.model_status(MODEL), store.acts()) == (None, [])


def test_no_result_is_stored_without_a_released_model(records: Records) -> None:
    analysis_id = records.analysis()
    for prepare in (
        lambda: None,
        lambda: (
            records.governance.set_model_status(RELEASED, was=None, entries=[]),
            records.governance.set_model_status(HALTED, was=RELEASED, entries=[]),
        ),
    ):
        prepare()
        with pytest.raises(ModelNotInUseError):
            records.save_result(analysis_id)
        assert records.state_of(analysis_id) is AnalysisState.RUNNING
    again = replace(RELEASED, since=NOW + 2 * MINUTE)
    records.governance.set_model_status(again, was=HALTED, entries=[])
    records.save_result(analysis_id)
    assert records.state_of(analysis_id) is AnalysisState.PUBLISHING


def test_a_halt_waits_for_a_result_that_is_being_stored(records: Records) -> None:
    if not isinstance(records.governance, SqlGovernance):
        pytest.skip("In memory there is one lock.")
    records.governance.set_model_status(RELEASED, was=None, entries=[])
    with ThreadPoolExecutor(1) as pool:
        with records.governance._engine.begin() as connection:
            assert is_released(connection, MODEL)
            halting = pool.submit(records.governance.set_model_status, HALTED, was=RELEASED, entries=[])
            with pytest.raises(TimeoutError):
                halting.result(0.5)
        halting.result(60)
    assert records.governance.model_status(MODEL) == HALTED


def test_a_release_queues_what_waited_for_that_model(records: Records) -> None:
    waiting, other = records.halted("1"), replace(RELEASED, model_version="b" * 64)
    assert records.governance.set_model_status(other, was=None, entries=[]) == []
    assert records.state_of(waiting) is AnalysisState.HALTED
    assert records.governance.set_model_status(RELEASED, was=None, entries=[]) == [waiting]
    found = records.analyses.get(waiting)
    assert found
    assert (found.state, found.reason, found.reason_code, found.finished_at, found.attempt) == (
        AnalysisState.QUEUED,
        None,
        None,
        None,
        0,
    )
    assert records.analyses.claim(waiting, owner="w", now=NOW, lease=MINUTE)


def test_what_was_halted_after_the_release_is_queued_by_the_timer(records: Records) -> None:
    first = records.halted("1")
    assert records.governance.requeue_halted(MODEL, now=NOW) == []
    records.governance.set_model_status(RELEASED, was=None, entries=[])
    late = records.halted("2")
    assert records.governance.requeue_halted("b" * 64, now=NOW) == []
    assert records.governance.requeue_halted(MODEL, now=NOW + MINUTE) == [late]
    assert {records.state_of(first), records.state_of(late)} == {AnalysisState.QUEUED}
    assert records.governance.requeue_halted(MODEL, now=NOW + MINUTE) == []


def test_a_halt_queues_nothing(records: Records) -> None:
    records.governance.set_model_status(RELEASED, was=None, entries=[])
    waiting = records.halted()
    assert records.governance.set_model_status(HALTED, was=RELEASED, entries=[]) == []
    assert records.governance.requeue_halted(MODEL, now=NOW) == []
    assert records.state_of(waiting) is AnalysisState.HALTED


def test_audits_are_kept_as_they_came(records: Records) -> None:
    store = records.governance
    first, second = (record_of(audit_document(MODEL, "c" * 64, at=NOW + n * MINUTE)) for n in (0, 1))
    other = record_of(audit_document("b" * 64, "c" * 64, at=NOW + 2 * MINUTE))
    for each in (first, second, other, first):
        store.save_audit(each, entries=[entry(report=each.digest, period="p")])
    assert store.audits(MODEL) == [second, first]
    assert store.audits() == [other, second, first]
    assert (store.audit(first.digest), store.audit("0" * 64)) == (first, None)
    assert records.kinds().count("report-issued") == 3


def test_observations_are_kept_by_analysis(records: Records) -> None:
    store = records.governance
    ids = [records.analysis(str(number)) for number in (1, 2, 3)]
    rows = [
        Observation(each, MODEL, {"sex": "F"}, {"mean": 0.5}, 0.9, NOW + number * MINUTE)
        for number, each in enumerate(ids)
    ]
    for each in rows:
        store.add_observation(each)
    decided = replace(rows[0], accepted=False, reviewed_at=NOW + MINUTE)
    store.add_observation(decided)
    assert store.observations(MODEL, limit=10) == [decided, *rows[1:]]
    assert store.observations(MODEL, limit=2) == rows[1:]
    assert store.observations("b" * 64, limit=2) == []


def test_reports_and_policies_are_kept(records: Records) -> None:
    store = records.governance
    assert (store.policy_text(), store.report("0" * 64)) == (None, None)
    reports = [
        GovernanceReport(name * 64, "biannual", "2026-1", {"share": "0.97"}, b"<p>", b"%PDF", NOW + n * MINUTE)
        for n, name in enumerate("ab")
    ]
    for each in reports:
        store.save_report(each, entries=[entry(report=each.digest, period="p")])
    assert (store.report("a" * 64), store.reports(limit=1)) == (reports[0], [reports[1]])
    store.set_policy("version: 1\n", digest="c" * 64, at=NOW, acts=[ACT], entries=[])
    store.set_policy("version: 2\n", digest="d" * 64, at=NOW, acts=[], entries=[entry(report="c" * 64, period="p")])
    assert (store.policy_text(), store.acts()) == ("version: 2\n", [ACT])
    with pytest.raises(EntryError):
        store.set_policy("version: 3\n", digest="e" * 64, at=NOW, acts=[], entries=[broken()])
    assert store.policy_text() == "version: 2\n"
