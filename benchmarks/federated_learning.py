"""Federated learning on ten phantom hospitals: against pooling, from a released model, under attack, in fewer bytes.

    python -m benchmarks.federated_learning                 everything
    python -m benchmarks.federated_learning --part study    one part of it
    python -m benchmarks.federated_learning --quick         a few steps of everything, to see that it works

Parts: "study" trains the tiny network with each strategy, and on all cases in one place in two ways that see as many
cases: "pooled" takes as many steps as all sites together, of as many cases each; "pooled-parallel" as many steps as one
site, of as many cases as all sites take; "transfer" trains only the head of a model that came from elsewhere, together
and at each site alone; "attacks" has two of ten sites lie, under each rule; "compression" sends fewer bytes. Test cases
serve for nothing else.
Each finished run is a file in --work, and a run that was stopped goes on from its last round, so the command can be
repeated, or started several times. A run of the study takes about an hour of one idle core, everything about a day.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from benchmarks.federated_plots import draw_attacks, draw_study, draw_transfer
from benchmarks.federated_runs import (
    PRESET,
    SITE_NAMES,
    Data,
    Rounds,
    load,
    run_rounds,
    score,
    train_pooled,
)
from benchmarks.federated_summary import compare_arms, summarise
from benchmarks.provenance import describe_origin
from benchmarks.work_folder import WorkFolder
from federated.cases import Example
from federated.decision import Decision
from federated.errors import DivergedError
from federated.initial_weights import fresh_weights, released_weights, to_tensors
from federated.model_file import Model, save_model
from federated.models import describe_network
from federated.presets import PRESETS
from federated.rounds.layout import Weights
from federated.rounds.ports import LocalResult
from federated.rounds.terms import Aggregation, Learning
from federated.sampling import Split

PARTS: Final = ("study", "transfer", "attacks", "compression")
SEEDS: Final = (0, 1, 2)
MARGIN: Final = 0.02
"""By how much of mean Dice a federation may be behind pooling."""
WAIT_S: Final = 5.0
LIARS: Final = ("site-02", "site-07")
NETWORK: Final = PRESETS[PRESET].network


@dataclass(frozen=True)
class Effort:
    """How much is done.

    Attributes:
        rounds, steps: Of the study; steps a round and site.
        transfer_rounds, attack_rounds, compression_rounds: Of the other parts.
        other_steps: A round and site of theirs.
        elsewhere_steps: Of training the model that the other parts start from.
        limit: Cases of each site and split.
    """

    rounds: int = 400
    steps: int = 5
    transfer_rounds: int = 10
    attack_rounds: int = 5
    compression_rounds: int = 20
    other_steps: int = 20
    elsewhere_steps: int = 300
    limit: int | None = None


QUICK: Final = Effort(
    rounds=2,
    steps=1,
    transfer_rounds=1,
    attack_rounds=1,
    compression_rounds=2,
    other_steps=1,
    elsewhere_steps=2,
    limit=1,
)
RATE: Final = 0.02
BATCH: Final = 2
POOLED: Final[Mapping[str, Mapping[str, Any]]] = {
    "pooled": {"batch": BATCH, "learning_rate": 0.01, "average_decay": 0.98},
    "pooled-parallel": {"learning_rate": RATE, "average_decay": 0.9},
}
STRATEGIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "fedavg": {},
    "fedprox": {"proximal": 0.01},
    "scaffold": {},
    "fedadam": {"server_rate": 0.01},
    "fedbn": {},
    "ditto": {"proximal": 0.01},
}
RULES: Final[Mapping[str, Mapping[str, Any]]] = {
    "mean": {},
    "median": {"tolerated": 2},
    "trimmed-mean": {"tolerated": 2},
    "multi-krum": {"tolerated": 2},
    "norm-bounded": {"tolerated": 2},
}
COMPRESSIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "none": {},
    "quantised": {"compression": "quantised", "bits": 8, "value_range": 0.25},
    "sparse": {"compression": "sparse", "kept": 0.1, "value_range": 4.0},
}


@dataclass(frozen=True)
class Job:
    """One run."""

    part: str
    arm: str
    seed: int

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.part}_{self.arm.replace('/', '_')}_seed{self.seed}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0 when the results are written."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parse(words)
    torch.set_num_threads(1)
    benchmark = Benchmark(options)
    while missing := [job for job in benchmark.jobs if benchmark.find(job) is None]:
        if not any(benchmark.attempt(job) for job in missing):
            time.sleep(WAIT_S)
    results = benchmark.results(words, options.commit)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    _draw(results, options.out)
    for line in describe(results):
        print(line, flush=True)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.federated_learning", description="Learn together.")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--strategies", nargs="+", choices=list(STRATEGIES), default=list(STRATEGIES))
    parser.add_argument("--rounds", type=int, default=Effort.rounds, help="of the study")
    parser.add_argument("--steps", type=int, default=Effort.steps, help="of a site in a round of the study")
    parser.add_argument("--quick", action="store_true", help="a few steps of everything")
    parser.add_argument("--work", type=Path, default=None, help="finished runs; default build/federated-learning")
    parser.add_argument("--out", type=Path, default=None, help="default docs/results/federated-learning.json")
    parser.add_argument("--commit", default=None, help="commit of the code, where there is no git to ask")
    options = parser.parse_args(arguments)
    name = "federated-learning-quick" if options.quick else "federated-learning"
    options.work = options.work or Path("build") / name
    # A quick run must not take the place of the results.
    options.out = options.out or (options.work / "quick.json" if options.quick else Path(f"docs/results/{name}.json"))
    options.effort = QUICK if options.quick else replace(Effort(), rounds=options.rounds, steps=options.steps)
    if options.quick:
        options.seeds = options.seeds[:1]
    return options


class Benchmark:
    """The runs: which there are, and which are finished."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._effort: Effort = options.effort
        self._work = WorkFolder(options.work)
        self._data = load(self._effort.limit)
        self._cohorts = {site: Split(synthetic=self._data.training[site]) for site in SITE_NAMES}
        self._do: Mapping[str, Callable[[Job], dict[str, Any]]] = {
            "study": self._study,
            "elsewhere": self._elsewhere,
            "transfer": self._transfer,
            "attacks": self._attack,
            "compression": self._compression,
        }

    @property
    def jobs(self) -> list[Job]:
        """All runs, in an order in which they can be done."""
        options = self._options
        found = []
        for seed in options.seeds:
            if "study" in options.part:
                found += [Job("study", arm, seed) for arm in (*POOLED, *options.strategies)]
            if {"transfer", "attacks"} & set(options.part):
                found.append(Job("elsewhere", "released", seed))
            if "transfer" in options.part:
                found += [Job("transfer", arm, seed) for arm in ("together", "alone")]
        if "compression" in options.part:
            found += [Job("compression", arm, options.seeds[0]) for arm in COMPRESSIONS]
        if "attacks" in options.part:
            found += [Job("attacks", f"{rule}/{attack}", options.seeds[0]) for attack in ATTACKS for rule in RULES]
        return found

    def find(self, job: Job) -> dict[str, Any] | None:
        """A finished run."""
        return self._work.result(job.name, self._settings(job))

    def attempt(self, job: Job) -> bool:
        """Do a run, unless it is finished, another process does it, or it needs another first; whether it was done."""
        released = Job("elsewhere", "released", job.seed)
        if job.part in {"transfer", "attacks"} and self.find(released) is None:
            return False
        with self._work.claim(job.name) as is_mine:
            if not is_mine or self.find(job) is not None:
                return False
            started, used = time.monotonic(), time.process_time()
            try:
                result = self._do[job.part](job)
            except DivergedError as fault:
                # A rule that lets the model be destroyed is a result, not a fault of the benchmark.
                result = {"diverged": str(fault), "scores": []}
            result["cpu_seconds"] = round(time.process_time() - used, 1)
            self._work.save(job.name, self._settings(job), result)
        mean = _mean(result["scores"])
        print(f"{job.name}: mean Dice {mean:.3f}, {time.monotonic() - started:.0f} s", flush=True)
        return True

    def results(self, words: Sequence[str], commit: str | None) -> dict[str, Any]:
        """Everything that was found."""
        found = {job: self.find(job) or {} for job in self.jobs}

        def arms(part: str) -> dict[str, list[dict[str, Any]]]:
            grouped: dict[str, list[dict[str, Any]]] = {}
            for job, run in found.items():
                if job.part == part:
                    grouped.setdefault(job.arm, []).append(run)
            return grouped

        results: dict[str, Any] = {
            "what": "Ten phantom sites at 4 mm, the tiny network, thresholds from validation: Dice on 40 test cases",
            "effort": {**asdict(self._effort), "batch": BATCH, "learning_rate": RATE, "seeds": self._options.seeds},
            "margin": MARGIN,
        }
        for part in self._options.part:
            runs = arms(part)
            if part == "transfer":
                runs = {"released": arms("elsewhere")["released"], **runs}
            results[part] = {"arms": {arm: summarise(each) for arm, each in runs.items()}}
            results[part]["differences"] = {
                f"{first} minus {second}": compare_arms(runs[first], runs[second])
                for first, second in _pairs(part, list(runs))
                if all(each["scores"] for each in (*runs[first], *runs[second]))
            }
        return {
            **results,
            **describe_origin("benchmarks.federated_learning", words, threads=1, commit=commit),
        }

    def _settings(self, job: Job) -> dict[str, Any]:
        return {
            **asdict(self._effort),
            "batch": BATCH,
            "rate": RATE,
            "thresholds": "validation",
            "network": describe_network(NETWORK),
            **asdict(job),
        }

    def _plan(self, rounds: int, seed: int, *, aggregation: Mapping[str, Any] | None = None, **learning: Any) -> Rounds:
        numbers = {"steps": self._effort.other_steps, "learning_rate": RATE, **learning}
        chosen = Learning(preset=PRESET, batch=BATCH, seed=seed, **numbers)
        return Rounds(rounds, chosen, Aggregation(**{"rule": "mean", "threshold": 1, **(aggregation or {})}))

    def _folder(self, job: Job) -> Path:
        """Of what a run goes on from: one of another effort must not find it."""
        settings = json.dumps(self._settings(job), sort_keys=True)
        folder: Path = self._options.work / f"{job.name}-{hashlib.sha256(settings.encode()).hexdigest()[:12]}"
        return folder

    def _study(self, job: Job) -> dict[str, Any]:
        start = fresh_weights(NETWORK, job.seed)
        if job.arm in POOLED:
            steps, sites = self._effort.rounds * self._effort.steps, len(SITE_NAMES)
            wider = {"steps": steps * sites} if job.arm == "pooled" else {"steps": steps, "batch": BATCH * sites}
            settings = {**wider, **POOLED[job.arm]}
            weights = train_pooled(_all(self._data), NETWORK, start, self._folder(job), seed=job.seed, **settings)
            return {"scores": score(NETWORK, weights, {}, self._data)}
        effort = self._effort
        plan = self._plan(effort.rounds, job.seed, steps=effort.steps, strategy=job.arm, **STRATEGIES[job.arm])
        return self._federated(job, plan, start)

    def _federated(self, job: Job, plan: Rounds, start: Weights, **arguments: Any) -> dict[str, Any]:
        done = run_rounds(plan, NETWORK, start, arguments.pop("cohorts", self._cohorts), self._folder(job), **arguments)
        return {
            "scores": score(NETWORK, done.weights, done.personal, self._data),
            "bytes_per_round": done.bytes_per_round,
            "loss": [round(loss, 4) for loss in done.loss],
        }

    def _elsewhere(self, job: Job) -> dict[str, Any]:
        """The released model: trained by two hospitals that are not in the federation, and written as releases are."""
        steps = self._effort.elsewhere_steps
        start = fresh_weights(NETWORK, 1000 + job.seed)
        cases, folder = self._data.elsewhere, self._folder(job) / "checkpoints"
        weights = train_pooled(cases, NETWORK, start, folder, steps=steps, seed=job.seed, **POOLED["pooled"])
        preprocessing = PRESETS[PRESET].preprocessing
        model = Model("Elsewhere", NETWORK, preprocessing, Decision(), to_tensors(weights), {"steps": steps})
        save_model(self._folder(job), model)
        return {"scores": score(NETWORK, self._released(job.seed), {}, self._data)}

    def _released(self, seed: int) -> Weights:
        return released_weights(self._folder(Job("elsewhere", "released", seed)))[1]

    def _transfer(self, job: Job) -> dict[str, Any]:
        """The head only: by all sites together, or by each alone with as many steps of its own."""
        start = self._released(job.seed)
        plan = self._plan(self._effort.transfer_rounds, job.seed, trainable="head")
        if job.arm == "together":
            return self._federated(job, plan, start)
        scores: list[dict[str, Any]] = []
        for site in SITE_NAMES:
            done = run_rounds(plan, NETWORK, start, {site: self._cohorts[site]}, self._folder(job) / site)
            scores += score(NETWORK, done.weights, {}, self._data.of(site))
        return {"scores": scores}

    def _attack(self, job: Job) -> dict[str, Any]:
        rule, _, attack = job.arm.partition("/")
        plan = self._plan(self._effort.attack_rounds, job.seed, aggregation={"rule": rule, **RULES[rule]})
        cohorts = {
            site: _mislabelled(cohort) if attack == "label-flip" and site in LIARS else cohort
            for site, cohort in self._cohorts.items()
        }
        return self._federated(job, plan, self._released(job.seed), cohorts=cohorts, tamper=ATTACKS[attack])

    def _compression(self, job: Job) -> dict[str, Any]:
        plan = self._plan(self._effort.compression_rounds, job.seed, aggregation=COMPRESSIONS[job.arm])
        return self._federated(job, plan, fresh_weights(NETWORK, job.seed))


