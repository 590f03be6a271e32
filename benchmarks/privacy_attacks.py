"""Attack what a site sends: gradient inversion, a gallery of candidates, and membership inference.

    python -m benchmarks.privacy_attacks            1,000 trials, 2 x 128 trained networks: about 75 minutes of a core
    python -m benchmarks.privacy_attacks --quick    20 trials and 2 x 8 networks: a few minutes, figures mean nothing

What counts as a success was fixed before the figures, in docs/privacy.md. Finished pieces are files in --work: the
command can be stopped and repeated, or started several times to share the work.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import beta

from benchmarks.gradient_inversion import PATCH, PROTECTIONS, Effort, Victim, attack, scene
from benchmarks.membership_inference import Study, members, summarise, train_one
from benchmarks.privacy_plots import draw_examples, draw_rates
from benchmarks.provenance import describe_origin
from benchmarks.work_folder import WorkFolder
from federated.auditing.gradient_inversion import SSIM_THRESHOLD
from federated.augmentation import Batch
from federated.cases import Example, phantom_case, to_example
from federated.models import HybridConfig, NetworkConfig, build_network
from federated.phantom_sites import PhantomCase, phantom_cohort
from federated.phantom_sites import Split as Part
from federated.preprocessing import Preprocessing
from federated.presets import PRESETS
from federated.privacy.accounting import epsilon
from federated.rounds.terms import Privacy
from federated.sampling import Pool, Split
from federated.training import train
from plugin.services.federation_plan import RunRequest, make_plan

CPU: Final = torch.device("cpu")
GALLERY, POPULATION, GROUP = 100, 30, 10
SHADOW_PATIENTS: Final = 24
HEAD_PATCH: Final = (40, 48, 40)
SHADOW_SPACING_MM, SHADOW_PATCH = 8.0, (24, 24, 24)
LEVEL: Final = 0.95


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0 when the results are written, 3 while another process holds pieces."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parse(words)
    torch.set_num_threads(1)
    work = WorkFolder(options.work)
    attacks = Attacks(options, work)
    pieces = attacks.pieces()
    is_done = _do_all(work, pieces)
    if not is_done:
        print("Pieces are still at work in another process; repeat the command when it has ended.", flush=True)
        return 3
    results = attacks.results(words)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    draw_examples(attacks.examples, options.out.with_name(options.out.stem + "-examples.png"))
    draw_rates(results, options.out.with_suffix(".png"))
    print(json.dumps({key: results[key] for key in ("inversion", "membership")}, indent=2), flush=True)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.privacy_attacks", description="Attack updates.")
    parser.add_argument("--quick", action="store_true", help="few trials and networks, to see that it works")
    parser.add_argument("--trials", type=int, default=None, help="of gradient inversion, a multiple of 10")
    parser.add_argument("--models", type=int, default=None, help="trained for membership inference, each way")
    parser.add_argument("--work", type=Path, default=None, help="finished pieces")
    parser.add_argument("--out", type=Path, default=None, help="default docs/results/privacy-attacks.json")
    parser.add_argument("--commit", default=None, help="commit of the code, where there is no git to ask")
    options = parser.parse_args(arguments)
    name = "privacy-attacks-quick" if options.quick else "privacy-attacks"
    options.trials = options.trials or (20 if options.quick else 1000)
    options.models = options.models or (8 if options.quick else 128)
    options.work = options.work or Path("build") / name
    usual = Path("build" if options.quick else "docs/results") / f"{name}.json"
    options.out = options.out or usual
    if options.trials % GROUP or options.models % 2 or options.models < 8:
        parser.error(f"--trials is a multiple of {GROUP}, --models an even number from 8 on.")
    return options


Do = Callable[[], dict[str, Any]]
Piece = tuple[str, Mapping[str, Any], Do]


def _do_all(work: WorkFolder, pieces: Sequence[Piece]) -> bool:
    """Do what is not done yet; whether all is done in the end."""
    missing = [piece for piece in pieces if work.result(piece[0], piece[1]) is None]
    print(f"{len(pieces) - len(missing)} of {len(pieces)} pieces are done.", flush=True)
    spent: dict[str, list[float]] = {}
    for place, (name, settings, do) in enumerate(missing):
        kind = name.rsplit("-", 1)[0]
        with work.claim(name) as is_mine:
            if not is_mine or work.result(name, settings) is not None:
                continue
            started = time.monotonic()
            work.save(name, settings, do())
            spent.setdefault(kind, []).append(time.monotonic() - started)
        left = sum(
            float(np.mean(spent[other]))
            for each, _, _ in missing[place + 1 :]
            if (other := each.rsplit("-", 1)[0]) in spent
        )
        print(f"{name}: {spent[kind][-1]:.1f} s; at least {left / 60:.0f} minutes to go", flush=True)
    return all(work.result(name, settings) is not None for name, settings, _ in pieces)


class Attacks:
    """The pieces of the work, and what comes out of them."""

    def __init__(self, options: argparse.Namespace, work: WorkFolder) -> None:
        self._options, self._work = options, work
        self._effort = Effort(iterations=20) if options.quick else Effort()
        self.privacy, self.learning = shipped()
        self.network: NetworkConfig = replace(_tiny_network(), filters=(8, 16))
        self._prepared: dict[str, Any] = {}

    @property
    def examples(self) -> Path:
        """Where the pictures of the first group of trials stand."""
        folder: Path = self._options.work
        return folder / "examples.npz"

    def pieces(self) -> list[Piece]:
        """All of them, in the order in which they are best done."""
        common = {"privacy": asdict(self.privacy), "learning": asdict(self.learning), "network": asdict(self.network)}
        inversion = {**common, "effort": asdict(self._effort), "patch": list(PATCH), "victim_steps": self._victim_steps}
        return [
            *(
                (f"inversion-{group:04d}", inversion, lambda group=group: self._invert(group))
                for group in range(self._options.trials // GROUP)
            ),
            *(
                (f"membership-{kind}-{model:04d}", common, lambda kind=kind, model=model: self._shadow(kind, model))
                for model in range(self._options.models)
                for kind in ("none", "record-dp")
            ),
        ]

    @property
    def _victim_steps(self) -> int:
        return 20 if self._options.quick else 150

    def _invert(self, group: int) -> dict[str, Any]:
        heads, population, victim = self._once("inversion", self._prepare_inversion)
        scenes = [scene(heads, population, group * GROUP + place) for place in range(GROUP)]
        found, pictures = attack(
            victim,
            scenes,
            noise=self.privacy.record_noise,
            clip=self.privacy.record_clip,
            effort=self._effort,
            seed=group,
        )
        if group == 0:
            arrays: dict[str, Any] = {name: each.numpy() for name, each in pictures.items()}
            np.savez_compressed(self.examples, **arrays)
        return {"trials": found}

    def _prepare_inversion(self) -> tuple[Batch, Batch, Victim]:
        print("Building heads, and training the network whose updates are attacked ...", flush=True)
        gallery = [
            *phantom_cohort(2026, spacing_mm=4.0, split=Part.TRAINING),
            *phantom_cohort(2026, spacing_mm=4.0, split=Part.VALIDATION),
        ][:GALLERY]
        others = sorted(phantom_cohort(77, spacing_mm=4.0, split=Part.TRAINING), key=lambda case: case.index)
        public = [_example(case, 4.0) for case in others[:POPULATION]]
        heads = _batch([_example(case, 4.0) for case in gallery], HEAD_PATCH)
        return heads, _batch(public, HEAD_PATCH), Victim(self.network, self._victim_weights(public))

    def _victim_weights(self, public: Sequence[Example]) -> Mapping[str, torch.Tensor]:
        """A network half-way through its training, on other patients: early and late rounds leak less."""
        path = self._options.work / f"victim-{self._victim_steps}.safetensors"
        if not path.exists():
            settings = replace(PRESETS["tiny"].settings, steps=self._victim_steps)
            trained = train(Split(synthetic=public), self.network, settings, CPU)
            scratch = path.with_suffix(".part")
            save_file(dict(trained.weights), scratch)
            scratch.replace(path)
        return load_file(path)

    def _shadow(self, kind: str, model: int) -> dict[str, Any]:
        patients, initial = self._once("membership", self._prepare_membership)
        settings = replace(
            PRESETS["tiny"].settings,
            steps=self.learning.steps * self.rounds,
            batch=self.learning.batch,
            learning_rate=self.learning.learning_rate,
            patch=SHADOW_PATCH,
            average_decay=0.0,
            augmentation=None,
            seed=model,
        )
        privacy = replace(self.privacy, record_epsilon=1000.0) if kind == "record-dp" else None
        return train_one(Study(patients, self.network, settings, privacy), model, initial)

    def _prepare_membership(self) -> tuple[list[Example], Mapping[str, torch.Tensor]]:
        cohort = phantom_cohort(2027, spacing_mm=SHADOW_SPACING_MM, split=Part.TRAINING)[:SHADOW_PATIENTS]
        torch.manual_seed(0)
        return [_example(case, SHADOW_SPACING_MM) for case in cohort], build_network(self.network).state_dict()

    def _once(self, name: str, prepare: Callable[[], Any]) -> Any:
        if name not in self._prepared:
            self._prepared[name] = prepare()
        return self._prepared[name]

    @property
    def rounds(self) -> int:
        """Of a run."""
        return RunRequest().rounds

    def results(self, words: Sequence[str]) -> dict[str, Any]:
        """Everything that is published."""
        found = {name: self._work.result(name, settings) or {} for name, settings, _ in self.pieces()}
        trials = [each for name, one in found.items() if name.startswith("inversion") for each in one["trials"]]
        return {
            **describe_origin("benchmarks.privacy_attacks", words, threads=1, commit=self._options.commit),
            "definition": {
                "success": f"structural similarity of at least {SSIM_THRESHOLD:g}, and nearest of {GALLERY} patients",
                "patch": list(PATCH),
                "spacing_mm": 4.0,
                "interval": f"Clopper-Pearson, {LEVEL:.0%}",
            },
            "privacy": {**asdict(self.privacy), "steps": self.learning.steps, "rounds": self.rounds},
            "effort": asdict(self._effort),
            "inversion": summarise_trials(trials),
            "membership": {kind: self._membership(found, kind) for kind in ("none", "record-dp")},
        }

    def _membership(self, found: Mapping[str, Mapping[str, Any]], kind: str) -> dict[str, Any]:
        models = [one for name, one in sorted(found.items()) if name.startswith(f"membership-{kind}-")]
        confidence = np.array([one["confidence"] for one in models])
        is_member = np.array([one["members"] for one in models], bool)
        summary = summarise(confidence, is_member)
        if kind == "record-dp":
            rate = min(1.0, self.learning.batch / int(members(SHADOW_PATIENTS, 0).sum()))
            steps = self.learning.steps * self.rounds
            summary["epsilon"] = epsilon(self.privacy.record_noise, rate, steps, self.privacy.delta)
        return summary


def shipped() -> tuple[Privacy, Any]:
    """The privacy and the learning that `qfl federation up --fresh` asks for: the whole network learns, under noise."""
    plan = make_plan(RunRequest(), federation="f", run="r", sites=[f"site-{n:02d}" for n in range(1, 11)], app="0")
    return plan.privacy, plan.learning


def summarise_trials(trials: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Rates of success by protection, and how similar the reconstructions are."""
    found: dict[str, Any] = {"trials": len(trials), "prior_ssim": _spread([each["prior"]["ssim"] for each in trials])}
    for protection in PROTECTIONS:
        mine = [each[protection] for each in trials]
        succeeded = [each["ssim"] >= SSIM_THRESHOLD and each["identified"] for each in mine]
        found[protection] = {
            "success": proportion(sum(succeeded), len(mine)),
            "identified": proportion(sum(each["identified"] for each in mine), len(mine)),
            "gallery": proportion(sum(each["gallery"] for each in mine), len(mine)),
            "ssim": _spread([each["ssim"] for each in mine]),
        }
    return found


