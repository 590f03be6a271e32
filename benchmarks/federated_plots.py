"""Pictures of the federated-learning benchmark."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE: Final = "#3b6fb6"
ORANGE: Final = "#d98c2b"


def draw_study(study: Mapping[str, Any], margin: float, path: Path) -> None:
    """Each arm's Dice, with its sites as dots, and its difference from pooling beside the margin."""
    arms = {arm: each for arm, each in study["arms"].items() if each["dice"]}
    figure = Figure(figsize=(10, 0.5 * len(arms) + 1.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    labels: dict[str, Any] = {}
    for row, (arm, each) in enumerate(arms.items()):
        left.plot(each["dice"]["interval"], [row, row], color=BLUE, linewidth=6, alpha=0.3, solid_capstyle="butt")
        left.plot(each["dice"]["mean"], row, "|", color=BLUE, markersize=14)
        left.plot(
            list(each["dice_by_site"].values()), [row] * len(each["dice_by_site"]), ".", color="0.4", markersize=4
        )
        worst = min(each["dice_by_site"].values())
        left.plot(worst, row, "o", color=ORANGE, markersize=5, label="worst site" if row == 0 else None)
        for pooled, colour, offset in (("pooled", BLUE, -0.12), ("pooled-parallel", ORANGE, 0.12)):
            if difference := study["differences"].get(f"{arm} minus {pooled}"):
                place, interval = row + offset, difference["dice"]["interval"]
                right.plot(interval, [place, place], color=colour, linewidth=4, solid_capstyle="butt")
                right.plot(difference["dice"]["mean"], place, "D", color="white", markeredgecolor=colour, markersize=5)
                labels[pooled] = right.plot([], [], color=colour, linewidth=4)[0]
    left.set_yticks(range(len(arms)), list(arms))
    left.set_ylim(len(arms) - 0.5, -0.5)
    left.set_xlabel("mean Dice, 95 % interval; dots are sites")
    left.legend(frameon=False, fontsize="small", loc="lower left")
    right.axvspan(-margin, margin, color="#f0f0f0", zorder=0)
    right.axvline(0, color="black", linewidth=0.8)
    right.set_xlabel("difference of mean Dice, 95 % interval")
    right.legend(labels.values(), [f"minus {name}" for name in labels], frameon=False, fontsize="small")
    _save(figure, [left, right], path)


def draw_transfer(transfer: Mapping[str, Any], path: Path) -> None:
    """Dice of each site: the released model, its head trained alone, and together."""
    arms = {arm: each for arm, each in transfer["arms"].items() if each["dice"]}
    sites = list(next(iter(arms.values()))["dice_by_site"])
    figure = Figure(figsize=(8, 0.35 * len(sites) + 1.4), layout="constrained")
    axes = figure.subplots()
    for (arm, each), mark in zip(arms.items(), ("o", "s", "D"), strict=False):
        axes.plot([each["dice_by_site"][site] for site in sites], range(len(sites)), mark, label=arm, markersize=5)
    axes.set_yticks(range(len(sites)), sites)
    axes.set_ylim(len(sites) - 0.5, -0.5)
    axes.set_xlabel("mean Dice")
    axes.legend(frameon=False, fontsize="small")
    _save(figure, [axes], path)


def draw_attacks(attacks: Mapping[str, Any], rules: Sequence[str], kinds: Sequence[str], path: Path) -> None:
    """Dice by rule and attack, as a table of colours."""
    values = np.full((len(rules), len(kinds)), np.nan)
    for row, rule in enumerate(rules):
        for column, kind in enumerate(kinds):
            dice = attacks["arms"][f"{rule}/{kind}"]["dice"]
            values[row, column] = dice["mean"] if dice else np.nan
    figure = Figure(figsize=(1.4 * len(kinds) + 2, 0.5 * len(rules) + 1.6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(np.nan_to_num(values), vmin=0, vmax=1, cmap="RdYlGn", aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        axes.text(column, row, "diverged" if np.isnan(value) else f"{value:.2f}", ha="center", va="center")
    axes.set_xticks(range(len(kinds)), kinds)
    axes.set_yticks(range(len(rules)), rules)
    axes.set_title("mean Dice, two of ten sites lie", fontsize=10)
    figure.savefig(path, dpi=110)


def _save(figure: Figure, panels: Sequence[Axes], path: Path) -> None:
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="x", color="#dddddd", linewidth=0.6)
        panel.set_axisbelow(True)
    figure.savefig(path, dpi=110)
