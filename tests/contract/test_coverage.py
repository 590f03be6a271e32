"""Each transaction of the store is an entry of the same commit, in SQLite and PostgreSQL; whoever tampers is named."""

import itertools
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, text

from governance.adapters.sql_ledger import SqlLedger
from governance.errors import LedgerNotOpenError, LedgerStoreError, ModelNotInUseError
from governance.ledger import log
from governance.ledger.completeness import Coverage, Problem, check_coverage
from governance.ledger.cosignature import CosignerSigner
from governance.ledger.entries import Entry, keyed_digest, parse_leaf
from governance.policy import Act
from plugin.adapters import sql_engine
from plugin.adapters.sql_coverage import SqlCoverage
from plugin.adapters.sql_governance import SqlGovernance
from plugin.adapters.sql_store import SqlAnalysisStore
from plugin.errors import LeaseLostError
from plugin.services.governance.coverage import coverage_of
from plugin.services.governance.journal import (
    Journal,
    audit_key,
    model_state_key,
    officer_key,
    policy_key,
    report_key,
)
from plugin.services.governance.policy_text import default_policy_text, parse_policy_text
from plugin.services.governance.round_journal import RoundJournal
from plugin.services.governance.values import (
    AuditRecord,
    GovernanceReport,
    ModelState,
    ModelStatus,
    Officer,
    SignedAct,
)
from plugin.services.values import (
    AnalysisResult,
    AnalysisState,
    Artefact,
    DeliveryKind,
    EventState,
    Measurement,
    Patient,
    ReviewRecord,
    Role,
    User,
)
from tests.servers.postgres import postgres

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
LEASE = timedelta(seconds=60)
MODEL = "sha256:0"
ORIGIN = "hospital.example/ledger"
REPORT = b'{"outcome":"passed"}'
RESULT = AnalysisResult(
    tumour_found=True,
    findings="Suspected tumour.",
    measurements=(Measurement("oedema", "Ödem", 12.5, 40.1, None, 1 / 3, (255, 214, 64)),),
    warnings=(),
    series=(),
    seg_sop_instance_uid="1.2.4",
    sr_sop_instance_uid="1.2.5",
    images=("key-T1ce-axial.png",),
)
FILES = (Artefact("seg.dcm", "application/dicom", b"\x00seg"), Artefact("report.pdf", "application/pdf", b"%PDF"))
HOUSE = User("dr.house", "Gregory House", Role.RADIOLOGIST, "Practitioner/7", "$argon2id$x")


def digest(what: str, name: str) -> str:
    return keyed_digest(b"k" * 32, f"{what}:{name}")


JOURNAL = Journal(digest)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres() as url:
        yield url


@dataclass(frozen=True)
class Databases:
    """Copies of databases that were made once: migrating takes longer than a test."""

    folder: Path
    server: str = ""

    def make(self, name: str, fill: Callable[[Engine], object]) -> None:
        """Make one to be copied."""
        engine = sql_engine.connect(self._url(name))
        sql_engine.migrate(engine)
        fill(engine)
        engine.dispose()

    def copy(self, name: str) -> Engine:
        """A fresh copy."""
        copy = f"copy{next(_numbers)}"
        if self.server:
            self._do(f"CREATE DATABASE {copy} TEMPLATE {name}")
        else:
            shutil.copy(self.folder / f"{name}.db", self.folder / f"{copy}.db")
        return sql_engine.connect(self._url(copy))

    def create(self, name: str) -> None:
        """An empty one."""
        if self.server:
            self._do(f"CREATE DATABASE {name}")

    def _url(self, name: str) -> str:
        return f"{self.server.rpartition('/')[0]}/{name}" if self.server else f"sqlite:///{self.folder}/{name}.db"

    def _do(self, statement: str) -> None:
        engine = sql_engine.connect(self.server)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(statement))
        engine.dispose()


_numbers = itertools.count()


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
def databases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Databases:
    server = "" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    made = Databases(tmp_path_factory.mktemp("databases"), server)
    for name, fill in (("fresh", lambda _: None), ("filled", lambda engine: Site(engine).everything())):
        made.create(name)
        made.make(name, fill)
    return made


@pytest.fixture
def engine(databases: Databases) -> Iterator[Engine]:
    """A migrated database."""
    engine = databases.copy("fresh")
    yield engine
    engine.dispose()


