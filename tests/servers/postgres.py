"""A real PostgreSQL on a free loopback port, with its own folder."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.debian import require_debian
from tests.servers.missing import server_missing
from tests.servers.processes import free_port, running

_BINARIES = Path("/usr/lib/postgresql")


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL until the block ends; gives the SQLAlchemy URL of an empty database."""
    require_debian("postgresql", "pg_ctlcluster")
    found = sorted(_BINARIES.glob("*/bin/postgres"))
    if not found:
        server_missing(f"No PostgreSQL server below {_BINARIES}: apt-get install postgresql")
    binaries = found[-1].parent
    # The server refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    folder.mkdir(parents=True, exist_ok=True)
    data, port = folder / "data", free_port()
    if user:
        _hand_over(folder, user)
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "qfl", "--auth=trust", "--no-sync", "-E", "UTF8"],
        check=True,
        capture_output=True,
        timeout=120,
        user=user,
        cwd=folder,
    )
    arguments = [binaries / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-F"]

    def ready() -> bool:
        probe = [binaries / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-U", "qfl"]
        return subprocess.run(probe, check=False, capture_output=True, timeout=10).returncode == 0

    with running(arguments, folder / "postgres.log", ready=ready, folder=folder, user=user):
        yield f"postgresql+psycopg://qfl@127.0.0.1:{port}/postgres"


def _hand_over(folder: Path, user: str) -> None:
    """Let the server's user reach and own its folder below a private temporary one."""
    shutil.chown(folder, user)
    home = pwd.getpwnam(user)
    for parent in folder.parents:
        mode = parent.stat().st_mode
        if parent.owner() not in {home.pw_name} and not mode & 0o001:
            parent.chmod(mode | 0o011)
