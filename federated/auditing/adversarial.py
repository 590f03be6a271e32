"""How much Dice a small, deliberate change costs: of the input images, and of the angles that enter the circuits.

Two attacks with the largest change of any number bounded by epsilon:

    fgsm    one step along the gradient's sign; Goodfellow et al. (2015), arXiv:1412.6572
    pgd     several smaller steps from a random start, cut back to the bound; Madry et al. (2018), arXiv:1706.06083

and their control, random signs of the same size, which is the most noise that the bound allows. Images are changed in
units of their scaled brightness (standard deviations inside the head), inside the head only, and stay within the clip
of the preprocessing; flags stay. Angles are changed where they enter each quantum layer, all layers at once, radian;
the gradient comes back through the fused layer. In a classical twin the same place is the squashed feature, from -1 to
1, which the circuit would have had as pi/2 (1 + x): its change is epsilon / (pi/2).

The attacker knows the model and the labels, and raises the training's loss. The answer is one look, without the
mirrored inputs whose answers the running model averages. Without a gradient (a saturated network) an attack is no
stronger than its control, which is why both stand beside each other.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch

from federated.auditing.audited_model import AuditedModel, chosen_cases, ignore
from federated.cases import Example
from federated.errors import EvaluationError
from federated.inference import AT_ONCE
from federated.losses import region_loss
from federated.metrics import dice_of_masks, region_masks
from federated.ports import Progress
from federated.quantum.slot import Slot
from federated.statistics import mean_interval

Tensor = torch.Tensor
Target = Literal["image", "angles"]
Method = Literal["random", "fgsm", "pgd"]
SQUASHED: Final = 2 / math.pi
"""A classical slot's input for a radian of a circuit's."""


@dataclass(frozen=True)
class AttackSettings:
    """How hard the attacker tries.

    Attributes:
        image_epsilons: In standard deviations of the brightness inside the head; every one is tried by fgsm, the last
            by pgd as well. None are needed.
        angle_epsilons: Radian, likewise.
        steps: Of pgd.
        patch: (slices, rows, columns) about the tumour's middle, multiples of the network's stride, that is attacked
            instead of the whole head: instance norm then sees the patch only. None for the whole head.
        seed: Of random starts and controls.

    Raises:
        EvaluationError: A number is out of range.
    """

    image_epsilons: tuple[float, ...] = (0.05, 0.1, 0.2)
    angle_epsilons: tuple[float, ...] = (0.05, 0.1, 0.2)
    steps: int = 3
    patch: tuple[int, int, int] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check each number."""
        for name in ("image_epsilons", "angle_epsilons"):
            if not all(0 < epsilon < math.inf for epsilon in getattr(self, name)):
                raise EvaluationError(f"Expected {name} above 0, got {getattr(self, name)}.")
        if self.steps < 1:
            raise EvaluationError(f"Expected at least 1 step, got {self.steps}.")


@dataclass(frozen=True)
class Attack:
    """One way to change the cases, over all of them.

    Attributes:
        target: What is changed.
        method: "random" is the control.
        epsilon: Largest change; see AttackSettings.
        dice: Mean whole-tumour Dice under it.
        drop: Mean loss of Dice against the unchanged cases; low and high are its bootstrap interval over cases.
        largest_drop: Of a case.
    """

    target: Target
    method: Method
    epsilon: float
    dice: float
    drop: float
    drop_low: float
    drop_high: float
    largest_drop: float


@dataclass(frozen=True)
class Attacked:
    """One network.

    Attributes:
        kinds: What its slots hold, by the names of their modules.
        clean: Mean whole-tumour Dice of the unchanged cases.
        attacks: In the order of target, method and epsilon.
    """

    kinds: Mapping[str, str]
    clean: float
    attacks: tuple[Attack, ...]

    @property
    def worst_drop(self) -> float:
        """Largest mean loss of Dice under any of the changes; 0 where none was tried."""
        return max((each.drop for each in self.attacks), default=0.0)


@dataclass(frozen=True)
class AdversarialReport:
    """What was attacked, and how it went.

    Attributes:
        cases: How many.
        patch: See AttackSettings.
        steps: Of pgd.
        model: The audited model.
        twin: Its classical twin on the same cases, where one is given.
    """

    cases: int
    patch: tuple[int, int, int] | None
    steps: int
    model: Attacked
    twin: Attacked | None


