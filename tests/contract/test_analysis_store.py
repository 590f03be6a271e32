"""One suite over the store in memory, SQLite and PostgreSQL."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from governance.adapters.sql_ledger import SqlLedger
from governance.ledger.entries import keyed_digest
from plugin.adapters import sql_engine
from plugin.adapters.sql_governance import SqlGovernance
from plugin.adapters.sql_schema import metadata
from plugin.adapters.sql_store import SqlAnalysisStore
from plugin.errors import LeaseLostError
from plugin.services.governance.journal import Journal
from plugin.services.ports import AnalysisStore
from plugin.services.values import (
    AnalysisResult,
    AnalysisState,
    Artefact,
    DeliveryKind,
    DeliveryState,
    EventState,
    Measurement,
    Patient,
    ReviewRecord,
    Role,
    SeriesUse,
    Step,
    SubscriptionRecord,
    User,
)
from tests.fakes.analysis_store import InMemoryStore
from tests.fakes.governance_store import InMemoryGovernance, release_up_front
from tests.servers.postgres import postgres

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LEASE = timedelta(seconds=60)
MODEL = "sha256:0"
JOURNAL = Journal(lambda what, name: keyed_digest(b"k" * 32, f"{what}:{name}"))
RESULT = AnalysisResult(
    tumour_found=True,
    findings="Suspected tumour.",
    measurements=(Measurement("oedema", "Oedema", 12.5, 40.0, 30.0, 0.9, (255, 214, 64)),),
    warnings=("FLAIR missing",),
    series=(SeriesUse("1.2.3", "AX T1 +C", "T1ce", "named"),),
    seg_sop_instance_uid="1.2.4",
    sr_sop_instance_uid="1.2.5",
    images=("key-T1ce-axial.png",),
)
DELIVERIES = [(DeliveryKind.SEG, "http://pacs"), (DeliveryKind.SR, "http://pacs"), (DeliveryKind.REPORT, "http://ehr")]


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnalysisStore]:
    if request.param == "memory":
        memory = InMemoryStore()
        release_up_front(InMemoryGovernance(memory), MODEL, at=NOW)
        yield memory
        return
    if request.param == "sqlite":
        engine = sql_engine.connect(f"sqlite:///{tmp_path}/qfl.db")
    else:
        engine = sql_engine.connect(request.getfixturevalue("postgres_url"))
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
    sql_engine.migrate(engine)
    SqlLedger(engine).open("hospital.example/ledger")
    release_up_front(SqlGovernance(engine), MODEL, at=NOW)
    yield SqlAnalysisStore(engine, hint_interval=LEASE, journal=JOURNAL)
    engine.dispose()


def add(store: AnalysisStore, key: str = "1", reference: str = "ImagingStudy/1", now: datetime = NOW) -> str:
    is_new, analysis_id = store.add_event(
        subscription="main",
        event_key=key,
        state=EventState.ACCEPTED,
        detail=reference,
        imaging_study_reference=reference,
        study_instance_uid=None,
        requested_by="subscription main",
        open_analysis=True,
        now=now,
    )
    assert is_new
    assert analysis_id
    return analysis_id


def identify(store: AnalysisStore, analysis_id: str, work_key: str = "k" * 64) -> str | None:
    return store.identify(
        analysis_id,
        study_instance_uid="1.2.3",
        work_key=work_key,
        model_version=MODEL,
        patient=Patient("Doe^Jane", "P1", "19700101", "F"),
        accession_number="A1",
        study_date="20260301",
        study_description="MRI brain",
        now=NOW,
    )


def publish(store: AnalysisStore) -> str:
    analysis_id = add(store)
    assert store.claim(analysis_id, owner="w1", now=NOW, lease=LEASE)
    identify(store, analysis_id)
    store.save_result(
        analysis_id,
        owner="w1",
        result=RESULT,
        artefacts=[Artefact("seg.dcm", "application/dicom", b"\x00seg")],
        deliveries=DELIVERIES,
        now=NOW,
    )
    return analysis_id


def deliver_all(store: AnalysisStore, analysis_id: str) -> None:
    for _ in DELIVERIES:
        delivery = store.claim_delivery(analysis_id, owner="w", now=NOW, lease=LEASE)
        assert delivery
        store.mark_sent(delivery.id, receipt={"ok": 1}, now=NOW)


def state_of(store: AnalysisStore, analysis_id: str) -> AnalysisState:
    analysis = store.get(analysis_id)
    assert analysis
    return analysis.state


def test_a_repeated_event_makes_no_second_analysis(store: AnalysisStore) -> None:
    first = add(store)
    is_new, same = store.add_event(
        subscription="main",
        event_key="1",
        state=EventState.ACCEPTED,
        detail="again",
        imaging_study_reference="ImagingStudy/1",
        study_instance_uid=None,
        requested_by="subscription main",
        open_analysis=True,
        now=NOW,
    )
    assert (is_new, same) == (False, first)
    assert [analysis.id for analysis in store.list_analyses(states=None, limit=10)] == [first]
    assert store.list_events(limit=10)[0].count == 2


def test_refusals_of_one_reason_share_a_row_within_a_minute(store: AnalysisStore) -> None:
    for seconds in (0, 10, 59, 70):
        store.add_refusal(subscription="main", reason="wrong secret", now=NOW + timedelta(seconds=seconds))
    assert [event.count for event in store.list_events(limit=10)] == [1, 3]


def test_only_one_worker_claims_an_analysis(store: AnalysisStore) -> None:
    analysis_id = add(store)
    barrier, taken = threading.Barrier(8), []

    def claim(owner: str) -> None:
        barrier.wait()
        if store.claim(analysis_id, owner=owner, now=NOW, lease=LEASE):
            taken.append(owner)

    workers = [threading.Thread(target=claim, args=(str(number),)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(taken) == 1


def test_a_silent_workers_analysis_is_taken_over_and_its_result_refused(store: AnalysisStore) -> None:
    analysis_id = add(store)
    store.claim(analysis_id, owner="dead", now=NOW, lease=LEASE)
    assert store.claim(analysis_id, owner="eager", now=NOW + LEASE / 2, lease=LEASE) is None
    later = NOW + LEASE * 2
    assert list(store.stalled(now=later)) == [analysis_id]
    again = store.claim(analysis_id, owner="alive", now=later, lease=LEASE)
    assert again
    assert again.attempt == 2
    assert not store.renew(analysis_id, owner="dead", now=later, lease=LEASE)
    with pytest.raises(LeaseLostError):
        store.save_result(analysis_id, owner="dead", result=RESULT, artefacts=[], deliveries=[], now=later)
    assert store.artefact(analysis_id, "seg.dcm") is None
    assert store.renew(analysis_id, owner="alive", now=later, lease=LEASE)


def test_released_work_waits_for_its_turn(store: AnalysisStore) -> None:
    analysis_id = add(store)
    store.claim(analysis_id, owner="w", now=NOW, lease=LEASE)
    store.release(analysis_id, owner="w", now=NOW, retry_at=NOW + LEASE, reason="Waiting: archive away")
    assert store.claim(analysis_id, owner="w2", now=NOW + LEASE / 2, lease=LEASE) is None
    assert list(store.stalled(now=NOW + LEASE / 2)) == []
    assert list(store.stalled(now=NOW + LEASE)) == [analysis_id]
    assert store.claim(analysis_id, owner="w2", now=NOW + LEASE, lease=LEASE)


def test_the_same_work_runs_once_and_the_second_is_told_of_the_first(store: AnalysisStore) -> None:
    first, second = add(store, "1"), add(store, "2")
    assert identify(store, first) is None
    assert identify(store, first) is None, "a second run of the same analysis is no duplicate of itself"
    assert identify(store, second) == first
    analysis = store.get(second)
    assert analysis
    assert analysis.study_instance_uid == "1.2.3"
    assert analysis.work_key is None


def test_ended_without_result_frees_the_work_for_another_try(store: AnalysisStore) -> None:
    first, second = add(store, "1"), add(store, "2")
    identify(store, first)
    store.finish(first, AnalysisState.FAILED, reason_code="X", reason="why", now=NOW)
    assert identify(store, second) is None
    ended = store.get(first)
    assert ended
    assert (ended.state, ended.reason_code, ended.reason, ended.finished_at) == (AnalysisState.FAILED, "X", "why", NOW)


def test_result_and_deliveries_are_stored_together(store: AnalysisStore) -> None:
    analysis_id = publish(store)
    analysis = store.get(analysis_id)
    assert analysis
    assert analysis.state is AnalysisState.PUBLISHING
    assert analysis.result == RESULT
    assert analysis.patient == Patient("Doe^Jane", "P1", "19700101", "F")
    artefact = store.artefact(analysis_id, "seg.dcm")
    assert artefact
    assert artefact.content == b"\x00seg"
    assert [(one.kind, one.state, one.destination) for one in store.deliveries(analysis_id)] == [
        (kind, DeliveryState.PENDING, destination) for kind, destination in DELIVERIES
    ]


def test_deliveries_go_out_in_order_and_lead_to_review(store: AnalysisStore) -> None:
    analysis_id = publish(store)
    kinds = []
    while delivery := store.claim_delivery(analysis_id, owner="w", now=NOW, lease=LEASE):
        assert store.claim_delivery(analysis_id, owner="other", now=NOW, lease=LEASE) is None
        assert state_of(store, analysis_id) is AnalysisState.PUBLISHING
        kinds.append(delivery.kind)
        store.mark_sent(delivery.id, receipt={"uid": "1"}, now=NOW)
    assert kinds == [DeliveryKind.SEG, DeliveryKind.SR, DeliveryKind.REPORT]
    (step,) = store.steps(analysis_id)
    assert (step.step, step.started_at, step.finished_at) == (Step.DELIVER, NOW, NOW)
    assert state_of(store, analysis_id) is AnalysisState.AWAITING_REVIEW


def test_a_failed_delivery_holds_back_those_behind_it_until_it_is_due(store: AnalysisStore) -> None:
    analysis_id = publish(store)
    delivery = store.claim_delivery(analysis_id, owner="w", now=NOW, lease=LEASE)
    assert delivery
    store.mark_failed(delivery.id, error="away", next_attempt_at=NOW + LEASE, now=NOW)
    assert store.claim_delivery(analysis_id, owner="w", now=NOW, lease=LEASE) is None
    assert list(store.due_deliveries(now=NOW + LEASE / 2)) == []
    assert list(store.due_deliveries(now=NOW + LEASE)) == [analysis_id]
    again = store.claim_delivery(analysis_id, owner="w", now=NOW + LEASE, lease=LEASE)
    assert again
    assert (again.kind, again.attempts, again.last_error) == (DeliveryKind.SEG, 2, "away")


def test_a_dead_delivery_is_seen_and_can_be_replayed(store: AnalysisStore) -> None:
    analysis_id = publish(store)
    delivery = store.claim_delivery(analysis_id, owner="w", now=NOW, lease=LEASE)
    assert delivery
    store.mark_failed(delivery.id, error="refused", next_attempt_at=None, now=NOW)
    assert state_of(store, analysis_id) is AnalysisState.UNDELIVERED
    assert list(store.due_deliveries(now=NOW + LEASE * 100)) == []
    replayed = store.replay(delivery.id, now=NOW)
    assert replayed
    assert (replayed.state, replayed.attempts) == (DeliveryState.PENDING, 0)
    assert store.replay(delivery.id, now=NOW) is None
    deliver_all(store, analysis_id)
    assert state_of(store, analysis_id) is AnalysisState.AWAITING_REVIEW


def test_a_delivery_whose_worker_died_is_due_again(store: AnalysisStore) -> None:
    analysis_id = publish(store)
    assert store.claim_delivery(analysis_id, owner="dead", now=NOW, lease=LEASE)
    assert list(store.due_deliveries(now=NOW + LEASE / 2)) == []
    assert list(store.due_deliveries(now=NOW + LEASE * 2)) == [analysis_id]


@pytest.mark.parametrize(
    ("decision", "state"), [("final", AnalysisState.ACCEPTED), ("entered-in-error", AnalysisState.REJECTED)]
)
def test_a_result_is_decided_once(store: AnalysisStore, decision: str, state: AnalysisState) -> None:
    analysis_id = publish(store)
    review = ReviewRecord(decision, "dr.house", "", NOW)
    assert not store.save_review(analysis_id, review=review, destination="http://ehr", now=NOW)
    deliver_all(store, analysis_id)
    assert store.save_review(analysis_id, review=review, destination="http://ehr", now=NOW)
    assert not store.save_review(analysis_id, review=review, destination="http://ehr", now=NOW)
    assert state_of(store, analysis_id) is state
    delivery = store.claim_delivery(analysis_id, owner="w", now=NOW, lease=LEASE)
    assert delivery
    assert delivery.kind is DeliveryKind.REVIEW
    store.mark_failed(delivery.id, error="gone", next_attempt_at=None, now=NOW)
    assert state_of(store, analysis_id) is AnalysisState.UNDELIVERED
    store.replay(delivery.id, now=NOW)
    store.mark_sent(delivery.id, receipt={}, now=NOW)
    assert state_of(store, analysis_id) is state
    analysis = store.get(analysis_id)
    assert analysis
    assert analysis.review == review


def test_steps_are_recorded_with_their_attempt(store: AnalysisStore) -> None:
    analysis_id = add(store)
    store.claim(analysis_id, owner="w", now=NOW, lease=LEASE)
    store.start_step(analysis_id, Step.RESOLVE, now=NOW)
    store.set_progress(analysis_id, 0.5, now=NOW)
    analysis = store.get(analysis_id)
    assert analysis
    assert (analysis.step, analysis.progress) == (Step.RESOLVE, 0.5)
    store.finish_step(analysis_id, Step.RESOLVE, now=NOW + timedelta(seconds=2))
    (step,) = store.steps(analysis_id)
    assert (step.step, step.attempt, step.finished_at) == (Step.RESOLVE, 1, NOW + timedelta(seconds=2))


def test_the_worklist_filters_and_searches(store: AnalysisStore) -> None:
    first, second = add(store, "1"), add(store, "2", now=NOW + LEASE)
    identify(store, first)
    store.finish(second, AnalysisState.FAILED, reason_code="X", reason="why", now=NOW)
    assert [one.id for one in store.list_analyses(states=None, limit=10)] == [second, first]
    assert [one.id for one in store.list_analyses(states=[AnalysisState.FAILED], limit=10)] == [second]
    assert [one.id for one in store.list_analyses(states=None, limit=10, text="p1")] == [first]
    assert [one.id for one in store.list_analyses(states=None, limit=1, offset=1)] == [first]
    assert list(store.list_analyses(states=None, limit=10, text="100%")) == []
    assert store.count_by_state() == {AnalysisState.QUEUED: 1, AnalysisState.FAILED: 1}
    latest = store.latest_for_study("1.2.3")
    assert latest
    assert latest.id == first


def test_users_tokens_and_subscriptions_are_kept(store: AnalysisStore) -> None:
    user = User("dr.house", "Gregory House", Role.RADIOLOGIST, "Practitioner/7", "$argon2id$x")
    store.save_user(user, now=NOW)
    store.save_user(replace(user, display_name="G. House"), now=NOW)
    store.save_token("dr.house", token_digest="d" * 64, now=NOW)
    found = store.user_for_token("d" * 64)
    assert found
    assert found.display_name == "G. House"
    assert store.user_for_token("e" * 64) is None
    record = SubscriptionRecord(
        "main", "topic", "http://topic", "id-only", None, "0" * 64, "requested", NOW, None, None, None
    )
    store.save_subscription(record)
    assert store.note_subscription("main", now=NOW, status="active", event_number=7) is None
    assert store.note_subscription("main", now=NOW + LEASE, event_number=5) == 7
    store.note_search("main", searched_until=NOW)
    noted = store.get_subscription("main")
    assert noted
    assert (noted.status, noted.last_event_number, noted.last_seen_at, noted.searched_until) == (
        "active",
        7,
        NOW + LEASE,
        NOW,
    )
    store.remove_subscription("main")
    assert list(store.list_subscriptions()) == []


def test_the_migrations_make_the_schema_that_the_code_declares(store: AnalysisStore) -> None:
    if isinstance(store, SqlAnalysisStore):  # there is no schema in memory
        with store._engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, metadata) == []


def test_an_unmigrated_database_is_not_alive(tmp_path: Path) -> None:
    engine = sql_engine.connect(f"sqlite:///{tmp_path}/qfl.db")
    store = SqlAnalysisStore(engine, hint_interval=LEASE, journal=JOURNAL)
    assert not store.is_alive()
    sql_engine.migrate(engine)
    sql_engine.migrate(engine)
    assert store.is_alive()
    engine.dispose()
