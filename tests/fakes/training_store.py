"""A TrainingStore in memory; only the files of a run lie on the disk, where a folder is given for them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from plugin.services.training_runs import TrainingRun


class InMemoryTrainingStore:
    """A run that is held twice at a time is refused the second hold, as with the real store."""

    def __init__(self, root: Path | None = None) -> None:
        self._root = root
        self._runs: dict[str, TrainingRun] = {}
        self._held: set[str] = set()

    def get(self, run_id: str) -> TrainingRun | None:
        """One run."""
        return self._runs.get(run_id)

    def put(self, run: TrainingRun) -> None:
        """Keep a run."""
        self._runs[run.id] = run

    def list_open(self) -> Sequence[TrainingRun]:
        """The open runs, oldest first."""
        return sorted((run for run in self._runs.values() if run.state.is_open), key=lambda run: run.created_at)

    def folder(self, run_id: str) -> Path:
        """Where the run's files are."""
        assert self._root, "this store was made without a folder"
        folder = self._root / run_id
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def hold(self, run_id: str) -> Iterator[bool]:
        """Hold a run."""
        if run_id in self._held:
            yield False
            return
        self._held.add(run_id)
        try:
            yield True
        finally:
            self._held.discard(run_id)