@pytest.fixture
def full(databases: Databases) -> Iterator["Site"]:
    """A database in which one of each transaction was done."""
    engine = databases.copy("filled")
    site = Site(engine)
    site.number, site.now = 100, START + timedelta(days=1)
    yield site
    engine.dispose()


class Site:
    """A database with an open ledger, and the calls that the use cases make."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.now, self.number = engine, START, 0
        self.signer = CosignerSigner.generate(ORIGIN)
        self.ledger = SqlLedger(engine)
        log.open_log(self.ledger, self.signer.public, now=START)
        self.store = SqlAnalysisStore(engine, hint_interval=LEASE, journal=JOURNAL)
        self.governance = SqlGovernance(engine)

    def tick(self) -> datetime:
        self.now += timedelta(seconds=90)
        return self.now

    def set_model(self, state: ModelState, kind: str) -> None:
        at = self.tick()
        status = ModelStatus(MODEL, state, "by-officer", "why", "a" * 64, at)
        facts = {"model": MODEL, "reason": "by-officer", "audit": "a" * 64, "officers": ["b" * 64]}
        entry = Entry(kind, at, facts, model_state_key(MODEL, at))
        was = self.governance.model_status(MODEL)
        self.governance.set_model_status(status, was=was, entries=[entry])

    def announce(self, key: str = "") -> str | None:
        self.number += 1
        _, analysis = self.store.add_event(
            subscription="main",
            event_key=key or str(self.number),
            state=EventState.ACCEPTED,
            detail="ImagingStudy/1",
            imaging_study_reference="ImagingStudy/1",
            study_instance_uid=None,
            requested_by="subscription main",
            open_analysis=True,
            now=self.tick(),
        )
        return analysis

    def claimed(self) -> str:
        analysis = self.announce()
        assert analysis
        now = self.tick()
        assert self.store.claim(analysis, owner="w", now=now, lease=LEASE)
        self.store.identify(
            analysis,
            study_instance_uid=f"1.2.{self.number}",
            work_key=f"{self.number:064}",
            model_version=MODEL,
            patient=Patient("Doe^Jane", "P1", "19700101", "F"),
            accession_number="A1",
            study_date="20260301",
            study_description="MRI brain",
            now=now,
        )
        return analysis

    def analysed(self) -> str:
        analysis = self.claimed()
        kinds = [(DeliveryKind.SEG, "http://pacs"), (DeliveryKind.REPORT, "http://ehr")]
        now = self.tick()
        self.store.save_result(analysis, owner="w", result=RESULT, artefacts=FILES, deliveries=kinds, now=now)
        return analysis

    def deliver(self, analysis: str) -> None:
        while found := self.store.claim_delivery(analysis, owner="w", now=self.tick(), lease=LEASE):
            self.store.mark_sent(found.id, receipt={"DiagnosticReport": "DiagnosticReport/7"}, now=self.tick())

    def reviewed(self, decision: str = "final") -> str:
        analysis = self.analysed()
        self.deliver(analysis)
        review = ReviewRecord(decision, "dr.house", "as seen", self.tick())
        assert self.store.save_review(analysis, review=review, destination="http://ehr", now=self.now)
        return analysis

    def end(self, analysis: str, state: AnalysisState, duplicate_of: str | None = None) -> None:
        self.store.finish(
            analysis, state, reason_code="Why", reason="because", now=self.tick(), duplicate_of=duplicate_of
        )

    def everything(self) -> None:
        """One of each."""
        self.set_model(ModelState.RELEASED, "model-released")
        self.store.save_user(HOUSE, now=self.tick())
        self.store.save_user(replace(HOUSE, role=Role.ETHICS_OFFICER), now=self.tick())
        self.store.save_token(HOUSE.username, token_digest="d" * 64, now=self.tick())
        self.store.add_refusal(subscription="main", reason="WrongSecretError: no", now=self.tick())
        self.deliver(self.reviewed("entered-in-error"))
        first = self.reviewed()
        self.analysed()
        self.end(self.claimed(), AnalysisState.FAILED)
        self.end(self.claimed(), AnalysisState.DUPLICATE, duplicate_of=first)
        self.end(self.claimed(), AnalysisState.HALTED)
        self.govern()

    def govern(self) -> None:
        at, store = self.tick(), self.governance
        officer = Officer(HOUSE.username, b"p" * 32, b"e" * 32, at)
        facts = {"officer": digest("user", HOUSE.username), "role": "ethics-officer", "action": "enrolled"}
        enrolment = SignedAct(Act.ENROL, MODEL, HOUSE.username, "ethics-officer", b"document", b"signature", at)
        enrolled = Entry("officer-action", at, facts, officer_key(officer))
        store.save_officer(officer, act=enrolment, entries=[enrolled, JOURNAL.officer_act(enrolment)])
        act = replace(enrolment, act=Act.HALT, document=b"halt")
        store.add_act(act, entries=[JOURNAL.officer_act(act)])
        named = log_digest(REPORT)
        audit = AuditRecord(named, MODEL, "passed", "c" * 64, REPORT, at)
        facts = {"model": MODEL, "report": named, "outcome": "passed"}
        store.save_audit(audit, entries=[Entry("audit-run", at, facts, audit_key(named))])
        report = GovernanceReport("f" * 64, "biannual", "2026 H2", {}, b"<html>", b"%PDF", at)
        facts = {"report": "f" * 64, "period": "2026 H2"}
        store.save_report(report, entries=[Entry("report-issued", at, facts, report_key("f" * 64))])
        policy = parse_policy_text(default_policy_text()).digest
        entry = Entry("policy-changed", at, {"policy": policy, "officer": "b" * 64}, policy_key(policy, at))
        store.set_policy(default_policy_text(), digest=policy, at=at, acts=[], entries=[entry])

    def coverage(self) -> Coverage:
        return coverage_of(SqlCoverage(self.engine, JOURNAL, RoundJournal(digest, "north")))

    def entries(self) -> list[Entry]:
        with self.ledger.snapshot() as view:
            return [parse_leaf(row.leaf) for row in view.rows()]

    def run(self, statement: str) -> None:
        with self.engine.begin() as connection:
            assert connection.execute(text(statement)).rowcount


def log_digest(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def site(engine: Engine) -> Site:
    return Site(engine)


def test_one_of_each_transaction_is_an_entry(site: Site) -> None:
    site.everything()
    found = site.coverage()
    assert found.gaps == ()
    assert found.recorded == found.transactions
    # 8 events; 3 results, 2 reviews of which one is a rejection, 3 endings; 2 of each published but one, and a review.
    assert found.recorded == {
        "events": 7,
        "analyses": 3 + 3 + 3,
        "deliveries": 5,
        "users": 1,
        "tokens": 1,
        "officers": 1,
        "officer_acts": 2,
        "model_states": 1,
        "audits": 1,
        "governance_reports": 1,
        "policies": 1,
    }
    assert {entry.kind for entry in site.entries()} == {
        "log-opened",
        "notification-accepted",
        "notification-refused",
        "study-analysed",
        "study-not-analysed",
        "result-published",
        "review-decided",
        "result-overridden",
        "account-changed",
        "token-issued",
        "officer-action",
        "model-released",
        "audit-run",
        "report-issued",
        "policy-changed",
    }


def test_no_entry_holds_what_tells_of_a_person(full: Site) -> None:
    with full.ledger.snapshot() as view:
        stored = b"\n".join(row.leaf for row in view.rows(1)).decode()
    for text_ in ("Doe", "P1", "19700101", "1.2.", "house", "House", "as seen", "ImagingStudy", "MRI", "because"):
        assert text_ not in stored


def test_repeats_leave_no_entry(site: Site) -> None:
    site.announce("same")
    site.store.add_refusal(subscription="main", reason="no", now=site.now)
    before = site.entries()
    site.store.add_refusal(subscription="main", reason="no", now=site.now)
    site.announce("same")
    assert site.entries() == before
    assert site.coverage().is_complete


def test_what_is_not_stored_leaves_no_entry(site: Site) -> None:
    site.set_model(ModelState.RELEASED, "model-released")
    analysis = site.claimed()
    before = site.entries()
    with pytest.raises(LeaseLostError):
        site.store.save_result(analysis, owner="other", result=RESULT, artefacts=FILES, deliveries=[], now=site.tick())
    review = ReviewRecord("final", "dr.house", "", site.now)
    assert not site.store.save_review(analysis, review=review, destination="http://ehr", now=site.now)
    site.store.finish("no-such", AnalysisState.FAILED, reason_code="Why", reason="because", now=site.now)
    assert site.entries() == before


def test_a_delivery_that_two_workers_sent_is_published_once(site: Site) -> None:
    site.set_model(ModelState.RELEASED, "model-released")
    analysis = site.analysed()
    delivery = site.store.claim_delivery(analysis, owner="slow", now=site.tick(), lease=timedelta(0))
    assert delivery
    site.store.mark_sent(delivery.id, receipt={"by": "fast"}, now=site.tick())
    site.store.mark_sent(delivery.id, receipt={"by": "slow"}, now=site.tick())
    site.store.mark_failed(delivery.id, error="late", next_attempt_at=site.now, now=site.now)
    assert site.store.deliveries(analysis)[0].receipt == {"by": "fast"}
    assert [entry.kind for entry in site.entries()].count("result-published") == 1
    assert site.coverage().is_complete


def test_without_an_open_ledger_nothing_is_done(engine: Engine) -> None:
    store = SqlAnalysisStore(engine, hint_interval=LEASE, journal=JOURNAL)
    with pytest.raises(LedgerNotOpenError, match="qfl migrate"):
        store.save_user(HOUSE, now=START)
    assert store.get_user(HOUSE.username) is None


def test_a_transaction_whose_entry_cannot_be_kept_is_not_done(site: Site) -> None:
    """The database fails at the entry: the row is not there either."""

    def fail(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        if "INSERT INTO ledger_entries" in statement:
            raise OSError("no space left")

    event.listen(site.engine, "before_cursor_execute", fail)
    with pytest.raises(OSError, match="space"):
        site.announce()
    event.remove(site.engine, "before_cursor_execute", fail)
    assert list(site.store.list_events(limit=5)) == []
    assert [entry.kind for entry in site.entries()] == ["log-opened"]
    assert site.announce()
    assert site.coverage().is_complete


def test_a_halted_study_that_runs_again_stays_covered(site: Site) -> None:
    site.set_model(ModelState.HALTED, "model-halted")
    analysis = site.claimed()
    for _ in range(2):
        site.end(analysis, AnalysisState.HALTED)
        site.set_model(ModelState.RELEASED, "model-resumed")  # queues it again
        assert site.store.claim(analysis, owner="w", now=site.tick(), lease=LEASE)
        assert site.coverage().is_complete
    site.store.save_result(analysis, owner="w", result=RESULT, artefacts=FILES, deliveries=[], now=site.tick())
    assert site.coverage().is_complete
    assert [entry.kind for entry in site.entries()].count("study-not-analysed") == 2


def test_threads_that_write_at_once_leave_every_transaction_in_the_log(engine: Engine) -> None:
    site, faults = Site(engine), []
    site.store.save_user(HOUSE, now=START)

    def work(number: int) -> None:
        try:
            for each in range(8):
                site.store.add_refusal(subscription=f"s{number}", reason=str(each), now=START)
                site.store.save_user(replace(HOUSE, display_name=f"{number} {each}"), now=START)
        except Exception as fault:  # noqa: BLE001 - the test's thread must not die silently
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert faults == []
    found = site.coverage()
    assert found.is_complete
    assert found.recorded == {"events": 32, "users": 1}
    assert len(site.entries()) == 2 + 64


TAMPERING = [
    pytest.param("DELETE FROM events WHERE state = 'refused'", {(Problem.NO_ROW, "notification-refused")}, id="event"),
    pytest.param(
        "UPDATE events SET detail = 'another' WHERE state = 'refused'",
        {(Problem.DIFFERS, "notification-refused")},
        id="event-edited",
    ),
    pytest.param(
        "UPDATE analyses SET model_version = 'sha256:1' WHERE state = 'publishing'",
        {(Problem.DIFFERS, "study-analysed")},
        id="model",
    ),
    pytest.param(
        "UPDATE analyses SET accession_number = 'A2' WHERE state = 'publishing'",
        {(Problem.DIFFERS, "study-analysed")},
        id="another-patient's-study",
    ),
    pytest.param(
        "UPDATE artefacts SET content = media_type::bytea WHERE name = 'seg.dcm'",
        {(Problem.DIFFERS, "study-analysed")},
        id="file",
    ),
    pytest.param("DELETE FROM artefacts", {(Problem.DIFFERS, "study-analysed")}, id="file-deleted"),
    pytest.param(
        "UPDATE analyses SET result = NULL, state = 'queued' WHERE state = 'publishing'",
        {(Problem.NO_ROW, "study-analysed")},
        id="result-deleted",
    ),
    pytest.param(
        "UPDATE analyses SET reason_code = 'Other' WHERE state = 'failed'",
        {(Problem.DIFFERS, "study-not-analysed")},
        id="reason",
    ),
    pytest.param(
        "UPDATE analyses SET state = 'queued' WHERE state = 'failed'",
        {(Problem.NO_ROW, "study-not-analysed")},
        id="failed-put-back",
    ),
    pytest.param(
        "UPDATE analyses SET state = 'rejected' WHERE state = 'accepted'",
        {(Problem.DIFFERS, "review-decided"), (Problem.MISSING, "result-overridden")},
        id="state-against-review",
    ),
    pytest.param(
        "UPDATE analyses SET state = 'awaiting-review', review = NULL WHERE state = 'accepted'",
        {(Problem.NO_ROW, "review-decided")},
        id="review-deleted",
    ),
    pytest.param(
        "UPDATE analyses SET review = '{\"decision\": 1}' WHERE state = 'accepted'",
        {(Problem.UNREADABLE, ""), (Problem.NO_ROW, "review-decided")},
        id="review-that-is-none",
    ),
    pytest.param(
        "UPDATE analyses SET state = 'accepted' WHERE state = 'publishing'",
        {(Problem.MISSING, "review-decided")},
        id="review-invented",
    ),
    pytest.param(
        "UPDATE deliveries SET receipt = '{}' WHERE state = 'sent'",
        {(Problem.DIFFERS, "result-published")},
        id="receipt",
    ),
    pytest.param(
        "UPDATE deliveries SET state = 'sent', sent_at = next_attempt_at WHERE state = 'pending'",
        {(Problem.MISSING, "result-published")},
        id="delivery-invented",
    ),
    pytest.param("UPDATE users SET role = 'auditor'", {(Problem.DIFFERS, "account-changed")}, id="role"),
    pytest.param("UPDATE users SET password_hash = 'x'", {(Problem.DIFFERS, "account-changed")}, id="password"),
    pytest.param(
        "INSERT INTO users (username, display_name, role, password_hash) VALUES ('it', 'It', 'administrator', 'x')",
        {(Problem.MISSING, "account-changed")},
        id="user-inserted",
    ),
    pytest.param("DELETE FROM tokens", {(Problem.NO_ROW, "token-issued")}, id="token"),
    pytest.param("UPDATE model_states SET state = 'halted'", {(Problem.DIFFERS, "model-released")}, id="model-state"),
    pytest.param("DELETE FROM model_states", {(Problem.NO_ROW, "model-released")}, id="model-state-deleted"),
    pytest.param("DELETE FROM officer_acts", {(Problem.NO_ROW, "officer-action")}, id="act"),
    pytest.param("UPDATE officer_acts SET subject = 'm'", {(Problem.DIFFERS, "officer-action")}, id="act-edited"),
    pytest.param(
        "UPDATE officers SET public_key = encrypted_key", {(Problem.MISSING, "officer-action")}, id="officer's-key"
    ),
    pytest.param("UPDATE audits SET outcome = 'failed'", {(Problem.DIFFERS, "audit-run")}, id="audit"),
    pytest.param("UPDATE governance_reports SET period = 'p'", {(Problem.DIFFERS, "report-issued")}, id="report"),
    pytest.param(
        "UPDATE policies SET text = replace(text, '0.1', '0.9')", {(Problem.DIFFERS, "policy-changed")}, id="policy"
    ),
    pytest.param("DELETE FROM policies", {(Problem.NO_ROW, "policy-changed")}, id="policy-deleted"),
]


@pytest.mark.parametrize(("statement", "expected"), TAMPERING)
def test_whoever_changes_a_row_is_named(full: Site, statement: str, expected: set[tuple[Problem, str]]) -> None:
    if full.engine.dialect.name == "sqlite":
        statement = statement.replace("::bytea", "")
    full.run(statement)
    found = full.coverage()
    assert {(gap.problem, gap.kind) for gap in found.gaps} == expected


def test_a_row_that_is_no_json_is_named_and_the_others_are_still_compared(databases: Databases) -> None:
    if databases.server:
        pytest.skip("PostgreSQL takes nothing else than JSON.")
    site = Site(databases.copy("filled"))
    site.run("UPDATE analyses SET result = '{' WHERE state = 'publishing'")
    found = site.coverage()
    assert {(gap.problem, gap.table, gap.kind) for gap in found.gaps} == {
        (Problem.UNREADABLE, "analyses", ""),
        (Problem.NO_ROW, "", "study-analysed"),
    }
    site.engine.dispose()


def test_an_analysis_that_nothing_announced_is_named(site: Site) -> None:
    first = site.announce()
    site.run(
        "INSERT INTO analyses (id, state, progress, requested_by, attempt, created_at, updated_at, due_at) SELECT "
        "'planted', state, progress, requested_by, attempt, created_at, updated_at, due_at FROM analyses"
    )
    (gap,) = site.coverage().gaps
    assert (gap.problem, gap.table, gap.row) == (Problem.MISSING, "analyses", "planted")
    assert first not in gap.message


def test_a_deleted_entry_is_named_by_the_row_that_it_told_of(full: Site) -> None:
    full.run("DELETE FROM ledger_entries WHERE kind = 'result-overridden'")
    (gap,) = full.coverage().gaps
    assert (gap.problem, gap.table, gap.kind) == (Problem.MISSING, "analyses", "result-overridden")


def test_a_database_without_the_tables_is_told_in_our_words(tmp_path: Path) -> None:
    engine = sql_engine.connect(f"sqlite:///{tmp_path}/empty.db")
    with pytest.raises(LedgerStoreError, match="qfl migrate"):
        coverage_of(SqlCoverage(engine, JOURNAL, RoundJournal(digest, "north")))
    engine.dispose()


def test_log_and_tables_are_read_at_one_moment(full: Site) -> None:
    """What is stored between the two is in neither, so nothing is reported that is not so."""
    with SqlCoverage(full.engine, JOURNAL, RoundJournal(digest, "north")).snapshot() as (view, tables):
        full.reviewed()
        assert check_coverage(view, tables).is_complete


ACTIONS: dict[str, Callable[[Site, list[str]], None]] = {
    "announce": lambda site, known: known.append(site.announce() or ""),
    "repeat": lambda site, _: site.announce("1") and None,
    "refuse": lambda site, _: site.store.add_refusal(subscription="main", reason="no", now=site.now),
    "analyse": lambda site, known: known.append(site.analysed()),
    "deliver": lambda site, known: [site.deliver(each) for each in known[-2:]] and None,
    "review": lambda site, known: _review(site, known, "final"),
    "reject": lambda site, known: _review(site, known, "entered-in-error"),
    "fail": lambda site, _: site.end(site.claimed(), AnalysisState.FAILED),
    "hold": lambda site, _: site.end(site.claimed(), AnalysisState.HALTED),
    "halt": lambda site, _: site.set_model(ModelState.HALTED, "model-halted"),
    "resume": lambda site, _: site.set_model(ModelState.RELEASED, "model-resumed"),
    "user": lambda site, _: site.store.save_user(replace(HOUSE, display_name=str(site.now)), now=site.tick()),
    "demote": lambda site, _: site.store.save_user(HOUSE, now=site.tick()),
}


def _review(site: Site, known: list[str], decision: str) -> None:
    for each in known[-3:]:
        review = ReviewRecord(decision, "dr.house", "", site.tick())
        site.store.save_review(each, review=review, destination="http://ehr", now=site.now)


@settings(max_examples=10, deadline=None)
@given(actions=st.lists(st.sampled_from(sorted(ACTIONS)), min_size=3, max_size=14), victim=st.integers(0))
def test_whatever_is_called_everything_is_covered_and_a_lost_entry_is_named(
    databases: Databases, actions: list[str], victim: int
) -> None:
    if databases.server:
        pytest.skip("A copy for each example takes long; the suite above runs on both.")
    site, known = Site(databases.copy("fresh")), list[str]()
    site.set_model(ModelState.RELEASED, "model-released")
    for name in actions:
        # Of a halted model no result is stored.
        with suppress(ModelNotInUseError):
            ACTIONS[name](site, known)
    found = site.coverage()
    assert found.gaps == ()
    assert found.recorded == found.transactions
    rows = [place for place, entry in enumerate(site.entries()) if entry.kind.startswith(("notification", "result"))]
    if rows:
        place = rows[victim % len(rows)]
        site.run(f"DELETE FROM ledger_entries WHERE leaf_index = {place}")
        (gap,) = site.coverage().gaps
        assert gap.problem is Problem.MISSING
    site.engine.dispose()
