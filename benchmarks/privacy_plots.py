"""Pictures of the attacks: how often each succeeds, and what reconstructions look like."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from benchmarks.gradient_inversion import PATCH

TITLES: Final = {"none": "no protection", "record-dp": "record-level noise", "sum-of-ten": "sum of ten"}
MEASURES: Final = {
    "success": "reconstructed (similar and identified)",
    "identified": "identified by its reconstruction",
    "gallery": "picked among 100 candidates",
}
COLOURS: Final = ("#3b6fb6", "#d98c2b", "#7b4fa3")
SHOWN: Final = 6
CONTRAST: Final = 1
"""T1ce."""


def draw_rates(results: Mapping[str, Any], path: Path) -> None:
    """Rates with their intervals: inversion on the left, membership inference on the right."""
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for shift, ((measure, title), colour) in enumerate(zip(MEASURES.items(), COLOURS, strict=True)):
        for row, protection in enumerate(TITLES):
            found, height = results["inversion"][protection][measure], row + (shift - 1) * 0.22
            left.plot(found["interval"], [height, height], color=colour, linewidth=4, alpha=0.35)
            left.plot(found["rate"], height, "o", color=colour, markersize=5, label=title if row == 0 else None)
    left.axvline(0.01, color="#9a9a9a", linewidth=0.8, linestyle=":")
    left.set_yticks(range(len(TITLES)), list(TITLES.values()))
    left.set_xlim(-0.03, 1.03)
    left.invert_yaxis()
    left.set_xlabel(f"share of {results['inversion']['trials']:,} trials, 95 % interval; dotted: chance among 100")
    left.legend(fontsize=8, frameon=False, loc="center right")
    for row, (kind, colour) in enumerate(zip(("none", "record-dp"), COLOURS, strict=False)):
        for place, measure in enumerate(("tpr_at_0.001", "tpr_at_0.01")):
            found, height = results["membership"][kind][measure], place + (row - 0.5) * 0.25
            right.plot(found["interval"], [height, height], color=colour, linewidth=4, alpha=0.35)
            right.plot(found["rate"], height, "o", color=colour, label=TITLES[kind] if place == 0 else None)
    for place, chance in enumerate((0.001, 0.01)):
        right.plot([chance, chance], [place - 0.3, place + 0.3], color="#9a9a9a", linewidth=1, linestyle=":")
    right.set_yticks((0, 1), ("at 0.1 % false positives", "at 1 % false positives"))
    right.invert_yaxis()
    right.set_xlim(left=-0.002)
    right.set_xlabel("membership found (LiRA); dotted: chance")
    right.legend(fontsize=8, frameon=False)
    for panel in (left, right):
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def draw_examples(stored: Path, path: Path) -> None:
    """The middle slices of the first trials: the truth, and what each attack made of it."""
    with np.load(stored) as pictures:
        rows = {"truth": pictures["truth"], **{name: pictures[name] for name in TITLES}}
    figure = Figure(figsize=(1.35 * SHOWN + 1.4, 1.45 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), SHOWN)
    for row, (name, images) in enumerate(rows.items()):
        for column in range(SHOWN):
            truth = rows["truth"][column, CONTRAST]
            panel = panels[row, column]
            slice_shown = images[column, CONTRAST, PATCH[0] // 2]
            panel.imshow(slice_shown, cmap="gray", vmin=truth.min(), vmax=truth.max())
            panel.set_xticks([])
            panel.set_yticks([])
            if column == 0:
                panel.set_ylabel({"truth": "truth", **TITLES}[name], fontsize=9)
    figure.suptitle("T1ce, a slice of each patch; grey levels as in the truth", fontsize=9)
    figure.savefig(path, dpi=110)
