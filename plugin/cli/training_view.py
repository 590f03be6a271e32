"""How a running training looks: a live bar on a terminal, lines in a log, or JSON for a program."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from federated.training import Event, Started, Validated


class View:
    """What all have in common: an interruption is passed on between two steps, where nothing is half done."""

    def __init__(self, is_interrupted: Callable[[], bool]) -> None:
        self._is_interrupted = is_interrupted

    def gathered(self, ready: int, total: int) -> None:
        """So many cases of so many are prepared."""
        self._check()
        self.show_gathered(ready, total)

    def event(self, event: "Event") -> None:
        """The training got further."""
        self.show_event(event)
        self._check()

    def close(self) -> None:
        """Leave the terminal as it was."""

    def show_gathered(self, ready: int, total: int) -> None:
        """Show it."""

    def show_event(self, event: "Event") -> None:
        """Show it."""

    def _check(self) -> None:
        if self._is_interrupted():
            raise KeyboardInterrupt


class JsonView(View):
    """One JSON object a line on standard output, as in the training's log."""

    def show_event(self, event: "Event") -> None:
        """Print it."""
        from federated.training_log import describe_event

        click.echo(json.dumps(describe_event(event)))


class LineView(View):
    """A line for the start and for each validation, on standard error."""

    def __init__(self, is_interrupted: Callable[[], bool]) -> None:
        super().__init__(is_interrupted)
        self._loss = float("nan")

    def show_gathered(self, ready: int, total: int) -> None:
        """Print the last of it."""
        if ready == total:
            click.echo(f"{total} cases are ready", err=True)

    def show_event(self, event: "Event") -> None:
        """Print what is worth a line."""
        from federated.training import Started, Stepped

        if isinstance(event, Started):
            click.echo(_start(event), err=True)
        elif isinstance(event, Stepped):
            self._loss = event.loss
        else:
            click.echo(f"step {event.step}: loss {self._loss:.3f}, validation {_validation(event)}", err=True)


class BarView(View):
    """A bar with loss, learning rate, validation Dice and the time to go, on standard error."""

    def __init__(self, is_interrupted: Callable[[], bool]) -> None:
        super().__init__(is_interrupted)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[metrics]}"),
        )
        self._bars = Progress(*columns, console=Console(stderr=True))
        self._cases = self._bars.add_task("cases", total=None, metrics="")
        self._steps = self._bars.add_task("training", total=None, metrics="", visible=False)
        self._dice = ""
        self._bars.start()

    def close(self) -> None:
        """Stop drawing."""
        self._bars.stop()

    def show_gathered(self, ready: int, total: int) -> None:
        """Move the first bar."""
        self._bars.update(self._cases, completed=ready, total=total)

    def show_event(self, event: "Event") -> None:
        """Move the second bar."""
        from federated.training import Started, Stepped

        if isinstance(event, Started):
            self._bars.console.print(_start(event), highlight=False)
            self._bars.reset(self._steps, total=event.steps, completed=event.step, visible=True)
        elif isinstance(event, Stepped):
            metrics = f"loss {event.loss:.3f}  rate {event.learning_rate:.1e}{self._dice}"
            self._bars.update(self._steps, completed=event.step, metrics=metrics)
        else:
            self._dice = f"  Dice {_validation(event)}"


def _start(event: "Started") -> str:
    begun = f"goes on after step {event.step}" if event.step else "begins"
    return f"{event.parameters:,} weights, {event.precision}, {event.threads} threads: {begun}, {event.steps} steps"


def _validation(event: "Validated") -> str:
    dice = " / ".join(f"{value:.2f}" for value in event.validation.dice.values())
    return f"{dice}{' (best)' if event.is_best else ''}"
