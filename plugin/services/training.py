"""Trainings: asked for, run here or by a worker, killed and gone on with, and told of."""

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from federated.errors import FederatedError
from federated.training_request import TrainingRequest
from plugin.errors import PluginError, TrainingBusyError, TrainingNotFoundError, TrainingRunError
from plugin.services.ports import Services
from plugin.services.running import describe, place_of
from plugin.services.training_runs import RunState, TrainingRun, TrainingStore

if TYPE_CHECKING:
    from federated.training import Event

CHECKPOINTS, LOG, CURVES = "checkpoints", "training-log.jsonl", "curves.png"
CHECKPOINT_S = 30.0
_STATUS_INTERVAL_S = 1.0
_log = logging.getLogger(__name__)


class Watcher(Protocol):
    """Who looks on. An exception from it stops the run after a checkpoint."""

    def gathered(self, ready: int, total: int) -> None:
        """So many cases of so many are prepared."""

    def event(self, event: "Event") -> None:
        """The training got further."""


class NobodyWatches:
    """A worker has nobody to show it to."""

    def gathered(self, ready: int, total: int) -> None:
        """Do nothing."""

    def event(self, event: "Event") -> None:
        """Do nothing."""


def submit(services: Services, request: TrainingRequest) -> str:
    """Have a worker of the training queue train; gives the run's id.

    Raises:
        TrainingSettingsError: The request cannot be trained.
    """
    from federated.presets import choose_preset

    choose_preset(request)
    if request.data is not None:
        request = replace(request, data=str(Path(request.data).absolute()))
    now = services.clock()
    run = TrainingRun(uuid.uuid4().hex, request, created_at=now, updated_at=now, hinted_at=now)
    services.trainings.put(run)
    services.queue.train(run.id)
    return run.id


def get_run(store: TrainingStore, run_id: str) -> TrainingRun:
    """One run.

    Raises:
        TrainingNotFoundError: There is none of that id.
    """
    run = store.get(run_id)
    if run is None:
        raise TrainingNotFoundError(f"There is no training {run_id!r} here.")
    return run


def find_stalled(services: Services) -> Sequence[str]:
    """The ids of the runs that wait for a worker and were not hinted at lately; they count as hinted at now."""
    now, found = services.clock(), []
    for run in services.trainings.list_open():
        if run.hinted_at is not None and now - run.hinted_at < services.site.lease:
            continue
        with services.trainings.hold(run.id) as is_mine:
            current = services.trainings.get(run.id) if is_mine else None
            if current and current.state.is_open:
                services.trainings.put(replace(current, hinted_at=now))
                found.append(run.id)
    return found


def continue_run(services: Services, run_id: str) -> None:
    """Be the worker of a run: train it to its end, from its last checkpoint.

    Does nothing when the run is at its end, or when another worker is at it.
    """
    with services.trainings.hold(run_id) as is_mine:
        run = services.trainings.get(run_id)
        if not is_mine or run is None or not run.state.is_open:
            return
        if run.attempt >= services.site.max_attempts and run.step <= run.reached:
            reason = f"The worker was lost {run.attempt} times at step {run.step}; see its log."
            services.trainings.put(_ended(run, RunState.FAILED, reason, services.clock()))
            return
        try:
            _train(services.trainings, run, services.clock, NobodyWatches())
        except (FederatedError, PluginError) as error:
            _log.error("training %s failed: %s", run_id, describe(error))


def run_here(
    store: TrainingStore,
    run_id: str,
    request: TrainingRequest | None,
    clock: Callable[[], datetime],
    watcher: Watcher,
    checkpoint_s: float = CHECKPOINT_S,
) -> TrainingRun:
    """Train in this process, a new run or one that was stopped.

    Args:
        store: Where the run is, or will be.
        run_id: Of the run.
        request: Of a new run; None to go on with one.
        clock: For its record.
        watcher: Shown what happens.
        checkpoint_s: Time between two checkpoints.

    Raises:
        TrainingBusyError: Another process is at it.
        TrainingNotFoundError: There is no run to go on with.
        TrainingRunError: There is a run already where a new one was wanted.
        FederatedError: The training itself failed.
    """
    with store.hold(run_id) as is_mine:
        if not is_mine:
            raise TrainingBusyError(f"{store.folder(run_id)}: another process trains there; wait for it, or stop it.")
        known = store.get(run_id)
        if request is None:
            return _train(store, get_run(store, run_id), clock, watcher, checkpoint_s)
        if known is not None:
            raise TrainingRunError(
                f"{store.folder(run_id)}: holds a training that is {known.state} at step {known.step}; "
                "go on with --resume, or choose another folder."
            )
        now = clock()
        new = TrainingRun(run_id, request, created_at=now, updated_at=now)
        return _train(store, new, clock, watcher, checkpoint_s)