def _boosted(factor: float) -> Callable[[str, LocalResult], LocalResult]:
    def tamper(site: str, result: LocalResult) -> LocalResult:
        return replace(result, update=(factor * result.update).astype(np.float32)) if site in LIARS else result

    return tamper


ATTACKS: Final[Mapping[str, Callable[[str, LocalResult], LocalResult] | None]] = {
    "nobody": None,
    "sign-flip": _boosted(-5.0),
    "label-flip": _boosted(5.0),
    "free-rider": _boosted(0.0),
}
"""What LIARS do to their updates; label-flip also trains on wrong labels."""


def _mislabelled(cohort: Split) -> Split:
    """Every brain voxel is tumour but the tumour."""

    def flipped(example: Example) -> Example:
        return replace(
            example, labels=np.where(example.model_input.head & (example.labels == 0), 3, 0).astype(np.uint8)
        )

    return Split(synthetic=[flipped(example) for example in cohort.synthetic])


def _all(data: Data) -> list[Example]:
    return [example for site in SITE_NAMES for example in data.training[site]]


def _pairs(part: str, arms: Sequence[str]) -> list[tuple[str, str]]:
    if part == "study":
        return [(arm, pooled) for arm in arms for pooled in POOLED if arm not in POOLED]
    if part == "transfer":
        return [("together", "alone"), ("together", "released"), ("alone", "released")]
    if part == "attacks":
        return [(arm, "mean/nobody") for arm in arms if arm != "mean/nobody"]
    return [(arm, "none") for arm in arms if arm != "none"]


