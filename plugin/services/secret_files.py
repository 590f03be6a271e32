"""Files of a folder that holds private keys: written once, whole, and for their owner only."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from federated.errors import ProvisioningError

LOCK: Final = ".lock"
_READ_BY_OTHERS = stat.S_IROTH | stat.S_IWOTH | stat.S_IXOTH
_GROUP = stat.S_IRGRP | stat.S_IWGRP | stat.S_IXGRP


def private_folder(folder: Path) -> Path:
    """Make a folder that only its owner enters; one that exists must not be writable by others.

    Raises:
        ProvisioningError: It cannot be made, or others can write to it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as fault:
        raise ProvisioningError(f"{folder}: cannot be made ({fault.strerror}); choose another folder.") from fault
    check_folder(folder)
    return folder


def check_folder(folder: Path) -> None:
    """Check that nobody but the owner can put files into a folder.

    Raises:
        ProvisioningError: It is no folder, or others can write to it.
    """
    try:
        mode = folder.stat().st_mode
    except OSError as fault:
        raise ProvisioningError(f"{folder}: expected a folder ({fault.strerror}).") from fault
    if not stat.S_ISDIR(mode):
        raise ProvisioningError(f"{folder}: expected a folder, got something else.")
    # A volume that a cluster mounts belongs to root and to the process's group.
    if mode & stat.S_IWOTH or (mode & stat.S_IWGRP and folder.stat().st_uid == os.geteuid()):
        raise ProvisioningError(f"{folder}: others can write to it; run `chmod 700 {folder}`.")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder while it is changed; the system lets go when the process dies."""
    with (folder / LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_secret(path: Path, *, limit: int = 1 << 16) -> bytes:
    """Read a private key's file.

    A file of this user must be closed to everyone else, as ssh asks for. One of another user, such as a secret that a
    cluster mounts for root and the process's group, may be readable by that group.

    Raises:
        ProvisioningError: It is missing, too long, or others can read it.
    """
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            forbidden = _READ_BY_OTHERS | (_GROUP if found.st_uid == os.geteuid() else stat.S_IWGRP)
            if found.st_mode & forbidden:
                raise ProvisioningError(
                    f"{path}: others can read or change this private key; run `chmod 600 {path}`, and make new keys in "
                    "a new folder if somebody may have read it."
                )
            data = file.read(limit + 1)
    except OSError as fault:
        raise ProvisioningError(f"{path}: expected a private key's file ({fault.strerror}).") from fault
    if len(data) > limit:
        raise ProvisioningError(f"{path}: expected at most {limit} bytes.")
    return data


def write_secret_once(path: Path, data: bytes) -> bool:
    """Write a private key's file, unless it exists: no key is ever overwritten.

    Returns:
        Whether it was written.

    Raises:
        ProvisioningError: It cannot be written.
    """
    if path.exists():
        return False
    beside = _beside(path)
    try:
        _write(beside, data, 0o600)
        os.link(beside, path)  # Fails where a file is: unlike a rename, it replaces nothing.
    except FileExistsError:
        return False
    except OSError as fault:
        raise ProvisioningError(f"{path}: cannot be written ({fault.strerror}).") from fault
    finally:
        beside.unlink(missing_ok=True)
    return True


def read_public(path: Path, *, limit: int) -> bytes | None:
    """Read a file that is no secret; None where there is none.

    Raises:
        ProvisioningError: It cannot be read, or is too long.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise ProvisioningError(f"{path}: cannot be read ({fault.strerror}).") from fault
    if len(data) > limit:
        raise ProvisioningError(f"{path}: expected at most {limit} bytes.")
    return data


def write_public(path: Path, data: bytes) -> None:
    """Write a file that is no secret; one that is there is replaced whole.

    Raises:
        ProvisioningError: It cannot be written.
    """
    beside = _beside(path)
    try:
        _write(beside, data, 0o644)
        beside.replace(path)
    except OSError as fault:
        raise ProvisioningError(f"{path}: cannot be written ({fault.strerror}).") from fault
    finally:
        beside.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _write(path: Path, data: bytes, mode: int) -> None:
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