def _train(
    store: TrainingStore,
    run: TrainingRun,
    clock: Callable[[], datetime],
    watcher: Watcher,
    checkpoint_s: float = CHECKPOINT_S,
) -> TrainingRun:
    """Train a run that is held, and record how it ends."""
    is_further = run.step > run.reached
    run = replace(run, state=RunState.RUNNING, reason="", attempt=1 if is_further else run.attempt + 1)
    record = _Record(store, replace(run, reached=run.step), clock)
    record.write()
    try:
        _make_model(store.folder(run.id), record, watcher, checkpoint_s)
    except KeyboardInterrupt:
        record.end(RunState.STOPPED, f"Stopped by hand at step {record.run.step}.")
        raise
    except Exception as error:
        if not isinstance(error, FederatedError | PluginError):
            _log.error("training %s: %s at %s", run.id, type(error).__name__, place_of(error))
        record.end(RunState.FAILED, describe(error))
        raise
    record.end(RunState.DONE, "")
    return record.run


@dataclass
class _Record:
    """The run's record, kept up to date while it is trained."""

    store: TrainingStore
    run: TrainingRun
    clock: Callable[[], datetime]
    _written_at: float = 0.0
    _first: tuple[int, float] | None = None

    def event(self, event: "Event") -> None:
        from federated.training import Started, Stepped

        if isinstance(event, Started):
            self.run = replace(self.run, step=event.step, steps=event.steps)
        elif isinstance(event, Stepped):
            self._first = self._first or (event.step, event.seconds)
            self.run = replace(
                self.run,
                step=event.step,
                loss=event.loss,
                learning_rate=event.learning_rate,
                remaining_s=self._remaining(event.step, event.seconds),
            )
        else:
            self.run = replace(self.run, dice=dict(event.validation.dice))
        if time.monotonic() - self._written_at >= _STATUS_INTERVAL_S:
            self.write()

    def write(self) -> None:
        self._written_at = time.monotonic()
        self.run = replace(self.run, updated_at=self.clock())
        self.store.put(self.run)

    def end(self, state: RunState, reason: str) -> None:
        self.run = _ended(self.run, state, reason, self.clock())
        self.store.put(self.run)

    def _remaining(self, step: int, seconds: float) -> float | None:
        """At the pace since this process began."""
        first, since = self._first or (step, seconds)
        return (seconds - since) / (step - first) * (self.run.steps - step) if step > first else None


def _ended(run: TrainingRun, state: RunState, reason: str, now: datetime) -> TrainingRun:
    return replace(run, state=state, reason=reason, updated_at=now, remaining_s=None)


def _make_model(folder: Path, record: _Record, watcher: Watcher, checkpoint_s: float) -> None:
    """Gather the cases, train, fix the thresholds and write the model."""
    from federated.checkpoints import CheckpointFolder
    from federated.model_file import save_model
    from federated.numerics import choose_device
    from federated.presets import choose_preset, gather
    from federated.trained_model import build_model
    from federated.training import train
    from federated.training_log import TrainingLog, draw_curves

    preset, device = choose_preset(record.run.request), choose_device(record.run.request.device)
    checkpoints = CheckpointFolder(folder / CHECKPOINTS, checkpoint_s)
    log = TrainingLog(folder / LOG)
    split = gather(preset, watcher.gathered)

    def report(event: "Event") -> None:
        log.write(event)
        record.event(event)
        watcher.event(event)

    trained = train(split, preset.network, preset.settings, device, report, checkpoints)
    draw_curves(trained, folder / CURVES)
    version = save_model(folder, build_model(preset, split, trained, device))
    best = trained.validations.get(trained.best_step)
    record.run = replace(record.run, model_version=version, dice=dict(best.dice) if best else {})
