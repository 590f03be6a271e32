"""A whole federation as a user starts it, with processes that a test can kill."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from tests.servers.processes import wait_until

QFL = Path(sys.executable).parent / "qfl"


def clean_environment() -> dict[str, str]:
    """Without any of the product's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("QFL_")}


class RunningFederation:
    """`qfl federation up`, in the background."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.options = options
        self.run = folder / "coordinator" / "runs" / "run-1"
        self._log = folder.with_name(f"{folder.name}.up.log")
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [QFL, "federation", "up", "--folder", self.folder, *self.options]
        with self._log.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=clean_environment(), cwd=self.folder.parent)

    def start_again(self) -> None:
        """The same command once more."""
        self.process = self._start()

    def stop(self) -> int:
        """Ctrl-C; gives the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def kill(self) -> None:
        """Kill -9 everything, and wait until it is gone."""
        self.process.kill()
        self.process.wait(20)
        for pid in self.pids():
            psutil.Process(pid).kill()
        wait_until(lambda: not self.pids(), 20)

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """What the coordinator told."""
        try:
            text = (self.run / "events.jsonl").read_text()
        except FileNotFoundError:
            return []
        found = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        return [event for event in found if kind in (None, event["event"])]

    def finished(self) -> list[int]:
        """Rounds that are finished, each once."""
        return sorted({event["round"] for event in self.events("round-finished")})

    def log(self) -> str:
        """The ends of all logs."""
        return self._log.read_text(errors="replace")[-3000:] + self.logs(self.folder)

    @staticmethod
    def logs(folder: Path) -> str:
        """The ends of the logs of a federation's processes."""
        paths = [*(folder / "logs").glob("*.log"), *(folder / "coordinator" / "engine").glob("*.log")]
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in paths)

    def wait_for(self, condition: Any, timeout_s: float) -> None:
        """Until a condition holds, while the federation lives."""
        wait_until(condition, timeout_s, self.log, self.process)

    def processes(self) -> Mapping[str, list[int]]:
        """Process ids by role: coordinator, superlink, superexec, serverapp, agent-NAME, worker-NAME."""
        return self.find(self.folder)

    def pids(self) -> list[int]:
        """Of all processes that belong to this federation, but `up` itself."""
        return [pid for pids in self.processes().values() for pid in pids]

    def kill_one(self, role: str) -> None:
        """Kill -9 one process."""
        pids = self.processes().get(role, [])
        assert pids, f"no {role} among {self.processes()}"
        for pid in pids:
            psutil.Process(pid).kill()

    @staticmethod
    def find(folder: Path) -> dict[str, list[int]]:
        """Processes of the federation in a folder by role, but `up` itself."""
        found: dict[str, list[int]] = {}
        for process in psutil.process_iter():
            try:
                command, environment = process.cmdline(), process.environ()
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
            if (role := _role(folder, command, environment)) is not None:
                found.setdefault(role, []).append(process.pid)
        return found


def _role(folder: Path, command: list[str], environment: Mapping[str, str]) -> str | None:
    words = " ".join(command)
    if str(folder) not in words and str(folder) not in " ".join(environment.values()):
        return None
    site = Path(environment.get("QFL_FEDERATION_DIR", "")).name
    roles = {
        "federation up": None,
        "federation coordinator": "coordinator",
        "federation agent": f"agent-{site}",
        "celery": f"worker-{site}",
        "superlink_process": "superlink",
        "flower-superexec": "superexec",
        "serverapp": "serverapp",
    }
    return next((role for sign, role in roles.items() if sign in words), None)
