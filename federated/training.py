"""Train a segmenter: the loop, its settings, and what it tells while it runs.

The same settings, cases, machine and number of threads give the same weights, bit for bit, also when the run was killed
and went on from a checkpoint.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Final, Literal

import torch
from safetensors.torch import save

from federated.augmentation import Batch, Randomness, augment, plain
from federated.checkpoints import CheckpointFolder
from federated.errors import DivergedError, TrainingDataError, TrainingSettingsError
from federated.guidance import Guide
from federated.losses import region_loss
from federated.models import NetworkConfig, describe_network
from federated.numerics import autocast, reproducible
from federated.sampling import Pool, Split
from federated.training_settings import TrainingSettings
from federated.training_state import TrainingState
from federated.validation import LabelledInput, Validation, to_device, validate

__all__ = ["Event", "Report", "Started", "Stepped", "Trained", "TrainingSettings", "Validated", "quiet", "train"]

Tensor = torch.Tensor

WARM_UP_STEPS: Final = 20
MAX_GRADIENT_NORM: Final = 1.0


@dataclass(frozen=True)
class Started:
    """The run begins, or goes on after a step.

    Attributes:
        step: Steps that are done already.
        parameters: Weights of the network that learn.
    """

    step: int
    steps: int
    parameters: int
    precision: str
    threads: int


@dataclass(frozen=True)
class Stepped:
    """One optimiser step is done.

    Attributes:
        step: From 1.
        seconds: Time of training so far, that before a resume included.
    """

    step: int
    steps: int
    loss: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class Validated:
    """The averaged weights were measured on the held-out cases.

    Attributes:
        is_best: Whether no earlier score of the run is higher.
    """

    step: int
    validation: Validation
    is_best: bool


Event = Started | Stepped | Validated
Report = Callable[[Event], None]


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network.

    Attributes:
        weights: The averaged weights, float32 on the CPU: the best on the held-out cases, without such the last.
        steps: That were done.
        best_step: Of the weights.
        losses: Of each step.
        validations: By step.
        seconds: Of the whole run.
    """

    weights: Mapping[str, Tensor]
    steps: int
    best_step: int
    losses: Sequence[float]
    validations: Mapping[int, Validation]
    seconds: float
    precision: Literal["float32", "bfloat16"]
    threads: int


def quiet(_event: Event) -> None:
    """Report nothing."""


def train(
    split: Split,
    network_config: NetworkConfig,
    settings: TrainingSettings,
    device: torch.device,
    report: Report = quiet,
    checkpoints: CheckpointFolder | None = None,
    initial: Mapping[str, Tensor] | None = None,
    guide: Guide | None = None,
) -> Trained:
    """Train a network from scratch, or from the last checkpoint.

    Args:
        split: The cases.
        network_config: What to train.
        settings: How.
        device: Where.
        report: Called between two steps. An exception from it, as Ctrl-C gives, ends the run after a checkpoint.
        checkpoints: Where the state is kept; without, nothing is written.
        initial: Weights to start from, as of a released model; fresh ones unless given.
        guide: What a federated strategy adds; of this call alone.

    Raises:
        TrainingDataError: There is no case, or a held-out one does not fit the network.
        TrainingSettingsError: The patch does not fit the network, or the initial weights do not.
        CheckpointError: The checkpoints are damaged, of another run, or cannot be written.
        DivergedError: The loss or a gradient is not finite.
    """
    _check(split, network_config, settings)
    guide = guide or Guide()
    run = _run_digest(split, network_config, settings, device, initial, guide) if checkpoints else ""
    found = checkpoints.latest(run) if checkpoints else None
    threads = int(found.record["threads"]) if found else settings.threads or torch.get_num_threads()
    with reproducible(settings.seed, threads, device):
        state = TrainingState(network_config, settings, device, guide)
        if initial is not None:
            state.start_from(initial)
        if found:
            state.restore(found)
        return _run(state, split, settings, threads, report, _Keeper(checkpoints, run, threads))


class _Keeper:
    """Writes checkpoints, where they are wanted."""

    def __init__(self, folder: CheckpointFolder | None, run: str, threads: int) -> None:
        self._folder, self._run, self._threads = folder, run, threads

    def keep(self, state: TrainingState, *, now: bool = False) -> None:
        if self._folder and (now or self._folder.is_due):
            self._folder.save(state.checkpoint(self._run, self._threads))


def _run(
    state: TrainingState, split: Split, settings: TrainingSettings, threads: int, report: Report, keeper: _Keeper
) -> Trained:
    pool = Pool(split, settings.patch, state.device, synthetic_share=settings.synthetic_share, crops=settings.crops)
    held_out = to_device(split.validation, state.device)
    parameters = sum(weight.numel() for weight in state.learning)

    def tell(*events: Event) -> None:
        try:
            for event in events:
                report(event)
        except BaseException:
            keeper.keep(state, now=True)
            raise

    tell(Started(state.step, settings.steps, parameters, state.precision, threads))
    while state.step < settings.steps and not _is_stale(state, settings):
        events = _advance(state, pool, held_out, settings)
        keeper.keep(state)
        tell(*events)
    keeper.keep(state, now=True)
    best = state.best or state.averaged()
    return Trained(
        weights={name: tensor.float().cpu().contiguous() for name, tensor in best.items()},
        steps=state.step,
        best_step=state.best_step or state.step,
        losses=tuple(state.losses),
        validations=dict(state.validations),
        seconds=state.seconds,
        precision=state.precision,
        threads=threads,
    )


