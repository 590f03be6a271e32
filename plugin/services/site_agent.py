"""A site's agent as a process: what it says of itself, and what it notes of its rounds."""

import json
import logging
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from federated.rounds.ports import RoundRecorder

HEALTH_FILE: Final = "agent.json"
HEALTH_S: Final = 5.0
"""Between two signs of life."""
_log = logging.getLogger(__name__)


class Health:
    """A file that says that the agent lives, for whoever watches it."""

    def __init__(self, path: Path, clock: Callable[[], datetime]) -> None:
        """Use a file, whose folder is made."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path, self._clock = path, clock
        self._last: datetime | None = None

    def beat(self) -> None:
        """Say that it lives; call it as often as you like."""
        now = self._clock()
        if self._last is not None and 0 <= (now - self._last).total_seconds() < HEALTH_S:
            return
        self._last = now
        beside = self._path.with_suffix(".part")
        beside.write_text(json.dumps({"at": now.isoformat(), "pid": os.getpid()}), encoding="utf-8")
        beside.replace(self._path)


def read_health(path: Path, now: datetime) -> Mapping[str, Any] | None:
    """What an agent said of itself last.

    Returns:
        at, pid, and alive: whether that was at most four beats ago; None where it never said anything.
    """
    try:
        found = json.loads(path.read_bytes())
        silence_s = (now - datetime.fromisoformat(found["at"])).total_seconds()
        return {"at": str(found["at"]), "pid": int(found["pid"]), "alive": silence_s <= 4 * HEALTH_S}
    except (OSError, ValueError, KeyError, TypeError):
        return None


class LoggedRecorder:
    """Tells the log one line for each transaction, and passes it on."""

    def __init__(self, recorder: RoundRecorder) -> None:
        """Use the recorder that keeps them."""
        self._recorder = recorder

    def record(self, event: str, facts: Mapping[str, Any]) -> None:
        """Take note."""
        self._recorder.record(event, facts)
        shown = " ".join(
            f"{name}={_short(facts[name])}" for name in facts if name not in {"site", "run", "round", "terms"}
        )
        _log.info("run %s round %s: %s %s", facts.get("run"), facts.get("round"), event, shown)


def _short(value: Any) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 else text[:80]
