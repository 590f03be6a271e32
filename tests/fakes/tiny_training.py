"""A training small enough for a unit test: heads of a few thousand voxels, a few steps."""

from functools import cache

import numpy as np
import torch

from federated.augmentation import Augmentation
from federated.cases import Example, phantom_case, to_example
from federated.phantom import build_phantom
from federated.preprocessing import Preprocessing
from federated.sampling import Split
from federated.training_settings import TrainingSettings

CPU = torch.device("cpu")
SPACING_MM = 8.0
MILD = Augmentation(spacing_mm=SPACING_MM, rotation_rad=0.1, warp_mm=2, shift_mm=8, transplant=0, shell=0, drop=0)


@cache
def tiny_example(seed: int) -> Example:
    """A head at 8 mm, the same for the same seed."""
    phantom = build_phantom(np.random.default_rng(seed), shape=(20, 24, 20), spacing_mm=SPACING_MM)
    return to_example(phantom_case(f"phantom-{seed}", phantom), Preprocessing(spacing_mm=SPACING_MM))


def tiny_split() -> Split:
    """Two cases to train on, one of another kind, one held out."""
    return Split(real=[tiny_example(0), tiny_example(1)], synthetic=[tiny_example(2)], validation=[tiny_example(3)])


def tiny_settings(**changes: object) -> TrainingSettings:
    """A few quick steps on one thread."""
    quick = {
        "steps": 6,
        "batch": 1,
        "patch": (24, 24, 24),
        "validate_every": 2,
        "learning_rate": 1e-2,
        "average_decay": 0.8,
        "threads": 1,
        "augmentation": MILD,
    }
    return TrainingSettings(**{**quick, **changes})  # type: ignore[arg-type]
