"""One training of a site's round: by the preset's way and the terms' numbers, with or without record-level privacy."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch

from federated.checkpoints import CheckpointFolder
from federated.errors import TermsError
from federated.guidance import Guide
from federated.initial_weights import to_arrays, to_tensors
from federated.models import NetworkConfig
from federated.presets import PRESETS
from federated.privacy.private_training import train_privately
from federated.rounds.layout import Weights
from federated.rounds.terms import RoundTerms
from federated.sampling import Split
from federated.training import Report, train
from federated.training_settings import TrainingSettings

CHECKPOINT_S: Final = 10.0


def site_seed(terms: RoundTerms, site: str) -> int:
    """The seed of a site's training in a round, 0 to 2^63 - 1."""
    text = f"qfl/site-seed\n{terms.learning.seed}\n{site}\n{terms.round}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def round_settings(terms: RoundTerms, site: str) -> TrainingSettings:
    """How a site trains in a round: the preset's way, by the terms' numbers, with the last weights as the result.

    Raises:
        TermsError: This version has no such preset.
        TrainingSettingsError: A number is out of range.
    """
    learning = terms.learning
    if learning.preset not in PRESETS:
        raise TermsError(f"Expected a preset of {', '.join(PRESETS)}, got {learning.preset!r}.")
    return replace(
        PRESETS[learning.preset].settings,
        steps=max(1, learning.steps),
        learning_rate=learning.learning_rate,
        batch=learning.batch,
        average_decay=0.0,
        validate_every=max(1, learning.steps),
        patience=None,
        seed=site_seed(terms, site),
    )


@dataclass(frozen=True, eq=False)
class LocallyTrained:
    """What one training of a round came to.

    Attributes:
        weights: All of the network's, after the last step.
        loss: Mean over the steps; None where it is not told.
        seconds: Of the training, before a kill too.
        epsilon: What it cost each patient; 0 without record-level privacy.
        gradient: Mean of the gradients, by name; only for SCAFFOLD.
    """

    weights: Weights
    loss: float | None
    seconds: float
    epsilon: float = 0.0
    gradient: Weights | None = None


def train_locally(
    terms: RoundTerms,
    network: NetworkConfig,
    settings: TrainingSettings,
    cohort: Split,
    start: Weights,
    guide: Guide,
    *,
    folder: Path,
    device: torch.device,
    report: Report,
    privately: bool,
) -> LocallyTrained:
    """Train from given weights, or go on from the folder's checkpoint.

    Args:
        terms: Of the round.
        network: Of the terms.
        settings: Of round_settings.
        cohort: The site's cases; those held out are not looked at.
        start: All of the network's weights.
        guide: What the strategy adds; of this call alone.
        folder: Of checkpoints, of this training alone.
        device: Where to compute.
        report: Called between two steps.
        privately: Whether each patient is protected as the terms say.
    """
    steps = terms.learning.steps
    if not steps:
        return LocallyTrained(start, None, 0.0)
    split, initial = replace(cohort, validation=()), to_tensors(start)
    if privately:
        found = train_privately(split, network, settings, terms.privacy, device, report, folder, initial, guide)
        return LocallyTrained(to_arrays(found.weights), None, found.seconds, found.epsilon)
    checkpoints = CheckpointFolder(folder, CHECKPOINT_S)
    trained = train(split, network, settings, device, report, checkpoints, initial, guide)
    gradient = guide.mean_gradient(steps)
    return LocallyTrained(
        to_arrays(trained.weights),
        sum(trained.losses) / steps,
        trained.seconds,
        gradient=to_arrays(gradient) if gradient else None,
    )
