"""Processes that one process starts, tends and stops: restarted when they die, and never left behind."""

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from plugin.errors import FederationBusyError, FederationProcessError
from plugin.services.local_federation import Process
from plugin.services.local_run import Death, last_lines

_STOP_TIMEOUT_S: Final = 15.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_IS_STEADY_S: Final = 60.0
"""Who lived so long starts again at once."""
_MOST_DEATHS: Final = 8
_PR_SET_PDEATHSIG: Final = 1
_WHEN_ORPHANED: Final = int(signal.SIGTERM)


@dataclass
class _Child:
    command: Process
    process: subprocess.Popen[bytes]
    started: float
    deaths: int = 0
    due: float | None = None


class ChildProcesses:
    """Children in process groups of their own, so that Ctrl-C reaches only this process, which then stops them.

    When this process is killed, its children get SIGTERM from the system (Linux), and the next one over the same
    folder ends whoever is still there. Use it from the main thread: the system takes a thread's end for the parent's.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Use a folder for the logs and for the record of what runs.

        Args:
            folder: Of one such object at a time; see alone().
            clock: Seconds, of any beginning.
        """
        self._logs = folder / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._record = folder / "processes.json"
        self._clock = clock
        self._children: dict[str, _Child] = {}

    def start(self, command: Process) -> int:
        """Start a process, and give its id; a later start of that name writes behind its log."""
        before = self._children.get(command.name)
        process = self._spawn(command)
        self._children[command.name] = _Child(
            command, process, self._clock(), deaths=before.deaths if before is not None else 0
        )
        self._write_record()
        return process.pid

    def tend(self) -> list[Death]:
        """Notice who died and start again whose pause is over; call it a few times a second.

        Raises:
            FederationProcessError: A process dies again and again.
        """
        now, found = self._clock(), []
        for child in list(self._children.values()):
            if child.due is not None:
                if now >= child.due:
                    self.start(child.command)
            elif (code := child.process.poll()) is not None:
                found.append(self._died(child, code, now))
        return found

    def pid(self, name: str) -> int | None:
        """Of a process that lives; None between a death and the start after it."""
        child = self._children.get(name)
        return child.process.pid if child is not None and child.process.poll() is None else None

    def log(self, name: str) -> Path:
        """Where a process's output goes."""
        return self._logs / f"{name}.log"

    def stop(self) -> None:
        """Ask all processes to end, the last started first, and wait; those that hang are killed."""
        running = [child.process for child in reversed(self._children.values()) if child.process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        end = time.monotonic() + _STOP_TIMEOUT_S
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, end - time.monotonic()))
        for child in self._children.values():
            _kill_group(child.process.pid)  # its own children too, whether it could stop them or not
            child.process.wait()
        self._children.clear()
        self._record.unlink(missing_ok=True)

    def end_leftovers(self) -> None:
        """End the processes that an earlier, killed parent started in this folder, and that still run."""
        try:
            known = json.loads(self._record.read_bytes())
            leftovers = [(int(pid), float(created)) for pid, created in known]
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError):
            leftovers = []
        for pid, created in leftovers:
            if _is_same(pid, created):
                _kill_group(pid)
        self._record.unlink(missing_ok=True)

    def _spawn(self, command: Process) -> subprocess.Popen[bytes]:
        with self.log(command.name).open("ab") as output:
            return subprocess.Popen(
                list(command.arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(command.environment),
                start_new_session=True,
                # One call of the C library, looked up beforehand: nothing in it can wait for a lock.
                preexec_fn=lambda: _prepare(command.niceness),  # noqa: PLW1509
            )

    def _died(self, child: _Child, code: int, now: float) -> Death:
        name = child.command.name
        _kill_group(child.process.pid)
        child.deaths = child.deaths + 1 if now - child.started < _IS_STEADY_S else 1
        if child.deaths > _MOST_DEATHS:
            raise FederationProcessError(
                f"{name} died {child.deaths} times, the last time with code {code}; {self.log(name)} ends with:\n"
                + last_lines(self.log(name))
            )
        pause = min(_FIRST_PAUSE_S * 2.0 ** (child.deaths - 1), _LONGEST_PAUSE_S)
        child.due = now + pause
        return Death(name, child.process.pid, code, pause)

    def _write_record(self) -> None:
        known = []
        for child in self._children.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                known.append((child.process.pid, psutil.Process(child.process.pid).create_time()))
        beside = self._record.with_suffix(".part")
        beside.write_text(json.dumps(known))
        beside.replace(self._record)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only process of its kind over a folder.

    Raises:
        FederationBusyError: Another one is.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / ".running").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            raise FederationBusyError(
                f"{folder}: another process runs there; stop it, or choose another one."
            ) from fault
        yield


def _is_same(pid: int, created: float) -> bool:
    """Whether the number still means the process that was started, and not a later one."""
    try:
        return bool(abs(psutil.Process(pid).create_time() - created) < 1)
    except psutil.NoSuchProcess:
        return False


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def _prepare(niceness: int) -> None:
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, _WHEN_ORPHANED)
    if niceness:
        os.nice(niceness)