def attack_model(
    model: AuditedModel,
    examples: Sequence[Example],
    *,
    twin: AuditedModel | None = None,
    settings: AttackSettings | None = None,
    limit: int | None = None,
    progress: Progress = ignore,
) -> AdversarialReport:
    """Attack a model on cases.

    Args:
        model: Angles are attacked where it has slots.
        examples: On the model's grid.
        twin: A model on the same grid with other slots.
        settings: AttackSettings() unless given.
        limit: Most cases.
        progress: Takes the finished fraction.

    Raises:
        EvaluationError: There is no case, or the patch does not fit the network.
    """
    chosen, how = chosen_cases(examples, limit), settings or AttackSettings()
    networks = [model] if twin is None else [model, twin]
    total = len(networks) * len(chosen)
    found = []
    for place, network in enumerate(networks):

        def report(done: int, before: int = place * len(chosen)) -> None:
            progress((before + done) / total)

        found.append(_attack(network, chosen, how, report))
    return AdversarialReport(len(chosen), how.patch, how.steps, found[0], found[1] if twin is not None else None)


Key = tuple[Target, Method, float]


def _attack(
    model: AuditedModel, examples: Sequence[Example], settings: AttackSettings, report: Callable[[int], None]
) -> Attacked:
    clean: list[float] = []
    dice: dict[Key, list[float]] = {}
    for place, example in enumerate(examples):
        victim = _Victim(model, example, settings.patch)
        clean.append(victim.dice({}))
        for key, found in _attacks(victim, settings, place):
            dice.setdefault(key, []).append(found)
        report(place + 1)
    before = np.array(clean)
    attacks = []
    for (target, method, epsilon), under in dice.items():
        drops = before - np.array(under)
        interval = mean_interval(drops[None])
        attacks.append(
            Attack(
                target=target,
                method=method,
                epsilon=epsilon,
                dice=float(np.mean(under)),
                drop=float(drops.mean()),
                drop_low=interval.low,
                drop_high=interval.high,
                largest_drop=float(drops.max()),
            )
        )
    kinds = {name: _kind(slot) for name, slot in model.slots()}
    return Attacked(kinds, float(before.mean()), tuple(attacks))


def _attacks(victim: "_Victim", settings: AttackSettings, place: int) -> Iterator[tuple[Key, float]]:
    """Every attack on one case, and its Dice."""
    generator = torch.Generator().manual_seed(settings.seed * 100_003 + place)
    clean = victim.gradients(victim.unchanged())
    wanted: tuple[tuple[Target, tuple[float, ...]], ...] = (
        ("image", settings.image_epsilons),
        ("angles", settings.angle_epsilons if victim.has_slots else ()),
    )
    for target, epsilons in wanted:
        for epsilon in epsilons:
            limits = victim.limits(target, epsilon)
            noise = {name: limit * _signs(clean[name], generator) for name, limit in limits.items()}
            yield (target, "random", epsilon), victim.dice(noise)
            step = {name: limit * clean[name].sign() for name, limit in limits.items()}
            yield (target, "fgsm", epsilon), victim.dice(step)
        if epsilons:
            yield (
                (target, "pgd", epsilons[-1]),
                victim.dice(_ascend(victim, target, epsilons[-1], settings, generator)),
            )


def _ascend(
    victim: "_Victim", target: Target, epsilon: float, settings: AttackSettings, generator: torch.Generator
) -> Mapping[str, Tensor]:
    """Projected gradient ascent on the loss, from a random start inside the bound."""
    limits = victim.limits(target, epsilon)
    start = victim.unchanged()
    changes = {
        name: limit * (2 * torch.rand(start[name].shape, generator=generator) - 1) for name, limit in limits.items()
    }
    # Steps that together reach from one side of the bound to the other, and a quarter further.
    rate = 2.5 / settings.steps
    for _ in range(settings.steps):
        found = victim.gradients(changes)
        changes = {
            name: (change + rate * limits[name] * found[name].sign()).clamp(-limits[name], limits[name])
            for name, change in changes.items()
        }
    return changes


IMAGE: Final = "image"