def _mean(scores: Sequence[Mapping[str, Any]]) -> float:
    return float(np.mean([list(score["dice"].values()) for score in scores])) if scores else float("nan")


def describe(results: Mapping[str, Any]) -> list[str]:
    """The results in a few lines."""
    lines = []
    for part in PARTS:
        for arm, each in results.get(part, {}).get("arms", {}).items():
            if each["dice"] is None:
                lines.append(f"{part}: {arm}: diverged")
                continue
            low, high = each["dice"]["interval"]
            worst = next(iter(each["dice_by_site"].items()))
            lines.append(
                f"{part}: {arm}: Dice {each['dice']['mean']:.3f} (95 % interval {low:.3f} to {high:.3f}), worst "
                f"{worst[0]} with {worst[1]:.3f}"
            )
        for name, each in results.get(part, {}).get("differences", {}).items():
            low, high = each["dice"]["interval"]
            lines.append(f"{part}: {name}: {each['dice']['mean']:+.3f} (95 % interval {low:+.3f} to {high:+.3f})")
    return lines


def _draw(results: Mapping[str, Any], path: Path) -> None:
    if "study" in results:
        draw_study(results["study"], MARGIN, path.with_suffix(".png"))
    if "transfer" in results:
        draw_transfer(results["transfer"], path.with_name(f"{path.stem}-transfer.png"))
    if "attacks" in results:
        draw_attacks(results["attacks"], list(RULES), list(ATTACKS), path.with_name(f"{path.stem}-attacks.png"))


if __name__ == "__main__":
    sys.exit(main())
