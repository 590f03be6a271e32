"""Where training batches come from: all cases on the training device, and a chance for each to be drawn."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from federated.augmentation import Batch, Randomness
from federated.cases import Example
from federated.errors import TrainingDataError
from federated.metrics import region_masks

Tensor = torch.Tensor
Patch = tuple[int, int, int]


@dataclass(frozen=True)
class CaseWeights:
    """How much more often than another one each training case is drawn.

    Attributes:
        values: Of the real cases, then of the synthetic ones; above 0.
        origin: How they were chosen, as JSON, for the model's card.
    """

    values: tuple[float, ...]
    origin: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Split:
    """The cases of one training, all preprocessed alike.

    Attributes:
        real, synthetic: What is trained on; either may be empty, not both.
        validation: Held out: they choose the best weights and the thresholds.
        case_weights: Of the training cases; None draws those of a kind alike.
        validation_groups: Of the held-out cases, by attribute as far as they are known; empty where nobody asks.
    """

    real: Sequence[Example] = ()
    synthetic: Sequence[Example] = ()
    validation: Sequence[Example] = ()
    case_weights: CaseWeights | None = None
    validation_groups: Sequence[Mapping[str, str]] = ()

    def digest(self) -> str:
        """SHA-256 over the voxels and labels of all cases, in their order, and over their weights, if any."""
        found = hashlib.sha256()
        if self.case_weights is not None:
            found.update(f"weights:{self.case_weights.values!r}:".encode())
        for part in (self.real, self.synthetic, self.validation):
            found.update(f"{len(part)}:".encode())
            for example in part:
                for array in (example.model_input.channels, example.model_input.head, example.labels):
                    found.update(str(array.shape).encode())
                    found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()


class Pool:
    """The training cases, each cut or padded around its middle to one size, as float16 on the device."""

    def __init__(
        self, split: Split, patch: Patch, device: torch.device, *, synthetic_share: float, crops: bool
    ) -> None:
        """Put the cases on the device.

        Args:
            split: Its training cases.
            patch: Voxels of one case in a batch.
            device: Where batches are wanted.
            synthetic_share: Expected share of synthetic cases in a batch, where there are cases of both kinds.
            crops: Whether the patch shows a random part of a case, instead of its middle.

        Raises:
            TrainingDataError: There is no case, or the case weights are not theirs.
        """
        examples = [*split.real, *split.synthetic]
        if not examples:
            raise TrainingDataError("Expected at least one training case, got none.")
        self._patch, self._crops = patch, crops
        size = _common_size(examples, patch) if crops else patch
        contrasts = len(examples[0].model_input.channels) // 2
        images = np.stack([_centred(e.model_input.channels[:contrasts].astype(np.float16), size) for e in examples])
        depth = np.stack([_centred(_depth(example)[None], size)[0] for example in examples])
        present = np.stack([example.model_input.channels[contrasts:, 0, 0, 0] for example in examples])
        arrays = (torch.from_numpy(array).to(device) for array in (images, depth, present))
        self._cases = Batch(*arrays)
        self._chances = torch.tensor(_chances(split, synthetic_share))

    def __len__(self) -> int:
        return len(self._cases.images)

    @property
    def batch(self) -> Batch:
        """All cases, each once."""
        return self._cases

    def draw(self, count: int, rng: Randomness) -> tuple[Batch, Tensor | None]:
        """Draw cases with replacement.

        Returns:
            The cases, and for crops the middle of each patch in voxels from the middle of its case.
        """
        chosen = torch.multinomial(self._chances, count, replacement=True, generator=rng.choices)
        index = chosen.to(self._cases.images.device)
        batch = Batch(self._cases.images[index], self._cases.depth[index], self._cases.present[index])
        return batch, self._centres(count, rng) if self._crops else None

    def _centres(self, count: int, rng: Randomness) -> Tensor:
        room = torch.tensor(self._cases.images.shape[-3:]) - torch.tensor(self._patch)
        return rng.uniform(count, 3, low=-0.5, high=0.5) * room


def _chances(split: Split, share: float) -> list[float]:
    real, synthetic = len(split.real), len(split.synthetic)
    weights = [1.0] * (real + synthetic)
    if split.case_weights is not None:
        weights = list(split.case_weights.values)
        if len(weights) != real + synthetic or not all(0 < weight < math.inf for weight in weights):
            raise TrainingDataError(
                f"Expected a weight above 0 for each of {real + synthetic} training cases, got {len(weights)} weights."
            )
    if not real or not synthetic:
        return weights
    # Each kind keeps its share, whatever its weights.
    of_real, of_synthetic = sum(weights[:real]), sum(weights[real:])
    return [
        *((1 - share) * weight / of_real for weight in weights[:real]),
        *(share * weight / of_synthetic for weight in weights[real:]),
    ]


def _common_size(examples: Sequence[Example], patch: Patch) -> Patch:
    shapes = [patch, *(example.labels.shape for example in examples)]
    slices, rows, columns = (max(shape[axis] for shape in shapes) for axis in range(3))
    return slices, rows, columns


def _depth(example: Example) -> npt.NDArray[np.uint8]:
    """See federated.augmentation.Batch."""
    depth = example.model_input.head.astype(np.uint8)
    for mask in region_masks(example.labels).values():
        depth += mask & example.model_input.head
    return depth


def _centred(values: npt.NDArray[np.generic], size: Patch) -> npt.NDArray[np.generic]:
    """Cut or pad (channels, slices, rows, columns) evenly to the size."""
    for axis, length in enumerate(size, start=1):
        surplus = values.shape[axis] - length
        if surplus > 0:
            values = values.take(range(surplus // 2, surplus // 2 + length), axis=axis)
        else:
            before = -surplus // 2
            values = np.pad(values, [(before, -surplus - before) if other == axis else (0, 0) for other in range(4)])
    return values
