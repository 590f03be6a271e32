"""Images of patients from an update: gradient inversion (Geiping et al. 2020, arXiv:2003.14053).

The attacker has the gradient of one optimiser step on one patient's patch, the weights, the patient's labels, the place
in the head and what other heads look like there. It looks for an image whose gradient points the same way, with a
total-variation prior, from the mean of other heads. A trial is a success if the reconstruction has a structural
similarity of at least SSIM_THRESHOLD to the patch and correlates better with it than with 99 others: the same place in
other heads, and where those are fewer, places nearby in them. Trials are of one step without noise unless settings say
so: what leaves a hospital is a sum of steps, and is noised and masked, so this is the worst case. An audit of few
trials cannot show that a rate is small: see Proportion.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch

from federated.auditing.audited_model import AuditedModel, ignore, plain_network
from federated.auditing.proportion import Proportion, proportion
from federated.cases import Example
from federated.errors import EvaluationError
from federated.losses import region_loss
from federated.metrics import region_masks
from federated.ports import Progress
from federated.quantum import state_vectors
from federated.quantum.circuit import Circuit
from federated.quantum.layer import QuantumLayer

Tensor = torch.Tensor
Floats = npt.NDArray[np.float64]
Visible = Literal["all", "head"]
SSIM_THRESHOLD: Final = 0.5
OTHERS: Final = 99
LEAST_HEADS: Final = 8
SSIM_WINDOW: Final = 5
LARGEST: Final = 8.0
"""Brightness that the preprocessing clips to: no reconstruction goes beyond."""


@dataclass(frozen=True)
class InversionSettings:
    """How hard the attacker tries, and what protects.

    Attributes:
        visible: Gradients of "all" weights, or of the "head" alone, which is what a head-only run sends.
        iterations: Of Adam.
        rate: Its first step; it falls as a cosine.
        variation: Weight of the total variation.
        edge: Of the patch, voxels; None for the smallest that the network takes: two features a side at its deepest.
        noise: Standard deviation of the protection's noise, in multiples of the clipping norm; 0 for no protection.
        clip: The clipping norm; used with noise only.

    Raises:
        EvaluationError: A number is out of range.
    """

    visible: Visible = "all"
    iterations: int = 120
    rate: float = 0.1
    variation: float = 1e-2
    edge: int | None = None
    noise: float = 0.0
    clip: float = 1.0

    def __post_init__(self) -> None:
        """Check each number."""
        if self.visible not in {"all", "head"}:
            raise EvaluationError(f'Expected visible weights "all" or "head", got {self.visible!r}.')
        if self.iterations < 1 or self.rate <= 0 or self.variation < 0 or self.noise < 0 or self.clip <= 0:
            raise EvaluationError(f"Expected iterations, rate and clip above 0 and no negative number, got {self}.")


@dataclass(frozen=True)
class InversionReport:
    """Trials of gradient inversion.

    Attributes:
        success: Similar enough and identified.
        identified: Correlates best with the true patch; 1 % would be chance.
        ssim_median, ssim_highest: Of the reconstructions.
        prior_ssim_median: Of where the attacker starts: what it has without the gradient.
        prior_success: Successes that the start alone would have had.
        heads: Different patients in the gallery.
        edge: Of the patch, voxels.
        visible: Which weights' gradients were seen.
        weights: How many numbers that is.
        noise, clip: Of the protection.
    """

    success: Proportion
    identified: Proportion
    ssim_median: float
    ssim_highest: float
    prior_ssim_median: float
    prior_success: Proportion
    heads: int
    edge: int
    visible: Visible
    weights: int
    noise: float
    clip: float


def inversion_trials(
    model: AuditedModel,
    examples: Sequence[Example],
    *,
    trials: int = 20,
    settings: InversionSettings | None = None,
    seed: int = 0,
    progress: Progress = ignore,
) -> InversionReport:
    """Attack single updates of the model.

    Args:
        model: Whose weights an update would start from.
        examples: Heads, one a patient. Those that lack a contrast or a tumour are left out.
        trials: Each patient in turn, at a place near the middle of the tumour.
        settings: InversionSettings() unless given.
        seed: Of places and noise.
        progress: Takes the finished fraction.

    Raises:
        EvaluationError: Fewer than LEAST_HEADS can be used, or trials are below 1.
    """
    how = settings or InversionSettings()
    if trials < 1:
        raise EvaluationError(f"Expected at least 1 trial, got {trials}.")
    heads = [each for each in examples if _is_whole(each, model.contrasts)]
    if len(heads) < LEAST_HEADS:
        raise EvaluationError(
            f"Expected at least {LEAST_HEADS} heads with all contrasts and a tumour, got {len(heads)} of "
            f"{len(examples)}."
        )
    victim = _Victim(model, how.visible)
    edge = how.edge or 2 * model.model.network.stride
    found = []
    for trial in range(trials):
        found.append(_invert(victim, _scene(heads, model.contrasts, edge, trial, seed), how, seed + trial))
        progress((trial + 1) / trials)
    similar = np.array([[each.ssim, each.prior_ssim] for each in found])
    names = np.array([[each.is_identified, each.is_prior_identified] for each in found], bool)
    success = (similar >= SSIM_THRESHOLD) & names
    return InversionReport(
        success=proportion(int(success[:, 0].sum()), trials),
        identified=proportion(int(names[:, 0].sum()), trials),
        ssim_median=float(np.median(similar[:, 0])),
        ssim_highest=float(similar[:, 0].max()),
        prior_ssim_median=float(np.median(similar[:, 1])),
        prior_success=proportion(int(success[:, 1].sum()), trials),
        heads=len(heads),
        edge=edge,
        visible=how.visible,
        weights=victim.weights,
        noise=how.noise,
        clip=how.clip,
    )


def parse_stored_trials(document: Mapping[str, Any], *, protection: str = "none") -> Proportion:
    """Successes of stored trials, as `python -m benchmarks.privacy_attacks` writes them.

    They are of the network, the patch and the effort that the document names, not of the audited model's weights: say
    so where they are used.

    Args:
        document: Read from JSON.
        protection: "none", "record-dp" or "sum-of-ten".

    Raises:
        EvaluationError: It is no such document.
    """
    try:
        success = document["inversion"][protection]["success"]
        count, of = success["count"], success["of"]
    except (KeyError, TypeError) as fault:
        raise EvaluationError(
            f"Expected stored trials with inversion, {protection}, success, count and of; {fault} is missing."
        ) from fault
    if not all(isinstance(number, int) and not isinstance(number, bool) for number in (count, of)):
        raise EvaluationError(f"Expected whole numbers of successes and trials, got {count!r} and {of!r}.")
    return proportion(count, of)


@dataclass(frozen=True, eq=False)
class _Scene:
    """One trial: (contrasts, edge, edge, edge) of the patient, of 99 others, and the attacker's start."""

    image: Tensor
    regions: Tensor
    gallery: Tensor
    start: Tensor


