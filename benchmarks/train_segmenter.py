"""Train the released segmenter and its controls, and score them on cases that they never saw.

    python -m benchmarks.train_segmenter --arms hybrid mlp --held-out Brats18_TCIA02_370_1

For each arm and seed: first a network learns from the phantom's training sites; from there one network for each real
subject learns from the other subjects and the phantoms together. The mean of both networks' weights is the model: it
keeps on strange images what the first one knew (Wortsman et al. 2022, arXiv:2109.01903). Its temperatures and
thresholds are fixed on the phantom's validation cases; it is written as a model folder and scored on the subject that
it never saw, by the same TorchSegmenter that the product uses. The network that leaves --held-out out is also scored on
the phantom's test sites, and that of the first arm and seed is the shipped model.

What is finished in --work is not done again, so the command can be stopped and repeated, and several processes can
share the work. The evaluation file is then written by the command that this one prints.
"""

import argparse
import json
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from benchmarks.provenance import current_commit, describe_hardware
from benchmarks.scores import DIGITS
from benchmarks.work_folder import WorkFolder
from federated.augmentation import Augmentation
from federated.calibration import expected_calibration_error
from federated.cases import REFERENCE, Case, Example, list_cases, read_case, to_example
from federated.checkpoints import CheckpointFolder
from federated.inference import TorchSegmenter, load_segmenter
from federated.metrics import REGIONS, agreement, region_masks
from federated.model_file import CARD, WEIGHTS, Model, save_model
from federated.models import ARMS, build_network, describe_network
from federated.numerics import choose_device
from federated.phantom_sites import phantom_cohort
from federated.preprocessing import Preprocessing
from federated.sampling import Split
from federated.training import Event, Stepped, Trained, train
from federated.training_settings import TrainingSettings
from federated.validation import choose_decision

NAME: Final = "QFL glioma segmenter"
COHORT_SEED: Final = 2026
DROPPED: Final[tuple[tuple[str, ...], ...]] = (("T1",), ("T2",), ("FLAIR",))
TEST_SPLITS: Final = {"seen": "test", "unseen": "unseen"}
BLEND: Final = 0.5
"""Share of the second network in the mean of weights: what the authors recommend where nothing can be tuned."""
PRETRAINED: Final = "pretrained.safetensors"


@dataclass(frozen=True)
class Piece:
    """One thing to do.

    Attributes:
        subject: The real subject that the network never sees; None for the network that learns from phantoms alone.
    """

    arm: str
    seed: int
    subject: str | None

    @property
    def name(self) -> str:
        """Of its folder and its file."""
        return f"{self.arm}-seed{self.seed}-{self.subject or 'phantoms'}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0 when everything is there, 3 while pieces are missing."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parse(words)
    names = list_cases(options.data)
    if options.held_out not in names or not set(options.only) <= set(names):
        raise SystemExit(f"Choose subjects among {', '.join(names)}.")
    work = WorkFolder(options.work)
    bench = _Bench(options)
    pieces = _pieces(options, names)
    for piece in pieces:
        with work.claim(piece.name) as mine:
            if mine and not work.result(piece.name, bench.settings(piece)):
                work.save(piece.name, bench.settings(piece), bench.do(piece))
            elif mine and options.rescore and piece.subject:
                bench.score(piece)
    missing = [piece.name for piece in pieces if not work.result(piece.name, bench.settings(piece))]
    if missing:
        print(f"Still missing: {', '.join(missing)}; repeat the command.", flush=True)
        return 3
    _ship(options)
    command = shlex.join(["python", "-m", "benchmarks.train_segmenter", *words])
    evaluation = [
        "python",
        "-m",
        "benchmarks.evaluation",
        "--runs",
        str(options.work / "runs"),
        "--arm",
        options.arms[0],
    ]
    print(f"All is there. Now: {shlex.join([*evaluation, '--evaluates', command])}", flush=True)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_segmenter", description="Leave-one-out training.")
    parser.add_argument("--arms", nargs="+", default=["hybrid"], choices=list(ARMS), help="the first one is shipped")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="the first one's model is shipped")
    parser.add_argument("--data", type=Path, default=Path("sandbox/data/brats_tcga_2mm"))
    parser.add_argument(
        "--held-out", default="Brats18_TCIA02_370_1", help="the subject that the shipped model never saw"
    )
    parser.add_argument("--only", nargs="*", default=[], metavar="SUBJECT", help="hold only these out")
    parser.add_argument("--phantoms", type=int, default=97, help="training cases")
    parser.add_argument(
        "--tests", type=int, default=None, help="of each group of validation and test cases; all by default"
    )
    parser.add_argument("--pretraining-steps", type=int, default=2500)
    parser.add_argument("--steps", type=int, default=400, help="of each subject's network")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--patch", type=int, nargs=3, default=(72, 88, 72), metavar="VOXELS")
    parser.add_argument("--spacing", type=float, default=2.0, metavar="MM")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="highest one on phantoms")
    parser.add_argument("--subject-learning-rate", type=float, default=7e-4, help="highest one of a subject's network")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--out", type=Path, default=Path("federated/weights"), help="where the shipped model goes")
    parser.add_argument("--work", type=Path, default=Path("build/segmenter"), help="finished pieces")
    parser.add_argument(
        "--rescore", action="store_true", help="score finished models again, as after a change of inference"
    )
    parser.add_argument("--commit", default=None, help="commit of the code, where there is no git to ask")
    return parser.parse_args(arguments)


