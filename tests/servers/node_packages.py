"""Node packages that tests use: installed once, at the versions that are locked beside them."""

import fcntl
import subprocess
from pathlib import Path

from tests.servers.debian import require_debian
from tests.servers.missing import server_missing

_INSTALL_TIMEOUT_S = 240


def require_node(folder: Path) -> str:
    """Have a folder's locked packages in its node_modules; gives the program `node`."""
    node = require_debian(["nodejs", "npm"], "node")
    npm = require_debian(["nodejs", "npm"], "npm")
    # Parallel test processes share the folder.
    with (folder / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install_once(folder, str(npm), lock.read())
    return str(node)


def _install_once(folder: Path, npm: str, locked: str) -> None:
    stamp = folder / "node_modules" / ".installed"
    if stamp.exists() and stamp.read_text() == locked:
        return
    done = subprocess.run(
        [npm, "ci", "--ignore-scripts"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_INSTALL_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        server_missing(f"npm ci in tests/servers/{folder.name} failed: {done.stderr[-300:]}")
    stamp.write_text(locked)
