"""How good a network is on cases that it is not trained on, and the thresholds that suit it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from federated.augmentation import Augmentation, Randomness, augment
from federated.calibration import fit_temperatures
from federated.cases import Example
from federated.decision import Decision, decide
from federated.errors import TrainingDataError
from federated.inference import MIRRORS
from federated.metrics import REGIONS, dice_of_masks, region_masks
from federated.models import NetworkConfig, build_network
from federated.numerics import autocast
from federated.sampling import Patch, Pool, Split

Tensor = torch.Tensor
Mask = npt.NDArray[np.bool_]

THRESHOLDS: Final = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Not further out: what validation cases of another kind ask for there does not hold for patients."""
MIN_COMPONENTS_ML: Final = (0.0, 0.1, 0.25, 0.5, 1.0)
TOLERANCE: Final = 0.002
"""Differences of mean Dice below it do not decide."""


@dataclass(frozen=True)
class Validation:
    """What a network reached on held-out cases.

    Attributes:
        dice: Mean over the cases, by region, each at its threshold.
        thresholds: The best of THRESHOLDS for each region.
    """

    dice: Mapping[str, float]
    thresholds: tuple[float, float, float]

    @property
    def score(self) -> float:
        """Mean over the regions."""
        return sum(self.dice.values()) / len(self.dice)


@dataclass(frozen=True, eq=False)
class LabelledInput:
    """One case on the device.

    Attributes:
        channels: float32 (1, channels, slices, rows, columns).
        head: bool (slices, rows, columns).
        regions: bool (3, slices, rows, columns).
    """

    channels: Tensor
    head: Tensor
    regions: Tensor


def to_device(examples: Iterable[Example], device: torch.device) -> list[LabelledInput]:
    """Whole cases, as the network reads them at inference."""
    return [
        LabelledInput(
            torch.from_numpy(example.model_input.channels).to(device)[None],
            torch.from_numpy(example.model_input.head).to(device),
            torch.from_numpy(np.stack(list(region_masks(example.labels).values()))).to(device),
        )
        for example in examples
    ]


def validate(network: torch.nn.Module, cases: Sequence[LabelledInput], precision: str) -> Validation:
    """Measure a network.

    Raises:
        TrainingDataError: There is no case.
    """
    if not cases:
        raise TrainingDataError("Expected at least one held-out case, got none.")
    means = _mean_dice((_probabilities(network, case, precision) for case in cases), cases)
    thresholds = _thresholds(means)
    best = [THRESHOLDS.index(threshold) for threshold in thresholds]
    return Validation({region: float(means[i, best[i]]) for i, region in enumerate(REGIONS)}, thresholds)


def choose_decision(
    examples: Sequence[Example],
    network_config: NetworkConfig,
    weights: Mapping[str, Tensor],
    *,
    spacing_mm: float,
    device: torch.device,
    seed: int = 0,
    variants: int = 0,
    patch: Patch = (72, 88, 72),
    augmentation: Augmentation | None = None,
) -> Decision:
    """Fix temperatures by likelihood, then thresholds and the smallest piece to keep by the mean Dice.

    The network answers as at inference: in float32, mean over the mirrored inputs. Among equals the threshold nearest
    0.5 and the largest piece are taken.

    Args:
        examples: Held-out cases; where there are none, the training cases with variants, which flatter less than they
            themselves would.
        network_config: The network.
        weights: Its weights.
        spacing_mm: Of the model's grid.
        device: Where to compute.
        seed: Of the variants.
        variants: How many random variants of each case are looked at, instead of the case itself.
        patch: Voxels of a variant.
        augmentation: How strongly they vary.

    Raises:
        TrainingDataError: There is no case.
    """
    network = build_network(network_config).to(device, memory_format=torch.channels_last_3d).eval()  # type: ignore[call-overload]
    network.load_state_dict(dict(weights))
    if variants:
        cases = _variants(examples, variants, patch, augmentation or Augmentation(spacing_mm), seed, device)
    else:
        cases = to_device(examples, device)
    logits = [_mirrored_logits(network, case.channels) for case in cases]
    drawn: list[Mask] = [case.regions.cpu().numpy() for case in cases]
    inside: list[Mask] = [case.head.cpu().numpy() for case in cases]
    temperatures = fit_temperatures([each.cpu().numpy() for each in logits], drawn, inside)
    scale = torch.tensor(temperatures, device=device)[:, None, None, None]
    probabilities = [(each / scale).sigmoid().mean(0) * case.head for each, case in zip(logits, cases, strict=True)]
    thresholds = _thresholds(_mean_dice(probabilities, cases))
    answers = [(each.cpu().numpy(), regions[0]) for each, regions in zip(probabilities, drawn, strict=True)]
    return _best_min_component(answers, Decision(thresholds, temperatures), spacing_mm**3 / 1000)


