"""The runs of a coordinator, for those who watch: which there are, and where each is."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

from federated.rounds.events import EVENTS_FILE
from federated.rounds.progress import fold
from federated.rounds.run_view import RunView
from plugin.errors import RunNotFoundError
from plugin.services.event_tail import EventTail
from plugin.services.federation import PLAN, RUNS
from plugin.services.local_federation import COORDINATOR


def coordinator_folder(folder: Path) -> Path:
    """The coordinator's folder: the given one, or the one that `qfl federation up` made in it."""
    inside = folder / COORDINATOR
    return inside if not (folder / RUNS).is_dir() and (inside / RUNS).is_dir() else folder


def run_names(coordinator: Path) -> list[str]:
    """Ids of the runs, the newest first."""
    plans = (coordinator / RUNS).glob(f"*/{PLAN}")
    return [path.parent.name for path in sorted(plans, key=lambda path: path.stat().st_mtime, reverse=True)]


def find_run(coordinator: Path, run: str | None) -> Path:
    """Folder of a run; without an id, of the newest.

    Raises:
        RunNotFoundError: There is none of that id, or none at all.
    """
    # An id is compared and never made into a path, so that it leads nowhere else.
    names = run_names(coordinator)
    if run is None and names:
        return coordinator / RUNS / names[0]
    if run not in names:
        known = ", ".join(names[:10]) or "none"
        wanted = "a run" if run is None else f"the run {run[:64]!r}"
        raise RunNotFoundError(f"Expected {wanted} of the coordinator, it has: {known}.")
    return coordinator / RUNS / run


@dataclass
class _Kept:
    tail: EventTail
    inode: int
    view: RunView = field(default_factory=RunView)


class RunViews:
    """Views of a coordinator's runs, folded once and then kept up to date. Threads may share it."""

    def __init__(self, coordinator: Path) -> None:
        """Use a coordinator's folder; nothing is read yet."""
        self.coordinator = coordinator
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """Ids of the runs, the newest first."""
        return run_names(self.coordinator)

    def view(self, run: str) -> tuple[RunView, int]:
        """A run as it is now, and the offset in its events up to which that was read.

        Raises:
            RunNotFoundError: There is no such run.
        """
        path = find_run(self.coordinator, run) / EVENTS_FILE
        with self._lock:
            kept, (inode, size) = self._kept.get(run), _identity(path)
            if kept is None or kept.inode != inode or size < kept.tail.offset:
                kept = self._kept[run] = _Kept(EventTail(path), inode)
            kept.view = fold(kept.tail.read(), kept.view)
            return kept.view, kept.tail.offset


def _identity(path: Path) -> tuple[int, int]:
    """Inode and size: a run's file is only ever appended to, so another one, or a shorter one, is another run's."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_ino, found.st_size
