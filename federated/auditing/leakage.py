"""What the model gives away of its patients: images from an update, and who was trained on.

Gradient inversion (Geiping et al. 2020, arXiv:2003.14053): the attacker has the gradient of one optimiser step on one
patient's patch, the weights, the patient's labels, the place in the head and what other heads look like there. It looks
for an image whose gradient points the same way, with a total-variation prior, from the mean of other heads. A trial is
a success if the reconstruction has a structural similarity of at least SSIM_THRESHOLD to the patch and correlates
better with it than with 99 others: the same place in other heads, and where those are fewer, places nearby in them.
Trials are of one step without noise unless settings say so: what leaves a hospital is a sum of steps, and is noised and
masked, so this is the worst case. An audit of few trials cannot show that a rate is small: see Proportion.

Membership inference: the loss of a case on its own (Yeom et al. 2018, arXiv:1709.01604), and where shadow models are
given, the likelihood ratio of its confidence with and without it in their training (LiRA; Carlini et al. 2022,
arXiv:2112.03570).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch

from federated.auditing.audited_model import AuditedModel, chosen_cases, ignore
from federated.auditing.proportion import Outcome, Proportion, judge_share, proportion
from federated.cases import Example
from federated.errors import EvaluationError
from federated.losses import region_loss
from federated.metrics import region_masks
from federated.model_file import Model
from federated.models import build_network
from federated.ports import Progress
from federated.quantum import state_vectors
from federated.quantum.circuit import Circuit
from federated.quantum.layer import QuantumLayer

Tensor = torch.Tensor
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Visible = Literal["all", "head"]
SSIM_THRESHOLD: Final = 0.5
OTHERS: Final = 99
LEAST_HEADS: Final = 8
SSIM_WINDOW: Final = 5
LARGEST: Final = 8.0
"""Brightness that the preprocessing clips to: no reconstruction goes beyond."""
FALSE_POSITIVES: Final = 0.01
LEAST_SPREAD: Final = 1e-3
RESAMPLES: Final = 2000


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


@dataclass(frozen=True)
class Shadow:
    """A model that the attacker has trained like the audited one, on other draws of the same patients.

    Attributes:
        members: Names of the cases it was trained on.
    """

    model: Model
    members: frozenset[str]


@dataclass(frozen=True)
class Rates:
    """How well a score tells members from others.

    Attributes:
        true_positives: Members found at the threshold that allows FALSE_POSITIVES of the others, counted.
        false_positives: Others above that threshold.
        auc: Area under the ROC; 0.5 is chance. auc_low, auc_high: bootstrap over members and others.
        rate_low, rate_high: Bootstrap of the true-positive rate, the threshold drawn anew each time.
    """

    true_positives: Proportion
    false_positives: Proportion
    auc: float
    auc_low: float
    auc_high: float
    rate_low: float
    rate_high: float


@dataclass(frozen=True)
class MembershipReport:
    """Who was trained on, as attacks tell it.

    Attributes:
        members, others: Cases trained on and not.
        resolved: Whether the others are enough to see FALSE_POSITIVES at all: at least 1 / FALSE_POSITIVES.
        loss_gap: Mean loss of the others less that of the members.
        by_loss: Yeom's attack.
        by_shadows: LiRA, where shadow models were given.
        shadows: How many.
    """

    members: int
    others: int
    resolved: bool
    loss_gap: float
    by_loss: Rates
    by_shadows: Rates | None
    shadows: int

    def judge(self, limit: float) -> Outcome:
        """Whether the stronger attack's true-positive rate at FALSE_POSITIVES is at most a limit."""
        attacks = [self.by_loss] if self.by_shadows is None else [self.by_loss, self.by_shadows]
        outcomes = [judge_share(each.true_positives, limit) for each in attacks]
        if not self.resolved:
            return "insufficient-evidence"
        if "failed" in outcomes:
            return "failed"
        return "passed" if all(each == "passed" for each in outcomes) else "insufficient-evidence"


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


def membership_inference(
    model: AuditedModel,
    members: Sequence[Example],
    others: Sequence[Example],
    *,
    shadows: Sequence[Shadow] = (),
    limit: int | None = None,
    seed: int = 0,
    progress: Progress = ignore,
) -> MembershipReport:
    """Try to tell training cases from others.

    Args:
        model: The audited model.
        members: Cases that it was trained on.
        others: Cases of the same kind that it was not trained on.
        shadows: For LiRA: each case must be in and out of at least two of them.
        limit: Most cases of each kind.
        seed: Of the intervals.
        progress: Takes the finished fraction.

    Raises:
        EvaluationError: A kind has no case, a case is in both, or shadows do not fit.
    """
    inside, outside = chosen_cases(members, limit), chosen_cases(others, limit)
    cases = [*inside, *outside]
    names = [each.name for each in cases]
    if {each.name for each in inside} & {each.name for each in outside}:
        raise EvaluationError("Expected cases that were either trained on or not; a name is among both.")
    is_in = np.array([[name in each.members for name in names] for each in shadows], bool).reshape(-1, len(names))
    if shadows and (is_in.sum(0).min() < 2 or (~is_in).sum(0).min() < 2):
        raise EvaluationError("Expected each case to be in and out of the training of at least two shadow models each.")
    total = (1 + len(shadows)) * len(cases)

    def report(done: int) -> None:
        progress(done / total)

    losses = case_losses(model.network, model.model.network.stride, cases, report)
    of_shadows: list[Floats] = []
    for shadow in shadows:
        before = len(cases) * (1 + len(of_shadows))
        network = _network(shadow.model)
        of_shadows.append(case_losses(network, shadow.model.network.stride, cases, partial(_report, report, before)))
    is_member = np.arange(len(cases)) < len(inside)
    rng = np.random.default_rng(seed)
    by_shadows = None
    if of_shadows:
        score = likelihood_ratios(logit_confidence(losses), logit_confidence(np.stack(of_shadows)), is_in)
        by_shadows = attack_rates(score, is_member, rng)
    return MembershipReport(
        members=len(inside),
        others=len(outside),
        resolved=len(outside) >= round(1 / FALSE_POSITIVES),
        loss_gap=float(losses[~is_member].mean() - losses[is_member].mean()),
        by_loss=attack_rates(-losses, is_member, rng),
        by_shadows=by_shadows,
        shadows=len(shadows),
    )


