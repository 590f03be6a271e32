"""Compare the hybrid network with its controls and with two classical baselines: docs/experiments.md is the protocol.

    python -m benchmarks.compare_arms            ten phantom sites, 4 mm
    python -m benchmarks.compare_arms --real     six real subjects, each left out once, 4 mm

Every arm gets the same cases, steps and augmentation; its learning rate is tuned on validation cases over the same
grid; then fresh seeds are trained and scored. Each finished run is a file in --work, so the command can be stopped and
repeated, or started several times (with --only, or just so: no two processes do the same run).
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.arm_plots import draw_arms, draw_differences
from benchmarks.arm_runs import Job, Protocol, RunData, describe_run, run_job
from benchmarks.provenance import describe_origin
from benchmarks.scores import VERDICT_RULE, compare, groups_of, summarise_arm, table
from benchmarks.work_folder import WorkFolder
from federated.cases import Example, list_cases, read_case, to_example
from federated.metrics import FAR_MM, REGIONS
from federated.models import ARMS
from federated.phantom_sites import phantom_cohort
from federated.preprocessing import Preprocessing
from federated.sampling import Split

REFERENCE_ARM: Final = "hybrid"
PRIMARY: Final = ("mlp", "identity")
"""The controls of the primary comparisons: the same size without a circuit, and nothing at all in its place."""
TITLES: Final = {
    "seen": "Phantom, test cases of the ten training sites",
    "unseen": "Phantom, two unseen sites",
    "real": "Real subjects, each left out once",
}
LEARNING_RATES: Final = (0.005, 0.0125, 0.03)
TUNING_SEEDS: Final = (100,)
SEEDS: Final = (0, 1, 2, 3, 4)
WAIT_S: Final = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0 when the results are written, 3 while runs of other arms are missing."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parse(words)
    torch.set_num_threads(1)
    comparison = Comparison(options)
    _do_all(comparison, options.only)
    missing = comparison.missing(options.arms)
    if missing:
        print(f"Runs still missing: {', '.join(missing)}; repeat the command.", flush=True)
        return 3
    results, cases = comparison.results(words, options.commit)
    write_results(results, cases, options.out)
    for each in results["comparisons"]["primary"]:
        print(describe(each), flush=True)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare_arms", description="Compare arms fairly.")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), metavar="ARM")
    parser.add_argument("--only", nargs="+", choices=list(ARMS), default=None, metavar="ARM", help="run only these now")
    parser.add_argument("--real", action="store_true", help="leave each real subject out once")
    parser.add_argument("--data", type=Path, default=Path("sandbox/data/brats_tcga_2mm"), help="the real subjects")
    parser.add_argument("--learning-rates", type=float, nargs="+", default=list(LEARNING_RATES))
    parser.add_argument("--tuning-seeds", type=int, nargs="+", default=list(TUNING_SEEDS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    for each in fields(Protocol):
        if each.name in {"steps", "batch"}:
            parser.add_argument(f"--{each.name}", type=int, default=each.default)
    parser.add_argument("--limit", type=int, default=None, metavar="N", help="take N cases of each kind, for a trial")
    parser.add_argument("--work", type=Path, default=Path("build/compare-arms"), help="finished runs")
    parser.add_argument(
        "--out", type=Path, default=None, help="default docs/results/arms-phantom.json or arms-real.json"
    )
    parser.add_argument("--commit", default=None, help="commit of the code, where there is no git to ask")
    options = parser.parse_args(arguments)
    options.only = options.only or options.arms
    options.out = options.out or Path(f"docs/results/arms-{'real' if options.real else 'phantom'}.json")
    if not set(options.only) <= set(options.arms) or set(options.seeds) & set(options.tuning_seeds):
        parser.error("--only chooses among --arms, and no seed serves for tuning and for scoring.")
    return options


class Comparison:
    """The runs of a comparison: which there are, what they are trained on, and which are finished."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._protocol = replace(Protocol(), steps=options.steps, batch=options.batch)
        self._work = WorkFolder(options.work)
        self._data = _load(self._protocol, options.limit)
        self._digest = self._data.split.digest()
        self._real = _load_real(options.data, self._protocol, options.limit) if options.real else []

    def tuning_jobs(self, arms: Sequence[str]) -> list[Job]:
        """Of these arms: the grid of learning rates, the same for each arm."""
        options = self._options
        if len(options.learning_rates) == 1:
            return []
        return [
            Job(arm, rate, seed, "tuning")
            for seed in options.tuning_seeds
            for rate in options.learning_rates
            for arm in arms
        ]

    def final_jobs(self, arms: Sequence[str]) -> list[Job]:
        """Of those arms whose tuning is finished, seed by seed."""
        held_out: Sequence[str | None] = [example.name for example in self._real] or [None]
        rates = {arm: rate for arm in arms if (rate := self.learning_rate(arm)) is not None}
        return [
            Job(arm, rate, seed, "final", subject)
            for seed in self._options.seeds
            for subject in held_out
            for arm, rate in rates.items()
        ]

    def learning_rate(self, arm: str) -> float | None:
        """The arm's best on validation, None while its tuning is not finished."""
        means = self.tuning_scores(arm)
        return max(means, key=lambda rate: means[rate]) if means else None

    def tuning_scores(self, arm: str) -> dict[float, float]:
        """Mean validation Dice by learning rate; empty while a run is missing."""
        if not (jobs := self.tuning_jobs([arm])):
            return {self._options.learning_rates[0]: 0.0}
        found = {job: self.find(job) for job in jobs}
        scores: dict[float, list[float]] = {}
        for job, run in found.items():
            if run is None:
                return {}
            scores.setdefault(job.learning_rate, []).append(run["validation"]["score"])
        return {rate: sum(each) / len(each) for rate, each in scores.items()}

    def find(self, job: Job) -> dict[str, Any] | None:
        """A finished run."""
        return self._work.result(job.name, self._settings(job))

    def attempt(self, job: Job) -> bool:
        """Do a run, unless it is finished or another process does it; whether it was done."""
        if self.find(job) is not None:
            return False
        with self._work.claim(job.name) as is_mine:
            # Another process may have finished it between the two looks.
            if not is_mine or self.find(job) is not None:
                return False
            started = time.monotonic()
            result = run_job(job, self._protocol, self._run_data(job))
            self._work.save(job.name, self._settings(job), result)
        score = result["validation"]["score"]
        print(f"{job.name}: validation {score:.3f}, {time.monotonic() - started:.0f} s", flush=True)
        return True

    def missing(self, arms: Sequence[str]) -> list[str]:
        """Names of what is not finished: runs, or arms whose tuning is not."""
        untuned = [arm for arm in arms if self.learning_rate(arm) is None]
        return untuned + [job.name for job in self.final_jobs(arms) if self.find(job) is None]

    def results(self, words: Sequence[str], commit: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Everything that was found, and the scores case by case."""
        arms = self._options.arms
        runs = [run for job in self.final_jobs(arms) if (run := self.find(job))]
        groups = groups_of(runs)
        others = [(REFERENCE_ARM, arm) for arm in arms if arm != REFERENCE_ARM and REFERENCE_ARM in arms]
        primary = [pair for pair in others if pair[1] in PRIMARY]
        results = {
            "what": f"Dice and Hausdorff distances of {len(arms)} arms; differences are {REFERENCE_ARM} minus control",
            "protocol": {**asdict(self._protocol), "text": "docs/experiments.md", **self._plan()},
            "data_sha256": {"training and validation": self._digest, "tests": self._tests_digest()},
            "conventions": {
                "both empty": "Dice 1, distance 0",
                "one empty": f"Dice 0, distance {FAR_MM:.2f} mm",
                "grid": f"scored on the {self._protocol.spacing_mm:g} mm grid of the network's input",
            },
            "arms": {arm: self._arm(arm, runs) for arm in arms},
            "comparisons": {
                "rule": VERDICT_RULE,
                "primary": compare(runs, primary, groups[:1], REGIONS[:1]),
                "secondary": compare(runs, others, groups, REGIONS),
            },
            **describe_origin("benchmarks.compare_arms", words, threads=1, commit=commit),
        }
        return results, _cases(runs, arms)

    def _settings(self, job: Job) -> dict[str, Any]:
        return {
            **asdict(self._protocol),
            **asdict(job),
            **describe_run(job),
            "data": self._digest,
            "limit": self._options.limit,
        }

    def _plan(self) -> dict[str, Any]:
        names = ("learning_rates", "tuning_seeds", "seeds", "limit")
        return {name: getattr(self._options, name) for name in names}

    def _run_data(self, job: Job) -> RunData:
        if job.held_out is None:
            return self._data
        real = [example for example in self._real if example.name != job.held_out]
        held_out = [example for example in self._real if example.name == job.held_out]
        return RunData(replace(self._data.split, real=real), {"real": held_out})

    def _tests_digest(self) -> str:
        tests = self._real or [example for group in self._data.tests.values() for example in group]
        return Split(validation=tests).digest()

    def _arm(self, arm: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        mine = [run for run in runs if run["arm"] == arm]
        size = {key: mine[0][key] for key in ("network", "parameters", "learning_parameters", "round_bytes")}
        cpu_seconds = sum(run["cpu_seconds"] for run in mine)
        return {
            **size,
            "learning_rate": self.learning_rate(arm),
            "validation_by_learning_rate": {
                f"{rate:g}": round(score, 4) for rate, score in self.tuning_scores(arm).items()
            },
            "cpu_seconds_per_step": round(cpu_seconds / len(mine) / self._protocol.steps, 4),
            "decisions": [run["decision"] for run in mine],
            "summary": summarise_arm(runs, arm),
        }


def _do_all(comparison: Comparison, arms: Sequence[str]) -> None:
    """Do every run that is not finished; wait for those that other processes do."""
    jobs: tuple[Callable[[Sequence[str]], list[Job]], ...] = (comparison.tuning_jobs, comparison.final_jobs)
    for plan in jobs:
        while any(comparison.find(job) is None for job in plan(arms)):
            if not any(comparison.attempt(job) for job in plan(arms)):
                time.sleep(WAIT_S)


def _load(protocol: Protocol, limit: int | None) -> RunData:
    def read(split: str) -> list[Example]:
        plans = phantom_cohort(protocol.cohort_seed, spacing_mm=protocol.spacing_mm, split=split)[:limit]
        return [to_example(plan.read(), _preprocessing(protocol)) for plan in plans]

    tests = {"seen": read("test"), "unseen": read("unseen")}
    return RunData(Split(synthetic=read("training"), validation=read("validation")), tests)


def _load_real(folder: Path, protocol: Protocol, limit: int | None) -> list[Example]:
    return [to_example(read_case(folder, name), _preprocessing(protocol)) for name in list_cases(folder)[:limit]]


def _preprocessing(protocol: Protocol) -> Preprocessing:
    return Preprocessing(spacing_mm=protocol.spacing_mm)


def _cases(runs: Sequence[Mapping[str, Any]], arms: Sequence[str]) -> dict[str, Any]:
    """Dice and distance by arm, group, region: (seeds, cases), in the order of the names."""
    groups = groups_of(runs)
    names = {
        group: sorted({score["case"] for run in runs for score in run["scores"] if score["group"] == group})
        for group in groups
    }
    scores = {
        arm: {
            group: {
                region: {
                    figure: table(runs, arm, group, region, figure).tolist() for figure in ("dice", "hausdorff_95_mm")
                }
                for region in REGIONS
            }
            for group in groups
        }
        for arm in arms
    }
    return {"cases": names, "seeds": sorted({run["seed"] for run in runs}), "scores": scores}


def write_results(results: Mapping[str, Any], cases: Mapping[str, Any], path: Path) -> None:
    """Write the results, the scores case by case, and two pictures, all beside each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    path.with_name(f"{path.stem}-cases.json").write_text(json.dumps(cases) + "\n", encoding="utf-8")
    summaries = {arm: found["summary"] for arm, found in results["arms"].items()}
    groups = next(iter(summaries.values()))
    titles = {group: title for group, title in TITLES.items() if group in groups}
    draw_arms(summaries, titles, path.with_suffix(".png"))
    if results["comparisons"]["secondary"]:
        draw_differences(results["comparisons"]["secondary"], titles, path.with_name(f"{path.stem}-differences.png"))


def describe(comparison: Mapping[str, Any]) -> str:
    """A comparison in one line."""
    low, high = comparison["over_cases_and_seeds"]
    return (
        f"{comparison['first']} minus {comparison['second']}, {comparison['region']}, {comparison['group']}: "
        f"{comparison['mean']:+.3f} (95 % interval {low:+.3f} to {high:+.3f}, Holm p {comparison['p_holm']:.3g}): "
        f"{comparison['verdict']}"
    )


if __name__ == "__main__":
    sys.exit(main())
