"""A run's plots for its report; each is one PNG. Imports matplotlib, so only who draws imports this."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from federated.rounds.run_view import RoundView, RunView

# Okabe and Ito's colours, which the colour-blind tell apart.
_BLUE, _ORANGE, _GREEN, _RED, _GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777"
_PIXELS_AN_INCH: Final = 130
_MEGA: Final = 1e-6


def draw_plots(view: RunView) -> dict[str, bytes]:
    """All plots of a run that has a finished round, as PNG by name."""
    return {"dice": draw_dice(view), "loss-and-epsilon": draw_course(view), "costs": draw_costs(view)}


def draw_dice(view: RunView) -> bytes:
    """Dice by round, and where each site stands now with the worst first."""
    figure, (course, standing) = _figure(2, height=max(4.0, 1.8 + 0.28 * len(view.sites)))
    worst = view.worst_site
    for site in view.sites:
        is_worst = site.name == worst
        points = [(each.number, figures.dice) for each in view.history if (figures := each.sites.get(site.name))]
        _line(
            course,
            points,
            color=_RED if is_worst else _GREY,
            linewidth=2.2 if is_worst else 1.0,
            alpha=1.0 if is_worst else 0.6,
            label=f"{site.name}, the worst now" if is_worst else None,
            zorder=3 if is_worst else 2,
        )
    _line(
        course,
        [(each.number, each.dice) for each in view.history],
        color=_BLUE,
        linewidth=2.2,
        linestyle="--",
        label="mean of the sites",
        zorder=4,
    )
    course.set(xlabel="round", ylabel="Dice of the whole tumour", title="Dice by round; a grey line is a site")
    course.set_ylim(0, 1)
    _finish(course)
    # Drawn from below: the worst comes last.
    known = [(site.name, site.dice) for site in reversed(view.sites) if site.dice is not None]
    bars = standing.barh([name for name, _ in known], [dice for _, dice in known], color=_BLUE)
    if known:
        bars[-1].set_color(_RED)
    standing.bar_label(bars, fmt="%.3f", padding=4, fontsize=9)
    standing.set(xlabel="Dice of the whole tumour", title="Each site's last, the worst first")
    standing.set_xlim(0, 1.12)  # room for the numbers
    standing.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    standing.grid(alpha=0.3, axis="x")
    return _png(figure)


def draw_course(view: RunView) -> bytes:
    """Training loss by round, and what the rounds cost each patient."""
    figure, (loss, epsilon) = _figure(2)
    losses = [(each.number, each.loss) for each in view.history]
    _line(loss, losses, color=_BLUE, marker="o", label="mean of the sites, by cases")
    if not any(value is not None for _, value in losses):
        _say(loss, "Not told: with noise on, a site\ntells no number of its training cases.")
    loss.set(xlabel="round", ylabel="training loss", title="Training loss")
    _finish(loss)
    for site in view.sites:
        told = [(each.number, each.sites.get(site.name)) for each in view.history]
        points = [(number, figures.epsilon_spent) for number, figures in told if figures]
        _line(epsilon, points, color=_ORANGE, marker=".", alpha=0.8, label="a site, rounds added up")
    if view.epsilon_limit is not None:
        epsilon.axhline(view.epsilon_limit, color=_RED, linestyle="--", label="the most that the terms allow")
        epsilon.set_ylim(bottom=0)
    if view.epsilon_limit is None and view.epsilon is None:
        _say(epsilon, "No noise on record level in this run.")
    epsilon.set(xlabel="round", ylabel="epsilon for each patient", title="Privacy on record level, an upper bound")
    _finish(epsilon)
    return _png(figure)


def draw_costs(view: RunView) -> bytes:
    """Bytes, seconds and joules of each round."""
    figure, (sizes, times, energy) = _figure(3)
    rounds = view.history
    _stack(
        sizes,
        rounds,
        ("to the sites", _BLUE, [(each.bytes_sent or 0.0) * _MEGA for each in rounds]),
        ("from the sites", _ORANGE, [(each.bytes_received or 0.0) * _MEGA for each in rounds]),
    )
    sizes.set(ylabel="MB", title="Bytes, all sites")
    overhead = [each.overhead_s or 0.0 for each in rounds]
    work = [max(0.0, (each.seconds or 0.0) - more) for each, more in zip(rounds, overhead, strict=True)]
    _stack(times, rounds, ("the slowest site's own work", _BLUE, work), ("everything else", _ORANGE, overhead))
    times.set(ylabel="s", title="Seconds of a round")
    if view.joules is None:
        _say(energy, "No site told its energy.")
    else:
        _stack(energy, rounds, ("all sites that tell", _GREEN, [each.joules or 0.0 for each in rounds]))
    kinds = ", ".join(view.energy_sources)
    energy.set(ylabel="J", title=f"Energy ({kinds})" if kinds else "Energy")
    return _png(figure)


def _figure(count: int, height: float = 4.0) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(5.2 * count, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Sequence[Axes] = figure.subplots(1, count)
    return figure, axes


def _line(axes: Axes, points: Sequence[tuple[int, float | None]], **options: Any) -> None:
    """A line through what is known, with a mark where it is a single point."""
    known = [(number, value) for number, value in points if value is not None]
    if len(known) == 1:
        options.setdefault("marker", "o")
    if known:
        numbers, values = zip(*known, strict=True)
        axes.plot(numbers, values, **options)


def _stack(axes: Axes, rounds: Sequence[RoundView], *parts: tuple[str, str, Sequence[float]]) -> None:
    numbers = [each.number for each in rounds]
    below = [0.0] * len(numbers)
    for label, colour, values in parts:
        axes.bar(numbers, values, bottom=below, color=colour, label=label)
        below = [low + value for low, value in zip(below, values, strict=True)]
    axes.set_ylim(0, 1.3 * max(below, default=0.0) or 1.0)  # room for the legend
    axes.set(xlabel="round")
    _finish(axes)


def _finish(axes: Axes) -> None:
    """Grid, whole numbers of rounds and a legend, unless there is only something to say."""
    if axes.texts:
        return
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    if handles:
        axes.legend(handles.values(), handles.keys(), fontsize=8)


def _say(axes: Axes, text: str) -> None:
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=_GREY)


def _png(figure: Figure) -> bytes:
    file = BytesIO()
    figure.savefig(file, format="png", dpi=_PIXELS_AN_INCH, metadata={"Software": None})
    return file.getvalue()
