"""The picture of the bias correction: Dice by group, the gap and its change, and what each solver reached."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.bias_solvers import with_training

GROUPS: Final = {"F": "#b5523b", "M": "#3b6fb6"}
SOLVERS: Final = {"random": "#9a9a9a", "greedy": "#d98c2b", "annealed": "#1b7837", "qaoa": "#7b4fa3", "vqe": "#3b6fb6"}


def draw_bias(results: Mapping[str, Any], path: Path) -> None:
    """Draw a result file of benchmarks.bias_correction.

    Args:
        results: Its content.
        path: Of the PNG file.
    """
    arms, solvers = results["arms"], results["solvers"]
    budgets = sorted({row["budget"] for row in solvers if row["budget"]})
    figure = Figure(figsize=(15, 0.5 * len(arms) + 2.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.1, 1, 1))
    _draw_dice(left, arms)
    _draw_gaps(middle, arms)
    _draw_solvers(right, solvers, budgets[0])
    figure.savefig(path, dpi=110)


def _draw_dice(panel: Axes, arms: Mapping[str, Any]) -> None:
    for row, arm in enumerate(arms.values()):
        for offset, (group, colour) in zip((-0.13, 0.13), GROUPS.items(), strict=True):
            figures = arm["dice_by_group"][group]
            panel.plot(figures["interval"], [row + offset] * 2, color=colour, linewidth=4, alpha=0.35)
            label = {"F": "women", "M": "men"}[group] if row == 0 else None
            panel.plot(
                figures["by_seed"], [row + offset] * len(figures["by_seed"]), "o", color=colour, ms=4, label=label
            )
    panel.set_title("Test Dice, mean of three regions", fontsize=10)
    panel.set_xlabel("dots are seeds, bars 95 % intervals")
    panel.legend(frameon=False, fontsize=8)
    _rows(panel, list(arms))


def _draw_gaps(panel: Axes, arms: Mapping[str, Any]) -> None:
    panel.axvline(0, color="black", linewidth=0.8)
    for row, arm in enumerate(arms.values()):
        panel.plot(arm["gap"]["interval"], [row] * 2, color="#4d4d4d", linewidth=4, alpha=0.4)
        panel.plot(arm["gap"]["mean"], row, "o", color="#4d4d4d", label="gap, men minus women" if row == 0 else None)
        if arm["against_bare"]:
            change = arm["against_bare"]["gap_change"]
            panel.plot(change["interval"], [row + 0.22] * 2, color="#b2182b", linewidth=2)
            panel.plot(change["mean"], row + 0.22, "D", color="#b2182b", ms=4, label="change" if row == 1 else None)
    panel.set_title("Gap between men and women", fontsize=10)
    panel.set_xlabel("Dice")
    panel.legend(frameon=False, fontsize=8)
    _rows(panel, [""] * len(arms))


def _draw_solvers(panel: Axes, rows: Sequence[Mapping[str, Any]], shots: int) -> None:
    names = list(dict.fromkeys(row["problem"] for row in rows))
    counted = with_training(shots)
    shown = [(solver, shots) for solver in SOLVERS] + [(solver, counted) for solver in ("greedy", "annealed")]
    width = 0.84 / len(shown)
    for place, (solver, budget) in enumerate(shown):
        found = {row["problem"]: row["success"] for row in rows if (row["solver"], row["budget"]) == (solver, budget)}
        at = [index + (place - (len(shown) - 1) / 2) * width for index, name in enumerate(names) if name in found]
        hatch = "" if budget == shots else "///"
        label = f"{solver}, {budget:,} energies"
        bars = panel.bar(at, list(found.values()), width, color=SOLVERS[solver], label=label, hatch=hatch)
        # A height of 0 is told, so that it is not taken for a bar that is missing.
        panel.bar_label(bars, fmt="%.1f", fontsize=7)
    panel.set_xticks(range(len(names)), [name.replace(", ", "\n") for name in names], fontsize=8)
    panel.set_ylim(0, 1.6)
    panel.set_title("Share of seeds that find the optimum", fontsize=10)
    panel.set_xlabel("hatched: as many energies as QAOA's training takes", fontsize=8)
    panel.legend(frameon=False, fontsize=7, ncols=2, loc="upper center")
    _clean(panel)


def _rows(panel: Axes, names: Sequence[str]) -> None:
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.5, -0.5)
    _clean(panel)


def _clean(panel: Axes) -> None:
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
