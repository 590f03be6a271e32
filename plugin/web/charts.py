"""Charts as the templates draw them: points, bars and ticks in the units of an SVG's viewBox. Computes only."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

from federated.rounds.run_view import RoundView, RunView
from plugin.services.amounts import amount, energy_words, number

WIDTH: Final = 480
HEIGHT: Final = 220
LEFT: Final = 58
RIGHT: Final = 14
TOP: Final = 12
BOTTOM: Final = 26
_TICKS: Final = 4
_MOST_ROUND_TICKS: Final = 8
_WIDEST_BAR: Final = 28.0


@dataclass(frozen=True)
class Tick:
    """A number at an axis.

    Attributes:
        at: Where, along the axis.
    """

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """A line through what is known.

    Attributes:
        kind: CSS class, with which its colour goes.
        points: As `polyline` takes them.
        last: Its last point, (x, y), which gets a dot.
    """

    kind: str
    points: str
    last: tuple[float, float]


@dataclass(frozen=True)
class Bar:
    """A part of a round's bar.

    Attributes:
        kind: CSS class.
    """

    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Chart:
    """One chart over the rounds.

    Attributes:
        title: What it shows, with the unit.
        summary: The same in words, for those who do not see it.
        key: (CSS class, text) of its colours.
        missing: What to say instead, where nothing is known.
    """

    title: str
    summary: str
    rounds: tuple[Tick, ...] = ()
    values: tuple[Tick, ...] = ()
    lines: tuple[Line, ...] = ()
    bars: tuple[Bar, ...] = ()
    key: tuple[tuple[str, str], ...] = ()
    missing: str = ""


def draw_charts(view: RunView) -> tuple[Chart, ...]:
    """All charts of a run: Dice, epsilon, loss, bytes, seconds, energy."""
    return (_dice(view), _epsilon(view), _loss(view), _bytes(view), _seconds(view), _energy(view))


def _dice(view: RunView) -> Chart:
    worst = view.worst_site
    series = [("worst" if site.name == worst else "site", _of_site(view, site.name, "dice")) for site in view.sites]
    # The worst is drawn over the others, the mean over all.
    series.sort(key=lambda each: each[0] == "worst")
    series.append(("mean", [(each.number, each.dice) for each in view.history]))
    summary = f"The mean of the sites is {number(view.dice)}."
    if worst:
        summary = f"The worst site is {worst} with {number(view.sites[0].dice)}. {summary}"
    key = (("worst", f"{worst}, the worst now"), ("site", "another site"), ("mean", "mean of the sites"))
    return _lines(view, "Dice of the whole tumour", summary, series, key, top=1.0)


def _epsilon(view: RunView) -> Chart:
    series = [("spent", _of_site(view, site.name, "epsilon_spent")) for site in view.sites]
    limit, numbers = view.epsilon_limit, [each.number for each in view.history]
    if limit is not None and numbers:
        series.append(("limit", [(1, limit), (max(2, view.rounds), limit)]))
    summary = f"At most {number(view.epsilon)} of {number(limit)}, the rounds added up."
    key = (("spent", "a site, its rounds added up"), ("limit", "the most that the terms allow"))
    missing = "" if view.epsilon is not None else "There is no noise on record level in what was done so far."
    return _lines(view, "Epsilon for each patient (record level)", summary, series, key, missing=missing)


def _loss(view: RunView) -> Chart:
    series = [("mean", [(each.number, each.loss) for each in view.history])]
    known = [each.loss for each in view.history if each.loss is not None]
    missing = "" if known else "Not told: with noise on, a site tells no number of its training cases."
    summary = f"Now {number(known[-1])}." if known else missing
    return _lines(view, "Training loss", summary, series, (("mean", "mean of the sites, by cases"),), missing=missing)


def _bytes(view: RunView) -> Chart:
    parts = (
        ("down", "to the sites", [each.bytes_sent for each in view.history]),
        ("up", "from the sites", [each.bytes_received for each in view.history]),
    )
    return _bars(view, "Bytes of a round", "B", f"{amount(view.bytes, 'B')} in all rounds.", parts)


def _seconds(view: RunView) -> Chart:
    parts = (
        ("down", "the slowest site's own work", [_own_work(each) for each in view.history]),
        ("up", "everything else", [each.overhead_s for each in view.history]),
    )
    return _bars(view, "Seconds of a round", "s", f"{amount(view.seconds, 's')} in all rounds.", parts)


def _energy(view: RunView) -> Chart:
    if view.joules is None:
        return Chart("Energy of a round", "No site told its energy.", missing="No site told its energy yet.")
    kind = energy_words(view)
    parts = (("energy", f"all sites that tell it, {kind}", [each.joules for each in view.history]),)
    return _bars(view, "Energy of a round", "J", f"{amount(view.joules, 'J')} in all rounds, {kind}.", parts)


def _own_work(each: RoundView) -> float | None:
    return None if each.seconds is None else max(0.0, each.seconds - (each.overhead_s or 0.0))


def _of_site(view: RunView, site: str, name: str) -> list[tuple[int, float | None]]:
    return [(each.number, getattr(figures, name)) for each in view.history if (figures := each.sites.get(site))]


def _lines(
    view: RunView,
    title: str,
    summary: str,
    series: Iterable[tuple[str, Sequence[tuple[int, float | None]]]],
    key: tuple[tuple[str, str], ...],
    *,
    top: float | None = None,
    missing: str = "",
) -> Chart:
    return draw_lines(_span(view), title, summary, series, key, top=top, missing=missing)


def draw_lines(
    span: tuple[int, int],
    title: str,
    summary: str,
    series: Iterable[tuple[str, Sequence[tuple[int, float | None]]]],
    key: tuple[tuple[str, str], ...],
    *,
    top: float | None = None,
    missing: str = "",
) -> Chart:
    """Lines over whole numbers.

    Args:
        span: First and last of the numbers; they differ.
        title: What is shown, with the unit.
        summary: The same in words.
        series: CSS class and points of each line; a point without a value is left out.
        key: (CSS class, text) of the colours.
        top: Of the values; from what is drawn unless given.
        missing: What to say instead of the lines.
    """
    known = [(kind, [(x, y) for x, y in points if y is not None]) for kind, points in series]
    known = [(kind, points) for kind, points in known if points]
    if missing or not known:
        return Chart(title, missing or summary, missing=missing or "Nothing is known yet.")
    ticks = _steps(max(y for _, points in known for _, y in points) if top is None else top)
    lines = []
    for kind, points in known:
        placed = [(_x(number_, span), _y(y, ticks[-1])) for number_, y in points]
        lines.append(Line(kind, " ".join(f"{x:.1f},{y:.1f}" for x, y in placed), placed[-1]))
    drawn = {kind for kind, _ in known}
    return Chart(
        title,
        summary,
        _round_ticks(span),
        tuple(Tick(_y(value, ticks[-1]), f"{value:g}") for value in ticks),
        tuple(lines),
        key=tuple((kind, text) for kind, text in key if kind in drawn),
    )


def _bars(
    view: RunView, title: str, unit: str, summary: str, parts: Sequence[tuple[str, str, Sequence[float | None]]]
) -> Chart:
    if not view.history:
        return Chart(title, "Nothing is known yet.", missing="Nothing is known yet.")
    stacks = [
        list(accumulate((value or 0.0 for value in column), initial=0.0))
        for column in zip(*(part[2] for part in parts), strict=True)
    ]
    ticks, span = _steps(max(stack[-1] for stack in stacks)), _span(view)
    width = min(_WIDEST_BAR, 0.7 * (WIDTH - LEFT - RIGHT) / (span[1] - span[0] + 1))
    bars = []
    for each, stack in zip(view.history, stacks, strict=True):
        for (kind, _, _), (low, high) in zip(parts, pairwise(stack), strict=True):
            top, foot = _y(high, ticks[-1]), _y(low, ticks[-1])
            bars.append(Bar(kind, _x(each.number, span) - width / 2, top, width, foot - top))
    return Chart(
        title,
        summary,
        _round_ticks(span),
        tuple(Tick(_y(value, ticks[-1]), amount(value, unit).replace(".0 ", " ") if value else "0") for value in ticks),
        bars=tuple(bars),
        key=tuple((kind, text) for kind, text, _ in parts),
    )


def _span(view: RunView) -> tuple[int, int]:
    """First and last round of the axis; the whole run, so that it shows how far it is."""
    return 1, max(2, view.rounds, *(each.number for each in view.history))


def _x(round_number: float, span: tuple[int, int]) -> float:
    # Half a bar's room at both ends.
    inner, room = WIDTH - LEFT - RIGHT, _WIDEST_BAR / 2 + 2
    return LEFT + room + (inner - 2 * room) * (round_number - span[0]) / (span[1] - span[0])


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * min(1.0, max(0.0, value / top))


def _round_ticks(span: tuple[int, int]) -> tuple[Tick, ...]:
    step = max(1, math.ceil((span[1] - span[0]) / _MOST_ROUND_TICKS))
    return tuple(Tick(_x(at, span), str(at)) for at in range(span[0], span[1] + 1, step))


def _steps(highest: float) -> list[float]:
    """From 0 to at least the highest value, in steps of 1, 2 or 5 times a power of ten."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return [step * count for count in range(math.ceil(highest / step - 1e-9) + 1)]
