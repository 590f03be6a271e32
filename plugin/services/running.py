"""One worker's hold on one analysis: the lease that says it is alive, and the steps it records."""

import threading
import time
import traceback
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from plugin.errors import LeaseLostError, Treatment, WorkerLostError, remedy
from plugin.services.ports import Services
from plugin.services.values import Analysis, AnalysisState, Step

_LONGEST_WAIT = timedelta(hours=1)
_PROGRESS_INTERVAL_S = 0.25
_ENDS = {Treatment.NOT_ANALYSABLE: AnalysisState.NOT_ANALYSABLE, Treatment.HALT: AnalysisState.HALTED}


class Run:
    """An analysis that this worker holds.

    Attributes:
        owner: Names this hold; the store refuses a result from an owner that lost it.
        work_key: Digest of what the analysis is about, once that is known.
    """

    def __init__(self, services: Services, analysis: Analysis, owner: str) -> None:
        self.services = services
        self.analysis = analysis
        self.owner = owner
        self.work_key = analysis.work_key or ""
        self._lost = threading.Event()
        self._reported_at = 0.0

    @contextmanager
    def step(self, step: Step) -> Iterator[None]:
        """Record that a step begins, and that it ended well."""
        self._check_lease()
        self.services.store.start_step(self.analysis.id, step, now=self.services.clock())
        self._reported_at = 0.0
        yield
        self._check_lease()
        self.services.store.finish_step(self.analysis.id, step, now=self.services.clock())

    def progress(self, fraction: float) -> None:
        """Record how far the step is, at most a few times a second.

        Raises:
            LeaseLostError: Another worker has taken over: stop here.
        """
        self._check_lease()
        if time.monotonic() - self._reported_at < _PROGRESS_INTERVAL_S:
            return
        self._reported_at = time.monotonic()
        self.services.store.set_progress(self.analysis.id, min(max(fraction, 0.0), 1.0), now=self.services.clock())

    def conclude(self, error: Exception) -> None:
        """Give the analysis the state that an error leads to: queued again, or ended with a reason."""
        now = self.services.clock()
        store, site, analysis = self.services.store, self.services.site, self.analysis
        if isinstance(error, LeaseLostError) or self._lost.is_set():
            return  # whoever has it now says how it ends
        treatment = remedy(error).treatment
        reason = describe(error)
        if treatment is Treatment.RETRY and analysis.attempt < site.max_attempts:
            retry_at = later(now, site.retry_base, analysis.attempt)
            store.release(analysis.id, owner=self.owner, now=now, retry_at=retry_at, reason=f"Waiting: {reason}")
            return
        ended = _ENDS.get(treatment, AnalysisState.FAILED)
        store.finish(analysis.id, ended, reason_code=type(error).__name__, reason=reason, now=now)

    def _check_lease(self) -> None:
        if self._lost.is_set():
            raise LeaseLostError(f"Analysis {self.analysis.id} was taken over by another worker.")

    def keep_lease(self, stop: threading.Event) -> None:
        """Renew the lease until told to stop: runs in a thread of its own."""
        lease = self.services.site.lease
        while not stop.wait(lease.total_seconds() / 4):
            now = self.services.clock()
            if not self.services.store.renew(self.analysis.id, owner=self.owner, now=now, lease=lease):
                self._lost.set()
                return


@contextmanager
def hold(services: Services, analysis_id: str) -> Iterator[Run | None]:
    """Claim an analysis and keep its lease alive; None when there is nothing to do or another worker holds it."""
    owner = uuid.uuid4().hex
    site = services.site
    analysis = services.store.claim(analysis_id, owner=owner, now=services.clock(), lease=site.lease)
    if analysis is None:
        yield None
        return
    run = Run(services, analysis, owner)
    if analysis.attempt > site.max_attempts:
        run.conclude(WorkerLostError(f"The worker was lost {site.max_attempts} times on this study; see its log."))
        yield None
        return
    stop = threading.Event()
    keeper = threading.Thread(target=run.keep_lease, args=(stop,), name=f"lease-{analysis_id[:8]}", daemon=True)
    keeper.start()
    try:
        yield run
    finally:
        stop.set()
        keeper.join()


def describe(error: Exception) -> str:
    """An error in words that a person may read: ours say what to do; a foreign one is only named.

    A foreign error's own text could hold anything from the data it fell over, so it goes to nobody.
    """
    known = type(error).__module__.split(".")[0] in {
        "plugin",
        "dicom_ingest",
        "fhir_adapter",
        "federated",
        "governance",
    }
    return str(error) if known else f"Unexpected {type(error).__name__}; the worker's log has the place."


def place_of(error: Exception) -> str:
    """Where an error was raised, for the log: file, line and function, and none of the values."""
    frames = traceback.extract_tb(error.__traceback__)
    return (
        f"{Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name}" if frames else "an unknown place"
    )


def backoff(base: timedelta, attempt: int) -> timedelta:
    """The wait before the next attempt: doubles each time, up to an hour."""
    return min(base * 2.0 ** min(attempt - 1, 20), _LONGEST_WAIT)


def later(now: datetime, base: timedelta, attempt: int) -> datetime:
    """When the next attempt is due."""
    return now + backoff(base, attempt)
