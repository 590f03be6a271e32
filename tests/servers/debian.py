"""Servers that Debian packages: found, or installed when we may."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.servers.missing import server_missing

_INSTALL_TIMEOUT_S = 240
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def require_debian(packages: str | Sequence[str], executable: str) -> Path:
    """Find an executable, and install its Debian packages first when we are root and it is missing.

    Args:
        packages: What to install, e.g. ["orthanc", "orthanc-dicomweb"].
        executable: A name to look up, /usr/sbin included, or an absolute path.

    Returns:
        The executable's path; without it the test is skipped, or fails where servers are required.
    """
    names = [packages] if isinstance(packages, str) else list(packages)
    found = _find(executable)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        # apt-get does not wait for another one, which a test beside this one may have started.
        with (Path(tempfile.gettempdir()) / "qfl-tests-apt.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _find(executable) is None:
                _install(names)
        found = _find(executable)
    if found is None:
        server_missing(f"{executable} is missing: apt-get install {' '.join(names)}")
    return found


def _find(executable: str) -> Path | None:
    found = shutil.which(executable, path=f"{os.environ.get('PATH', '')}:{_SYSTEM_PATH}")
    return Path(found) if found else None


def _install(packages: Sequence[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *packages]):
        try:
            subprocess.run(
                ["apt-get", *arguments],
                check=False,
                capture_output=True,
                timeout=_INSTALL_TIMEOUT_S,
                env=environment,
            )
        except subprocess.TimeoutExpired:
            server_missing(f"apt-get {' '.join(arguments)} took longer than {_INSTALL_TIMEOUT_S} s")
