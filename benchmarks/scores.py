"""What trained networks reached, case by case: read from run files, put in tables, compared in pairs.

A run file is the JSON of one trained network:

    arm, seed         which network, and which of its repetitions
    parameters        its size, and whatever else describes the run
    scores            a list of group (which set of cases), case, and regions: region -> figure -> value

A case may come from any run of its arm and seed, so that leave-one-out folds fit too.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from federated.calibration import expected_calibration_error
from federated.errors import EvaluationError
from federated.metrics import REGIONS, Labels, Mask, agreement, region_masks
from federated.resampling import Floats
from federated.statistics import PairedComparison, compare_paired, holm, mean_interval

Run = Mapping[str, Any]
Verdict = Literal["better", "worse", "equivalent", "undecided"]

MARGIN: Final = 0.02
"""A difference of mean Dice below it would not matter to anybody: readers differ by far more."""
ALPHA: Final = 0.05
DIGITS: Final = 4
VERDICT_RULE: Final = (
    f"equivalent: interval over cases and seeds within {MARGIN} of 0; else better or worse: that interval clear of 0 "
    f"and Holm p < {ALPHA}; else undecided"
)


def read_runs(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Read run files.

    Raises:
        EvaluationError: A file is no run file.
    """
    runs = []
    for path in paths:
        try:
            run = json.loads(path.read_text(encoding="utf-8"))
            _ = (run["arm"], run["seed"], run["parameters"], run["scores"])
        except (OSError, ValueError, KeyError, TypeError) as fault:
            raise EvaluationError(f"{path.name}: not a run file ({type(fault).__name__}); run it again.") from fault
        runs.append(run)
    return runs


def score_case(
    group: str,
    case: str,
    found: Labels,
    drawn: Labels,
    spacing_mm: Sequence[float],
    probabilities: Floats,
    inside: Mask,
) -> dict[str, Any]:
    """One entry of a run file's scores.

    Args:
        group: Which set of cases.
        case: Its name.
        found, drawn: Labels 0 to 3 on one grid.
        spacing_mm: Between slices, rows and columns.
        probabilities: Calibrated, (3, slices, rows, columns), on the same grid.
        inside: The voxels that count for the calibration error: the head's.
    """
    figures, truth = agreement(found, drawn, spacing_mm), region_masks(drawn)
    regions = {}
    for index, region in enumerate(REGIONS):
        regions[region] = {name: _round(value) for name, value in vars(figures[region]).items()}
        regions[region]["ece"] = _round(expected_calibration_error(probabilities[index][inside], truth[region][inside]))
    return {"group": group, "case": case, "regions": regions}


def arms_of(runs: Sequence[Run]) -> list[str]:
    """The arms, in the order of the runs."""
    return list(dict.fromkeys(run["arm"] for run in runs))


def groups_of(runs: Sequence[Run]) -> list[str]:
    """The groups of cases, in the order of the runs."""
    return list(dict.fromkeys(score["group"] for run in runs for score in run["scores"]))


def table(runs: Sequence[Run], arm: str, group: str, region: str, figure: str) -> npt.NDArray[np.float64]:
    """One figure of one arm, (seeds, cases), both sorted.

    Raises:
        EvaluationError: There are none; a seed lacks a case that another one has; or a case occurs twice.
    """
    found: dict[tuple[int, str], float] = {}
    for run in runs:
        for score in run["scores"]:
            if (run["arm"], score["group"]) == (arm, group):
                key = (int(run["seed"]), str(score["case"]))
                if key in found:
                    raise EvaluationError(f"{arm}, seed {key[0]}: case {key[1]} is scored twice.")
                found[key] = float(score["regions"][region][figure])
    seeds, cases = sorted({seed for seed, _ in found}), sorted({case for _, case in found})
    if not found or len(found) != len(seeds) * len(cases):
        raise EvaluationError(
            f"{arm}, {group}: expected every seed to have every case, got {len(found)} scores of {len(seeds)} seeds "
            f"and {len(cases)} cases; run what is missing."
        )
    return np.array([[found[seed, case] for case in cases] for seed in seeds])


def summarise_arm(runs: Sequence[Run], arm: str) -> dict[str, Any]:
    """Means with intervals of every figure, by group and region."""
    mine = [run for run in runs if run["arm"] == arm]
    return {group: {region: _summarise(mine, arm, group, region) for region in REGIONS} for group in groups_of(mine)}


def _summarise(runs: Sequence[Run], arm: str, group: str, region: str) -> dict[str, Any]:
    first = next(score for run in runs for score in run["scores"] if score["group"] == group)
    summary = {}
    for figure in first["regions"][region]:
        values = table(runs, arm, group, region, figure)
        interval = mean_interval(values)
        summary[figure] = {
            "mean": _round(values.mean()),
            "interval": [_round(interval.low), _round(interval.high)],
            "median_case": _round(np.median(values.mean(axis=0))),
            "by_seed": [_round(mean) for mean in values.mean(axis=1)],
        }
    return summary


def compare(
    runs: Sequence[Run], pairs: Sequence[tuple[str, str]], groups: Sequence[str], regions: Sequence[str]
) -> list[dict[str, Any]]:
    """Dice of the first arm minus the second's, for each pair, group and region: one family for Holm's correction."""
    found: dict[str, tuple[dict[str, str], PairedComparison]] = {}
    for first, second in pairs:
        for group in groups:
            for region in regions:
                values = [table(runs, arm, group, region, "dice") for arm in (first, second)]
                key = {"first": first, "second": second, "group": group, "region": region}
                found[json.dumps(key)] = (key, compare_paired(*values))
    adjusted = holm({name: comparison.p_value for name, (_, comparison) in found.items()})
    return [{**key, **_plain(comparison, adjusted[name])} for name, (key, comparison) in found.items()]


def _plain(comparison: PairedComparison, p_holm: float) -> dict[str, Any]:
    plain = asdict(comparison)
    for name in ("over_cases", "over_cases_and_seeds"):
        plain[name] = [_round(plain[name]["low"]), _round(plain[name]["high"])]
    for name in ("mean", "median", "rank_biserial"):
        plain[name] = _round(plain[name])
    plain["p_value"], plain["p_holm"] = float(f"{comparison.p_value:.3g}"), float(f"{p_holm:.3g}")
    return {**plain, "verdict": judge(plain)}


def judge(comparison: Mapping[str, Any]) -> Verdict:
    """What a comparison shows, by a rule that was written down before the results.

    "equivalent" when the interval over cases and seeds lies within MARGIN of 0, whatever the p-value; else "better" or
    "worse" when that interval is clear of 0 and the corrected p-value is below ALPHA; all else is "undecided".
    """
    low, high = comparison["over_cases_and_seeds"]
    if low > -MARGIN and high < MARGIN:
        return "equivalent"
    if comparison["p_holm"] < ALPHA and (low > 0 or high < 0):
        return "better" if low > 0 else "worse"
    return "undecided"


def _round(value: float) -> float:
    return round(float(value), DIGITS)
