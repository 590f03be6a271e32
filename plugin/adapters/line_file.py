"""JSON lines that somebody else may follow while they are written: a run's events, and what the rounds record."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class LineFile:
    """One file, one writer; a line that a killed writer left half is ended before the next one."""

    def __init__(self, path: Path, *, durable: bool) -> None:
        """Use a file; it is made with its first line.

        Args:
            path: In a folder that exists.
            durable: Whether a line has to outlive a loss of power, not only of the process.
        """
        self._path = path
        self._durable = durable
        self._is_open_line = path.exists() and path.read_bytes()[-1:] not in {b"", b"\n"}

    def write(self, document: Mapping[str, Any]) -> None:
        """Append one object."""
        start = b"\n" if self._is_open_line else b""
        self._is_open_line = False
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab", buffering=0) as file:
            file.write(start + json.dumps(dict(document)).encode() + b"\n")
            if self._durable:
                os.fsync(file.fileno())


class LineRecorder:
    """RoundRecorder in a file: one line a transaction, durably."""

    def __init__(self, path: Path) -> None:
        self._lines = LineFile(path, durable=True)

    def record(self, event: str, facts: Mapping[str, Any]) -> None:
        """Take note."""
        self._lines.write({"event": event, "at": datetime.now(UTC).isoformat(), **facts})