def _advance(
    state: TrainingState, pool: Pool, held_out: Sequence[LabelledInput], settings: TrainingSettings
) -> Sequence[Event]:
    """One step, with its validation where one is due."""
    started = time.monotonic()
    rate = _set_learning_rate(state, settings)
    loss = _step(state, pool, settings)
    state.losses.append(loss)
    validated = []
    if held_out and (state.step % settings.validate_every == 0 or state.step == settings.steps):
        validated.append(_validate(state, held_out))
    state.seconds += time.monotonic() - started
    return [Stepped(state.step, settings.steps, loss, rate, state.seconds), *validated]


def _step(state: TrainingState, pool: Pool, settings: TrainingSettings) -> float:
    batch = _batch(pool, settings, state.rng)
    channels = batch.channels().contiguous(memory_format=torch.channels_last_3d)
    state.optimiser.zero_grad(set_to_none=True)
    with autocast(state.precision, state.device):
        logits = state.network(channels)
    loss = region_loss(logits, batch.regions())
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(state.learning, MAX_GRADIENT_NORM)
    found, steepness = torch.stack([loss.detach(), norm]).tolist()
    if not math.isfinite(found) or not math.isfinite(steepness):
        raise DivergedError(
            f"Step {state.step + 1}: expected a finite loss and gradient, got {found:g} and {steepness:g}; "
            "train with a lower learning rate."
        )
    state.guide.adjust(state.named)
    state.optimiser.step()
    state.average.update_parameters(state.network)
    return float(found)


def _batch(pool: Pool, settings: TrainingSettings, rng: Randomness) -> Batch:
    if settings.augmentation is None:
        return plain(pool.draw(settings.batch, rng)[0])
    # A lone case needs another one whose tumour it can receive.
    drawn, centres = pool.draw(max(settings.batch, 2), rng)
    varied = augment(drawn, settings.augmentation, rng, settings.patch, centres)
    kept = slice(settings.batch)
    return Batch(varied.images[kept], varied.depth[kept], varied.present[kept])


def _validate(state: TrainingState, held_out: Sequence[LabelledInput]) -> Validated:
    found = validate(state.average.module, held_out, state.precision)
    is_best = all(found.score > earlier.score for earlier in state.validations.values())
    state.validations[state.step] = found
    if is_best:
        state.best, state.best_step = state.averaged(), state.step
    return Validated(state.step, found, is_best)


def _is_stale(state: TrainingState, settings: TrainingSettings) -> bool:
    """Whether the last `patience` validations brought nothing better."""
    since_best = sum(step > state.best_step for step in state.validations)
    return settings.patience is not None and since_best >= settings.patience


def _set_learning_rate(state: TrainingState, settings: TrainingSettings) -> float:
    """Linear warm-up, then a cosine to 0; of the whole run, where this training is a part of one."""
    before, steps = state.guide.place(state.step, settings.steps)
    warm = min(1.0, (before + 1) / WARM_UP_STEPS)
    rate = settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * (before / steps)))
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    return rate


def _check(split: Split, network_config: NetworkConfig, settings: TrainingSettings) -> None:
    stride = network_config.stride
    if any(length % stride for length in settings.patch):
        raise TrainingSettingsError(
            f"Expected a patch in multiples of the network's stride, {stride}, got {settings.patch}."
        )
    if settings.crops and settings.augmentation is None:
        raise TrainingSettingsError("Random crops are a part of the augmentation: expected one, got none.")
    for example in split.validation:
        if any(length % stride for length in example.labels.shape):
            raise TrainingDataError(
                f"{example.name}: expected a grid in multiples of the network's stride, {stride}, got "
                f"{example.labels.shape}; preprocess it with this stride."
            )


def _run_digest(
    split: Split,
    network_config: NetworkConfig,
    settings: TrainingSettings,
    device: torch.device,
    initial: Mapping[str, Tensor] | None,
    guide: Guide,
) -> str:
    """What must be the same for a run to go on; the number of threads is taken from the checkpoint."""
    chosen = {each.name: getattr(settings, each.name) for each in fields(settings) if each.name != "threads"}
    chosen["augmentation"] = asdict(settings.augmentation) if settings.augmentation else None
    identity = {
        "settings": chosen,
        "network": describe_network(network_config),
        "data": split.digest(),
        "device": device.type,
        "torch": torch.__version__,
    }
    if initial is not None:
        identity["initial"] = hashlib.sha256(
            save({name: each.contiguous() for name, each in initial.items()})
        ).hexdigest()
    if guided := guide.describe():
        identity["guide"] = guided
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
