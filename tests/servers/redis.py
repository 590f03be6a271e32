"""A real Redis on a free loopback port."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.debian import require_debian
from tests.servers.processes import free_port, running


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """Run a Redis until the block ends; gives its URL."""
    executable = require_debian("redis-server", "redis-server")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    arguments = [
        executable,
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        folder,
        "--save",
        "",
        "--daemonize",
        "no",
    ]

    def ready() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    with running(arguments, folder / "redis.log", ready=ready):
        yield f"redis://127.0.0.1:{port}/0"
