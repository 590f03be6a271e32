"""Records of quantum jobs in a folder, one JSON file a job, and of egress in a file of JSON lines."""

import fcntl
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from federated.errors import QuantumRecordError
from federated.quantum.jobs import AngleEgress, JobRecord, JobState

_DIGEST = re.compile(r"[0-9a-f]{64}")
_JOB_ID = re.compile(r"[0-9a-f-]{36}")
_Stamp = tuple[int, int, int]


class JobFolder:
    """A JobStore. The newest job of a circuit is <digest>.json; jobs before it are <digest>.<job id>.json.

    What the site has spent is the sum over these files: taking one away gives its part of the budget back. Several
    processes on one machine may share the folder; over NFS only where its locks work.
    """

    def __init__(self, folder: Path) -> None:
        """Use a folder, which is made when the first record is stored."""
        self._folder = folder
        self._read: dict[str, tuple[_Stamp, JobRecord]] = {}

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See JobStore. The system frees the lock when a process dies."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def find(self, digest: str) -> JobRecord | None:
        """See JobStore."""
        try:
            record = self._record(self._path(digest))
        except FileNotFoundError:
            return None
        if record.digest != digest:
            raise QuantumRecordError(
                f"Expected the job of circuit {digest} in {digest}.json, got that of circuit {record.digest}. "
                f"Move the file out of {self._folder}."
            )
        return record

    def save(self, record: JobRecord) -> None:
        """See JobStore."""
        path = self._path(record.digest)
        before = self.find(record.digest)
        if before is not None and before.job_id != record.job_id:
            path.rename(path.with_suffix(f".{before.job_id}.json"))
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_atomically(path, _to_json(record))

    def records(self) -> Sequence[JobRecord]:
        """See JobStore."""
        found = []
        for path in self._folder.glob("*.json"):
            with suppress(FileNotFoundError):  # another process has just renamed it; never while this one is alone
                found.append(self._record(path))
        return sorted(found, key=lambda record: (record.created, record.job_id))

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise QuantumRecordError(f"Expected a circuit digest of 64 hexadecimal digits, got {digest!r}.")
        return self._folder / f"{digest}.json"

    def _record(self, path: Path) -> JobRecord:
        """Parse a file, unless it is the same as at the last time: each change makes a new file."""
        status = path.stat()
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        if self._read.get(path.name, (None,))[0] != stamp:
            self._read[path.name] = (stamp, _parse(path))
        return self._read[path.name][1]


class EgressFile:
    """An EgressRecorder: one JSON object a line, appended and flushed to the disk."""

    def __init__(self, path: Path) -> None:
        """Use a file, which is made with the first egress."""
        self._path = path

    def record(self, egress: AngleEgress) -> None:
        """See EgressRecorder."""
        line = json.dumps({**vars(egress), "when": egress.when.isoformat()}, sort_keys=True) + "\n"
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(line)  # in one write: lines of two processes do not mix
            file.flush()
            os.fsync(handle)


def _to_json(record: JobRecord) -> str:
    counts = None if record.counts is None else dict(record.counts)
    values = {**vars(record), "cost": str(record.cost), "created": record.created.isoformat(), "counts": counts}
    return json.dumps(values, indent=1, sort_keys=True)


def _parse(path: Path) -> JobRecord:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        record = JobRecord(
            digest=_matching(_DIGEST, values["digest"]),
            provider=_text(values["provider"]),
            target=_text(values["target"]),
            job_id=_matching(_JOB_ID, values["job_id"]),
            shots=_whole(values["shots"]),
            state=JobState(values["state"]),
            cost=Decimal(_text(values["cost"])),
            currency=_text(values["currency"]),
            created=datetime.fromisoformat(values["created"]),
            code=None if values["code"] is None else _text(values["code"]),
            counts=None if values["counts"] is None else _counts(values["counts"]),
        )
        _check(record)
    except (ValueError, KeyError, TypeError, AttributeError, InvalidOperation) as error:
        raise QuantumRecordError(
            f"Expected the record of a quantum job in {path}, got something damaged ({type(error).__name__}). Restore "
            "it from a backup; or move it away, which forgets the job and gives its part of the budget back."
        ) from error
    return record


def _check(record: JobRecord) -> None:
    if not record.cost.is_finite() or record.cost < 0 or record.created.tzinfo is None:
        raise ValueError(record.cost)
    if (record.counts is not None) != (record.state is JobState.SUCCEEDED):
        raise ValueError(record.state)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(type(value).__name__)
    return value


def _matching(pattern: re.Pattern[str], value: Any) -> str:
    if not pattern.fullmatch(_text(value)):
        raise ValueError(value)
    return str(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(value)
    return value


def _counts(values: Mapping[Any, Any]) -> Mapping[str, int]:
    return {_matching(re.compile("[01]+"), bits): _whole(count) for bits, count in values.items()}


def _write_atomically(path: Path, text: str) -> None:
    """Replace a file at once: a reader, or a restart after a crash, finds the old one or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")  # readable by its owner only
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(handle)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the name too
    finally:
        os.close(folder)