@dataclass(frozen=True)
class _Trial:
    ssim: float
    is_identified: bool
    prior_ssim: float
    is_prior_identified: bool


class TwiceDifferentiable:
    """The circuits' backend of the attacker, who needs derivatives of gradients: gate by gate, in torch."""

    def expectations(self, circuit: Circuit, angles: Tensor, weights: Tensor) -> Tensor:
        """See federated.quantum.ports.Backend."""
        return state_vectors.evolve(circuit, angles.T, weights).T


class _Victim:
    """The network whose updates are seen."""

    def __init__(self, model: AuditedModel, visible: Visible) -> None:
        self._network = plain_network(model.model)
        for module in self._network.modules():
            if isinstance(module, QuantumLayer):
                module.backend = TwiceDifferentiable()
        names = [name for name, _ in self._network.named_parameters()]
        is_seen = {name: visible == "all" or name.split(".", 1)[0] == "head" for name in names}
        self._seen = [each for name, each in self._network.named_parameters() if is_seen[name]]
        if not self._seen:
            raise EvaluationError('Expected a network with a part named "head"; this one has none.')
        for name, each in self._network.named_parameters():
            each.requires_grad_(is_seen[name])

    @property
    def weights(self) -> int:
        """How many numbers an update has."""
        return sum(each.numel() for each in self._seen)

    def gradient(self, image: Tensor, regions: Tensor, *, again: bool = False) -> Tensor:
        """Of the training's loss by the visible weights, (numbers,).

        Args:
            image: (contrasts, ...), all contrasts present.
            regions: (regions, ...).
            again: Whether the answer is to be differentiated itself.
        """
        channels = torch.cat([image, torch.ones_like(image)])
        loss = region_loss(self._network(channels[None]), regions[None])
        found = torch.autograd.grad(loss, self._seen, create_graph=again)
        return torch.cat([each.flatten() for each in found])


def _is_whole(example: Example, contrasts: int) -> bool:
    return bool(example.model_input.channels[contrasts:].any((1, 2, 3)).all() and example.labels.any())


