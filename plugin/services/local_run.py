"""Running a whole federation on one machine: start everything, keep it running, and see the run to its end."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from federated.rounds.events import EVENTS_FILE
from plugin.errors import FederationProcessError
from plugin.services.event_tail import EventTail
from plugin.services.federation import ended
from plugin.services.local_federation import COORDINATOR, LocalFederation, Process

_LOOK_S: Final = 0.25
_LOG_LINES: Final = 8


@dataclass(frozen=True)
class Death:
    """A process that ended by itself.

    Attributes:
        code: What it exited with; negative for a signal.
        restarts_in_s: When it is started again; None where it is not.
    """

    name: str
    pid: int
    code: int
    restarts_in_s: float | None


class Children(Protocol):
    """Processes that are restarted when they die."""

    def start(self, process: Process) -> int:
        """Start one, and give its id."""

    def tend(self) -> Sequence[Death]:
        """Notice who died, and start again whose pause is over.

        Raises:
            FederationProcessError: One dies again and again.
        """

    def pid(self, name: str) -> int | None:
        """Of one that lives."""

    def log(self, name: str) -> Path:
        """Where its output goes."""

    def stop(self) -> None:
        """End all of them, and whatever they started."""


@dataclass(frozen=True)
class Sight:
    """What there is to see at a moment.

    Attributes:
        events: Of the run, new since the last time.
        deaths: Of processes, new since the last time.
        pids: By process name.
    """

    events: Sequence[Mapping[str, Any]] = ()
    deaths: Sequence[Death] = ()
    pids: Mapping[str, int] = field(default_factory=dict)


def see_through(
    federation: LocalFederation,
    plan: Path,
    children: Children,
    show: Callable[[Sight], None],
    should_stop: Callable[[], bool],
) -> Mapping[str, Any] | None:
    """Start the processes of a run, and keep them running until it has an end.

    Args:
        federation: Provisioned.
        plan: Of the run, in the coordinator's folder.
        children: Start them; all are ended when this returns.
        show: Called several times a second.
        should_stop: Asked as often.

    Returns:
        The run's last event; None where it was told to stop.

    Raises:
        FederationProcessError: A process dies again and again, or the coordinator gives the run up.
    """
    tail = EventTail(plan.parent / EVENTS_FILE)
    with _ended_in_any_case(children):
        processes = _processes(federation, plan)
        for process in processes:
            children.start(process)
        while not should_stop():
            deaths = [_judged(death, children, plan.parent) for death in children.tend()]
            pids = {each.name: pid for each in processes if (pid := children.pid(each.name)) is not None}
            show(Sight(tail.read(), deaths, pids))
            # The coordinator ends when the run does; nobody else does.
            if any(death.name == COORDINATOR and death.restarts_in_s is None for death in deaths):
                show(Sight(tail.read(), (), pids))
                return ended(plan.parent)
            time.sleep(_LOOK_S)
    return None


def _processes(federation: LocalFederation, plan: Path) -> list[Process]:
    """The agents before the workers: a worker's first seconds are its longest."""
    sites = [federation.site_processes(site) for site in federation.sites]
    return [federation.coordinator_process(plan), *(agent for agent, _ in sites), *(worker for _, worker in sites)]


def _judged(death: Death, children: Children, run: Path) -> Death:
    """The coordinator's end is the run's where the run has one, and else is where it was given up by itself."""
    if death.name != COORDINATOR or death.code < 0:
        return death
    if death.code == 0 and ended(run) is not None:
        return Death(death.name, death.pid, death.code, None)
    raise FederationProcessError(
        f"The coordinator ended with code {death.code}; its log, {children.log(COORDINATOR)}, ends with:\n"
        + last_lines(children.log(COORDINATOR))
    )


def last_lines(log: Path) -> str:
    """The end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:]) if log.exists() else ""


@contextmanager
def _ended_in_any_case(children: Children) -> Iterator[None]:
    try:
        yield
    finally:
        children.stop()