def _pieces(options: argparse.Namespace, names: Sequence[str]) -> list[Piece]:
    subjects = sorted(options.only or names, key=lambda name: name != options.held_out)
    return [
        Piece(arm, seed, subject) for arm in options.arms for seed in options.seeds for subject in (None, *subjects)
    ]


class _Bench:
    """The cases, read once, and what is done with them."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.set_num_threads(options.threads)
        self._options = options
        self._device = choose_device(options.device)
        self._preprocessing = replace(Preprocessing(), spacing_mm=options.spacing)
        self._cases = [read_case(options.data, name) for name in list_cases(options.data)]
        self._loaded: tuple[list[Example], list[Example], list[Example]] | None = None

    def settings(self, piece: Piece) -> dict[str, Any]:
        """What decides a piece's result, as JSON gives it back."""
        decides = {**asdict(self._training(piece)), "network": describe_network(ARMS[piece.arm])}
        decides |= {"phantoms": self._options.phantoms, "tests": self._options.tests, "device": self._device.type}
        plain: dict[str, Any] = json.loads(json.dumps(decides))
        return plain

    def do(self, piece: Piece) -> dict[str, Any]:
        """Train a network; score it if it is a subject's."""
        folder = self._options.work / piece.name
        folder.mkdir(parents=True, exist_ok=True)
        real, synthetic, validation = self._examples()
        trained_on = [example for example in real if piece.subject and example.name != piece.subject]
        start = None
        if piece.subject:
            start = load_file(self._options.work / replace(piece, subject=None).name / PRETRAINED)
        trained = train(
            Split(real=trained_on, synthetic=synthetic),
            ARMS[piece.arm],
            self._training(piece),
            self._device,
            _reporter(piece.name),
            CheckpointFolder(folder / "checkpoints", interval_s=120),
            start,
        )
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        result = {"steps": trained.steps, "seconds": round(trained.seconds, 1), "losses": _tenths(trained.losses)}
        if not piece.subject:
            save_file(dict(trained.weights), folder / PRETRAINED)
            return result
        version = self._save(piece, start or {}, trained, trained_on, validation)
        self.score(piece)
        return {**result, "model_version": version}

    def score(self, piece: Piece) -> None:
        """Write the run file of a finished network."""
        path = WorkFolder(self._options.work / "runs").path(piece.name)
        run = self._score(piece, load_segmenter(self._options.work / piece.name))
        path.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")

    def _training(self, piece: Piece) -> TrainingSettings:
        options = self._options
        return TrainingSettings(
            steps=options.steps if piece.subject else options.pretraining_steps,
            batch=options.batch,
            patch=tuple(options.patch),
            learning_rate=options.subject_learning_rate if piece.subject else options.learning_rate,
            synthetic_share=0.25,
            seed=piece.seed,
            threads=options.threads,
            augmentation=Augmentation(spacing_mm=options.spacing, transplant=0.3),
        )

    def _examples(self) -> tuple[list[Example], list[Example], list[Example]]:
        """Real ones, phantoms to train on, phantoms to fix thresholds on."""
        if self._loaded is None:
            cohorts = [
                _spread(phantom_cohort(COHORT_SEED, spacing_mm=self._options.spacing, split=split), count)
                for split, count in (("training", self._options.phantoms), ("validation", self._options.tests))
            ]
            real = [to_example(case, self._preprocessing) for case in self._cases]
            training, validation = (
                [to_example(source.read(), self._preprocessing) for source in cohort] for cohort in cohorts
            )
            self._loaded = real, training, validation
        return self._loaded

    def _save(
        self,
        piece: Piece,
        start: Mapping[str, torch.Tensor],
        trained: Trained,
        real: Sequence[Example],
        validation: Sequence[Example],
    ) -> str:
        training = self._training(piece)
        weights = {name: torch.lerp(start[name], after, BLEND) for name, after in trained.weights.items()}
        decision = choose_decision(
            validation, ARMS[piece.arm], weights, spacing_mm=self._options.spacing, device=self._device
        )
        summary = {
            "arm": piece.arm,
            "subjects": [example.name for example in real],
            "synthetic_cases": self._options.phantoms,
            "pretraining_steps": self._options.pretraining_steps,
            "steps": trained.steps,
            "share_of_the_last_steps_weights": BLEND,
            "batch": training.batch,
            "learning_rate": training.learning_rate,
            "precision": trained.precision,
            "seed": piece.seed,
            "loss": "soft Dice + binary cross-entropy on whole tumour, tumour core, enhancing tumour",
            "last_training_loss": _tenths(trained.losses)[-1],
            "commit": self._options.commit or current_commit(),
            "hardware": describe_hardware(self._options.threads),
            "intended_use": "Research use only; not for primary diagnosis.",
            "results": "docs/results/model-evaluation.json",
        }
        model = Model(NAME, ARMS[piece.arm], self._preprocessing, decision, weights, summary)
        return save_model(self._options.work / piece.name, model)

    def _score(self, piece: Piece, segmenter: TorchSegmenter) -> dict[str, Any]:
        subject = next(case for case in self._cases if case.name == piece.subject)
        scores = [{"group": "real", **_measure(segmenter, subject)}]
        for dropped in DROPPED:
            rest = {name: image for name, image in subject.images.items() if name not in dropped}
            group = f"real, without {' and '.join(dropped)}"
            scores.append({"group": group, **_measure(segmenter, replace(subject, images=rest))})
        if piece.subject == self._options.held_out:
            for group, split in TEST_SPLITS.items():
                cohort = phantom_cohort(COHORT_SEED, spacing_mm=self._options.spacing, split=split)
                scores += [
                    {"group": group, **_measure(segmenter, source.read())}
                    for source in _spread(cohort, self._options.tests)
                ]
        means = {region: scores[0]["regions"][region]["dice"] for region in REGIONS}
        print(f"{piece.name}: {means}", flush=True)
        parameters = sum(weight.numel() for weight in build_network(ARMS[piece.arm]).parameters())
        return {
            "arm": piece.arm,
            "seed": piece.seed,
            "parameters": parameters,
            "held_out": piece.subject,
            "model_version": segmenter.identity.version,
            "scores": scores,
        }