def _scene(examples: Sequence[Example], contrasts: int, edge: int, trial: int, seed: int) -> _Scene:
    """The trial of this number: each patient in turn, a patch near the middle of the tumour."""
    index = trial % len(examples)
    rng = np.random.default_rng([seed, 8, trial])
    patient, others = examples[index], [each for place, each in enumerate(examples) if place != index]
    # Places are told from the middle of the head's grid: heads are not of one size.
    middle = np.argwhere(patient.labels > 0).mean(0) + rng.integers(-edge // 4, edge // 4 + 1, 3)
    place = middle - np.array(patient.labels.shape) / 2
    mine = _patch(patient, place, edge)
    image = torch.from_numpy(patient.model_input.channels[(slice(0, contrasts), *mine)].copy())
    regions = torch.from_numpy(np.stack(list(region_masks(patient.labels[mine]).values()))).float()
    # Every third of the others is what the attacker knows of heads, the rest is what it could take for the patient.
    known, unknown = others[::3], [each for number, each in enumerate(others) if number % 3]
    gallery = [_cut(each, place, edge, contrasts) for each in unknown][:OTHERS]
    while len(gallery) < OTHERS:
        shift = rng.integers(-edge, edge + 1, 3)
        gallery.append(_cut(unknown[len(gallery) % len(unknown)], place + shift, edge, contrasts))
    start = np.mean([_cut(each, place, edge, contrasts) for each in known], axis=0, dtype=np.float32)
    return _Scene(image, regions, torch.from_numpy(np.stack(gallery)), torch.from_numpy(start))


def _patch(example: Example, place: Floats, edge: int) -> tuple[slice, slice, slice]:
    shape = example.labels.shape
    if min(shape) < edge:
        raise EvaluationError(f"{example.name}: expected a head of at least {edge} voxels a side, got {shape}.")
    starts = [
        int(min(max(round(size / 2 + offset - edge / 2), 0), size - edge))
        for size, offset in zip(shape, place, strict=True)
    ]
    slices, rows, columns = (slice(start, start + edge) for start in starts)
    return slices, rows, columns


def _cut(example: Example, place: Floats, edge: int, contrasts: int) -> npt.NDArray[np.float32]:
    return example.model_input.channels[(slice(0, contrasts), *_patch(example, place, edge))]


def _invert(victim: _Victim, scene: _Scene, settings: InversionSettings, seed: int) -> _Trial:
    seen = victim.gradient(scene.image, scene.regions)
    if settings.noise:
        drawn = torch.randn(seen.shape, generator=torch.Generator().manual_seed(seed))
        seen = seen * (settings.clip / seen.norm().clamp(min=settings.clip)) + settings.noise * settings.clip * drawn

    def sent(image: Tensor) -> Tensor:
        return victim.gradient(image, scene.regions, again=True)

    found = reconstruct(sent, scene.start, seen, settings)
    candidates = torch.cat([scene.image[None], scene.gallery])
    return _Trial(
        ssim=similarity(found, scene.image),
        is_identified=best_match(found, candidates) == 0,
        prior_ssim=similarity(scene.start, scene.image),
        is_prior_identified=best_match(scene.start, candidates) == 0,
    )


def reconstruct(
    gradient: Callable[[Tensor], Tensor], start: Tensor, seen: Tensor, settings: InversionSettings
) -> Tensor:
    """The image whose gradient points where the one that was seen does, as far as the settings find it.

    Args:
        gradient: What an image (contrasts, ...) would have sent; differentiable.
        start: Where to begin.
        seen: What was sent.
        settings: How hard to try.
    """
    image = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([image], lr=settings.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.iterations)
    for _ in range(settings.iterations):
        distance = 1 - torch.nn.functional.cosine_similarity(gradient(image), seen, dim=0)
        variation = torch.stack([image.diff(dim=axis).abs().mean() for axis in (1, 2, 3)]).sum()
        (image.grad,) = torch.autograd.grad(distance + settings.variation * variation, image)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            image.clamp_(-LARGEST, LARGEST)
    return image.detach()


def similarity(found: Tensor, truth: Tensor) -> float:
    """Structural similarity of a patch, mean over voxels and contrasts; each contrast on the true one's range.

    References:
        Wang et al. (2004), doi:10.1109/TIP.2003.819861.
    """
    # MONAI takes longer to import than everything else together.
    from monai.metrics.regression import compute_ssim_and_cs

    low = truth.amin((1, 2, 3), keepdim=True)
    span = (truth.amax((1, 2, 3), keepdim=True) - low).clamp(min=1e-6)
    first, second = ((each - low) / span for each in (found, truth))
    values, _ = compute_ssim_and_cs(
        first[None], second[None], 3, (SSIM_WINDOW,) * 3, (1.5,) * 3, kernel_type="uniform", data_range=1.0
    )
    return float(values.mean())


def best_match(found: Tensor, candidates: Tensor) -> int:
    """Index of the patch that correlates best, mean over contrasts: brightness and scale do not matter."""
    return int((_standardised(candidates) * _standardised(found[None])).mean((1, 2)).argmax())


def _standardised(images: Tensor) -> Tensor:
    flat = images.flatten(2)
    centred = flat - flat.mean(2, keepdim=True)
    return centred / centred.std(2, correction=0, keepdim=True).clamp(min=1e-6)
