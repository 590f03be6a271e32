"""An audit's plots for its report; each is one PNG. Imports matplotlib, so only who draws imports this."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind tell apart.
_BLUE, _ORANGE, _GREEN, _RED, _GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777"
_PIXELS_AN_INCH: Final = 90
_ROW: Final = 0.27
"""Inches."""


def draw_audit_plots(sections: Mapping[str, Any]) -> dict[str, bytes]:
    """Every plot that the sections have the numbers for, as PNG by name."""
    policy = sections.get("policy") or {}
    found = {}
    if sections.get("groups"):
        found["groups"] = draw_groups(sections["groups"], policy)
    if sections.get("bias"):
        found["bias"] = draw_bias(sections["bias"], policy)
    if sections.get("calibration"):
        found["calibration"] = draw_calibration(sections["calibration"])
    if "model" in (sections.get("robustness") or {}):
        found["robustness"] = draw_robustness(sections["robustness"]["model"], policy)
    if (sections.get("boundaries") or {}).get("stresses"):
        found["boundaries"] = draw_boundaries(sections["boundaries"])
    return found


def draw_groups(rows: Sequence[Mapping[str, Any]], policy: Mapping[str, Any]) -> bytes:
    """Every case's Dice by group, with the group's mean and interval."""
    figure, axes = _figure(1, 9.5, 1.4 + _ROW * len(rows))
    for place, row in enumerate(rows):
        values = [float(value) for value in row["values"]]
        # Apart enough to be told, and the same each time.
        jitter = 0.25 * np.sin(np.arange(len(values)) * 2.4)
        axes.scatter(values, place + jitter, s=7, color=_GREY, alpha=0.45, linewidths=0)
        mean = float(row["dice"])
        is_low = mean < float(policy.get("worst_group_dice", 0) or 0)
        colour = _RED if is_low else _BLUE
        if row["low"] is not None:
            axes.plot([float(row["low"]), float(row["high"])], [place, place], color=colour, linewidth=2.2)
        axes.plot([mean], [place], marker="o" if row["judged"] else "x", color=colour, markersize=6)
    labels = [f"{row['attribute']}: {row['group']} ({row['cases']})" for row in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.invert_yaxis()
    _limit(axes, policy.get("worst_group_dice"), "what the worst group must reach")
    axes.set(xlabel="Dice of the whole tumour", title="Each case (grey), each group's mean and its interval")
    axes.set_xlim(-0.02, 1.02)
    return _finish(figure, axes)


def draw_bias(scores: Sequence[Mapping[str, Any]], policy: Mapping[str, Any]) -> bytes:
    """The largest gap by outcome and attribute with its interval, and what chance alone would show."""
    rows = [(score, each) for score in scores for each in score["attributes"] if each["score"] is not None]
    figure, axes = _figure(1, 9.5, 1.6 + _ROW * max(len(rows), 3))
    for place, (_, each) in enumerate(rows):
        low, high, value = float(each["low"]), float(each["high"]), float(each["score"])
        colour = _RED if low > float(policy.get("bias", 1)) else _BLUE
        axes.plot([low, high], [place, place], color=colour, linewidth=2.2)
        axes.plot([value], [place], marker="o", color=colour)
        axes.plot([float(each["by_chance"])], [place], marker="|", color=_GREY, markersize=11, linestyle="none")
    names = [f"{score.get('finding') or each['outcome']}, {each['attribute']}" for score, each in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.invert_yaxis()
    _limit(axes, policy.get("bias"), "the policy's threshold")
    axes.plot([], [], marker="|", color=_GREY, markersize=11, linestyle="none", label="by chance alone, on average")
    axes.set(xlabel="largest gap between two groups", title="Bias scores with their intervals")
    axes.set_xlim(-0.01, 1.0 if not rows else max(0.3, *(float(each["high"]) for _, each in rows)) + 0.02)
    return _finish(figure, axes)


def draw_calibration(section: Mapping[str, Any]) -> bytes:
    """Predicted probability against what was there, over the voxels of all heads."""
    figure, axes = _figure(1, 5.2, 4.4)
    points = [
        (float(one), float(other))
        for one, other in zip(section["predicted"], section["observed"], strict=True)
        if one is not None and other is not None
    ]
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle="--", label="deserved")
    axes.plot([one for one, _ in points], [other for _, other in points], marker="o", color=_BLUE, label="found")
    axes.set(xlabel="predicted probability", ylabel="share that is tumour", title="Reliability of the whole tumour")
    return _finish(figure, axes)


def draw_robustness(model: Mapping[str, Any], policy: Mapping[str, Any]) -> bytes:
    """Loss of Dice by the size of the change."""
    figure, panels = _figures(2, 9.5, 3.8)
    colours = {"random": _GREY, "fgsm": _ORANGE, "pgd": _RED}
    units = {"image": "standard deviations of brightness", "angles": "radian"}
    for axes, target in zip(panels, units, strict=True):
        for method, colour in colours.items():
            found = [each for each in model["attacks"] if (each["target"], each["method"]) == (target, method)]
            if found:
                sizes, drops = ([float(each[name]) for each in found] for name in ("epsilon", "drop"))
                lows, highs = ([float(each[name]) for each in found] for name in ("drop_low", "drop_high"))
                axes.plot(sizes, drops, marker="o", color=colour, label=method)
                axes.vlines(sizes, lows, highs, color=colour, alpha=0.5)
        limit = policy.get("robust_dice_drop")
        if limit is not None:
            axes.axhline(float(limit), color=_RED, linestyle=":", label="the policy's limit")
        axes.set(xlabel=f"largest change, {units[target]}", ylabel="loss of Dice", title=f"Changes of the {target}")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return _png(figure)


def draw_boundaries(section: Mapping[str, Any]) -> bytes:
    """Mean Dice under each stress and severity, against the floor."""
    rows = [
        (each["title"], each["unit"], level)
        for each in section["stresses"]
        for level in each["levels"]
        if level["dice"] is not None
    ]
    figure, axes = _figure(1, 9.5, 1.4 + _ROW * max(len(rows), 3))
    floor = float(section["floor"])
    for place, (_, _, level) in enumerate(rows):
        value = float(level["dice"])
        colour = _RED if value < floor else _GREEN
        axes.plot([float(level["low"]), float(level["high"])], [place, place], color=colour, linewidth=2.2)
        axes.plot([value], [place], marker="o", color=colour)
    names = [_severity(title, unit, float(level["severity"])) for title, unit, level in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.invert_yaxis()
    _limit(axes, floor, "below it the model must not be used")
    axes.set(xlabel="mean Dice of the whole tumour", title=f"Under stress, {section['cases']} cases")
    axes.set_xlim(-0.02, 1.02)
    return _finish(figure, axes)


def _severity(title: str, unit: str, severity: float) -> str:
    return f"{title}: {severity:g} {unit}" if unit else title


def _figure(count: int, width: float, height: float) -> tuple[Figure, Axes]:
    figure, panels = _figures(count, width, height)
    return figure, panels[0]


def _figures(count: int, width: float, height: float) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    panels: Sequence[Axes] = figure.subplots(1, count, squeeze=False)[0]
    return figure, panels


def _limit(axes: Axes, value: Any, label: str) -> None:
    if value is not None:
        axes.axvline(float(value), color=_RED, linestyle=":", label=label)


def _finish(figure: Figure, axes: Axes) -> bytes:
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    file = BytesIO()
    # Without the time and the program's version: the same numbers give the same bytes.
    figure.savefig(file, format="png", dpi=_PIXELS_AN_INCH, metadata={"Software": None})
    return file.getvalue()
