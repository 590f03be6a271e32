"""From trained weights to a model that can be used: with its thresholds, and with a card that says where it is from."""

from dataclasses import asdict
from typing import Any, Final

import torch

from federated.errors import TrainingDataError
from federated.model_file import Model
from federated.numerics import reproducible
from federated.presets import Preset
from federated.sampling import Split
from federated.training import Trained
from federated.validation import choose_decision

VARIANTS: Final = 4
"""Of each training case, where none is held out."""


def build_model(preset: Preset, split: Split, trained: Trained, device: torch.device) -> Model:
    """Fix the thresholds on the held-out cases, without such on variants of those trained on, and write the card.

    Raises:
        TrainingDataError: There is no case.
    """
    examples = split.validation or split.real or split.synthetic
    if not examples:
        raise TrainingDataError("Expected at least one case to fix the thresholds on, got none.")
    with reproducible(preset.settings.seed, trained.threads, device):
        decision = choose_decision(
            examples,
            preset.network,
            trained.weights,
            spacing_mm=preset.spacing_mm,
            device=device,
            seed=preset.settings.seed,
            variants=0 if split.validation else VARIANTS,
            patch=preset.settings.patch,
            augmentation=preset.settings.augmentation,
        )
    name = f"QFL segmenter ({preset.arm})"
    return Model(name, preset.network, preset.preprocessing, decision, trained.weights, _card(preset, split, trained))


def _card(preset: Preset, split: Split, trained: Trained) -> dict[str, Any]:
    """For people. No case is named: a site's own names may be those of patients."""
    best = trained.validations.get(trained.best_step)
    return {
        "arm": preset.arm,
        "cases": {"real": len(split.real), "synthetic": len(split.synthetic), "held_out": len(split.validation)},
        "data_sha256": split.digest(),
        "loss": "soft Dice + binary cross-entropy on whole tumour, tumour core, enhancing tumour",
        "settings": asdict(preset.settings),
        "steps": trained.steps,
        "best_step": trained.best_step,
        "seconds": round(trained.seconds, 1),
        "precision": trained.precision,
        "threads": trained.threads,
        "torch": torch.__version__,
        "validation": None
        if best is None
        else {"dice": dict(best.dice), "note": "These cases also chose the weights and the thresholds."},
        "intended_use": "Research use only; not for primary diagnosis.",
    }
