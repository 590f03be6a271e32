"""From trained weights to a model that can be used: with its thresholds, and with a card that says where it is from."""

from dataclasses import asdict, replace
from typing import Any, Final

import torch

from federated.balancing.balance_settings import BalanceSettings
from federated.balancing.operating_point import choose_operating_point, dice_by_threshold
from federated.decision import Decision
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

    Where a bound on the groups' gap is asked for, the thresholds are the best ones that keep it on the held-out cases.

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
    name, card = f"QFL segmenter ({preset.arm})", _card(preset, split, trained)
    if preset.balance is not None and preset.balance.max_gap is not None:
        decision, card["operating_point"] = _fair_decision(preset, preset.balance, split, trained, decision, device)
    return Model(name, preset.network, preset.preprocessing, decision, trained.weights, card)


def _fair_decision(
    preset: Preset, balance: BalanceSettings, split: Split, trained: Trained, decision: Decision, device: torch.device
) -> tuple[Decision, dict[str, Any]]:
    """Thresholds under the bound on the groups' gap, with what the card says of them; the old ones without evidence."""
    (attribute,), bound = balance.attributes, balance.max_gap or 0.0
    told: dict[str, Any] = {"attribute": attribute, "bound": bound}
    if not split.validation:
        return decision, {**told, "outcome": "insufficient evidence"}
    dice = dice_by_threshold(split, preset.network, trained.weights, device, temperatures=decision.temperatures)
    groups = [known.get(attribute) for known in split.validation_groups]
    point = choose_operating_point(dice, groups, bound=bound, minimum=balance.minimum_group)
    told["outcome"] = point.outcome
    if point.outcome == "insufficient evidence":
        return decision, told
    figures = {"dice_given_up": round(point.given_up, 4), "gap_without": round(point.free.gap, 4)}
    note = "These cases also chose the thresholds: expect a larger gap elsewhere."
    fair = replace(decision, thresholds=point.fair.thresholds)
    return fair, {**told, **figures, "gap": round(point.fair.gap, 4), "note": note}


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
        **({} if split.case_weights is None else {"balance": dict(split.case_weights.origin)}),
        "intended_use": "Research use only; not for primary diagnosis.",
    }
