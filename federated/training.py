"""Train the segmenter on a few whole cases, and fix its thresholds on variants of the same cases."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from federated.augmentation import Augmentation, Batch, augment
from federated.cases import Example
from federated.decision import Decision, decide
from federated.errors import TrainingDataError
from federated.metrics import dice_of_masks, region_masks
from federated.models import NetworkConfig, build_network

Tensor = torch.Tensor
StepReport = Callable[[int, int, float], None]
"""Takes the step, from 1, the number of steps, and the loss."""

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
MIN_COMPONENTS_ML = (0.0, 0.1, 0.25, 0.5, 1.0)
TOLERANCE = 0.002
"""Differences of mean Dice below it do not decide."""


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Attributes:
        steps: Optimiser steps; fewer when minutes end first.
        minutes: Limit on the training of one model; None for no limit.
        patch: (slices, rows, columns) of a whole case, cut or padded around its middle.
        phantom_share: Expected share of synthetic cases in a batch.
        average_decay: Of the running average of the weights, which is the model.
        channels_last: Memory layout of the network; which one is faster depends on the device.
    """

    steps: int = 1200
    minutes: float | None = None
    batch: int = 8
    patch: tuple[int, int, int] = (72, 88, 72)
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    phantom_share: float = 0.1
    average_decay: float = 0.995
    channels_last: bool = False
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network.

    Attributes:
        weights: The averaged weights, float32 on the CPU.
        losses: Mean training loss of each tenth of the run.
    """

    weights: Mapping[str, Tensor]
    steps: int
    seconds: float
    losses: tuple[float, ...]


def train(
    real: Sequence[Example],
    synthetic: Sequence[Example],
    network_config: NetworkConfig,
    settings: TrainingSettings,
    device: torch.device,
    report: StepReport,
) -> Trained:
    """Train a network from scratch.

    On a GPU two runs differ slightly: some of its kernels add in no fixed order.

    Raises:
        TrainingDataError: There is no real case.
    """
    torch.manual_seed(settings.seed)
    rng = torch.Generator(device).manual_seed(settings.seed)
    pool, weights = _pool(real, synthetic, settings, device)
    layout = torch.channels_last_3d if settings.channels_last else torch.contiguous_format
    network = build_network(network_config).to(device, memory_format=layout).train()  # type: ignore[call-overload]
    average = torch.optim.swa_utils.AveragedModel(network, avg_fn=_ramped_average(settings.average_decay))
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    started, losses, step = time.monotonic(), [], 0
    while step < settings.steps:
        elapsed = time.monotonic() - started
        # With a time limit the schedule follows whichever of steps and minutes is further.
        done = max(step / settings.steps, elapsed / (60 * settings.minutes) if settings.minutes else 0.0)
        if done >= 1:
            break
        _set_learning_rate(optimiser, settings.learning_rate, step, done)
        batch = augment(_draw(pool, weights, settings.batch, rng), settings.augmentation, rng)
        loss = _step(network, optimiser, batch.channels().contiguous(memory_format=layout), batch.regions)
        average.update_parameters(network)
        step += 1
        losses.append(loss)
        if step % 10 == 0 or step == settings.steps:
            report(step, settings.steps, float(loss))
    seconds = time.monotonic() - started
    values = [float(loss) for loss in losses]
    tenths = tuple(float(np.mean(part)) for part in np.array_split(values, min(10, len(values))))
    averaged = {name: tensor.detach().float().cpu() for name, tensor in average.module.state_dict().items()}
    return Trained(averaged, step, seconds, tenths)


def choose_decision(
    real: Sequence[Example],
    network_config: NetworkConfig,
    weights: Mapping[str, Tensor],
    settings: TrainingSettings,
    device: torch.device,
    voxel_ml: float,
    variants: int = 4,
) -> Decision:
    """Choose thresholds and the smallest piece to keep by the mean Dice on fresh variants of the training cases.

    Among equals the threshold nearest 0.5 and the largest piece are taken.
    """
    network = build_network(network_config).to(device).eval()
    network.load_state_dict(dict(weights))
    rng = torch.Generator(device).manual_seed(settings.seed + 1)
    pool, _ = _pool(real, (), settings, device)
    answers: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]] = []
    with torch.inference_mode():
        for _ in range(variants):
            batch = augment(pool, settings.augmentation, rng)
            for channels, head, regions in zip(batch.channels(), batch.head, batch.regions, strict=True):
                probabilities = network(channels[None])[0].sigmoid() * head
                answers.append((probabilities.cpu().numpy(), _labels(regions)))
    thresholds = [_best_threshold(answers, region) for region in range(3)]
    return _best_min_component(answers, (thresholds[0], thresholds[1], thresholds[2]), voxel_ml)


def region_loss(logits: Tensor, regions: Tensor) -> Tensor:
    """Soft Dice over the batch plus binary cross-entropy, each the mean over the three regions."""
    logits, axes = logits.float(), (0, 2, 3, 4)
    probabilities = logits.sigmoid()
    overlap, total = (probabilities * regions).sum(axes), (probabilities + regions).sum(axes)
    soft_dice = (2 * overlap + 1) / (total + 1)
    return 1 - soft_dice.mean() + functional.binary_cross_entropy_with_logits(logits, regions)


def _step(network: torch.nn.Module, optimiser: torch.optim.Optimizer, channels: Tensor, regions: Tensor) -> Tensor:
    optimiser.zero_grad(set_to_none=True)
    with torch.autocast(channels.device.type, dtype=torch.bfloat16, enabled=channels.is_cuda):
        logits = network(channels)
    loss = region_loss(logits, regions)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    return loss.detach()


def _set_learning_rate(optimiser: torch.optim.Optimizer, peak: float, step: int, done: float) -> None:
    """Linear warm-up over 20 steps, then a cosine to 0."""
    rate = peak * min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * done))
    for group in optimiser.param_groups:
        group["lr"] = rate


def _ramped_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """A running average that forgets its first, untrained members sooner."""

    def average(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        keep = min(decay, (1 + int(count)) / (10 + int(count)))
        return torch.lerp(current, averaged, keep)

    return average


def _pool(
    real: Sequence[Example], synthetic: Sequence[Example], settings: TrainingSettings, device: torch.device
) -> tuple[Batch, Tensor]:
    """All cases on the device, and the chance of each to be drawn."""
    if not real:
        raise TrainingDataError("There is no case to train on.")
    examples = [*real, *synthetic]
    contrasts = len(examples[0].model_input.channels) // 2
    images = np.stack([_centred(example.model_input.channels[:contrasts], settings.patch) for example in examples])
    head = np.stack([_centred(example.model_input.head[None], settings.patch) for example in examples])
    regions = np.stack([_centred(_regions(example.labels), settings.patch) for example in examples])
    present = np.stack([example.model_input.channels[contrasts:, 0, 0, 0] for example in examples])
    share = settings.phantom_share if synthetic else 0.0
    chances = [(1 - share) / len(real)] * len(real) + [share / max(len(synthetic), 1)] * len(synthetic)
    arrays = (torch.from_numpy(array.astype(np.float32)).to(device) for array in (images, head, regions, present))
    return Batch(*arrays), torch.tensor(chances, device=device)


def _draw(pool: Batch, chances: Tensor, count: int, rng: torch.Generator) -> Batch:
    chosen = torch.multinomial(chances, count, replacement=True, generator=rng)
    return Batch(pool.images[chosen], pool.head[chosen], pool.regions[chosen], pool.present[chosen])


def _centred(values: npt.NDArray[np.generic], patch: tuple[int, int, int]) -> npt.NDArray[np.generic]:
    """Cut or pad (channels, slices, rows, columns) evenly to the patch."""
    for axis, length in enumerate(patch, start=1):
        surplus = values.shape[axis] - length
        if surplus > 0:
            values = values.take(range(surplus // 2, surplus // 2 + length), axis=axis)
        else:
            before = -surplus // 2
            values = np.pad(values, [(before, -surplus - before) if other == axis else (0, 0) for other in range(4)])
    return values


def _regions(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    return np.stack(list(region_masks(labels).values()))


def _labels(regions: Tensor) -> npt.NDArray[np.uint8]:
    return decide(regions.cpu().numpy(), 1.0, Decision(min_component_ml=0.0))


def _best_threshold(answers: Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]], region: int) -> float:
    means = {}
    for threshold in THRESHOLDS:
        scores = [
            dice_of_masks(probabilities[region] > threshold, list(region_masks(truth).values())[region])
            for probabilities, truth in answers
        ]
        means[threshold] = float(np.mean(scores))
    best = max(means.values())
    return min(
        (threshold for threshold in THRESHOLDS if means[threshold] >= best - TOLERANCE), key=lambda t: abs(t - 0.5)
    )


def _best_min_component(
    answers: Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]],
    thresholds: tuple[float, float, float],
    voxel_ml: float,
) -> Decision:
    candidates = [Decision(thresholds, size) for size in MIN_COMPONENTS_ML]
    means = [
        float(
            np.mean(
                [
                    dice_of_masks(decide(probabilities, voxel_ml, each) > 0, truth > 0)
                    for probabilities, truth in answers
                ]
            )
        )
        for each in candidates
    ]
    return [each for each, mean in zip(candidates, means, strict=True) if mean >= max(means) - TOLERANCE][-1]
