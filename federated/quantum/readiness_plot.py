"""The readiness report as one picture: expectation error, quantum volume, error correction."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from federated.quantum.error_correction import TARGET
from federated.quantum.quantum_volume import THRESHOLD
from federated.quantum.readiness import SAMPLING_ERROR, SHOTS, VOLUME_BAR, ReadinessReport

# Okabe and Ito's colours, which the colour-blind tell apart.
_BLUE, _ORANGE, _GREEN, _RED, _GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777"
_PIXELS_AN_INCH: Final = 130


def save_plot(report: ReadinessReport, path: Path) -> None:
    """Write the picture.

    Args:
        report: What to show.
        path: A file that ends in .png.

    Raises:
        OSError: It cannot be written.
    """
    figure = Figure(figsize=(15, 4.9), layout="constrained")
    FigureCanvasAgg(figure)
    expectation, volume, correction = figure.subplots(1, 3)
    _draw_expectations(expectation, report)
    _draw_volume(volume, report)
    _draw_correction(correction, report)
    rates = report.rates
    figure.suptitle(
        f"Quantum readiness: {report.device}\nrates: depolarising {rates.depolarizing:g} (one qubit), "
        f"{rates.depolarizing2:g} (two), amplitude damping {rates.amplitude_damping:g}, readout {rates.readout:g}",
        fontsize=11,
    )
    figure.savefig(path, format="png", dpi=_PIXELS_AN_INCH)


def _draw_expectations(axes: Axes, report: ReadinessReport) -> None:
    scales = [test.scale for test in report.expectations]
    for label, colour, marker, errors in (
        ("without mitigation", _RED, "o", [test.raw.mean_absolute_error for test in report.expectations]),
        ("with ZNE", _BLUE, "s", [test.mitigated.mean_absolute_error for test in report.expectations]),
    ):
        axes.plot(scales, errors, color=colour, marker=marker, label=label)
    axes.axhline(SAMPLING_ERROR, color=_GREY, linestyle="--", label=f"sampling error of {SHOTS:,} shots")
    axes.set(xscale="log")
    axes.set_xticks(scales, [f"{scale:g}" for scale in scales])
    _use_log_scale(axes)
    axes.set(xlabel="noise, times the given rates", ylabel="mean absolute error of an expectation value")
    axes.set_title(f"Expectation values, {report.circuit.wires} wires")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)


def _draw_volume(axes: Axes, report: ReadinessReport) -> None:
    for label, colour, passed in (("passed", _GREEN, True), ("failed", _RED, False)):
        tests = [test for test in report.volume if test.passed is passed]
        if tests:
            axes.errorbar(
                [test.wires for test in tests],
                [test.heavy_outputs for test in tests],
                yerr=[test.two_sigma for test in tests],
                fmt="o",
                color=colour,
                capsize=4,
                label=f"{label}, mean and two sigma",
            )
    axes.axhline(THRESHOLD, color=_GREY, linestyle="--", label="2/3, to be passed by two sigma")
    axes.axhline((1 + np.log(2)) / 2, color=_GREY, linestyle=":", label="perfect device, many wires")
    bar = int(np.log2(VOLUME_BAR))
    axes.axvline(bar, color=_ORANGE, linewidth=6, alpha=0.4, zorder=0, label=f"the paper's bar: volume {VOLUME_BAR}")
    widest = max(bar, *(test.wires for test in report.volume))
    axes.set(xlim=(1.5, widest + 0.5), xticks=range(2, widest + 1), ylim=(0.45, 1.0))
    axes.set(xlabel="wires and layers n of the model circuits (volume 2$^n$)", ylabel="heavy-output probability")
    axes.set_title(f"Quantum volume: {report.largest_volume} passed ({report.volume[0].trials} trials a width)")
    axes.legend(fontsize=8, loc="lower left")
    axes.grid(alpha=0.3)


def _draw_correction(axes: Axes, report: ReadinessReport) -> None:
    distances = np.array([memory.distance for memory in report.memories])
    rates = np.array([memory.per_round for memory in report.memories])
    low, high = np.array([memory.interval for memory in report.memories]).T
    seen = rates > 0
    options: dict[str, Any] = {"color": _BLUE, "capsize": 4}
    axes.errorbar(
        distances[seen],
        rates[seen],
        yerr=[rates[seen] - low[seen], high[seen] - rates[seen]],
        fmt="o-",
        label="95 % interval",
        **options,
    )
    if not seen.all():
        axes.plot(distances[~seen], high[~seen], "v", color=_BLUE, label="no error seen: below this (95 %)")
    _use_log_scale(axes)
    axes.set(xticks=distances, xlim=(distances[0] - 0.7, distances[-1] + 0.7))
    axes.set(xlabel="distance of the surface code", ylabel="logical errors a round")
    low_factor, high_factor = report.suppression.interval
    reached = {
        True: f"distance {report.suppression.distance}, extrapolated",
        False: "not by more qubits",
        None: "undecided",
    }[report.suppression.is_correctable]
    axes.set_title("Error correction, an estimate")
    axes.legend(
        fontsize=8,
        title=f"Λ = {report.suppression.factor:.2f} (95 % {low_factor:.2f} to {high_factor:.2f})\n"
        f"{TARGET:g} a round: {reached}",
        title_fontsize=8,
    )
    axes.grid(alpha=0.3)


def _use_log_scale(axes: Axes) -> None:
    """A logarithmic axis whose numbers are written out, also within one decade."""
    axes.set(yscale="log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
