"""The engine's server (Flower SuperLink) and the process that starts its apps, as children on loopback.

What they know is a cache: sites, terms, checkpoints and results are kept by the coordinator. So each start begins with
an empty database, and only a child that died meanwhile comes back to the one it left. A run then goes on where it was:
its app, the sites and the questions on their way all outlive a kill -9 of the server.
"""

import logging
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx

from federated.engine.bells import Bells
from federated.engine.control import Control
from federated.engine.loopback_certificate import write_loopback_certificate, write_secret
from federated.errors import EngineError

_HOST: Final = "127.0.0.1"
_STOP_S: Final = 10.0
_LOG_BYTES: Final = 16 << 20
_log = logging.getLogger(__name__)


class Superlink:
    """The engine of one coordinator; use it in a with block, or call start and stop."""

    def __init__(
        self,
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        app_poll_s: float = 1.0,
        start_timeout_s: float = 120.0,
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            folder: Its own, below the coordinator's; what it holds is lost at every start.
            environment: For the children, instead of this process's.
            app_poll_s: Seconds between two looks for an app to start.
            start_timeout_s: After which a start failed.
        """
        self._folder = folder.absolute()
        self._environment = dict(os.environ if environment is None else environment)
        self._app_poll_s, self._start_timeout_s = app_poll_s, start_timeout_s
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._control: Control | None = None
        self._port = 0

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    @property
    def address(self) -> str:
        """127.0.0.1:port."""
        return f"{_HOST}:{self._port}"

    @property
    def ca(self) -> Path:
        """Certificate of the authority that vouches for it."""
        return self._folder / "ca.pem"

    @property
    def bells(self) -> Bells:
        """Between its apps and the gateway."""
        return Bells(self._folder)

    @property
    def control(self) -> Control:
        """Orders to it.

        Raises:
            EngineError: It was not started.
        """
        if self._control is None:
            raise EngineError("The engine was not started.")
        return self._control

    @property
    def processes(self) -> Mapping[str, int]:
        """Process ids of its children by role, "superlink" and "apps"."""
        return {role: child.pid for role, child in self._children.items()}

    def start(self) -> None:
        """Begin with an empty database, and wait until it answers.

        Raises:
            EngineError: It ends, or does not answer in time.
        """
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(mode=0o700, parents=True)
        (self._folder / "home").mkdir(mode=0o700)
        write_loopback_certificate(self._folder)
        write_secret(self._folder / "apps.secret", secrets.token_bytes(32))
        self._port = _free_port()
        try:
            self._start_children()
        except EngineError:
            self.stop()
            raise
        self._control = Control(self.address, self.ca, self._folder)

    def keep_running(self) -> bool:
        """Start again what ended by itself, on the same database; whether that was needed.

        Raises:
            EngineError: It does not come back.
        """
        ended = [role for role, child in self._children.items() if child.poll() is not None]
        if not ended:
            return False
        _log.warning("The engine's %s ended; starting it again.", " and ".join(ended))
        self._start_children()
        return True

    def stop(self) -> None:
        """End its children and theirs; harmless when nothing runs."""
        if self._control is not None:
            self._control.close()
            self._control = None
        # The apps first: they say goodbye to the server.
        for role in ("apps", "superlink"):
            if (child := self._children.pop(role, None)) is not None:
                _end_group(child)

    def _start_children(self) -> None:
        if not self._runs("superlink"):
            self._children["superlink"] = self._spawn("superlink", self._superlink_command())
        self._wait_until_healthy()
        if not self._runs("apps"):
            if (old := self._children.get("apps")) is not None:
                # Its apps are in its process group, and may have outlived it.
                _end_group(old)
            self._children["apps"] = self._spawn("apps", self._apps_command())

    def _runs(self, role: str) -> bool:
        child = self._children.get(role)
        return child is not None and child.poll() is None

    def _superlink_command(self) -> Sequence[str]:
        folder = self._folder
        return [
            *(sys.executable, "-m", "federated.engine.superlink_process", str(os.getpid())),
            *("--host", _HOST, "--port", str(self._port)),
            *("--ssl-ca-certfile", str(self.ca)),
            *("--ssl-certfile", str(folder / "server.pem"), "--ssl-keyfile", str(folder / "server.key")),
            "--enable-supernode-auth",
            "--disable-runtime-dependency-installation",
            # Apps are started by our own child, which shows a secret for it.
            *("--isolation", "process", "--superexec-auth-secret-file", str(folder / "apps.secret")),
            *("--database", str(folder / "state.db")),
        ]

    def _apps_command(self) -> Sequence[str]:
        return [
            str(Path(sys.executable).parent / "flower-superexec"),
            *("--runtime-api-address", self.address, "--root-certificates", str(self.ca)),
            *("--superexec-auth-secret-file", str(self._folder / "apps.secret")),
            *("--parent-pid", str(os.getpid())),
        ]

    def _spawn(self, role: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        log = self._folder / f"{role}.log"
        if log.exists() and log.stat().st_size > _LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        programs = str(Path(sys.executable).parent)
        environment = {
            **self._environment,
            "PATH": os.pathsep.join([programs, self._environment.get("PATH", os.defpath)]),
            "FLWR_HOME": str(self._folder / "home"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_LOG_LEVEL": "WARNING",
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": str(self._app_poll_s),
        }
        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        with httpx.Client(
            verify=ssl.create_default_context(cafile=str(self.ca)), timeout=5.0, trust_env=False
        ) as client:
            while time.monotonic() < deadline:
                if (code := self._children["superlink"].poll()) is not None:
                    raise EngineError(f"The engine ended with code {code}; see {self._folder.name}/superlink.log.")
                try:
                    if client.get(f"https://{self.address}/health").is_success:
                        return
                except httpx.TransportError:
                    pass
                time.sleep(0.1)
        raise EngineError(f"The engine did not answer within {self._start_timeout_s:.0f} s; see its superlink.log.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """End a child and whatever it started, politely first."""
    _signal_group(child, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_S
    while _group_lives(child) and time.monotonic() < deadline:
        child.poll()
        time.sleep(0.05)
    _signal_group(child, signal.SIGKILL)
    child.wait()


def _signal_group(child: subprocess.Popen[bytes], number: int) -> bool:
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return False
    return True


def _group_lives(child: subprocess.Popen[bytes]) -> bool:
    return _signal_group(child, 0)
