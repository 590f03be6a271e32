"""Trainings that were asked for: what is known of each, and the port to where it is kept."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from federated.training_request import TrainingRequest


class RunState(StrEnum):
    """Where a run is."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPED = "stopped"
    DONE = "done"
    FAILED = "failed"

    @property
    def is_open(self) -> bool:
        """Whether a worker will go on with it."""
        return self in {RunState.QUEUED, RunState.RUNNING}


@dataclass(frozen=True)
class TrainingRun:
    """One training.

    Attributes:
        reason: Why it failed or stopped, for people.
        attempt: Starts since it last got further.
        reached: Steps that were done when the last attempt began.
        dice: Of the last validation, by region.
        remaining_s: About.
        model_version: Of the model that it made.
        hinted_at: When a worker was last told of it.
    """

    id: str
    request: TrainingRequest
    created_at: datetime
    updated_at: datetime
    state: RunState = RunState.QUEUED
    reason: str = ""
    attempt: int = 0
    reached: int = 0
    step: int = 0
    steps: int = 0
    loss: float | None = None
    learning_rate: float | None = None
    dice: Mapping[str, float] = field(default_factory=dict)
    remaining_s: float | None = None
    model_version: str | None = None
    hinted_at: datetime | None = None


class TrainingStore(Protocol):
    """Runs and their folders."""

    def get(self, run_id: str) -> TrainingRun | None:
        """One run; None where there is none of that id.

        Raises:
            TrainingRunError: Its record is damaged.
        """

    def put(self, run: TrainingRun) -> None:
        """Keep a run as it is now, instead of what was known of it."""

    def list_open(self) -> Sequence[TrainingRun]:
        """The runs that a worker will go on with, oldest first."""

    def folder(self, run_id: str) -> Path:
        """Where the run's checkpoints, log and model are; it exists."""

    def hold(self, run_id: str) -> AbstractContextManager[bool]:
        """Hold a run while working on it: True for one process at a time, and no longer than that process lives."""
