"""Starting and stopping the processes that a test owns."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_STOP_TIMEOUT_S = 20


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    arguments: Sequence[str | Path],
    log: Path,
    *,
    ready: Callable[[], bool],
    timeout_s: float = 60,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    user: str | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process until the block ends; it is ready when ready() says so."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdout=output,
            stderr=output,
            env=environment,
            cwd=folder,
            user=user,
        )
    try:
        wait_until(ready, timeout_s, lambda: log.read_text(errors="replace")[-3000:], process)
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process, politely first."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_STOP_TIMEOUT_S)


def wait_until(
    condition: Callable[[], bool],
    timeout_s: float,
    explain: Callable[[], str] = lambda: "",
    process: subprocess.Popen[bytes] | None = None,
) -> None:
    """Wait until a condition holds; fails with an explanation when it does not, or when the process ends first."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return
        if process is not None and process.poll() is not None:
            raise AssertionError(f"The process ended with {process.returncode}: {explain()}")
        time.sleep(0.05)
    raise AssertionError(f"Not within {timeout_s} s: {explain()}")
