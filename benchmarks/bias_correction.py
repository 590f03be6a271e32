"""Does the bias corrector help where a bias was planted, what does it cost, and what does its quantum solver add?

    python -m benchmarks.bias_correction            about twenty minutes on one core
    python -m benchmarks.bias_correction --quick    a minute, to see that it works: its figures mean nothing

Cases are the phantom's at 4 mm; benchmarks.bias_runs says what is planted. Each arm draws the training cases by its own
weights; arms that chose the same weights are the same training and share it. Each trained network is a file in --work,
so the command can be stopped and repeated. docs/bias-correction.md reads the result.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.bias_plots import draw_bias
from benchmarks.bias_runs import (
    BARE,
    BiasedData,
    Plant,
    build_data,
    choose_weights,
    describe_plant,
    train_and_score,
    weights_name,
)
from benchmarks.bias_solvers import compare_solvers, problems, with_training
from benchmarks.provenance import describe_origin
from benchmarks.work_folder import WorkFolder
from federated.balancing.balance_settings import BalanceSettings, BalanceSolver
from federated.balancing.fairness_filter import Filtered
from federated.balancing.operating_point import THRESHOLDS, FairOperatingPoint, choose_operating_point
from federated.balancing.training_weights import describe_filter
from federated.statistics import compare_paired, mean_interval

Floats = npt.NDArray[np.float64]

SOLVERS: Final[tuple[BalanceSolver, ...]] = ("reweighing", "equal-reweighing", "exact", "annealed", "qaoa")
BOUNDS: Final = (0.05, 0.01)
"""Of the operating points: the gap between the groups' mean Dice."""
RESAMPLES: Final = 10_000
QUICK: Final = {"seeds": [0, 1], "steps": 4, "sizes": [4, 8], "solver_seeds": 2}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parse(words)
    torch.set_num_threads(1)
    plant = replace(Plant(), limit=30, validation_seeds=(2026,), test_seeds=(2026,)) if options.quick else Plant()
    data = build_data(plant)
    print(f"cases: {describe_plant(plant, data)['cases']}", flush=True)
    filtered = {solver: choose_weights(data, solver) for solver in SOLVERS}
    arms: dict[str, tuple[float, ...] | None] = {BARE: None}
    arms |= {solver: found.weights for solver, found in filtered.items()}
    runs = _train_all(data, arms, options)
    results = {
        "what": "Test Dice (mean of three regions) and its gap, men minus women, by how training cases are weighed",
        "plant": describe_plant(plant, data),
        "protocol": {name: vars(options)[name] for name in ("seeds", "steps", "learning_rate", "quick")}
        | {"network": "tiny preset, arm mlp", "bounds": list(BOUNDS), "thresholds": list(THRESHOLDS)},
        "arms": {name: _arm(name, runs, arms, data, filtered) for name in arms},
        "solvers": _solvers(data, options),
        "cpu_seconds_of_trainings": _cpu_seconds(runs, arms),
        **describe_origin("benchmarks.bias_correction", words, threads=1, commit=options.commit),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    draw_bias(results, options.out.with_suffix(".png"))
    for name, arm in results["arms"].items():
        print(_told(name, arm), flush=True)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bias_correction", description="Measure the corrector.")
    parser.add_argument("--quick", action="store_true", help="few cases, few steps")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--learning-rate", type=float, default=1e-2)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 12, 14], help="qubits of the solvers' problems")
    parser.add_argument("--budgets", type=int, nargs="+", default=[32, 128], help="energies that a solver may ask for")
    parser.add_argument("--solver-seeds", type=int, default=10)
    parser.add_argument("--work", type=Path, default=Path("build/bias-correction"), help="finished trainings")
    parser.add_argument("--out", type=Path, default=None, help="default docs/results/bias-correction.json")
    parser.add_argument("--commit", default=None, help="commit of the code, where there is no git to ask")
    options = parser.parse_args(arguments)
    if options.quick:
        vars(options).update(QUICK)
    folder = Path("build") if options.quick else Path("docs/results")
    options.out = options.out or folder / "bias-correction.json"
    return options


def _train_all(
    data: BiasedData, arms: dict[str, tuple[float, ...] | None], options: argparse.Namespace
) -> dict[str, list[dict[str, Any]]]:
    """The trainings of each arm, seed by seed; those that were done are read."""
    work, digest = WorkFolder(options.work), data.digest()
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    for seed in options.seeds:
        for name, weights in arms.items():
            piece = f"{weights_name(weights)}_seed{seed}"
            how = {"seed": seed, "steps": options.steps, "learning_rate": options.learning_rate}
            settings = {"data": digest, "weights": None if weights is None else list(weights), **how}
            run = work.result(piece, settings)
            if run is None:
                run = train_and_score(data, weights, **how)
                work.save(piece, settings, run)
                print(f"{name}, seed {seed}: loss {run['loss']}, {run['cpu_seconds']} s", flush=True)
            found[name].append(run)
    return found


def _cpu_seconds(runs: dict[str, list[dict[str, Any]]], arms: dict[str, tuple[float, ...] | None]) -> float:
    """Of the trainings, each counted once."""
    distinct = {weights_name(weights): name for name, weights in arms.items()}
    seconds: float = sum(run["cpu_seconds"] for name in distinct.values() for run in runs[name])
    return round(seconds, 1)


def _solvers(data: BiasedData, options: argparse.Namespace) -> list[dict[str, Any]]:
    settings = {name: vars(options)[name] for name in ("sizes", "budgets", "solver_seeds")}
    settings |= {"data": data.digest(), "with_training": with_training(1)}
    work = WorkFolder(options.work)
    found = work.result("solvers", settings)
    if found is None:
        rows = compare_solvers(
            problems(data.table(), options.sizes), budgets=options.budgets, seeds=range(options.solver_seeds)
        )
        found = {"rows": rows}
        work.save("solvers", settings, found)
    rows_found: list[dict[str, Any]] = found["rows"]
    return rows_found


def _arm(
    name: str,
    runs: dict[str, list[dict[str, Any]]],
    arms: dict[str, tuple[float, ...] | None],
    data: BiasedData,
    filtered: dict[BalanceSolver, Filtered],
) -> dict[str, Any]:
    sexes = np.array(data.test.sexes)
    free, bare = (_test_dice(runs[each], _free_thresholds(runs[each], data)) for each in (name, BARE))
    chosen = next((found for solver, found in filtered.items() if solver == name), None)
    return {
        "weights": weights_name(arms[name]),
        "filter": describe_filter(chosen, BalanceSettings(("sex",), name)) if chosen else None,  # type: ignore[arg-type]
        "dice": _summary(free),
        "dice_by_group": {sex: _summary(free[:, sexes == sex]) for sex in ("F", "M")},
        "gap": _gap(free, sexes),
        "bias_score": round(abs(_gap(free, sexes)["mean"]), 4),
        "against_bare": None if name == BARE else _against(free, bare, sexes),
        "operating_points": {str(bound): _operating_points(runs[name], data, bound, free) for bound in BOUNDS},
    }


def _free_thresholds(runs: Sequence[dict[str, Any]], data: BiasedData) -> list[tuple[float, ...]]:
    return [_point(run, data, 1.0).free.thresholds for run in runs]


def _operating_points(runs: Sequence[dict[str, Any]], data: BiasedData, bound: float, free: Floats) -> dict[str, Any]:
    """What thresholds under a bound reach on the test cases, beside the free ones."""
    points, sexes = [_point(run, data, bound) for run in runs], np.array(data.test.sexes)
    fair = _test_dice(runs, [point.fair.thresholds for point in points])
    return {
        "on_validation": [_describe_point(point) for point in points],
        "test_gap": _gap(fair, sexes),
        "test_dice": _summary(fair),
        "against_free": _against(fair, free, sexes, same_networks=True),
    }


def _point(run: dict[str, Any], data: BiasedData, bound: float) -> FairOperatingPoint:
    """Chosen on validation cases alone."""
    return choose_operating_point(np.array(run["validation"]), data.validation.sexes, bound=bound)


def _test_dice(runs: Sequence[dict[str, Any]], thresholds: Sequence[tuple[float, ...]]) -> Floats:
    """Mean over regions at each run's own thresholds, (seeds, cases)."""
    found = []
    for run, chosen in zip(runs, thresholds, strict=True):
        table = np.array(run["test"])
        places = [THRESHOLDS.index(threshold) for threshold in chosen]
        found.append(np.mean([table[:, region, place] for region, place in enumerate(places)], axis=0))
    return np.array(found)


def _summary(scores: Floats) -> dict[str, Any]:
    interval = mean_interval(scores)
    return {
        "mean": round(float(scores.mean()), 4),
        "interval": [round(interval.low, 4), round(interval.high, 4)],
        "by_seed": [round(float(each), 4) for each in scores.mean(1)],
    }


def _gap(scores: Floats, sexes: npt.NDArray[np.str_]) -> dict[str, Any]:
    """Men's mean Dice minus women's; cases are resampled within each group."""
    return _interval_of(lambda rng: _resampled_gap(rng, scores, sexes), float(_plain_gap(scores, sexes)))


def _against(
    first: Floats, second: Floats, sexes: npt.NDArray[np.str_], *, same_networks: bool = False
) -> dict[str, Any]:
    """What the first gives up and gains over the second, on the same cases.

    Args:
        first, second: (seeds, cases).
        sexes: Of the cases.
        same_networks: Whether both are of the same trained networks: their seeds are then resampled together.
    """
    compared = compare_paired(first, second)
    dice = mean_interval(first - second) if same_networks else compared.over_cases_and_seeds

    def change(rng: np.random.Generator) -> Floats:
        state = rng.bit_generator.state
        one = _resampled_gap(rng, first, sexes)
        # Cases are paired: the second one draws the same ones. Seeds are drawn after the cases.
        rng.bit_generator.state = state
        return one - _resampled_gap(rng, second, sexes, other_seeds=not same_networks)

    plain = float(_plain_gap(first, sexes) - _plain_gap(second, sexes))
    return {
        "dice_change": round(compared.mean, 4),
        "dice_interval": [round(dice.low, 4), round(dice.high, 4)],
        "p_value": float(f"{compared.p_value:.3g}"),
        "gap_change": _interval_of(change, plain),
        "women_change": round(float(first[:, sexes == "F"].mean() - second[:, sexes == "F"].mean()), 4),
    }


def _plain_gap(scores: Floats, sexes: npt.NDArray[np.str_]) -> float:
    return float(scores[:, sexes == "M"].mean() - scores[:, sexes == "F"].mean())


def _resampled_gap(
    rng: np.random.Generator, scores: Floats, sexes: npt.NDArray[np.str_], *, other_seeds: bool = False
) -> Floats:
    groups = {sex: _shares(rng, int((sexes == sex).sum())) for sex in ("F", "M")}
    if other_seeds:
        rng = rng.spawn(1)[0]
    seeds = _shares(rng, len(scores))
    means = {sex: np.einsum("rs,rs->r", seeds, groups[sex] @ scores[:, sexes == sex].T) for sex in groups}
    found: Floats = means["M"] - means["F"]
    return found


def _shares(rng: np.random.Generator, count: int) -> Floats:
    """How often each of count things is drawn, as federated.statistics draws them: one fewer than there are."""
    drawn = max(count - 1, 1)
    return rng.multinomial(drawn, np.full(count, 1 / count), size=RESAMPLES) / drawn


def _interval_of(resample: Any, mean: float) -> dict[str, Any]:
    low, high = np.quantile(resample(np.random.default_rng(0)), [0.025, 0.975])
    return {"mean": round(mean, 4), "interval": [round(float(low), 4), round(float(high), 4)]}


def _describe_point(point: FairOperatingPoint) -> dict[str, Any]:
    return {
        "outcome": point.outcome,
        "free": asdict(point.free),
        "fair": asdict(point.fair),
        "given_up": round(point.given_up, 4),
        "by_group": dict(point.by_group),
        "by_group_dice": point.by_group_dice,
        "by_group_gap": point.by_group_gap,
        "worse_off": list(point.worse_off),
    }


def _told(name: str, arm: dict[str, Any]) -> str:
    gap, line = arm["gap"], f"{name} [{arm['weights']}]: Dice {arm['dice']['mean']:.3f}"
    line += f", women {arm['dice_by_group']['F']['mean']:.3f}, men {arm['dice_by_group']['M']['mean']:.3f}"
    line += f", gap {gap['mean']:.3f} {gap['interval']}"
    if arm["against_bare"]:
        change = arm["against_bare"]
        line += f"; gap change {change['gap_change']}, Dice change {change['dice_change']} {change['dice_interval']}"
    return line


if __name__ == "__main__":
    sys.exit(main())
