"""Finished pieces of a long computation: what is there is not done again, and several processes can share the work."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class WorkFolder:
    """A folder with one JSON file for each finished piece."""

    def __init__(self, folder: Path) -> None:
        """Use a folder; it is made when it is missing."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def result(self, name: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """The result of a piece, if it was finished with the same settings."""
        path = self.path(name)
        if not path.exists():
            return None
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found if found.get("settings") == json.loads(json.dumps(settings)) else None

    def save(self, name: str, settings: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Write a result; the file appears when it is whole."""
        scratch = self._folder / f"{name}.{os.getpid()}.part"
        scratch.write_text(json.dumps({**result, "settings": settings}) + "\n", encoding="utf-8")
        scratch.replace(self.path(name))

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Whether this process may do the piece now; the claim ends with the block, or with the process."""
        with (self._folder / f"{name}.lock").open("w", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def path(self, name: str) -> Path:
        """Where the result of a piece stands."""
        return self._folder / f"{name}.json"
