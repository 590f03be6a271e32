"""A run in numbers, from what its rounds came to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from federated.rounds.events import Event
from federated.rounds.figures import WHOLE_TUMOUR


@dataclass(frozen=True)
class RunSummary:
    """What a run came to.

    Attributes:
        run: Its id.
        model: Digest of the last weights.
        rounds_finished: How many.
        sites: Names of those that may take part.
        secure_aggregation: Whether the coordinator saw only sums.
        epsilon: The most that the run cost a patient of any site; None without record-level privacy.
        dice: By site, of the whole tumour, after the last round in which it was measured there.
        worst_site: Of the lowest Dice; None before there is any.
        bytes_per_round: Both ways, all sites, mean over the rounds.
        seconds_per_round: Mean.
        engine_overhead_s: A round's time less the slowest site's own work, mean.
        reason: "done", "stopped", or why the run ended.
    """

    run: str
    model: str
    rounds_finished: int
    sites: tuple[str, ...]
    secure_aggregation: bool
    epsilon: float | None = None
    dice: Mapping[str, float] = field(default_factory=dict)
    worst_site: str | None = None
    bytes_per_round: float | None = None
    seconds_per_round: float | None = None
    engine_overhead_s: float | None = None
    reason: str = "done"


def summarise_run(
    history: Sequence[Event], *, run: str, model: str, sites: Sequence[str], secure_aggregation: bool, reason: str
) -> RunSummary:
    """Sum up.

    Args:
        history: The "round-finished" events, in order.
        run: Its id.
        model: Digest of the last weights.
        sites: Names of those that may take part.
        secure_aggregation: Whether the coordinator saw only sums.
        reason: Why the run ended.
    """
    dice: dict[str, float] = {}
    epsilon = 0.0
    for event in history:
        for site, told in event["sites"].items():
            epsilon = max(epsilon, told["epsilon_spent"] or 0.0)
            if (found := told["dice"].get(WHOLE_TUMOUR)) is not None:
                dice[site] = found
    return RunSummary(
        run=run,
        model=model,
        rounds_finished=len(history),
        sites=tuple(sites),
        secure_aggregation=secure_aggregation,
        epsilon=epsilon or None,
        dice=dict(sorted(dice.items(), key=lambda item: (item[1], item[0]))),
        worst_site=min(dice, key=lambda site: (dice[site], site), default=None),
        bytes_per_round=_mean([event["bytes_sent"] + event["bytes_received"] for event in history]),
        seconds_per_round=_mean([event["seconds"] for event in history]),
        engine_overhead_s=_mean([event["engine_overhead_s"] for event in history]),
        reason=reason,
    )


def describe_summary(summary: RunSummary) -> dict[str, Any]:
    """A summary as JSON; of the sites, how many."""
    return {**vars(summary), "sites": len(summary.sites), "dice": dict(summary.dice)}


def _mean(values: Sequence[float]) -> float | None:
    return round(fmean(values), 3) if values else None