class _Victim:
    """One case before one network. Changes are by place: IMAGE, or the name of a slot's module."""

    def __init__(self, model: AuditedModel, example: Example, patch: tuple[int, int, int] | None) -> None:
        window = _window(example, patch, model.model.network.stride)
        model_input = example.model_input
        if model_input.head[window].size > AT_ONCE:
            raise EvaluationError(f"{example.name}: expected at most {AT_ONCE} voxels; attack a patch of the case.")
        self._model = model
        self._channels = torch.from_numpy(model_input.channels[(slice(None), *window)].copy())
        self._head = torch.from_numpy(model_input.head[window].copy())
        drawn = example.labels[window]
        self._drawn = drawn > 0
        regions = np.stack(list(region_masks(drawn).values()))
        self._regions = torch.from_numpy(regions).float() * self._head
        contrasts = model.contrasts
        # Flags, and contrasts that are absent, are not touched.
        present = self._channels[contrasts:].amax((1, 2, 3), keepdim=True) > 0
        self._touched = (present & self._head).float()
        self._slots = dict(model.slots())
        self._shapes: dict[str, torch.Size] = {IMAGE: self._channels[:contrasts].shape}

    @property
    def has_slots(self) -> bool:
        """Whether there are angles, or what stands for them, to attack."""
        return bool(self._slots)

    def unchanged(self) -> dict[str, Tensor]:
        """No change, at every place."""
        if len(self._shapes) == 1 + len(self._slots):
            return {name: torch.zeros(shape) for name, shape in self._shapes.items()}
        with torch.no_grad(), _hooked(self._slots, self._keep_shape):
            self._model.logits(self._channels)
        return self.unchanged()

    def limits(self, target: Target, epsilon: float) -> dict[str, float]:
        """The largest change at each place of a target."""
        if target == "image":
            return {IMAGE: epsilon}
        return {name: epsilon * (1.0 if slot.is_circuit else SQUASHED) for name, slot in self._slots.items()}

    def gradients(self, changes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of the training's loss by each change."""
        leaves = {name: change.clone().requires_grad_() for name, change in changes.items()}
        with torch.enable_grad():
            logits = self._logits(leaves)
            # What lies outside the head is no part of the answer.
            loss = region_loss((logits * self._head - 30 * ~self._head)[None], self._regions[None])
            found = torch.autograd.grad(loss, list(leaves.values()))
        return dict(zip(leaves, found, strict=True))

    def dice(self, changes: Mapping[str, Tensor]) -> float:
        """Whole-tumour Dice of the decision."""
        with torch.no_grad():
            probabilities = self._model.calibrated(self._logits(changes)) * self._head
        found = self._model.decided(probabilities.numpy())
        return dice_of_masks(found > 0, self._drawn)

    def _logits(self, changes: Mapping[str, Tensor]) -> Tensor:
        channels = self._channels
        if IMAGE in changes:
            contrasts, clip = self._model.contrasts, self._model.model.preprocessing.clip
            images = (channels[:contrasts] + changes[IMAGE] * self._touched).clamp(-clip, clip)
            channels = torch.cat([images, channels[contrasts:]])
        changed = {name: slot for name, slot in self._slots.items() if name in changes}

        def change(name: str, entering: Tensor) -> Tensor:
            return entering + changes[name]

        with _hooked(changed, change):
            return self._model.logits(channels)

    def _keep_shape(self, name: str, entering: Tensor) -> Tensor:
        self._shapes[name] = entering.shape
        return entering


@contextmanager
def _hooked(slots: Mapping[str, Slot], change: Callable[[str, Tensor], Tensor]) -> Iterator[None]:
    """Change what enters the body of each slot: a circuit's angles, or what its control has in their place."""

    def hook(name: str) -> Callable[[torch.nn.Module, Any], tuple[Tensor]]:
        return lambda _module, inputs: (change(name, inputs[0]),)

    handles = [slot.body.register_forward_pre_hook(hook(name)) for name, slot in slots.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    return 2.0 * torch.randint(0, 2, like.shape, generator=generator) - 1


def _kind(slot: Slot) -> str:
    return "circuit" if slot.is_circuit else type(slot.body).__name__


def _window(example: Example, patch: tuple[int, int, int] | None, stride: int) -> tuple[slice, slice, slice]:
    """The patch about the tumour's middle, inside the case; the whole case where it is smaller."""
    shape = example.labels.shape
    if patch is None:
        return slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2])
    # At one feature a channel instance norm has nothing to divide by.
    if any(length % stride or length < 2 * stride for length in patch):
        raise EvaluationError(f"Expected a patch in multiples of {stride}, at least {2 * stride}, got {patch}.")
    where = np.argwhere(example.labels > 0)
    middle = where.mean(0) if len(where) else np.array(shape) / 2
    starts = [
        int(min(max(round(centre - length / 2), 0), max(size - length, 0)))
        for centre, length, size in zip(middle, patch, shape, strict=True)
    ]
    slices, rows, columns = (slice(start, start + length) for start, length in zip(starts, patch, strict=True))
    return slices, rows, columns
