"""Round work on disk: a folder for each assignment, which agent and worker share.

    <root>/work/<run>.<round>.<stage>.<digest>/
        work.json, weights.safetensors, extras.bin   what is to be done: there from the folder's first moment
        .lock, attempts.json, progress.json          of the worker that is at it
        checkpoints/
        update.safetensors, result.json              or failure.json: its end
    <root>/state/<run>/                              what the site keeps from round to round

The files hold what has not been masked or noised yet, so only their owner can read them.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from federated.errors import MessageError, TermsError, UpdateError
from federated.rounds.layout import read_weights, write_weights
from federated.rounds.messages import Progress, Stage
from federated.rounds.ports import LocalResult, Work
from federated.rounds.terms import RoundTerms, describe_terms, parse_terms
from federated.rounds.wire import pack, unpack
from governance.canonical import Canonical, canonical_bytes, digest
from plugin.errors import RoundWorkError
from plugin.services.round_work import Assignment

WORK, WEIGHTS, EXTRAS = "work.json", "weights.safetensors", "extras.bin"
LOCK, ATTEMPTS, PROGRESS = ".lock", "attempts.json", "progress.json"
UPDATE, RESULT, FAILURE = "update.safetensors", "result.json", "failure.json"
_KEPT_AFTER_DEADLINE: Final = timedelta(days=1)
_MAX_EXTRAS_BYTES: Final = 1 << 31
_LOCK_ATTEMPTS, _LOCK_PAUSE_S = 10, 0.05
_REPORT_INTERVAL_S: Final = 0.3
_log = logging.getLogger(__name__)


class RoundFolder:
    """RoundWorkStore in the folders below one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._reported: dict[str, float] = {}

    def assign(self, assignment: Assignment) -> str:
        """Keep an assignment; its folder appears with everything in it, or not at all.

        A round that failed comes again with new terms, that differ in what the work does not depend on: then the work
        goes on where it was, under the new deadline.
        """
        terms, weights, extras = assignment.terms, write_weights(assignment.weights), pack({}, assignment.extras)
        key = _plain(f"{terms.run}.{terms.round:06d}.{assignment.stage}.{_digest(terms, weights, extras)[:16]}")
        folder = self._folder(key)
        document: Canonical = {"terms": describe_terms(terms), "stage": str(assignment.stage)}
        if folder.exists():
            if (folder / WORK).read_bytes() != canonical_bytes(document):
                _write(folder / WORK, canonical_bytes(document))
                # What failed is tried once more: an archive may be back, a case mended.
                (folder / FAILURE).unlink(missing_ok=True)
                (folder / ATTEMPTS).unlink(missing_ok=True)
            return key
        beside = folder.with_name(f".{key}.{uuid4().hex}")
        try:
            _private(folder.parent)
            beside.mkdir(mode=0o700)
            for name, content in ((WORK, canonical_bytes(document)), (WEIGHTS, weights), (EXTRAS, extras)):
                _write(beside / name, content)
            beside.rename(folder)
            _sync(folder.parent)
        except OSError as fault:
            shutil.rmtree(beside, ignore_errors=True)
            if not folder.exists():  # else another process of this site was faster
                raise RoundWorkError(f"{folder}: cannot be written ({fault.strerror}); make room there.") from fault
        return key

    def look(self, key: str) -> Work:
        """How far an assignment is."""
        folder = self._folder(key)
        progress = _progress(folder)
        if failure := _document(folder / FAILURE):
            return Work(progress, failure=str(failure.get("reason", "")) or "The worker gave up.")
        document = _document(folder / RESULT)
        if document is None:
            return Work(progress)
        try:
            if document["stage"] == Stage.EVALUATE:
                return Work(progress, figures=dict(document["figures"]))
            return Work(progress, result=_read_result(folder, document))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as fault:
            # Done again rather than trusted; the next worker replaces it.
            _log.warning("%s: is damaged (%s) and done again", folder / RESULT, type(fault).__name__)
            (folder / RESULT).unlink(missing_ok=True)
            return Work(progress)

    def is_held(self, key: str) -> bool:
        """Whether a worker is at it."""
        try:
            with (self._folder(key) / LOCK).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    @contextmanager
    def hold(self, key: str) -> Iterator[bool]:
        """Hold an assignment by a lock that the system takes back when the process dies, however it dies."""
        try:
            file = (self._folder(key) / LOCK).open("ab")
        except FileNotFoundError:
            yield False
            return
        with file:
            yield _lock(file.fileno())

    def read(self, key: str) -> Assignment | None:
        """What is to be done; None where it is done, given up or forgotten."""
        folder = self._folder(key)
        if not folder.exists() or (folder / RESULT).exists() or (folder / FAILURE).exists():
            return None
        try:
            document = json.loads((folder / WORK).read_bytes())
            _, extras = unpack((folder / EXTRAS).read_bytes(), limit=_MAX_EXTRAS_BYTES)
            return Assignment(
                parse_terms(document["terms"]),
                Stage(document["stage"]),
                read_weights((folder / WEIGHTS).read_bytes()),
                {name: bytes(piece) for name, piece in extras.items()},
            )
        except FileNotFoundError:
            return None  # forgotten while it was read
        except (OSError, ValueError, KeyError, TypeError, TermsError, UpdateError, MessageError) as fault:
            raise RoundWorkError(f"{folder}: is not the work of a round ({type(fault).__name__}).") from fault

    def begin(self, key: str) -> int:
        """Count a start; gives how many there were since the work last got further."""
        folder = self._folder(key)
        before = _document(folder / ATTEMPTS) or {}
        step = _progress(folder).step
        attempts = int(before.get("attempts", 0)) + 1 if step <= int(before.get("step", -1)) else 1
        _write(folder / ATTEMPTS, canonical_bytes({"attempts": attempts, "step": step}))
        return attempts

    def report(self, key: str, progress: Progress) -> None:
        """Keep how far it is, a few times a second at most."""
        now = time.monotonic()
        if progress.step < progress.steps and now - self._reported.get(key, -1.0) < _REPORT_INTERVAL_S:
            return
        self._reported[key] = now
        _replace(self._folder(key) / PROGRESS, json.dumps(asdict(progress)).encode())

    def finish(self, key: str, result: LocalResult | Mapping[str, Any]) -> None:
        """Keep the result; nothing where it was forgotten meanwhile."""
        folder = self._folder(key)
        if isinstance(result, LocalResult):
            update = save_tensors({"update": result.update})
            document: dict[str, Any] = {
                "stage": str(Stage.TRAIN),
                "examples": result.examples,
                "figures": dict(result.figures),
                "epsilon": result.epsilon,
                "sha256": hashlib.sha256(update).hexdigest(),
            }
            if not _write(folder / UPDATE, update):
                return
        else:
            document = {"stage": str(Stage.EVALUATE), "figures": dict(result)}
        _write(folder / RESULT, json.dumps(document).encode())
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)

    def fail(self, key: str, reason: str) -> None:
        """Keep why there will be no result."""
        _write(self._folder(key) / FAILURE, json.dumps({"reason": reason}).encode())

    def is_wanted(self, key: str) -> bool:
        """Whether it was not forgotten meanwhile."""
        return self._folder(key).exists()

    def checkpoints(self, key: str) -> Path:
        """Folder for the work's own checkpoints."""
        return self._folder(key) / "checkpoints"

    def site_state(self, run: str) -> Path:
        """Folder for what the site keeps from round to round of a run."""
        return _private(self._root / "state" / _plain(run))

    def forget(self, terms: RoundTerms) -> None:
        """Drop the assignments of a round and of those before it."""
        for folder in (self._root / "work").glob(f"{_plain(terms.run)}.*"):
            if int(folder.name.split(".")[-3]) <= terms.round:
                shutil.rmtree(folder, ignore_errors=True)

    def sweep(self, now: datetime) -> None:
        """Drop what is a day past its deadline, and what was never whole."""
        for folder in (self._root / "work").glob("*"):
            document = _document(folder / WORK)
            try:
                deadline = parse_terms(document["terms"]).deadline if document else None
            except (TermsError, KeyError):
                deadline = None
            if folder.name.startswith(".") or deadline is None or now > deadline + _KEPT_AFTER_DEADLINE:
                shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, key: str) -> Path:
        return self._root / "work" / _plain(key)