def _measure(segmenter: TorchSegmenter, case: Case) -> dict[str, Any]:
    started = time.monotonic()
    prediction = segmenter.segment(case.images, REFERENCE, lambda _: None)
    seconds = time.monotonic() - started
    reference = case.images[REFERENCE]
    spacing = np.linalg.norm(reference.affine_lps[:3, :3], axis=0)
    regions = {}
    inside = reference.voxels != 0
    found = agreement(prediction.labels, case.labels, spacing)
    for index, (region, drawn) in enumerate(region_masks(case.labels).items()):
        error = expected_calibration_error(prediction.probabilities[index][inside], drawn[inside])
        regions[region] = {name: _rounded(value) for name, value in asdict(found[region]).items()}
        regions[region]["ece"] = _rounded(error)
    return {
        "case": case.name,
        "regions": regions,
        "confidence": _rounded(prediction.confidence),
        "seconds": round(seconds, 2),
    }


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)


def _spread(cohort: Sequence[Any], count: int | None) -> list[Any]:
    """So many of a cohort, evenly from its sites; None for all."""
    places = np.linspace(0, len(cohort) - 1, min(count or len(cohort), len(cohort))).round().astype(int)
    return [cohort[place] for place in places]


def _tenths(losses: Sequence[float]) -> list[float]:
    return [round(float(np.mean(part)), 4) for part in np.array_split(losses, 10) if len(part)]


def _ship(options: argparse.Namespace) -> None:
    shipped = options.work / Piece(options.arms[0], options.seeds[0], options.held_out).name
    options.out.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, CARD):
        shutil.copyfile(shipped / name, options.out / name)
    print(f"Shipped: {load_segmenter(options.out).identity.version}", flush=True)


def _reporter(name: str) -> Any:
    def report(event: Event) -> None:
        if isinstance(event, Stepped) and (event.step % 50 == 0 or event.step == event.steps):
            print(f"{name}: step {event.step}/{event.steps}, {event.seconds:.0f} s, loss {event.loss:.3f}", flush=True)

    return report


if __name__ == "__main__":
    sys.exit(main())
