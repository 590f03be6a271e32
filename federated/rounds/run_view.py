"""A run as those who watch it see it: values that its events are folded into, by federated.rounds.progress."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any


class RunState(StrEnum):
    """How a run does."""

    WAITING = "waiting"
    """Nothing was told of it yet."""
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    """Between two rounds, by a person; it can go on."""
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        """Whether nothing more is told, unless the coordinator is started again."""
        return self in {RunState.DONE, RunState.STOPPED, RunState.FAILED}


@dataclass(frozen=True)
class SiteFigures:
    """A site in a finished round.

    Attributes:
        examples: Cases it was trained on.
        dice: Of the whole tumour in the round's model, mean over its held-out cases.
        epsilon_round, epsilon_spent: What the round, and all rounds until then added up, cost each patient; None
            without record-level privacy.
        seconds, joules: Of its own work.
        bytes_sent: By the site.
        state: "done", or what became of it.
    """

    examples: int | None = None
    loss: float | None = None
    dice: float | None = None
    epsilon_round: float | None = None
    epsilon_spent: float | None = None
    seconds: float | None = None
    joules: float | None = None
    energy_source: str | None = None
    bytes_sent: float | None = None
    state: str = ""


@dataclass(frozen=True)
class RoundView:
    """A finished round.

    Attributes:
        overhead_s: Of its seconds, those that are not the slowest site's own work.
        bytes_sent, bytes_received: By the coordinator, all sites.
        dice: Mean over the sites.
        joules: Of all sites that tell them; None where none does.
        dropped: Sites that took part and whose update the model does not hold.
    """

    number: int
    at: datetime | None = None
    model: str = ""
    seconds: float | None = None
    overhead_s: float | None = None
    bytes_sent: float | None = None
    bytes_received: float | None = None
    loss: float | None = None
    dice: float | None = None
    worst_site: str | None = None
    joules: float | None = None
    sites: Mapping[str, SiteFigures] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()

    @property
    def bytes(self) -> float | None:
        """Both ways."""
        return added((self.bytes_sent, self.bytes_received))


@dataclass(frozen=True)
class SiteView:
    """A site now.

    Attributes:
        stage, state: What it was asked last in the round that is under way, and its answer; empty before.
        reason: Of a refusal.
        step, steps: How far it is.
        loss: Of its last step, or of the last round that told one.
        dice, epsilon: As it told last; see SiteFigures.
        seconds, joules, bytes_sent: Of all rounds; None where it told none.
    """

    name: str
    stage: str = ""
    state: str = ""
    reason: str = ""
    step: int = 0
    steps: int = 0
    loss: float | None = None
    dice: float | None = None
    epsilon: float | None = None
    seconds: float | None = None
    joules: float | None = None
    bytes_sent: float | None = None


@dataclass(frozen=True)
class Trouble:
    """A site that refused, came late or was lost; or a whole round that failed, without a site."""

    at: datetime | None
    round: int
    site: str | None
    state: str
    reason: str


@dataclass(frozen=True)
class RunView:
    """A run.

    Attributes:
        planned: Names of the sites that may take part.
        rounds: How many it is to have.
        is_masked: Whether the coordinator sees sums only.
        epsilon_limit: The most that all rounds may cost a patient, added up; None without record-level privacy.
        reason: Why it failed.
        round: That is under way, from 1; None between rounds.
        participants: Of that round.
        history: Finished rounds, in order.
        current: Of every site that was ever named, by name.
    """

    run: str = ""
    federation: str = ""
    planned: tuple[str, ...] = ()
    rounds: int = 0
    rule: str = ""
    strategy: str = ""
    preset: str = ""
    model: str = ""
    is_masked: bool = False
    epsilon_limit: float | None = None
    delta: float | None = None
    state: RunState = RunState.WAITING
    reason: str = ""
    round: int | None = None
    round_began_at: datetime | None = None
    deadline: datetime | None = None
    participants: tuple[str, ...] = ()
    history: tuple[RoundView, ...] = ()
    current: Mapping[str, SiteView] = field(default_factory=dict)
    troubles: tuple[Trouble, ...] = ()
    started_at: datetime | None = None
    changed_at: datetime | None = None

    @property
    def sites(self) -> tuple[SiteView, ...]:
        """The worst Dice first; those without one last."""
        return tuple(sorted(self.current.values(), key=_worst_first))

    @property
    def worst_site(self) -> str | None:
        """Of the lowest Dice; None before there is any."""
        first = self.sites[0] if self.current else None
        return first.name if first is not None and first.dice is not None else None

    @property
    def dice(self) -> float | None:
        """Mean over the sites that told one."""
        known = [site.dice for site in self.current.values() if site.dice is not None]
        return math.fsum(known) / len(known) if known else None

    @property
    def epsilon(self) -> float | None:
        """The most that the run cost a patient of any site, its rounds added up."""
        return max((site.epsilon for site in self.current.values() if site.epsilon is not None), default=None)

    @property
    def bytes(self) -> float | None:
        """All rounds, both ways."""
        return added(each.bytes for each in self.history)

    @property
    def seconds(self) -> float | None:
        """All finished rounds."""
        return added(each.seconds for each in self.history)

    @property
    def joules(self) -> float | None:
        """All finished rounds, of the sites that tell them."""
        return added(each.joules for each in self.history)

    def counted(self, site: str) -> int:
        """Rounds whose model holds an update of a site."""
        return sum(site in each.sites and site not in each.dropped for each in self.history)

    @property
    def energy_sources(self) -> tuple[str, ...]:
        """How the sites know their joules."""
        told = (figures.energy_source for each in self.history for figures in each.sites.values())
        return tuple(sorted({source for source in told if source}))


def describe_view(view: RunView) -> dict[str, Any]:
    """A view as JSON, the sites with the worst first."""
    document: dict[str, Any] = _plain(asdict(replace(view, current={})))
    del document["current"]
    rounds = [
        {**described, "bytes": each.bytes} for described, each in zip(document["history"], view.history, strict=True)
    ]
    return {
        **document,
        "history": rounds,
        "sites": [_plain(asdict(site)) for site in view.sites],
        "worst_site": view.worst_site,
        "dice": view.dice,
        "epsilon": view.epsilon,
        "bytes": view.bytes,
        "seconds": view.seconds,
        "joules": view.joules,
        "energy_sources": list(view.energy_sources),
    }


def added(values: Iterable[float | None]) -> float | None:
    """The sum of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return math.fsum(known) if known else None


def _worst_first(site: SiteView) -> tuple[bool, float, str]:
    return site.dice is None, site.dice or 0.0, site.name


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case tuple() | list():
            return [_plain(item) for item in value]
        case datetime():
            return value.isoformat()
    return value
