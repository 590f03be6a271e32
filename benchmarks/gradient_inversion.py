"""Gradient inversion and gallery attacks on the update of one optimiser step; docs/privacy.md defines success.

The attacker is the coordinator at its best: it knows the weights, that the step was taken on one patient, where in the
head the patch lies, the patient's labels exactly, the clipping norm and the noise's spread, and what heads look like on
average. It minimises the cosine distance between gradients with a total-variation prior, from the population's mean
(Geiping et al. 2020, arXiv:2003.14053). The gallery attack is stronger still: it holds a hundred candidate images, the
right one among them, and asks whose gradient fits best.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch.func import functional_call, grad, vmap

from federated.auditing.gradient_inversion import TwiceDifferentiable, best_match, similarity
from federated.augmentation import Batch
from federated.losses import region_loss
from federated.models import NetworkConfig, build_network
from federated.privacy.randomness import SecretRandom
from federated.quantum.layer import QuantumLayer

Tensor = torch.Tensor
PATCH: Final = (8, 8, 8)
PROTECTIONS: Final = ("none", "record-dp", "sum-of-ten")


@dataclass(frozen=True)
class Effort:
    """How hard the attacker tries.

    Attributes:
        iterations: Of Adam.
        rate: Its first step; it falls as a cosine.
        variation: Weight of the total variation.
    """

    iterations: int = 120
    rate: float = 0.1
    variation: float = 1e-2


class Victim:
    """The network whose updates are attacked."""

    def __init__(self, network_config: NetworkConfig, weights: Mapping[str, Tensor]) -> None:
        self._network = build_network(network_config)
        self._network.load_state_dict(dict(weights))
        for module in self._network.modules():
            if isinstance(module, QuantumLayer):
                module.backend = TwiceDifferentiable()
        self._learning = {name: each.detach() for name, each in self._network.named_parameters()}
        self._gradients = vmap(grad(self._loss), in_dims=(None, 0, 0))

    def _loss(self, weights: Mapping[str, Tensor], image: Tensor, regions: Tensor) -> Tensor:
        channels = torch.cat([image, torch.ones_like(image)])
        return region_loss(functional_call(self._network, dict(weights), (channels[None],)), regions[None])

    def gradients(self, images: Tensor, regions: Tensor) -> Tensor:
        """(batch, numbers) of images (batch, contrasts, ...), all contrasts present."""
        found = self._gradients(self._learning, images, regions)
        return torch.cat([each.flatten(1) for each in found.values()], dim=1)


@dataclass(frozen=True, eq=False)
class Scene:
    """One trial: a patient's patch, and the same place in the gallery's heads.

    Attributes:
        image: (contrasts, *PATCH).
        regions: (3, *PATCH), which the attacker knows.
        gallery: (candidates, contrasts, *PATCH), the patient's own patch among them.
        index: Which it is.
        mean: (contrasts, *PATCH): the population's mean at this place, of other patients.
    """

    image: Tensor
    regions: Tensor
    gallery: Tensor
    index: int
    mean: Tensor


def scene(heads: Batch, population: Batch, trial: int) -> Scene:
    """The trial of this number: each patient in turn, a patch near the middle of the tumour."""
    index = trial % len(heads.images)
    rng = np.random.default_rng([8, trial])
    tumour = (heads.depth[index] > 1).nonzero().double()
    middle = tumour.mean(0).round().long() + torch.from_numpy(rng.integers(-3, 4, 3))
    place = tuple(
        slice(start, start + length)
        for start, length in zip(
            (
                int(min(max(centre - length // 2, 0), size - length))
                for centre, length, size in zip(middle, PATCH, heads.depth.shape[1:], strict=True)
            ),
            PATCH,
            strict=True,
        )
    )
    gallery = heads.images[(slice(None), slice(None), *place)].float()
    regions = heads.regions()[index][(slice(None), *place)]
    mean = population.images[(slice(None), slice(None), *place)].float().mean(0)
    return Scene(gallery[index], regions, gallery, index, mean)


def attack(
    victim: Victim, scenes: Sequence[Scene], *, noise: float, clip: float, effort: Effort, seed: int
) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Attack a group of trials: each alone without protection and with noise, and their sum.

    Returns:
        For each trial {"protection": {"ssim", "identified", "gallery"}}; and the reconstructions by protection,
        (trials, contrasts, *PATCH), with the truth as "truth".
    """
    images = torch.stack([each.image for each in scenes])
    regions = torch.stack([each.regions for each in scenes])
    exact = victim.gradients(images, regions).detach()
    candidates = torch.stack(
        [
            victim.gradients(each.gallery, each.regions.expand(len(each.gallery), *each.regions.shape)).detach()
            for each in scenes
        ]
    )
    clipped, seen_clipped = _clip(exact, clip), _clip(candidates, clip)
    drawn = SecretRandom.unsafe_seeded(seed).normal(clipped.numel()).reshape(clipped.shape)
    noised = clipped + noise * clip * torch.from_numpy(drawn).float()
    start = torch.stack([each.mean for each in scenes])
    found = {
        "none": reconstruct(victim, start, regions, exact, effort),
        "record-dp": reconstruct(victim, start, regions, noised, effort),
        "sum-of-ten": reconstruct(victim, start, regions, exact.sum(0), effort),
    }
    chosen = {
        "none": _nearest(exact, candidates),
        "record-dp": _nearest(noised, seen_clipped),
        "sum-of-ten": _decode(exact.sum(0), candidates),
    }
    results = []
    for place, each in enumerate(scenes):
        results.append(
            {
                protection: {
                    "ssim": similarity(found[protection][place], each.image),
                    "identified": best_match(found[protection][place], each.gallery) == each.index,
                    "gallery": bool(chosen[protection][place] == each.index),
                }
                for protection in PROTECTIONS
            }
            | {"prior": {"ssim": similarity(each.mean, each.image)}}
        )
    return results, {"truth": images, **found}


