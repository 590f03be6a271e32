"""What a job on a quantum service is, and what such work needs from outside: a service, a store, a recorder."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Protocol

from federated.quantum.policy import Spent

LOCAL: Final = "local"
"""The provider of records that a simulator on this machine produced."""


class JobState(StrEnum):
    """How far a job is."""

    SUBMITTING = "submitting"
    """Charged; the service may or may not have heard of it."""
    SUBMITTED = "submitted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Charged all the same: services may bill it."""
    REFUSED = "refused"
    """The service did not take it; not charged."""


@dataclass(frozen=True)
class JobRecord:
    """One job, as provenance needs it.

    Attributes:
        digest: SHA-256 of target, shots and program, hexadecimal.
        cost: What it is charged with: the estimate, or what the service says when that is more.
        created: When it was charged, with its time zone.
        code: The service's own word for why it failed, where it has one.
        counts: Bitstring, wire 0 first, to how often it was measured; None until it has succeeded.
    """

    digest: str
    provider: str
    target: str
    job_id: str
    shots: int
    state: JobState
    cost: Decimal
    currency: str
    created: datetime
    code: str | None = None
    counts: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Outcome:
    """How a job ended: with counts, or with a code.

    Attributes:
        cost: What the service says that it charges, and in which currency, where it says so.
    """

    counts: Mapping[str, int] | None = None
    code: str | None = None
    cost: Decimal | None = None
    currency: str | None = None


@dataclass(frozen=True)
class TargetStatus:
    """What a service says about one of its targets.

    Attributes:
        queue_s: Average wait in the queue, seconds; None where the service does not say.
    """

    name: str
    provider: str
    availability: str
    queue_s: float | None


class QuantumService(Protocol):
    """A service that runs programs on one target; all methods may raise QuantumServiceError and QuantumJobError.

    QuantumServiceError: it is away, busy or too slow; the same call may succeed later.
    QuantumJobError: it refuses, with its code.
    """

    @property
    def provider(self) -> str:
        """Who owns the target."""

    @property
    def target(self) -> str:
        """Where programs run."""

    def prepare(self, program: str) -> Any:
        """Compile a program for submit(); CircuitInputError if that cannot be done. Contacts nothing."""

    def submit(self, job_id: str, prepared: Any, shots: int) -> None:
        """Hand a program in under an id of ours; a second time with the same id changes nothing."""

    def knows(self, job_id: str) -> bool:
        """Whether a job of this id was handed in."""

    def outcome(self, job_id: str) -> Outcome | None:
        """How a job ended; None while it has not."""

    def targets(self) -> Sequence[TargetStatus]:
        """Everything that the service offers to this site."""


class JobStore(Protocol):
    """Keeps records; raises QuantumRecordError for one that it cannot read."""

    def alone(self) -> AbstractContextManager[None]:
        """Let one process or thread at a time run such a block."""

    def find(self, digest: str) -> JobRecord | None:
        """The newest record of a digest."""

    def save(self, record: JobRecord) -> None:
        """Store a record for good before returning; an earlier job of the same digest is kept beside it."""

    def records(self) -> Sequence[JobRecord]:
        """All jobs, oldest first."""


@dataclass(frozen=True)
class AngleEgress:
    """That circuits leave the site, and by whose permission.

    Attributes:
        digest: SHA-256 over the digests of the programs, hexadecimal; no angle can be read from it.
        circuits, shots: How many programs, and how often each runs.
        purpose: What the site wants from them.
        permission: The policy's reference.
    """

    digest: str
    provider: str
    target: str
    circuits: int
    shots: int
    when: datetime
    purpose: str
    permission: str


class EgressRecorder(Protocol):
    """Keeps every egress for those who audit the site."""

    def record(self, egress: AngleEgress) -> None:
        """Store it for good; called before anything is sent, and nothing is sent when it raises."""


def circuit_digest(program: str, target: str, shots: int) -> str:
    """SHA-256 that tells one execution from another, hexadecimal."""
    return hashlib.sha256(f"{target}\n{shots}\n{program}".encode()).hexdigest()


def spent_on(records: Iterable[JobRecord]) -> Spent:
    """What jobs were charged with together. Simulations are free."""
    charged = [record for record in records if record.provider != LOCAL and record.state is not JobState.REFUSED]
    return Spent(sum(record.shots for record in charged), sum((record.cost for record in charged), Decimal(0)))


def is_new(record: JobRecord | None) -> bool:
    """Whether a circuit with this newest record has to be run, and charged, as if it never was."""
    return record is None or record.state in {JobState.FAILED, JobState.REFUSED}
