"""A quantum service in memory, with its job store and its recorder: what happened, in order, stands in one log."""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from federated.errors import FederatedError
from federated.quantum.jobs import AngleEgress, JobRecord, Outcome, TargetStatus


@dataclass
class InMemoryQuantumService:
    """A QuantumService whose every program measures 1 on wire 0 and 0 elsewhere.

    Attributes:
        log: What was done: "submit ID", "knows ID", "outcome ID"; recorders may write into it too.
        polls: How often a job's outcome is asked for before it has one.
        code: Jobs fail with it.
        fault: Raised by each call.
        lose_answers: So many submissions are taken, but raise fault all the same.
        bill: What it says that a job costs.
    """

    target: str = "quantinuum.sim.h2-1e"
    provider: str = "quantinuum"
    log: list[str] = field(default_factory=list)
    polls: int = 0
    code: str | None = None
    fault: FederatedError | None = None
    lose_answers: int = 0
    bill: tuple[Decimal, str] | None = None
    jobs: dict[str, tuple[str, int]] = field(default_factory=dict)
    most_open: int = 0
    asked: dict[str, int] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    def prepare(self, program: str) -> str:
        """See QuantumService."""
        return program

    def submit(self, job_id: str, prepared: str, shots: int) -> None:
        """See QuantumService."""
        self.log.append(f"submit {job_id}")
        if self.fault and not self.lose_answers:
            raise self.fault
        self.jobs.setdefault(job_id, (prepared, shots))
        self.most_open = max(self.most_open, len(self.jobs) - len(self.ended))
        if self.fault:
            self.lose_answers -= 1
            raise self.fault

    def knows(self, job_id: str) -> bool:
        """See QuantumService."""
        self.log.append(f"knows {job_id}")
        return job_id in self.jobs

    def outcome(self, job_id: str) -> Outcome | None:
        """See QuantumService."""
        self.log.append(f"outcome {job_id}")
        if self.fault:
            raise self.fault
        self.asked[job_id] = self.asked.get(job_id, 0) + 1
        if self.asked[job_id] <= self.polls:
            return None
        self.ended.add(job_id)
        cost, currency = self.bill or (None, None)
        if self.code:
            return Outcome(code=self.code, cost=cost, currency=currency)
        program, shots = self.jobs[job_id]
        return Outcome({first_wire_set(program): shots}, cost=cost, currency=currency)

    def targets(self) -> Sequence[TargetStatus]:
        """See QuantumService."""
        return [TargetStatus(self.target, self.provider, "Available", 3.0)]


@dataclass
class InMemoryJobStore:
    """A JobStore."""

    current: dict[str, JobRecord] = field(default_factory=dict)
    earlier: list[JobRecord] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See JobStore."""
        with self.lock:
            yield

    def find(self, digest: str) -> JobRecord | None:
        """See JobStore."""
        return self.current.get(digest)

    def save(self, record: JobRecord) -> None:
        """See JobStore."""
        before = self.current.get(record.digest)
        if before is not None and before.job_id != record.job_id:
            self.earlier.append(before)
        self.current[record.digest] = record

    def records(self) -> Sequence[JobRecord]:
        """See JobStore."""
        return sorted([*self.current.values(), *self.earlier], key=lambda record: record.created)


@dataclass
class InMemoryEgress:
    """An EgressRecorder that writes into a log too."""

    log: list[str] = field(default_factory=list)
    found: list[AngleEgress] = field(default_factory=list)

    def record(self, egress: AngleEgress) -> None:
        """See EgressRecorder."""
        self.log.append("egress")
        self.found.append(egress)


@dataclass
class Clock:
    """A clock that only sleeping moves."""

    time: datetime = datetime(2026, 11, 23, tzinfo=UTC)
    pauses: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        """The time."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Move the time."""
        self.pauses.append(seconds)
        self.time += timedelta(seconds=seconds)


def first_wire_set(program: str) -> str:
    """The bitstring 10...0 with as many bits as a program has wires."""
    found = re.search(r"qubit\[(\d+)\]", program)
    assert found is not None
    return "1" + "0" * (int(found[1]) - 1)