def _variants(
    examples: Sequence[Example], count: int, patch: Patch, augmentation: Augmentation, seed: int, device: torch.device
) -> list[LabelledInput]:
    pool = Pool(Split(real=examples), patch, device, synthetic_share=0.0, crops=False)
    rng, found = Randomness(seed, device), []
    for _ in range(count):
        batch = augment(pool.batch, augmentation, rng)
        for channels, head, regions in zip(batch.channels(), batch.head(), batch.regions(), strict=True):
            found.append(LabelledInput(channels[None], head[0] > 0, regions > 0))
    return found


def _mirrored_logits(network: torch.nn.Module, channels: Tensor) -> Tensor:
    """(mirrors, 3, slices, rows, columns), each turned back."""
    answers = []
    with torch.inference_mode():
        for axes in MIRRORS:
            # Axes 0 and 1 are the batch and the channel.
            spatial = [axis + 2 for axis in axes]
            answers.append(network(channels.flip(spatial)).flip(spatial)[0])
    return torch.stack(answers)


def _probabilities(network: torch.nn.Module, case: LabelledInput, precision: str) -> Tensor:
    """(3, slices, rows, columns), float32; 0 outside the head."""
    with torch.inference_mode(), autocast(precision, case.channels.device):
        logits: Tensor = network(case.channels)[0]
    return logits.float().sigmoid() * case.head


def _mean_dice(probabilities: Iterable[Tensor], cases: Sequence[LabelledInput]) -> Tensor:
    """Mean Dice over the cases, (regions, thresholds)."""
    return torch.stack(
        [_dice_by_threshold(each, case.regions) for each, case in zip(probabilities, cases, strict=True)]
    ).mean(0)


def _dice_by_threshold(probabilities: Tensor, regions: Tensor) -> Tensor:
    """Dice (regions, thresholds), float64; 1 where both are empty."""
    found = torch.stack([probabilities > threshold for threshold in THRESHOLDS], dim=1)
    axes = (-3, -2, -1)
    overlap = (found & regions[:, None]).sum(axes).double()
    total = found.sum(axes).double() + regions.sum(axes)[:, None]
    return torch.where(total > 0, 2 * overlap / total.clamp(min=1), torch.ones_like(overlap)).cpu()


def _thresholds(means: Tensor) -> tuple[float, float, float]:
    whole, core, enhancing = (_best_threshold(row) for row in means.tolist())
    return whole, core, enhancing


def _best_threshold(means: Sequence[float]) -> float:
    good = [threshold for threshold, mean in zip(THRESHOLDS, means, strict=True) if mean >= max(means) - TOLERANCE]
    return min(good, key=lambda threshold: abs(threshold - 0.5))


def _best_min_component(
    answers: Sequence[tuple[npt.NDArray[np.float32], Mask]], decision: Decision, voxel_ml: float
) -> Decision:
    candidates = [replace(decision, min_component_ml=size) for size in MIN_COMPONENTS_ML]
    means = [
        float(np.mean([dice_of_masks(decide(found, voxel_ml, each) > 0, drawn) for found, drawn in answers]))
        for each in candidates
    ]
    return [each for each, mean in zip(candidates, means, strict=True) if mean >= max(means) - TOLERANCE][-1]
