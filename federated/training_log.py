"""What a training did, as JSON lines that can be followed while it runs, and as a picture of its curves."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from federated.training import Event, Started, Stepped, Trained


def describe_event(event: Event) -> dict[str, Any]:
    """An event as JSON."""
    if isinstance(event, Started):
        return {"event": "started", **vars(event)}
    if isinstance(event, Stepped):
        return {"event": "step", **vars(event)}
    found = event.validation
    return {
        "event": "validation",
        "step": event.step,
        "dice": dict(found.dice),
        "thresholds": list(found.thresholds),
        "score": found.score,
        "is_best": event.is_best,
    }


class TrainingLog:
    """A file with one line for each event of a run, each step once, however often the run was killed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, event: Event) -> None:
        """Append an event; a start first drops the lines of steps that are done again."""
        if isinstance(event, Started):
            self._cut(event.step)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(describe_event(event)) + "\n")

    def _cut(self, step: int) -> None:
        if not self._path.exists():
            return
        kept = [line for line in self._path.read_text(encoding="utf-8").splitlines() if _step(line) <= step]
        beside = self._path.with_suffix(".part")
        beside.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        beside.replace(self._path)


def _step(line: str) -> float:
    """Of a line; that of half a line, which a kill left, is beyond all."""
    try:
        found: Mapping[str, Any] = json.loads(line)
        return int(found["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def draw_curves(trained: Trained, path: Path) -> None:
    """Draw the training loss and the Dice on the held-out cases, by step, as a PNG."""
    import matplotlib.figure

    figure = matplotlib.figure.Figure(figsize=(7.5, 3.2), dpi=120, layout="constrained")
    axes = figure.subplots(1, 2 if trained.validations else 1, squeeze=False)[0]
    steps = range(1, trained.steps + 1)
    axes[0].plot(steps, trained.losses, linewidth=0.6, alpha=0.4, color="tab:blue")
    axes[0].plot(steps, _smoothed(trained.losses), color="tab:blue")
    axes[0].set(title="training loss", xlabel="step", ylim=(0, None))
    if trained.validations:
        for region in next(iter(trained.validations.values())).dice:
            values = [found.dice[region] for found in trained.validations.values()]
            axes[1].plot(list(trained.validations), values, marker="o", markersize=3, label=region.replace("-", " "))
        axes[1].axvline(trained.best_step, color="0.6", linestyle=":", label="best")
        axes[1].set(title="Dice on held-out cases", xlabel="step", ylim=(0, 1))
        axes[1].legend(fontsize="small")
    figure.savefig(path)


def _smoothed(values: Sequence[float]) -> list[float]:
    """The exponential running mean over about a twentieth of the run."""
    weight = max(0.0, 1 - 20 / len(values))
    mean, found = values[0], []
    for value in values:
        mean = weight * mean + (1 - weight) * value
        found.append(mean)
    return found
