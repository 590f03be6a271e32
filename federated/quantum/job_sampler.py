"""Jobs on a quantum service: within the site's policy, each charged and recorded once, found again after a restart.

A program's job is keyed by its digest (target, shots, text), and its id is chosen here and stored before the service
hears of it. So whatever dies, and wherever: a job whose answer got lost is found by its id, and nothing runs or is
charged twice.
"""

import hashlib
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from federated.errors import QuantumJobError, QuantumServiceError
from federated.quantum.jobs import (
    LOCAL,
    AngleEgress,
    EgressRecorder,
    JobRecord,
    JobState,
    JobStore,
    QuantumService,
    circuit_digest,
    is_new,
    spent_on,
)
from federated.quantum.policy import Estimate, QuantumPolicy, check_shots
from federated.quantum.qasm import gate_counts
from federated.quantum.sampler import Sampler

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How a batch is waited for, seconds: first_s after each job that ends, then growing, up to longest_s."""

    first_s: float = 1.0
    growth: float = 1.5
    longest_s: float = 60.0
    timeout_s: float = 3600.0


class JobSampler:
    """A Sampler on a quantum service, under a site's policy."""

    def __init__(
        self,
        service: QuantumService,
        store: JobStore,
        policy: QuantumPolicy,
        recorder: EgressRecorder,
        *,
        purpose: str,
        fallback: Sampler | None = None,
        announce: Callable[[Estimate], None] = lambda _: None,
        in_flight: int = 8,
        patience: Patience | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Make a sampler; nothing is contacted yet.

        Args:
            service: Where programs run.
            store: Remembers the jobs.
            policy: What is allowed.
            recorder: Told of every egress first.
            purpose: Why programs are run, for the recorder; no name of a patient.
            fallback: Stands in while the service is away, where the policy allows it.
            announce: Told the estimate of each batch before anything of it is charged.
            in_flight: At most so many jobs are open at the service at a time.
            patience: How long to wait.
            now, sleep: The clock.
        """
        self._service = service
        self._store = store
        self._policy = policy
        self._recorder = recorder
        self._purpose = purpose
        self._fallback = fallback if policy.fallback_allowed else None
        self._announce = announce
        self._in_flight = in_flight
        self._patience = patience or Patience()
        self._now = now
        self._sleep = sleep
        self._used: dict[str, JobRecord] = {}

    @property
    def used(self) -> Sequence[JobRecord]:
        """The record of each circuit that this sampler has given counts for: the provenance of its numbers."""
        return tuple(self._used.values())

    def counts(self, programs: Sequence[str], shots: int) -> Sequence[Mapping[str, int]]:
        """See Sampler. Programs that ran before with as many shots are not run again.

        Raises:
            ShotsError: Fewer than one shot.
            QuantumPermissionError: The site's policy does not allow it; nothing was sent.
            QuantumBudgetError: The budget would be passed; nothing over it was sent.
            QuantumServiceError: The service is away, or too slow; call again to go on with the same jobs.
            QuantumJobError: The service refused or failed a job.
            CircuitInputError: A program cannot be compiled; it was not charged.
            QuantumRecordError: A stored record is damaged.
        """
        check_shots(shots)
        wanted = {circuit_digest(program, self._service.target, shots): program for program in programs}
        try:
            done = self._finished(wanted, shots)
        except QuantumServiceError as error:
            if self._fallback is None:
                raise
            log.warning("A local simulator stands in for %s: %s", self._service.target, error)
            done = self._simulated(self._fallback, wanted, shots)
        self._used.update({record.digest: record for record in done.values()})
        return [done[circuit_digest(program, self._service.target, shots)].counts or {} for program in programs]

    def estimate(self, programs: Sequence[str], shots: int) -> Estimate:
        """What a batch would take now; contacts nothing and charges nothing.

        Raises:
            ShotsError: Fewer than one shot.
            QuantumPermissionError: The site does not allow the target.
        """
        wanted = {circuit_digest(program, self._service.target, shots): program for program in programs}
        return self._estimate(wanted, {digest: self._store.find(digest) for digest in wanted}, shots)

    def _finished(self, wanted: Mapping[str, str], shots: int) -> Mapping[str, JobRecord]:
        """The record of each program, succeeded."""
        found = {digest: self._store.find(digest) for digest in wanted}
        done = {digest: record for digest, record in found.items() if record and record.counts is not None}
        missing = [digest for digest in wanted if digest not in done]
        if not missing:
            return done
        self._policy.check_egress(self._service.target)
        estimate = self._estimate(wanted, found, shots)
        self._announce(estimate)
        self._policy.check_budget(estimate)
        new = [digest for digest in missing if is_new(found[digest])]
        if new:
            self._recorder.record(self._egress(new, shots))
        return {**done, **self._run({digest: wanted[digest] for digest in missing}, shots, frozenset(new))}

    def _run(self, programs: Mapping[str, str], shots: int, announced: frozenset[str]) -> Mapping[str, JobRecord]:
        """Submit what is not submitted, a limited number at a time, and wait for all.

        Args:
            programs: By digest.
            shots: Of each.
            announced: Digests of which the recorder knows that they leave now.
        """
        waiting, running, done = deque(programs), dict[str, JobRecord](), dict[str, JobRecord]()
        pause, deadline = self._patience.first_s, self._now() + timedelta(seconds=self._patience.timeout_s)
        while waiting or running:
            while waiting and len(running) < self._in_flight:
                digest = waiting.popleft()
                running[digest] = self._submitted(digest, programs[digest], shots, is_announced=digest in announced)
            ended = {digest: ended for digest, record in running.items() if (ended := self._collected(record))}
            done |= ended
            running = {digest: record for digest, record in running.items() if digest not in ended}
            if not running:
                continue
            if self._now() >= deadline:
                raise QuantumServiceError(
                    f"{self._service.target} has not finished {len(running)} jobs within "
                    f"{self._patience.timeout_s:g} s. They go on there; run the same again to fetch their results."
                )
            pause = self._patience.first_s if ended else pause
            self._sleep(pause)
            pause = min(pause * self._patience.growth, self._patience.longest_s)
        return done

    def _submitted(self, digest: str, program: str, shots: int, *, is_announced: bool) -> JobRecord:
        """A record of a job that the service has: charged and stored first, handed in once."""
        with self._store.alone():
            record = self._store.find(digest)
            if record is not None and record.state in {JobState.SUBMITTED, JobState.SUCCEEDED}:
                return record
            prepared = self._service.prepare(program)
            if record is None or is_new(record):
                record = self._charged(digest, program, shots)
                is_known = False
            else:  # whoever began this died, or lost the answer
                is_known = self._service.knows(record.job_id)
            if not is_known:
                if not is_announced:
                    self._recorder.record(self._egress([digest], shots))
                self._hand_in(record, prepared)
            record = replace(record, state=JobState.SUBMITTED)
            self._store.save(record)
            return record

    def _hand_in(self, record: JobRecord, prepared: Any) -> None:
        try:
            self._service.submit(record.job_id, prepared, record.shots)
        except QuantumJobError:
            self._store.save(replace(record, state=JobState.REFUSED))
            raise

    def _charged(self, digest: str, program: str, shots: int) -> JobRecord:
        """A new record, its cost charged; only alone, so that two processes cannot both take the budget's last part."""
        estimate = self._estimate({digest: program}, {digest: None}, shots)
        self._policy.check_budget(estimate)
        record = JobRecord(
            digest=digest,
            provider=self._service.provider,
            target=self._service.target,
            job_id=str(uuid.uuid4()),
            shots=shots,
            state=JobState.SUBMITTING,
            cost=estimate.cost,
            currency=estimate.currency,
            created=self._now(),
        )
        self._store.save(record)
        return record

    def _collected(self, record: JobRecord) -> JobRecord | None:
        """The record with its counts; None while the job runs."""
        if record.counts is not None:
            return record
        outcome = self._service.outcome(record.job_id)
        if outcome is None:
            return None
        cost = max(record.cost, outcome.cost or Decimal(0)) if outcome.currency == record.currency else record.cost
        state = JobState.FAILED if outcome.counts is None else JobState.SUCCEEDED
        ended = replace(record, state=state, counts=outcome.counts, code=outcome.code, cost=cost)
        with self._store.alone():
            current = self._store.find(record.digest)
            # Another process may have seen a failed job too, and have put a new one in its place.
            if current is not None and current.job_id == record.job_id:
                self._store.save(ended)
        if ended.counts is None:
            raise QuantumJobError(
                f"Job {record.job_id} on {record.target} ended without a result; the service's code is {outcome.code}. "
                "Run the same again to submit a new job, which is charged anew."
            )
        return ended

    def _simulated(self, simulator: Sampler, wanted: Mapping[str, str], shots: int) -> Mapping[str, JobRecord]:
        """The fallback's counts; stored under the simulator's own digests, so that no later run takes them for real."""
        done = {}
        for (digest, program), counts in zip(
            wanted.items(), simulator.counts(list(wanted.values()), shots), strict=True
        ):
            done[digest] = JobRecord(
                digest=circuit_digest(program, LOCAL, shots),
                provider=LOCAL,
                target=LOCAL,
                job_id=str(uuid.uuid4()),
                shots=shots,
                state=JobState.SUCCEEDED,
                cost=Decimal(0),
                currency=self._policy.currency,
                created=self._now(),
                counts=counts,
            )
            with self._store.alone():
                self._store.save(done[digest])
        return done

    def _estimate(self, wanted: Mapping[str, str], found: Mapping[str, JobRecord | None], shots: int) -> Estimate:
        new = [gate_counts(program) for digest, program in wanted.items() if is_new(found[digest])]
        spent = spent_on(self._store.records())
        return self._policy.estimate(self._service.target, new, shots, cached=len(wanted) - len(new), spent=spent)

    def _egress(self, digests: Sequence[str], shots: int) -> AngleEgress:
        return AngleEgress(
            digest=hashlib.sha256("\n".join(digests).encode()).hexdigest(),
            provider=self._service.provider,
            target=self._service.target,
            circuits=len(digests),
            shots=shots,
            when=self._now(),
            purpose=self._purpose,
            permission=self._policy.permission,
        )
