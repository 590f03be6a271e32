"""The plots of a governance report; each is one PNG. Imports matplotlib, so only who draws imports this."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from governance.compliance.assessment import Assessment
from governance.compliance.judging import SHARE_BAR, Status

# Okabe and Ito's colours, which the colour-blind tell apart.
_BLUE, _ORANGE, _GREEN, _RED, _GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#999999"
_PIXELS_AN_INCH: Final = 130
_MOST_TICKS: Final = 12

TITLES: Final[Mapping[str, str]] = {
    "shares": "Share of controls passed, by framework",
    "decisions": "Decisions of rules, and of radiologists",
    "incidents": "Halts, resumptions and studies that were not analysed",
}


def draw_plots(assessment: Assessment) -> Mapping[str, bytes]:
    """All plots, as PNG by name."""
    return {
        "shares": draw_shares(assessment),
        "decisions": draw_decisions(assessment),
        "incidents": draw_incidents(assessment),
    }


def draw_shares(assessment: Assessment) -> bytes:
    """How each framework's controls stand, and the bar."""
    figure = Figure(figsize=(10.4, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    parts = (
        (Status.PASSED, "passed", _GREEN),
        (Status.FAILED, "failed", _RED),
        (Status.INSUFFICIENT, "insufficient evidence", _ORANGE),
        (Status.UNATTESTED, "attestation missing", _GREY),
    )
    shares = dict(reversed(list(assessment.framework_shares().items())))  # drawn from below
    names = [str(framework) for framework in shares]
    left = [0.0] * len(names)
    for status, label, colour in parts:
        widths = []
        for framework, share in shares.items():
            count = sum(each.status is status for each in assessment.of_framework(framework))
            widths.append(count / share.applicable if share.applicable else 0.0)
        axes.barh(names, widths, left=left, color=colour, label=label)
        left = [low + width for low, width in zip(left, widths, strict=True)]
    for place, share in enumerate(shares.values()):
        text = f"{share.passed} of {share.applicable}" if share.applicable else "none applies"
        axes.text(1.01, place, text, va="center", fontsize=9)
    axes.axvline(float(SHARE_BAR), color="black", linestyle="--", linewidth=1.2, label=f"bar: {float(SHARE_BAR):.0%}")
    axes.set_xlim(0, 1.12)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    axes.set(xlabel="of the controls that apply", title=TITLES["shares"])
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=5, frameon=False)
    return _png(figure)


def draw_decisions(assessment: Assessment) -> bytes:
    """What rules decided, what radiologists decided, and the share that they rejected."""
    figure, (rules, people, rejected) = _figure(3)
    series, buckets = assessment.series, assessment.buckets
    _stack(
        rules,
        buckets,
        ("allowed", _GREEN, series["allowed"]),
        ("refused", _ORANGE, series["refused"]),
        ("halted", _RED, series["decided_to_halt"]),
        ("insufficient evidence", _GREY, series["insufficient"]),
    )
    rules.set(title="Decisions of rules", ylabel="decisions")
    _stack(people, buckets, ("accepted", _BLUE, series["accepted"]), ("rejected", _RED, series["rejected"]))
    people.set(title="Decisions of radiologists", ylabel="results")
    decided = [yes + no for yes, no in zip(series["accepted"], series["rejected"], strict=True)]
    points = [(at, no / all_) for at, (no, all_) in enumerate(zip(series["rejected"], decided, strict=True)) if all_]
    if points:
        rejected.plot(*zip(*points, strict=True), color=_RED, marker="o", linewidth=1.5)
    else:
        _say(rejected, "No radiologist has decided.")
    rejected.set(title="Share rejected")
    if points:
        rejected.set_ylim(0, 1)
        _ticks(rejected, buckets)
    return _png(figure)


def draw_incidents(assessment: Assessment) -> bytes:
    """Halts and resumptions, and studies without a result."""
    figure, (halts, studies) = _figure(2)
    series, buckets = assessment.series, assessment.buckets
    _stack(halts, buckets, ("halts", _RED, series["halts"]), ("resumptions", _GREEN, series["resumptions"]))
    halts.set(title="Halts and resumptions", ylabel="times")
    _stack(
        studies,
        buckets,
        ("analysed", _BLUE, series["analysed"]),
        ("not analysed", _ORANGE, series["not_analysed"]),
    )
    studies.set(title="Studies", ylabel="studies")
    return _png(figure)


def _figure(count: int) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(10.4, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Sequence[Axes] = figure.subplots(1, count)
    return figure, axes


def _stack(axes: Axes, buckets: Sequence[str], *parts: tuple[str, str, Sequence[int]]) -> None:
    if not any(any(values) for _, _, values in parts):
        _say(axes, "Nothing was recorded.")
        return
    places = range(len(buckets))
    below = [0] * len(buckets)
    for label, colour, values in parts:
        axes.bar(places, values, bottom=below, color=colour, label=label)
        below = [low + value for low, value in zip(below, values, strict=True)]
    axes.set_ylim(0, 1.4 * max(below))  # room for the legend
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    _ticks(axes, buckets)
    axes.legend(fontsize=8, loc="upper left", frameon=False, ncols=2)


def _ticks(axes: Axes, buckets: Sequence[str]) -> None:
    step = -(-len(buckets) // _MOST_TICKS)
    places = range(0, len(buckets), step)
    axes.set_xlim(-0.6, len(buckets) - 0.4)
    axes.set_xticks(list(places), [buckets[place] for place in places], rotation=45, ha="right", fontsize=8)
    axes.grid(alpha=0.3, axis="y")


def _say(axes: Axes, text: str) -> None:
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="#777777")


def _png(figure: Figure) -> bytes:
    file = BytesIO()
    figure.savefig(file, format="png", dpi=_PIXELS_AN_INCH, metadata={"Software": None})
    return file.getvalue()
