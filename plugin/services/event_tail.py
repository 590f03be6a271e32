"""Reading a file of JSON lines that somebody else appends to."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any, Final

_CHUNK: Final = 4 << 20


class EventTail:
    """Gives each whole line once; a line that is half written waits for its end.

    Attributes:
        offset: Bytes that were read, up to the end of a line: where another reader may go on.
    """

    def __init__(self, path: Path, *, after: int = 0) -> None:
        """Begin.

        Args:
            path: It need not be there yet.
            after: Offset of an earlier reader; one that is not at the end of a line of this file is read from its
                beginning instead.
        """
        self._path = path
        self.offset = after if after > 0 and _ends_a_line(path, after) else 0

    def read(self) -> list[dict[str, Any]]:
        """The events since the last time."""
        return [event for _, event in self.lines()]

    def lines(self) -> list[tuple[int, dict[str, Any]]]:
        """The events since the last time, each with the offset after its line."""
        found: list[tuple[int, dict[str, Any]]] = []
        while chunk := self._more():
            for line in BytesIO(chunk):
                self.offset += len(line)
                if (event := parse_event(line)) is not None:
                    found.append((self.offset, event))
        return found

    def _more(self) -> bytes:
        """Whole lines."""
        try:
            with self._path.open("rb") as file:
                file.seek(self.offset)
                new = file.read(_CHUNK)
        except FileNotFoundError:
            return b""
        whole = new[: new.rfind(b"\n") + 1]
        # No event is that long: it is rubbish, and must not stand in the way of what follows.
        return whole or (new if len(new) == _CHUNK else b"")


def parse_event(line: str | bytes) -> dict[str, Any] | None:
    """One event; None for a line that is none."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def _ends_a_line(path: Path, offset: int) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(offset - 1)
            return file.read(1) == b"\n"
    except OSError:
        return False
