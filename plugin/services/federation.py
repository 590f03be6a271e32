"""The coordinator: an engine that is kept running, and a run on it that goes on until it has an end.

FOLDER/runs/RUN/plan.json       what the run is to be
FOLDER/runs/RUN/events.jsonl    what happened, as federated.rounds.events says
FOLDER/runs/RUN/rounds/         a checkpoint of each round
FOLDER/runs/RUN/records.jsonl   the run's transactions, for audits
FOLDER/engine/                  the engine's own; nothing in it has to be kept
"""

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from federated.errors import EngineError
from federated.rounds.events import EVENTS_FILE
from federated.rounds.plan import RunPlan, describe_plan, parse_plan
from plugin.errors import FederationRunError
from plugin.services.event_tail import EventTail
from plugin.services.federation_folders import ROSTER, read_coordinator
from plugin.services.federation_summary import finished_rounds, read_events
from plugin.services.secret_files import private_folder, write_public

RUNS, PLAN, CHECKPOINTS, RECORDS = "runs", "plan.json", "rounds", "records.jsonl"
_LOOK_S: Final = 0.5
_MOST_STARTS: Final = 6
"""Of the run's app, without a round that got finished."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AppState:
    """How the run's app does.

    Attributes:
        is_over: Whether it will not go on by itself.
        details: Why, in the engine's words.
    """

    is_over: bool
    details: str = ""


class Engine(Protocol):
    """What carries the rounds. All of it may raise EngineError."""

    def keep_running(self) -> bool:
        """Start again what ended by itself; whether that was needed."""

    def admit(self, node_keys: Mapping[str, bytes]) -> None:
        """Let exactly these nodes connect.

        Args:
            node_keys: Public node key in PEM by site name.
        """

    def submit(self, plan: Path) -> int:
        """Start the app of a run; gives its number."""

    def state(self, app: int) -> AppState:
        """How an app does."""

    def end(self, app: int) -> None:
        """End an app; one that is over stays as it is."""


def run_folder(folder: Path, run: str) -> Path:
    """Where a run of this coordinator is."""
    return folder / RUNS / run


def keep_plan(folder: Path, plan: RunPlan) -> Path:
    """Write a plan down, once: a run goes on with the plan that it began with.

    Returns:
        Its file.

    Raises:
        FederationRunError: There is a run of that name with another plan.
    """
    private_folder(folder / RUNS)
    path = private_folder(run_folder(folder, plan.run)) / PLAN
    text = describe_plan(plan)
    if not path.exists():
        write_public(path, text.encode())
    elif path.read_text(encoding="utf-8") != text:
        raise FederationRunError(
            f"{path}: is another plan of that run. Go on with the options that it began with, or choose another folder."
        )
    return path


def read_plan(folder: Path, run: str) -> RunPlan:
    """The plan of a run.

    Raises:
        FederationRunError: There is no such run.
        TermsError: Its plan is damaged.
    """
    path = run_folder(folder, run) / PLAN
    if not path.exists():
        raise FederationRunError(f"{path}: expected the plan of a run, there is none.")
    return parse_plan(path.read_bytes())


def open_runs(folder: Path) -> list[str]:
    """Runs that are not done yet, the oldest first; one that failed can be gone on with."""
    plans = sorted((folder / RUNS).glob(f"*/{PLAN}"), key=lambda path: path.stat().st_mtime)
    ends = {path.parent.name: ended(path.parent) for path in plans}
    return [run for run, end in ends.items() if end is None or end.get("reason") != "done"]


def next_run(folder: Path) -> str:
    """A name for a new run."""
    taken = {path.parent.name for path in (folder / RUNS).glob(f"*/{PLAN}")}
    return next(name for number in range(1, len(taken) + 2) if (name := f"run-{number}") not in taken)


class RosterKeys:
    """Node keys by site of a coordinator's roster; read again when the file has changed."""

    def __init__(self, folder: Path) -> None:
        """Use the coordinator's folder."""
        self._folder = folder
        self._read_at: tuple[int, int] | None = None
        self._keys: Mapping[str, bytes] = {}

    def __call__(self) -> Mapping[str, bytes]:
        """As the roster is now.

        Raises:
            ProvisioningError: It cannot be read, or is damaged.
        """
        found = (self._folder / ROSTER).stat()
        if (at := (found.st_mtime_ns, found.st_ino)) != self._read_at:
            sites = read_coordinator(self._folder).roster.sites
            self._keys, self._read_at = {name: entry.node_key_pem for name, entry in sites.items()}, at
        return self._keys


def ended(run: Path) -> Mapping[str, Any] | None:
    """How a run ended, from its events; None while it goes on, or has to be gone on with."""
    last: Mapping[str, Any] | None = None
    for event in read_events(run):
        if event["event"] == "run-finished":
            last = event
        elif event["event"] == "run-started":
            last = None
    return last


def coordinate(
    engine: Engine,
    folder: Path,
    plan: RunPlan,
    node_keys: Callable[[], Mapping[str, bytes]],
    should_stop: Callable[[], bool],
    sleep: Callable[[float], None] = time.sleep,
) -> Mapping[str, Any] | None:
    """Bring a run to its end, through deaths of the engine and of the run's app.

    Args:
        engine: Started.
        folder: The coordinator's.
        plan: Of the run, a new one or one to go on with.
        node_keys: Of the roster as it is now.
        should_stop: Asked twice a second.
        sleep: Takes seconds.

    Returns:
        Its last event; None where it was told to stop.

    Raises:
        FederationRunError: The app dies again and again without finishing a round.
        EngineError: The engine does not come back.
    """
    path = keep_plan(folder, plan)
    run = path.parent
    if (found := ended(run)) is not None and found.get("reason") == "done":
        return found
    known = node_keys()
    engine.admit(known)
    reached, starts, tail = _done(run), 1, EventTail(run / EVENTS_FILE)
    tail.read()
    app = engine.submit(path)
    while not should_stop():
        if engine.keep_running():
            _log.warning("A part of the engine had ended; it runs again.")
        if (now := node_keys()) != known:
            known = now
            engine.admit(known)
        state = _state(engine, app)
        if ends := [event for event in tail.read() if event["event"] == "run-finished"]:
            # Everything is on the disk; the engine takes a while to notice.
            with contextlib.suppress(EngineError):
                engine.end(app)
            return ends[-1]
        if state is not None and state.is_over:
            done = _done(run)
            starts, reached = (starts + 1, reached) if done == reached else (1, done)
            if starts > _MOST_STARTS:
                raise FederationRunError(
                    f"{run}: the run's app ended {starts - 1} times ({state.details}); see its log."
                )
            _log.warning("The run's app ended (%s); it goes on after round %d.", state.details or "no reason", done)
            app = engine.submit(path)
        sleep(_LOOK_S)
    engine.end(app)
    return None


def _state(engine: Engine, app: int) -> AppState | None:
    try:
        return engine.state(app)
    except EngineError as fault:
        _log.warning("%s", fault)
        return None


def _done(run: Path) -> int:
    return len(finished_rounds(read_events(run)))
