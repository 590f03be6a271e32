"""The sandbox's servers as processes of their own on free loopback ports, for tests that speak HTTP to them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

_STOP_TIMEOUT_S = 15


@dataclass(frozen=True)
class SandboxServer:
    """A running sandbox server.

    Attributes:
        home: The URL of its pages.
        url: Base of its FHIR or DICOMweb interface.
        secret_file: Holds the password, which is also the bearer token.
        process: For tests that kill it.
    """

    home: str
    url: str
    username: str
    password: str = field(repr=False)
    secret_file: Path
    process: subprocess.Popen[str]

    def client(self) -> httpx.Client:
        """An HTTP client that is signed in; paths are relative to url."""
        return httpx.Client(base_url=self.url + "/", auth=(self.username, self.password), trust_env=False, timeout=30)


@contextmanager
def _running(module: str, state: Path, options: tuple[str, ...]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    state.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", module, "--state", str(state), *options]
    with (state / "log").open("a") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        line = process.stdout.readline()
        assert line, f"{module} did not start: {(state / 'log').read_text()}"
        yield json.loads(line)["url"], process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextmanager
def sandbox_ehr(folder: Path, *options: str) -> Iterator[SandboxServer]:
    """Run the sandbox EHR with its state below folder; a second start with the same folder finds the same data."""
    state = folder / "ehr"
    with _running("sandbox.ehr", state, options) as (home, process):
        token_file = state / "token"
        yield SandboxServer(home, home + "/fhir", "ehr", token_file.read_text(), token_file, process)


@contextmanager
def sandbox_pacs(folder: Path, *options: str) -> Iterator[SandboxServer]:
    """Run the sandbox PACS with its state below folder; a second start with the same folder finds the same data."""
    state = folder / "pacs"
    with _running("sandbox.pacs", state, options) as (home, process):
        password_file = state / "password"
        yield SandboxServer(home, home + "/dicom-web", "pacs", password_file.read_text(), password_file, process)