def proportion(count: int, total: int) -> dict[str, Any]:
    """A rate with its exact interval; Clopper & Pearson (1934), doi:10.1093/biomet/26.4.404."""
    tail = (1 - LEVEL) / 2
    low = float(beta.ppf(tail, count, total - count + 1)) if count else 0.0
    high = float(beta.ppf(1 - tail, count + 1, total - count)) if count < total else 1.0
    return {"count": count, "of": total, "rate": count / total, "interval": [low, high]}


def _spread(values: Sequence[float]) -> dict[str, float]:
    median, high, most = np.quantile(values, [0.5, 0.95, 1.0])
    return {"median": float(median), "95th": float(high), "highest": float(most)}


def _tiny_network() -> HybridConfig:
    network = PRESETS["tiny"].network
    if not isinstance(network, HybridConfig):
        raise TypeError(f"Expected the preset tiny to train the hybrid network, got {type(network).__name__}.")
    return network


def _example(case: PhantomCase, spacing_mm: float) -> Example:
    """With all four contrasts, as the patient is."""
    return to_example(phantom_case(case.name, case.phantom()), Preprocessing(spacing_mm=spacing_mm))


def _batch(examples: Sequence[Example], patch: tuple[int, int, int]) -> Batch:
    return Pool(Split(real=examples), patch, CPU, synthetic_share=0.0, crops=False).batch


if __name__ == "__main__":
    sys.exit(main())
