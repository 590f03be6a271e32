"""A real PostgreSQL on a free loopback port, with its own folder."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.debian import require_debian
from tests.servers.missing import server_missing
from tests.servers.processes import free_port, running

_BINARIES = Path("/usr/lib/postgresql")


@contextmanager
def postgres() -> Iterator[str]:
    """Run a PostgreSQL until the block ends; gives the SQLAlchemy URL of an empty database."""
    require_debian("postgresql", "pg_ctlcluster")
    found = sorted(_BINARIES.glob("*/bin/postgres"))
    if not found:
        server_missing(f"No PostgreSQL server below {_BINARIES}: apt-get install postgresql")
    binaries = found[-1].parent
    # The server refuses to run as root, and its own user cannot reach into pytest's private folders.
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="qfl-postgres-"))
    try:
        if user:
            shutil.chown(folder, user)
        _initialise(binaries, folder, user)
        with _running(binaries, folder, user) as url:
            yield url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _initialise(binaries: Path, folder: Path, user: str | None) -> None:
    subprocess.run(
        [binaries / "initdb", "-D", folder / "data", "-U", "qfl", "--auth=trust", "--no-sync", "-E", "UTF8"],
        check=True,
        capture_output=True,
        timeout=120,
        user=user,
        cwd=folder,
    )


@contextmanager
def _running(binaries: Path, folder: Path, user: str | None) -> Iterator[str]:
    port = free_port()
    # -F: nothing that a test stores must outlive a power failure.
    arguments = [binaries / "postgres", "-D", folder / "data", "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-F"]

    def ready() -> bool:
        probe = [binaries / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-U", "qfl"]
        return subprocess.run(probe, check=False, capture_output=True, timeout=10).returncode == 0

    with running(arguments, folder / "postgres.log", ready=ready, folder=folder, user=user):
        yield f"postgresql+psycopg://qfl@127.0.0.1:{port}/postgres"
