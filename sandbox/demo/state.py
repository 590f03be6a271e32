"""The demo's folder: locked while a demo uses it, with ports and secrets that a later start finds again."""

import fcntl
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.demo.errors import DemoError
from sandbox.serving import LOOPBACK, read_or_create_secret


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder, so that two demos do not share one database.

    Raises:
        DemoError: Another demo holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoError(f"another demo uses {folder}: stop it, or give this one --keep OTHER_FOLDER") from error
        yield


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _any_free() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def choose_ports(folder: Path, wished: dict[str, int]) -> dict[str, int]:
    """Choose a port for each server: the wished one, else the one of the last start, else any that is free.

    Args:
        folder: Where the choice is kept.
        wished: By server; 0 has no wish.

    Raises:
        DemoError: A wished port is taken.
    """
    path = folder / "ports.json"
    earlier: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    ports = {}
    for name, wish in wished.items():
        if wish and not _is_free(wish):
            raise DemoError(f"port {wish} is taken; choose another --port")
        before = earlier.get(name, 0)
        ports[name] = wish or (before if before and _is_free(before) else _any_free())
    path.write_text(json.dumps(ports))
    return ports


def secret_file(folder: Path, name: str) -> Path:
    """A file with a secret, made at the first start."""
    path = folder / name
    read_or_create_secret(path)
    return path
