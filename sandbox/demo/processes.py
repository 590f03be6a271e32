"""Processes that the demo starts, watches and stops, each with a log of its own."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.demo.errors import CommandError, ProcessDiedError

_STOP_TIMEOUT_S = 25
_READY_TIMEOUT_S = 60
_POLL_S = 0.1
_TAIL_LINES = 15


@dataclass(frozen=True)
class Managed:
    """A running process."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise ProcessDiedError if it has ended."""
        code = self.process.poll()
        if code is not None:
            raise ProcessDiedError(f"{self.name} ended by itself with code {code}", log=self.log)


class Processes:
    """The demo's processes, stopped in reverse order of their start.

    Args:
        logs: Folder for one log each; a later start writes behind an earlier one.
    """

    def __init__(self, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs
        self._running: list[Managed] = []

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> Managed:
        """Start a process in a session of its own, so that Ctrl-C reaches only the demo, which then stops it."""
        log = self.log(name)
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(os.environ if env is None else env),
                start_new_session=True,
            )
        managed = Managed(name, process, log)
        self._running.append(managed)
        return managed

    def start_server(self, name: str, command: Sequence[str]) -> str:
        """Start a sandbox server, and give the URL that it writes when it is ready."""
        log = self.log(name)
        written = log.stat().st_size if log.exists() else 0
        managed = self.start(name, command)
        end = time.monotonic() + _READY_TIMEOUT_S
        while time.monotonic() < end:
            for line in log.read_bytes()[written:].splitlines():
                if line.startswith(b'{"ready"'):
                    ready: dict[str, Any] = json.loads(line)
                    return str(ready["url"])
            managed.check()
            time.sleep(_POLL_S)
        raise ProcessDiedError(f"{name} did not get ready within {_READY_TIMEOUT_S} s", log=log)

    def run(self, name: str, command: Sequence[str], env: Mapping[str, str], given: str = "") -> str:
        """Run a command to its end, and give what it printed; its errors go to its log.

        Raises:
            CommandError: It failed.
        """
        log = self.log(name)
        with log.open("ab") as errors:
            done = subprocess.run(
                command, input=given.encode(), stdout=subprocess.PIPE, stderr=errors, env=dict(env), check=False
            )
        if done.returncode:
            called = " ".join([Path(command[0]).name, *command[1:3]])
            raise CommandError(f"'{called}' failed with code {done.returncode}", log=log)
        return done.stdout.decode()

    def log(self, name: str) -> Path:
        """Where a process's output goes."""
        return self._logs / f"{name}.log"

    def check(self) -> None:
        """Raise ProcessDiedError if any process has ended."""
        for managed in self._running:
            managed.check()

    def stop(self) -> None:
        """Ask all processes to end, the last started first, and wait; those that hang are killed."""
        for managed in reversed(self._running):
            if managed.process.poll() is None:
                managed.process.send_signal(signal.SIGTERM)
        for managed in reversed(self._running):
            try:
                managed.process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                # Its session holds its children too, and nothing else.
                os.killpg(managed.process.pid, signal.SIGKILL)
                managed.process.wait()
        self._running.clear()


def tail(log: Path) -> str:
    """The last lines of a log."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