def _report(report: Callable[[int], None], before: int, done: int) -> None:
    report(before + done)


def case_losses(
    network: torch.nn.Module, stride: int, cases: Sequence[Example], report: Callable[[int], None]
) -> Floats:
    """The training's loss of each whole case, float64 (cases,)."""
    from federated.inference import run_network

    losses = []
    for done, case in enumerate(cases, start=1):
        regions = torch.from_numpy(np.stack(list(region_masks(case.labels).values()))).float()
        with torch.inference_mode():
            logits = run_network(network, torch.from_numpy(case.model_input.channels), stride)
            losses.append(float(region_loss(logits[None], regions[None])))
        report(done)
    return np.array(losses)


def logit_confidence(losses: Floats) -> Floats:
    """log(p / (1 - p)) with p = exp(-loss): about normal over trainings, as LiRA wants it."""
    losses = losses.clip(1e-12)
    confidence: Floats = -losses - np.log(-np.expm1(-losses))
    return confidence


def likelihood_ratios(target: Floats, shadows: Floats, is_in: Bools) -> Floats:
    """LiRA's score of each case: log-likelihood of the target's confidence if it was trained on, less that if not.

    Args:
        target: Confidences of the target, (cases,).
        shadows: Of the shadow models, (shadows, cases).
        is_in: Which of them were trained on the case.
    """
    return np.array(
        [
            _log_density(value, seen[inside]) - _log_density(value, seen[~inside])
            for value, seen, inside in zip(target, shadows.T, is_in.T, strict=True)
        ]
    )


def attack_rates(score: Floats, is_member: Bools, rng: np.random.Generator) -> Rates:
    """True positives at FALSE_POSITIVES, and the area under the ROC; members are called where the score is high."""
    inside, outside = score[is_member], score[~is_member]
    found = inside > _threshold(outside)
    resampled = [
        (float((drawn > _threshold(against)).mean()), _area(drawn, against))
        for drawn, against in (
            (rng.choice(inside, len(inside)), rng.choice(outside, len(outside))) for _ in range(RESAMPLES)
        )
    ]
    (rate_low, auc_low), (rate_high, auc_high) = np.quantile(resampled, [0.025, 0.975], axis=0)
    return Rates(
        true_positives=proportion(int(found.sum()), len(inside)),
        false_positives=proportion(int((outside > _threshold(outside)).sum()), len(outside)),
        auc=_area(inside, outside),
        auc_low=float(auc_low),
        auc_high=float(auc_high),
        rate_low=float(rate_low),
        rate_high=float(rate_high),
    )


def _threshold(outside: Floats) -> float:
    """The lowest one that lets no more than FALSE_POSITIVES of the others pass."""
    ordered = np.sort(outside)
    return float(ordered[len(ordered) - 1 - int(FALSE_POSITIVES * len(ordered))])


def _area(inside: Floats, outside: Floats) -> float:
    ordered = np.sort(outside)
    ranks = np.searchsorted(ordered, inside, "left") + np.searchsorted(ordered, inside, "right")
    return float(ranks.mean() / 2 / len(ordered))


def _log_density(value: float, sample: Floats) -> float:
    spread = max(float(sample.std(ddof=1)), LEAST_SPREAD)
    return -((value - float(sample.mean())) ** 2) / (2 * spread**2) - math.log(spread)


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


class _TwiceDifferentiable:
    """The circuits' backend of the attacker, who needs derivatives of gradients: gate by gate, in torch."""

    def expectations(self, circuit: Circuit, angles: Tensor, weights: Tensor) -> Tensor:
        """See federated.quantum.ports.Backend."""
        return state_vectors.evolve(circuit, angles.T, weights).T


class _Victim:
    """The network whose updates are seen."""

    def __init__(self, model: AuditedModel, visible: Visible) -> None:
        self._network = _network(model.model)
        for module in self._network.modules():
            if isinstance(module, QuantumLayer):
                module.backend = _TwiceDifferentiable()
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


def _network(model: Model) -> torch.nn.Module:
    network = build_network(model.network).eval()
    network.load_state_dict({name: tensor.float() for name, tensor in model.weights.items()})
    return network


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
