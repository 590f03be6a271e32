"""What runs of the federated-learning benchmark come to: means with intervals, worst site first, paired differences.

A run is a mapping with "scores", a list of "site", "case", "dice" and "auc" by region; every seed has the same cases.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from federated.metrics import REGIONS
from federated.statistics import compare_paired, mean_interval

Run = Mapping[str, Any]
Floats = npt.NDArray[np.float64]
DIGITS: Final = 4


def table(runs: Sequence[Run], figure: str, regions: Sequence[str] = REGIONS) -> Floats:
    """Mean over regions, (seeds, cases), cases sorted by name; NaN where a case has the figure for no region."""
    rows = []
    for run in runs:
        cases = sorted(run["scores"], key=lambda score: str(score["case"]))
        rows.append([_mean([case[figure][region] for region in regions]) for case in cases])
    return np.array(rows)


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """Of the seeds of one arm: Dice and AUC, by region and by site, the worst site first."""
    found: dict[str, Any] = {
        name: runs[0][name] for name in ("bytes_per_round", "loss") if runs and runs[0].get(name) is not None
    }
    if not all(run["scores"] for run in runs):
        return {**found, "dice": None, "diverged": sum(not run["scores"] for run in runs)}
    sites = [str(score["site"]) for score in sorted(runs[0]["scores"], key=lambda score: str(score["case"]))]
    dice = table(runs, "dice").mean(axis=0)
    by_site = {site: float(dice[[each == site for each in sites]].mean()) for site in sorted(set(sites))}
    worst_first = dict(sorted(by_site.items(), key=lambda item: item[1]))
    return {
        **found,
        "dice": _figure(table(runs, "dice")),
        "auc": _figure(table(runs, "auc")),
        "dice_by_region": {region: _figure(table(runs, "dice", [region])) for region in REGIONS},
        "dice_by_site": {site: round(mean, DIGITS) for site, mean in worst_first.items()},
        "worst_site": next(iter(worst_first)),
        "cpu_seconds": [run["cpu_seconds"] for run in runs],
    }


def compare_arms(first: Sequence[Run], second: Sequence[Run]) -> dict[str, Any]:
    """Dice and AUC of one arm minus another's, on the same cases, over cases and seeds."""
    return {
        **{figure: _difference(table(first, figure), table(second, figure)) for figure in ("dice", "auc")},
        "dice_by_region": {
            region: _difference(table(first, "dice", [region]), table(second, "dice", [region])) for region in REGIONS
        },
    }


def _difference(first: Floats, second: Floats) -> dict[str, Any]:
    known = ~(np.isnan(first).any(axis=0) | np.isnan(second).any(axis=0))
    found = compare_paired(first[:, known], second[:, known])
    interval = found.over_cases_and_seeds
    return {
        "mean": round(found.mean, DIGITS),
        "interval": [round(interval.low, DIGITS), round(interval.high, DIGITS)],
        "p_value": float(f"{found.p_value:.3g}"),
        "wins": found.wins,
        "losses": found.losses,
    }


def _figure(values: Floats) -> dict[str, Any] | None:
    known = values[:, ~np.isnan(values).any(axis=0)]
    if not known.size:
        return None
    interval = mean_interval(known)
    return {
        "mean": round(float(known.mean()), DIGITS),
        "interval": [round(interval.low, DIGITS), round(interval.high, DIGITS)],
        "by_seed": [round(float(mean), DIGITS) for mean in known.mean(axis=1)],
    }


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")
