"""The product's own processes, as hospital IT would start them, for tests from the outside."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.servers.processes import free_port, stop, wait_until

QFL = Path(sys.executable).parent / "qfl"
_ROOT = Path(__file__).parents[2]
PASSWORD = "correct horse battery staple"


class Product:
    """Web, worker and timer over one state folder.

    Attributes:
        url: Of the pages and the API.
        folder: Holds data and logs.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("QFL_")}
        self.environment = {
            **inherited,
            "QFL_DATA_DIR": str(folder / "data"),
            "QFL_HTTP_PORT": str(port),
            "QFL_PUBLIC_URL": self.url,
            "QFL_ORGANISATION": "Test Hospital",
            "QFL_LEASE": "5",
            "QFL_TICK": "1",
            "QFL_RETRY_BASE": "0.5",
            **environment,
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.token = ""

    def run(self, *arguments: str, text: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one qfl command to its end."""
        done = subprocess.run(
            [QFL, *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
            env=self.environment,
            cwd=self.folder,
            check=False,
        )
        assert not check or done.returncode == 0, f"qfl {' '.join(arguments)}: {done.stderr}"
        return done

    def release_model(self) -> None:
        """Have officers put the model in use; nothing is analysed before."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.servers.release_model"],
            capture_output=True,
            text=True,
            timeout=120,
            env=self.environment,
            cwd=_ROOT,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def start(self, name: str, *arguments: str) -> None:
        """Start web, worker or timer in a process group of its own."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [QFL, name, *arguments],
                stdout=log,
                stderr=log,
                env=self.environment,
                cwd=self.folder,
                start_new_session=True,
            )
        if name == "web":
            wait_until(self._is_ready, 60, lambda: self.log("web"), self._processes[name])

    def is_running(self, name: str) -> bool:
        """Whether a process was started and has not ended."""
        return name in self._processes and self._processes[name].poll() is None

    def kill(self, name: str) -> None:
        """Kill -9 a process and all its children, as a machine that loses power would."""
        process = self._processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)

    def stop(self, name: str) -> None:
        """End a process politely."""
        stop(self._processes.pop(name))

    def stop_all(self) -> None:
        """End everything."""
        for name in list(self._processes):
            process = self._processes.pop(name)
            stop(process)

    def log(self, name: str) -> str:
        """The end of a process's log."""
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def analyses(self, study_instance_uid: str | None = None) -> list[dict[str, Any]]:
        """What the API tells of the analyses of a study."""
        with self.client() as client:
            answer = client.get("/api/analyses", params={"study_instance_uid": study_instance_uid or ""})
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()["analyses"]
        return found

    def wait_for(self, study_instance_uid: str, *states: str, timeout_s: float = 90) -> dict[str, Any]:
        """Wait until the study's first analysis is in one of the states."""
        seen: list[dict[str, Any]] = []

        def reached() -> bool:
            seen[:] = self.analyses(study_instance_uid)
            return any(one["state"] in states for one in seen)

        wait_until(reached, timeout_s, lambda: f"{seen}\n{self.log('worker')}")
        return next(one for one in seen if one["state"] in states)

    def client(self) -> httpx.Client:
        """An HTTP client with the API token; the caller closes it."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=30)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", trust_env=False, timeout=5).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


@contextmanager
def product(folder: Path, environment: Mapping[str, str]) -> Iterator[Product]:
    """Set the product up and start web, worker and timer; a radiologist named dr.house may sign in."""
    folder.mkdir(parents=True, exist_ok=True)
    running = Product(folder, environment)
    with ExitStack() as stack:
        stack.callback(running.stop_all)
        running.run("migrate")
        running.release_model()
        running.run("users", "add", "dr.house", "--name", "Gregory House", "--password-stdin", text=f"{PASSWORD}\n")
        running.token = running.run("users", "token", "dr.house").stdout.strip()
        running.start("web")
        running.start("worker")
        running.start("timer")
        yield running
