"""Pictures of a comparison of arms: what each one reached, and what the first one gains over the others."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.scores import MARGIN
from federated.metrics import REGIONS

COLOURS: Final = {"better": "#1b7837", "worse": "#b2182b", "equivalent": "#4d4d4d", "undecided": "#9a9a9a"}
DOTS: Final = {"whole-tumour": "#3b6fb6", "tumour-core": "#d98c2b", "enhancing": "#7b4fa3"}


def draw_arms(summaries: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str], path: Path) -> None:
    """One panel a group: a dot for each seed's mean Dice, a bar for the interval of the arm's mean.

    Args:
        summaries: Of scores.summarise_arm, by arm.
        titles: Of the groups to show.
        path: Of the PNG file.
    """
    figure = Figure(figsize=(4.6 * len(titles) + 1.2, 0.55 * len(summaries) + 1.6), layout="constrained")
    panels = figure.subplots(1, len(titles), sharey=True, squeeze=False)[0]
    for panel, (group, title) in zip(panels, titles.items(), strict=True):
        for row, summary in enumerate(summaries.values()):
            for offset, region in zip((-0.22, 0.0, 0.22), REGIONS, strict=True):
                _draw_summary(panel, row + offset, summary[group][region]["dice"], region, label=row == 0)
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("Dice: dots are seeds, bars 95 % intervals of the mean")
        _clean(panel)
    panels[0].set_yticks(range(len(summaries)), list(summaries))
    panels[0].set_ylim(len(summaries) - 0.5, -0.5)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=110)


def _draw_summary(panel: Axes, height: float, dice: Mapping[str, Any], region: str, *, label: bool) -> None:
    colour = DOTS[region]
    panel.plot(dice["interval"], [height, height], color=colour, linewidth=4, alpha=0.3, solid_capstyle="butt")
    panel.plot([dice["mean"]] * 2, [height - 0.1, height + 0.1], color=colour, linewidth=1.5)
    jitter = np.linspace(-0.05, 0.05, len(dice["by_seed"]))
    name = region.replace("-", " ") if label else None
    panel.plot(dice["by_seed"], height + jitter, "o", color=colour, markersize=3.5, markeredgewidth=0, label=name)


def draw_differences(comparisons: Sequence[Mapping[str, Any]], titles: Mapping[str, str], path: Path) -> None:
    """A forest plot: one panel a group, one row a comparison, thick bars over cases and seeds, thin ones over cases.

    Args:
        comparisons: Of scores.compare.
        titles: Of the groups to show.
        path: Of the PNG file.
    """
    shown = [[each for each in comparisons if each["group"] == group] for group in titles]
    rows = max(len(panel) for panel in shown)
    figure = Figure(figsize=(5.6 * len(titles) + 1.0, 0.36 * rows + 1.7), layout="constrained")
    panels = figure.subplots(1, len(titles), sharex=True, squeeze=False)[0]
    for panel, title, found in zip(panels, titles.values(), shown, strict=True):
        panel.axvspan(-MARGIN, MARGIN, color="#f0f0f0", zorder=0)
        panel.axvline(0, color="black", linewidth=0.8)
        for row, each in enumerate(found):
            colour = COLOURS[each["verdict"]]
            panel.plot(each["over_cases_and_seeds"], [row, row], color=colour, linewidth=4, solid_capstyle="butt")
            panel.plot(each["over_cases"], [row + 0.25] * 2, color=colour, linewidth=1)
            panel.plot(each["mean"], row, "D", color="white", markeredgecolor=colour, markersize=5)
        panel.set_yticks(range(len(found)), [_name(each) for each in found], fontsize=8)
        panel.set_ylim(len(found) - 0.5, -0.5)
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("difference of mean Dice, 95 % intervals")
        _clean(panel)
    handles = [panels[0].plot([], [], color=colour, linewidth=4, label=name)[0] for name, colour in COLOURS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=110)


def _name(comparison: Mapping[str, Any]) -> str:
    region = comparison["region"].replace("-", " ")
    return f"{comparison['first']} \N{MINUS SIGN} {comparison['second']}, {region}"


def _clean(panel: Axes) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis="x", color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)
