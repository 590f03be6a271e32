"""How a training runs, checked when it is written down."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, get_args

from federated.augmentation import Augmentation
from federated.errors import TrainingSettingsError
from federated.numerics import Precision
from federated.sampling import Patch


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Attributes:
        steps: Optimiser steps; fewer when it stops early.
        batch: Cases a step.
        patch: (slices, rows, columns) that a step shows of a case: its middle, by default the whole brain at 2 mm, so
            that instance norm sees what it sees at inference.
        crops: Whether the patch is a random part of the case instead.
        learning_rate: Highest; it rises over the first 20 steps and falls as a cosine to 0.
        synthetic_share: Expected share of synthetic cases in a batch, where there are cases of both kinds.
        average_decay: Of the running average of the weights, which is the model.
        validate_every: Steps between two looks at the held-out cases.
        patience: Validations without a better score before the run stops early; None for never.
        precision: Of convolutions; "auto" is bfloat16 where the device computes it natively.
        threads: Of torch on the CPU; None for as many as torch has now.
        augmentation: How cases vary; None for not at all.

    Raises:
        TrainingSettingsError: A number is out of range.
    """

    steps: int = 1200
    batch: int = 8
    patch: Patch = (72, 88, 72)
    crops: bool = False
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    synthetic_share: float = 0.1
    average_decay: float = 0.995
    validate_every: int = 100
    patience: int | None = None
    precision: Precision = "auto"
    threads: int | None = None
    seed: int = 0
    augmentation: Augmentation | None = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        """Check each number."""
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if value is None and name in {"patience", "threads"}:
                continue
            numbers = value if isinstance(value, tuple) else (value,)
            is_whole = name not in _FRACTIONS
            if not all(low <= number <= high and (isinstance(number, int) or not is_whole) for number in numbers):
                kind = "whole numbers" if is_whole else "numbers"
                raise TrainingSettingsError(f"Expected {name} as {kind} from {low:g} to {high:g}, got {value!r}.")
        if self.precision not in get_args(Precision):
            raise TrainingSettingsError(f"Expected precision auto, float32 or bfloat16, got {self.precision!r}.")


_FRACTIONS: Final = frozenset({"learning_rate", "weight_decay", "synthetic_share", "average_decay"})
_LIMITS: Final[Mapping[str, tuple[float, float]]] = {
    "steps": (1, 10_000_000),
    "batch": (1, 1024),
    "patch": (8, 512),
    "learning_rate": (1e-8, 10.0),
    "weight_decay": (0.0, 10.0),
    "synthetic_share": (0.0, 1.0),
    "average_decay": (0.0, 0.99999),
    "validate_every": (1, 10_000_000),
    "patience": (1, 10_000_000),
    "threads": (1, 1024),
    "seed": (0, 2**63 - 1),
}
