"""Train the small model that `qfl federation up --preset tiny` starts from when noise protects the patients.

    python -m benchmarks.train_start

It learns from synthetic patients of the two hospitals that are in no federation of ten, so that the federation has
something to add. The last averaged weights are taken and labels are decided at 0.5; no test case chooses anything.
Its Dice on the ten hospitals' test cases is written into its card.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.federated_runs import CPU, PRESET, SPACING_MM, load, train_pooled
from benchmarks.provenance import describe_origin
from federated.cases import to_example
from federated.decision import Decision
from federated.evaluation import evaluate
from federated.initial_weights import fresh_weights, released_weights, to_tensors
from federated.metrics import REGIONS
from federated.model_file import Model, save_model
from federated.phantom_sites import phantom_cohort
from federated.presets import PRESETS

COHORT_SEEDS = (77, 78)
"""Of other patients than any other command's."""
STEPS, RATE, AVERAGE = 600, 0.01, 0.98
NAME = "QFL tiny start"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_start", description="Train the tiny start.")
    parser.add_argument("--out", type=Path, default=Path("federated/weights/tiny"), help="folder of the model")
    parser.add_argument("--steps", type=int, default=STEPS, help="of the optimiser")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    preset = PRESETS[PRESET]
    plans = [plan for seed in COHORT_SEEDS for plan in phantom_cohort(seed, spacing_mm=SPACING_MM, split="unseen")]
    examples = [to_example(plan.read(), preset.preprocessing) for plan in plans]
    weights = train_pooled(
        examples,
        preset.network,
        fresh_weights(preset.network, 0),
        Path("build/train-start"),
        steps=options.steps,
        seed=0,
        learning_rate=RATE,
        average_decay=AVERAGE,
    )
    training = {
        "data": f"{len(examples)} synthetic heads at {SPACING_MM:g} mm, cohort seeds {COHORT_SEEDS}, unseen sites",
        "steps": options.steps,
        "origin": describe_origin("benchmarks.train_start", words, threads=1),
    }
    model = Model(NAME, preset.network, preset.preprocessing, Decision(), to_tensors(weights), training)
    save_model(options.out, model)
    network, stored = released_weights(options.out)
    # At 0.5, as the model decides.
    cases = [example for test in load().test.values() for example in test]
    means = evaluate(network, to_tensors(stored), cases, CPU).dice.mean(0)
    dice = {region: round(float(mean), 3) for region, mean in zip(REGIONS, means, strict=True)}
    told = {**training, "dice_on_the_ten_sites": {"cases": len(cases), **dice}}
    version = save_model(options.out, replace(model, training=told))
    print(json.dumps({"version": version, "cases": len(cases), "dice": dice}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
