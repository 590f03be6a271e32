"""The state and secrets of a site's rounds: a file each, below the agent's data folder, for its owner alone.

They are not in the database, whose backups others can read: with the secrets of a round and what the coordinator got,
the site's own update could be unmasked. A copy is of no use to the site either, since a round ends within hours.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote
from uuid import uuid4

from federated.errors import RoundRecordError

_SUFFIX: Final = ".bin"
_MAX_NAME: Final = 200


class RoundSecrets:
    """Bytes by key, in one folder; files 0600 in a folder 0700, replaced whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, key: str) -> bytes | None:
        """What was kept under a key; None where nothing is."""
        path = self._path(key)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as fault:
            raise RoundRecordError(f"{path}: cannot be read ({fault.strerror}); check its owner.") from fault

    def keep(self, key: str, data: bytes) -> None:
        """Keep bytes: when this returns they outlive a loss of power."""
        path = self._path(key)
        beside = path.with_name(f".{uuid4().hex}")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.chmod(0o700)
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            self._sync()
        except OSError as fault:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise RoundRecordError(f"{path}: cannot be written ({fault.strerror}); make room there.") from fault

    def drop(self, prefix: str) -> None:
        """Forget everything whose key begins so; an empty prefix forgets all, also what was never whole."""
        try:
            for path in self._folder.glob("*"):
                if unquote(path.name.removesuffix(_SUFFIX)).startswith(prefix):
                    path.unlink(missing_ok=True)
            if not prefix:
                for path in self._folder.glob(".*"):
                    path.unlink(missing_ok=True)
            if self._folder.is_dir():
                self._sync()
        except OSError as fault:
            raise RoundRecordError(f"{self._folder}: cannot be emptied ({fault.strerror}); check its owner.") from fault

    def _path(self, key: str) -> Path:
        # A key that begins with a full stop would be taken for an unfinished file.
        name = quote(key, safe="").replace(".", "%2E")
        if not name or len(name) > _MAX_NAME:
            raise RoundRecordError(f"Expected a key of at most {_MAX_NAME} characters as a file name, got {len(name)}.")
        return self._folder / f"{name}{_SUFFIX}"

    def _sync(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
