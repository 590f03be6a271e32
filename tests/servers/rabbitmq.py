"""A real RabbitMQ on free loopback ports."""

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.debian import require_debian
from tests.servers.processes import free_port, running


@contextmanager
def rabbitmq() -> Iterator[str]:
    """Run a RabbitMQ until the block ends; gives its URL."""
    # Debian's own wrapper insists on the rabbitmq user and its folders; the server's script takes ours.
    require_debian("rabbitmq-server", "rabbitmq-server")
    script = next(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="qfl-rabbitmq-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        environment = {
            "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": name,
            "RABBITMQ_NODENAME": f"qfl{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(free_port()),
        }
        with running([script], folder / "out", ready=lambda: _answers(port), environment=environment, folder=folder):
            yield f"amqp://guest:guest@127.0.0.1:{port}//"
        subprocess.run(["epmd", "-kill"], env=environment, check=False, capture_output=True, timeout=20)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return bool(connection.recv(8))
    except OSError:
        return False