def _plain(key: str) -> str:
    """A key is a folder's own name, never a way to another one."""
    if not key or key.startswith(".") or not all(sign.isalnum() or sign in "-_." for sign in key) or len(key) > 200:
        raise RoundWorkError(f"Expected a name of letters, digits, '-', '_' and '.', got {key!r}.")
    return key


def _digest(terms: RoundTerms, weights: bytes, extras: bytes) -> str:
    """Over all that the work depends on."""
    free = {"participants", "deadline", "aggregation"}
    kept = {name: value for name, value in describe_terms(terms).items() if name not in free}
    return digest([kept, hashlib.sha256(weights).hexdigest(), hashlib.sha256(extras).hexdigest()])


def _private(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _lock(file: int) -> bool:
    # Somebody who only looks holds a shared lock for a moment, which is no reason to give up.
    for _ in range(_LOCK_ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE_S)
        else:
            return True
    return False


def _progress(folder: Path) -> Progress:
    document = _document(folder / PROGRESS) or {}
    loss = document.get("loss")
    return Progress(int(document.get("step", 0)), int(document.get("steps", 0)), None if loss is None else float(loss))


def _document(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _read_result(folder: Path, document: dict[str, Any]) -> LocalResult:
    content = (folder / UPDATE).read_bytes()
    if hashlib.sha256(content).hexdigest() != document["sha256"]:
        raise ValueError("The update is not what its digest says.")
    return LocalResult(
        load_tensors(content)["update"], int(document["examples"]), document["figures"], float(document["epsilon"])
    )


def _write(path: Path, content: bytes) -> bool:
    """Write durably: the name never stands for half a file. False where the folder was forgotten."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _sync(path.parent)
    except FileNotFoundError:
        return False
    except OSError as fault:
        raise RoundWorkError(f"{path}: cannot be written ({fault.strerror}); make room there.") from fault
    return True


def _replace(path: Path, content: bytes) -> None:
    """Write what may be lost with the machine: not synced, but whole."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except FileNotFoundError:
        return


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