def reconstruct(victim: Victim, start: Tensor, regions: Tensor, seen: Tensor, effort: Effort) -> Tensor:
    """Images whose gradients point where those that were seen do.

    Args:
        victim: The network.
        start: (trials, contrasts, *PATCH).
        regions: Of the patients.
        seen: (trials, numbers), or (numbers,) for the sum over all trials.
        effort: How hard to try.
    """
    images = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([images], lr=effort.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, effort.iterations)
    for _ in range(effort.iterations):
        found = victim.gradients(images, regions)
        shown = found if seen.ndim == 2 else found.sum(0)
        distance = (1 - torch.nn.functional.cosine_similarity(shown, seen, dim=-1)).sum()
        variation = sum(images.diff(dim=axis).abs().mean() for axis in (2, 3, 4)) * len(images)
        optimiser.zero_grad()
        (distance + effort.variation * variation).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            images.clamp_(-8, 8)
    return images.detach()


def _clip(gradients: Tensor, norm: float) -> Tensor:
    clipped: Tensor = gradients * (norm / gradients.norm(dim=-1, keepdim=True).clamp(min=norm))
    return clipped


def _nearest(seen: Tensor, candidates: Tensor) -> list[int]:
    """For each trial the candidate of largest likelihood under Gaussian noise."""
    return [int((each[None] - others).norm(dim=1).argmin()) for each, others in zip(seen, candidates, strict=True)]


def _decode(total: Tensor, candidates: Tensor, sweeps: int = 10) -> list[int]:
    """One candidate for each patient of a sum, one patient at a time, the others as guessed so far."""
    guesses = list(candidates.mean(1))
    chosen = [-1] * len(guesses)
    for _ in range(sweeps):
        before = list(chosen)
        for place, others in enumerate(candidates):
            rest = total - torch.stack([each for other, each in enumerate(guesses) if other != place]).sum(0)
            chosen[place] = int((rest[None] - others).norm(dim=1).argmin())
            guesses[place] = others[chosen[place]]
        if chosen == before:
            break
    return chosen
