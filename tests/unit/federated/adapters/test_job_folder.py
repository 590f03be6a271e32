"""Records of quantum jobs in a folder: whole or absent, named when damaged, and shared by processes."""

import json
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from federated.adapters.job_folder import EgressFile, JobFolder
from federated.errors import QuantumBudgetError, QuantumRecordError
from federated.quantum.job_sampler import JobSampler
from federated.quantum.jobs import AngleEgress, JobRecord, JobState, JobStore, spent_on
from federated.quantum.policy import Price, QuantumPolicy
from federated.quantum.qasm import measured_program
from tests.fakes.quantum_service import InMemoryJobStore, InMemoryQuantumService

RECORD = JobRecord(
    digest="ab" * 32,
    provider="quantinuum",
    target="quantinuum.sim.h2-1e",
    job_id="11111111-1111-4111-8111-111111111111",
    shots=100,
    state=JobState.SUBMITTED,
    cost=Decimal("5.10"),
    currency="HQC",
    created=datetime(2026, 11, 23, 8, tzinfo=UTC),
)
DONE = replace(RECORD, state=JobState.SUCCEEDED, counts={"01": 60, "10": 40})


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> JobStore:
    return JobFolder(tmp_path / "jobs") if request.param == "folder" else InMemoryJobStore()


def test_a_record_is_found_as_it_was_stored(store: JobStore) -> None:
    assert store.find(RECORD.digest) is None
    assert list(store.records()) == []
    for record in (RECORD, DONE):
        with store.alone():
            store.save(record)
        assert store.find(RECORD.digest) == record
    assert list(store.records()) == [DONE]


def test_an_earlier_job_of_the_circuit_is_kept(store: JobStore) -> None:
    failed = replace(RECORD, state=JobState.FAILED, code="Timeout")
    new = replace(DONE, job_id="22222222-2222-4222-8222-222222222222", created=RECORD.created + timedelta(hours=1))
    with store.alone():
        store.save(failed)
        store.save(new)
    assert store.find(RECORD.digest) == new
    assert list(store.records()) == [failed, new]


def test_a_new_process_finds_what_another_stored(tmp_path: Path) -> None:
    reader = JobFolder(tmp_path)
    for record in (RECORD, DONE):
        JobFolder(tmp_path).save(record)
        assert reader.find(RECORD.digest) == record


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    JobFolder(folder).save(RECORD)
    assert folder.stat().st_mode & 0o077 == 0
    assert [path.stat().st_mode & 0o077 for path in folder.iterdir()] == [0]


def broken(**changes: object) -> str:
    good = {
        "digest": RECORD.digest,
        "provider": "q",
        "target": "q.t",
        "job_id": RECORD.job_id,
        "shots": 1,
        "state": "succeeded",
        "cost": "1",
        "currency": "USD",
        "created": "2026-11-23T08:00:00+00:00",
        "code": None,
        "counts": {"0": 1},
    }
    return json.dumps({**good, **changes})


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(broken()[:-20], id="torn"),
        pytest.param("[]", id="list"),
        pytest.param(broken(shots=0), id="no-shots"),
        pytest.param(broken(cost="-1"), id="negative-cost"),
        pytest.param(broken(cost="NaN"), id="nan-cost"),
        pytest.param(broken(cost="many"), id="text-cost"),
        pytest.param(broken(state="dreaming"), id="state"),
        pytest.param(broken(counts=None), id="succeeded-without-counts"),
        pytest.param(broken(counts={"0a": 1}), id="strange-bits"),
        pytest.param(broken(counts=[1]), id="counts-list"),
        pytest.param(broken(created="2026-11-23T08:00:00"), id="no-time-zone"),
        pytest.param(broken(job_id="../../etc/passwd"), id="job-id-path"),
        pytest.param(broken(digest="cd" * 32), id="of-another-circuit"),
    ],
)
def test_a_damaged_record_is_named_and_nothing_is_guessed(tmp_path: Path, text: str) -> None:
    path = tmp_path / f"{RECORD.digest}.json"
    path.write_text(text)
    with pytest.raises(QuantumRecordError, match=RECORD.digest):
        JobFolder(tmp_path).find(RECORD.digest)


def test_a_damaged_record_stops_the_budget_too(tmp_path: Path) -> None:
    JobFolder(tmp_path).save(RECORD)
    (tmp_path / f"{'cd' * 32}.json").write_text("{")
    with pytest.raises(QuantumRecordError, match="gives its part of the budget back"):
        JobFolder(tmp_path).records()


def test_a_crash_while_writing_leaves_the_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = JobFolder(tmp_path)
    folder.save(RECORD)

    def crash(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", crash)
    with pytest.raises(OSError, match="No space"):
        folder.save(DONE)
    assert folder.find(RECORD.digest) == RECORD
    assert len(list(tmp_path.iterdir())) == 1


def test_refuses_a_digest_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(QuantumRecordError, match="64 hexadecimal"):
        JobFolder(tmp_path).find("../secrets")


def _spend(folder: Path, site: int, ready: Callable[[], object]) -> None:
    price = {"quantinuum.sim.h2-1e": Price(job=Decimal(1))}
    policy = QuantumPolicy(price, egress_allowed=True, permission="test", max_shots=70, max_cost=Decimal(100))
    sampler = JobSampler(
        InMemoryQuantumService(),
        JobFolder(folder / "jobs"),
        policy,
        EgressFile(folder / "egress.jsonl"),
        purpose="race",
        in_flight=1,
    )
    ready()
    for number in range(10):
        try:
            sampler.counts([measured_program(1, [f"rx({site}.{number}) q[0];"])], 5)
        except QuantumBudgetError:
            return


def test_processes_at_once_never_pass_the_budget(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    workers = [context.Process(target=_spend, args=(tmp_path, site, barrier.wait)) for site in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    spent = spent_on(JobFolder(tmp_path / "jobs").records())
    assert (spent.shots, spent.cost) == (70, 14)
    lines = (tmp_path / "egress.jsonl").read_text().splitlines()
    assert len(lines) >= 14
    assert all(json.loads(line)["purpose"] == "race" for line in lines)


def test_each_egress_is_a_line(tmp_path: Path) -> None:
    when = datetime(2026, 11, 23, 8, tzinfo=UTC)
    egress = AngleEgress("ab" * 32, "quantinuum", "quantinuum.sim.h2-1e", 3, 100, when, "check", "board 7/2026")
    recorder = EgressFile(tmp_path / "quantum" / "egress.jsonl")
    recorder.record(egress)
    recorder.record(replace(egress, circuits=4))
    first, second = (json.loads(line) for line in (tmp_path / "quantum" / "egress.jsonl").read_text().splitlines())
    assert first == {
        "digest": "ab" * 32,
        "provider": "quantinuum",
        "target": "quantinuum.sim.h2-1e",
        "circuits": 3,
        "shots": 100,
        "when": "2026-11-23T08:00:00+00:00",
        "purpose": "check",
        "permission": "board 7/2026",
    }
    assert second["circuits"] == 4
