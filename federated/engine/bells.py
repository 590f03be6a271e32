"""Two doorbells between the run's app and the gateway, so that neither side asks the engine in vain.

Each look at the engine costs it ten milliseconds, with or without a message. A bell is a small file that one side
writes when it has put something there and the other reads. A bell that is lost costs a second or two, not a message.
"""

import secrets
import time
from pathlib import Path
from typing import Final

_FRESH_S: Final = 0.02
_STATE_BYTES: Final = 8


class Bell:
    """One of them."""

    def __init__(self, file: Path) -> None:
        """Use a file, which need not be there."""
        self._file = file
        self._state, self._read_at = b"", float("-inf")

    def ring(self) -> None:
        """Say that something is there."""
        self._file.write_bytes(secrets.token_bytes(_STATE_BYTES))

    def state(self) -> bytes:
        """It changes when somebody rings; at most 20 ms old."""
        now = time.monotonic()
        if now - self._read_at >= _FRESH_S:
            self._read_at = now
            try:
                self._state = self._file.read_bytes()[:_STATE_BYTES]
            except FileNotFoundError:
                self._state = b""
        return self._state


class Bells:
    """Both, in one folder."""

    def __init__(self, folder: Path) -> None:
        """Use a folder of the coordinator."""
        self.questions = Bell(folder / "questions.bell")
        """The app rings it; the gateway listens."""
        self.answers = Bell(folder / "answers.bell")
        """The gateway rings it; the app listens."""
