"""Training runs on disk: a folder each, with run.json in it."""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

from federated.errors import TrainingSettingsError
from federated.training_request import describe_request, parse_request
from plugin.errors import TrainingRunError
from plugin.services.training_runs import RunState, TrainingRun

RECORD, LOCK = "run.json", ".lock"
_TIMES = ("created_at", "updated_at", "hinted_at")


class TrainingFolder:
    """TrainingStore in the folders below one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def get(self, run_id: str) -> TrainingRun | None:
        """One run; None where there is none of that id."""
        path = self._root / _plain(run_id) / RECORD
        try:
            return _parse(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, TrainingSettingsError) as fault:
            raise TrainingRunError(f"{path}: is not the record of a training ({type(fault).__name__}).") from fault

    def put(self, run: TrainingRun) -> None:
        """Keep a run as it is now; the record is replaced whole."""
        path = self.folder(run.id) / RECORD
        beside = path.with_name(f"{RECORD}.{os.getpid()}.part")
        try:
            beside.write_text(json.dumps(_describe(run), indent=2) + "\n", encoding="utf-8")
            beside.replace(path)
        except OSError as fault:
            raise TrainingRunError(f"{path}: cannot be written ({fault.strerror}).") from fault

    def list_open(self) -> Sequence[TrainingRun]:
        """The runs that a worker will go on with, oldest first; a damaged record is nobody's to go on with."""
        found = []
        for path in self._root.glob(f"*/{RECORD}"):
            try:
                run = self.get(path.parent.name)
            except TrainingRunError:
                continue
            if run and run.state.is_open:
                found.append(run)
        return sorted(found, key=lambda run: run.created_at)

    def folder(self, run_id: str) -> Path:
        """Where the run's files are; it exists."""
        folder = self._root / _plain(run_id)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise TrainingRunError(f"{folder}: cannot be made ({fault.strerror}); choose another one.") from fault
        return folder

    @contextmanager
    def hold(self, run_id: str) -> Iterator[bool]:
        """Hold a run by a lock that the system takes back when the process dies, however it dies."""
        with (self.folder(run_id) / LOCK).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True


def _plain(run_id: str) -> str:
    """An id is a folder's own name, never a way to another one."""
    if not run_id or run_id in {".", ".."} or Path(run_id).name != run_id:
        raise TrainingRunError(f"Expected the id of a training, got {run_id!r}.")
    return run_id


def _describe(run: TrainingRun) -> dict[str, Any]:
    document = {each.name: getattr(run, each.name) for each in fields(run)}
    times = {name: value.isoformat() for name in _TIMES if (value := getattr(run, name)) is not None}
    return {**document, **times, "request": describe_request(run.request), "dice": dict(run.dice)}


def _parse(document: dict[str, Any]) -> TrainingRun:
    times = {name: datetime.fromisoformat(document[name]) for name in _TIMES if document[name] is not None}
    known = {**document, **times, "request": parse_request(document["request"]), "state": RunState(document["state"])}
    return TrainingRun(**known)
