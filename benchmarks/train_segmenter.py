"""Train and measure the segmenter: leave one subject out, for each subject.

    python -m benchmarks.train_segmenter --data sandbox/data/brats_tcga_2mm --held-out Brats18_TCIA02_370_1

Each fold trains on the other subjects and on synthetic heads, fixes its thresholds on variants of its training
subjects, is written as a model folder, and is measured through the same TorchSegmenter that the product uses. The fold
that leaves --held-out out is the shipped model. A fold that is already in --work with the same settings is not trained
again, so the command can be stopped and repeated, or started several times with different --only.
"""

import argparse
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from federated.cases import REFERENCE, Case, Example, case_digest, list_cases, phantom_case, read_case, to_example
from federated.inference import TorchSegmenter, load_segmenter
from federated.metrics import REGIONS, dice
from federated.model_file import CARD, WEIGHTS, Model, save_model
from federated.models import NetworkConfig
from federated.phantom import build_phantom
from federated.preprocessing import Preprocessing
from federated.training import Trained, TrainingSettings, choose_decision, train

NAME = "QFL glioma segmenter"
DROPPED: tuple[tuple[str, ...], ...] = ((), ("T1",), ("T2",), ("FLAIR",))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0 when all folds are there and the results are written, 3 while folds are missing."""
    options = _parse(arguments)
    device = torch.device(options.device)
    torch.backends.cudnn.benchmark = device.type == "cuda"
    preprocessing, network = Preprocessing(), NetworkConfig()
    cases = [read_case(options.data, name) for name in list_cases(options.data)]
    names = [case.name for case in cases]
    if options.held_out not in names or not set(options.only) <= set(names):
        raise SystemExit(f"Choose subjects among {', '.join(names)}.")
    examples = [to_example(case, preprocessing) for case in cases]
    synthetic = _synthetic(options.phantoms, preprocessing)
    settings = _settings(options)
    if device.type == "cuda":
        settings = _faster_layout(examples, network, settings, device)
    for seed in options.seeds:
        for case in sorted(cases, key=lambda each: each.name != options.held_out):
            if not options.only or case.name in options.only:
                _run_fold(options, case, examples, synthetic, network, replace(settings, seed=seed), device)
    return _write_results(options, cases)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_segmenter", description="Leave-one-out training.")
    parser.add_argument("--data", type=Path, default=Path("sandbox/data/brats_tcga_2mm"))
    parser.add_argument(
        "--held-out", default="Brats18_TCIA02_370_1", help="the subject that the shipped model never saw"
    )
    parser.add_argument("--only", nargs="*", default=[], metavar="SUBJECT", help="hold only these out")
    parser.add_argument("--out", type=Path, default=Path("federated/weights"), help="where the shipped model goes")
    parser.add_argument("--results", type=Path, default=Path("docs/results/segmenter-loo.json"))
    parser.add_argument("--work", type=Path, default=Path("build/segmenter-loo"), help="finished folds")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--minutes-per-fold", type=float, default=None)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--phantoms", type=int, default=24)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="the first one's model is shipped")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--commit", default=None, help="commit of the code, where there is no git to ask")
    return parser.parse_args(arguments)


def _settings(options: argparse.Namespace) -> TrainingSettings:
    share = TrainingSettings().phantom_share if options.phantoms else 0.0
    return TrainingSettings(
        steps=options.steps, minutes=options.minutes_per_fold, batch=options.batch, phantom_share=share
    )


def _synthetic(count: int, preprocessing: Preprocessing) -> list[Example]:
    rng = np.random.default_rng(2026)
    phantoms = [build_phantom(rng, skull=index % 4 == 0, tumour=index % 6 != 5) for index in range(count)]
    return [
        to_example(phantom_case(f"phantom-{index}", phantom), preprocessing) for index, phantom in enumerate(phantoms)
    ]


def _faster_layout(
    examples: Sequence[Example], network: NetworkConfig, settings: TrainingSettings, device: torch.device
) -> TrainingSettings:
    """Try both memory layouts; the answer is the same within rounding, the speed is not."""
    found = {}
    for channels_last in (False, True):
        trial = replace(settings, steps=12, minutes=None, channels_last=channels_last)
        train(examples, (), network, trial, device, _quiet)
        found[channels_last] = train(examples, (), network, trial, device, _quiet).seconds / 12
    print(f"seconds per step: {found[False]:.3f}, with channels last {found[True]:.3f}", flush=True)
    return replace(settings, channels_last=found[True] < found[False])


def _run_fold(
    options: argparse.Namespace,
    held_out: Case,
    examples: Sequence[Example],
    synthetic: Sequence[Example],
    network: NetworkConfig,
    settings: TrainingSettings,
    device: torch.device,
) -> None:
    folder = _fold_folder(options, held_out.name, settings.seed)
    wanted = {**_plain(asdict(settings)), "phantoms": len(synthetic), "device": device.type}
    if _is_done(folder, wanted):
        print(f"{folder.name}: already there", flush=True)
        return
    real = [example for example in examples if example.name != held_out.name]
    trained = train(real, synthetic, network, settings, device, _reporter(folder.name))
    preprocessing = Preprocessing()
    voxel_ml = preprocessing.spacing_mm**3 / 1000
    decision = choose_decision(real, network, trained.weights, settings, device, voxel_ml)
    summary = _summary(real, len(synthetic), trained, settings)
    version = save_model(folder, Model(NAME, network, preprocessing, decision, trained.weights, summary))
    segmenter = load_segmenter(folder)
    measured = [_measure(segmenter, held_out, dropped) for dropped in DROPPED]
    _save_labels(folder, segmenter, held_out)
    fold = {
        "subject": held_out.name,
        "seed": settings.seed,
        "model_version": version,
        "decision": _plain(asdict(decision)),
        "steps": trained.steps,
        "seconds": round(trained.seconds, 1),
        "losses": [round(loss, 4) for loss in trained.losses],
        "measured": measured,
        "settings": wanted,
    }
    (folder / "fold.json").write_text(json.dumps(fold, indent=2) + "\n", encoding="utf-8")
    scores = ", ".join(f"{region} {measured[0]['dice'][region]:.3f}" for region in REGIONS)
    print(f"{folder.name}: {trained.steps} steps in {trained.seconds:.0f} s; {scores}; {decision}", flush=True)


def _measure(segmenter: TorchSegmenter, case: Case, dropped: tuple[str, ...]) -> dict[str, Any]:
    images = {contrast: image for contrast, image in case.images.items() if contrast not in dropped}
    started = time.monotonic()
    prediction = segmenter.segment(images, REFERENCE, lambda _: None)
    seconds = time.monotonic() - started
    scores = {region: round(score, 4) for region, score in dice(prediction.labels, case.labels).items()}
    return {"missing": list(dropped), "dice": scores, "seconds": round(seconds, 2)}


def _save_labels(folder: Path, segmenter: TorchSegmenter, case: Case) -> None:
    prediction = segmenter.segment(case.images, REFERENCE, lambda _: None)
    np.savez_compressed(folder / "labels.npz", predicted=prediction.labels, drawn=case.labels)


def _summary(real: Sequence[Example], synthetic: int, trained: Trained, settings: TrainingSettings) -> dict[str, Any]:
    return {
        "subjects": [example.name for example in real],
        "synthetic_cases": synthetic,
        "steps": trained.steps,
        "seed": settings.seed,
        "batch": settings.batch,
        "loss": "soft Dice + binary cross-entropy on whole tumour, tumour core, enhancing tumour",
        "last_training_loss": round(trained.losses[-1], 4),
        "intended_use": "Research use only; not for primary diagnosis.",
        "results": "docs/results/segmenter-loo.json",
    }


def _write_results(options: argparse.Namespace, cases: Sequence[Case]) -> int:
    folders = [_fold_folder(options, case.name, seed) for seed in options.seeds for case in cases]
    missing = [folder.name for folder in folders if not (folder / "fold.json").exists()]
    if missing:
        print(f"Folds still missing: {', '.join(missing)}; repeat the command.", flush=True)
        return 3
    folds = [json.loads((folder / "fold.json").read_text(encoding="utf-8")) for folder in folders]
    shipped = _fold_folder(options, options.held_out, options.seeds[0])
    options.out.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, CARD):
        shutil.copyfile(shipped / name, options.out / name)
    results = {
        "what": "Dice of each subject by a model that never saw it (leave one out); 1 where both maps lack a region",
        "limits": "Six subjects of one public collection, two of them low-grade; no claim beyond them.",
        "commit": options.commit or _commit(),
        "command": "python -m benchmarks.train_segmenter " + shlex.join(sys.argv[1:]),
        "seeds": options.seeds,
        "data": {case.name: "sha256:" + case_digest(case) for case in cases},
        "hardware": _hardware(options.device),
        "software": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "shipped": {
            "held_out": options.held_out,
            "seed": options.seeds[0],
            "version": load_segmenter(shipped).identity.version,
        },
        "mean_dice": [_mean(folds, index) for index in range(len(DROPPED))],
        "folds": folds,
    }
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    for mean in results["mean_dice"]:
        print(f"mean Dice, missing {mean['missing'] or 'nothing'}: {mean['dice']}", flush=True)
    return 0


def _mean(folds: Sequence[Mapping[str, Any]], index: int) -> dict[str, Any]:
    measured = [fold["measured"][index] for fold in folds]
    means = {region: round(float(np.mean([each["dice"][region] for each in measured])), 4) for region in REGIONS}
    return {"missing": measured[0]["missing"], "dice": means}


def _fold_folder(options: argparse.Namespace, subject: str, seed: int) -> Path:
    return Path(options.work) / f"{subject}-seed{seed}"


def _is_done(folder: Path, wanted: Mapping[str, Any]) -> bool:
    path = folder / "fold.json"
    if not path.exists():
        return False
    found = json.loads(path.read_text(encoding="utf-8"))["settings"]
    # Which layout is faster may be measured differently by a second run on the same machine.
    return {**found, "channels_last": None} == {**wanted, "channels_last": None}


def _plain(value: Any) -> Any:
    """As JSON gives it back: lists, not tuples."""
    return json.loads(json.dumps(value))


def _commit() -> str:
    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return asked.stdout.strip()


def _hardware(device: str) -> str:
    cpu = f"{os.cpu_count()} CPU cores ({platform.machine()})"
    return f"{torch.cuda.get_device_name()}, {cpu}" if device.startswith("cuda") else cpu


def _reporter(fold: str) -> Any:
    started = time.monotonic()

    def report(step: int, steps: int, loss: float) -> None:
        if step % 50 == 0 or step == steps:
            print(f"{fold}: step {step}/{steps}, {time.monotonic() - started:.0f} s, loss {loss:.3f}", flush=True)

    return report


def _quiet(_step: int, _steps: int, _loss: float) -> None:
    """Report nothing."""


if __name__ == "__main__":
    sys.exit(main())
