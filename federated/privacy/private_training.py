"""Train so that the weights tell little about any one patient: DP-SGD (Abadi et al. 2016, arXiv:1607.00133).

Each step draws every patient independently with the same chance (Poisson sampling), clips each one's gradient, adds
Gaussian noise to the sum and divides by the expected number of patients, also when nobody was drawn. What follows, the
optimiser, a strategy's pull, looks at noised sums only and costs nothing.

What leaves is the weights after the last step; losses are not told, for they are not noised. A run that was killed goes
on from its checkpoint: it draws the same patients and the same noise again, from a secret on the disk that is bound to
the run's data, weights and settings, so that no two noised sums of one step ever exist. All steps are accounted for,
whether they were done once or twice.
"""

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import save

from federated.checkpoints import Checkpoint, CheckpointFolder
from federated.errors import (
    CheckpointError,
    PrivacySettingsError,
    TrainingSettingsError,
)
from federated.guidance import Guide
from federated.models import NetworkConfig, describe_network
from federated.numerics import reproducible
from federated.privacy.accounting import Release, epsilon
from federated.privacy.budget import check_promise, cost_of_training
from federated.privacy.noised_steps import NoisedSteps
from federated.privacy.private_state import PrivateState
from federated.privacy.randomness import SecretRandom
from federated.rounds.terms import Privacy
from federated.sampling import Pool, Split
from federated.training import WARM_UP_STEPS, Event, Report, Started, Stepped, quiet
from federated.training_settings import TrainingSettings

Tensor = torch.Tensor

KEY_FILE: Final = "noise.key"


@dataclass(frozen=True, eq=False)
class PrivatelyTrained:
    """A network after private training.

    Attributes:
        weights: All of the network's, float32 on the CPU, after the last step.
        release: The mechanism: what the accountant was asked about.
        epsilon: What it costs each patient, at delta.
        seconds: Of the whole run. How long it took tells how many patients were drawn in all.
    """

    weights: Mapping[str, Tensor]
    release: Release
    epsilon: float
    delta: float
    steps: int
    seconds: float
    threads: int


def train_privately(
    split: Split,
    network_config: NetworkConfig,
    settings: TrainingSettings,
    privacy: Privacy,
    device: torch.device,
    report: Report = quiet,
    checkpoints: Path | None = None,
    initial: Mapping[str, Tensor] | None = None,
    guide: Guide | None = None,
    *,
    secret: SecretRandom | None = None,
) -> PrivatelyTrained:
    """Train a network with DP-SGD, or go on from the last checkpoint.

    Args:
        split: Its real and synthetic cases, each a patient; held-out cases are not looked at.
        network_config: What to train.
        settings: How; batch is the expected number of patients a step. Precision is float32; transplants between
            patients, crops, averaging, validation and early stops are not used.
        privacy: Noise, clipping norm, delta, and the epsilon that the training may cost.
        device: Where.
        report: Called between two steps with losses that are NaN. An exception from it ends the run after a checkpoint.
        checkpoints: Folder of this run alone, readable by its owner only; None writes nothing. Drop it when the round
            is over: with the secret in it the noise could be taken off the weights again.
        initial: Weights to start from, which do not depend on the patients but through releases that were charged.
        guide: Which weights learn, and a strategy's pull; it must not depend on the patients otherwise.
        secret: Instead of a fresh secret or that in the folder; SecretRandom.unsafe_seeded is for tests only.

    Raises:
        PrivacySettingsError: The privacy cannot be accounted for, or two cases share a name.
        PrivacyBudgetError: It would cost more than the terms promise.
        TrainingDataError: There is no case.
        TrainingSettingsError: The patch does not fit the network, or the initial weights do not.
        CheckpointError: The checkpoints are damaged, of another run, or cannot be written.
        DivergedError: The weights are not finite any more.
    """
    guide = guide or Guide()
    _check(split, network_config, settings)
    if split.case_weights is not None:
        raise PrivacySettingsError("Private steps draw each patient alike: expected no case weights, got some.")
    patients = len(split.real) + len(split.synthetic)
    release = cost_of_training(privacy, steps=settings.steps, batch=settings.batch, patients=patients)
    spent = epsilon(release.noise, release.sample_rate, release.steps, privacy.delta)
    check_promise(spent, privacy.record_epsilon)
    run = _run_digest(split, network_config, settings, privacy, device, initial, guide)
    keeper = _Keeper(checkpoints, run)
    found = keeper.latest()
    threads = int(found.record["threads"]) if found else settings.threads or torch.get_num_threads()
    # The secret is on the disk before the first noise is drawn from it.
    random = (secret or keeper.secret()).child("qfl/private-training", run)
    with reproducible(settings.seed, threads, device):
        state = PrivateState(network_config, settings, device, guide, initial)
        if found:
            state.restore(found)
        steps = NoisedSteps(
            Pool(split, settings.patch, device, synthetic_share=0.0, crops=False), settings, privacy, random
        )
        _run(state, steps, settings, threads, report, keeper)
    return PrivatelyTrained(state.weights(), release, spent, privacy.delta, state.step, state.seconds, threads)


class _Keeper:
    """The folder of a run, where one is wanted: checkpoints, and the secret of its noise."""

    def __init__(self, folder: Path | None, run: str) -> None:
        self._folder, self._run = folder, run
        self._checkpoints = CheckpointFolder(folder) if folder else None
        if folder:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o700)
            except OSError as fault:
                raise CheckpointError(f"{folder}: cannot be used ({fault.strerror}).") from fault

    def latest(self) -> Checkpoint | None:
        found = self._checkpoints.latest(self._run) if self._checkpoints else None
        if found and self._folder and not (self._folder / KEY_FILE).exists():
            raise CheckpointError(f"{self._folder}: {KEY_FILE} is missing beside the checkpoints; start again.")
        return found

    def secret(self) -> SecretRandom:
        return SecretRandom.kept(self._folder / KEY_FILE) if self._folder else SecretRandom.fresh()

    def keep(self, state: PrivateState, threads: int, *, now: bool = False) -> None:
        if self._checkpoints and (now or self._checkpoints.is_due):
            self._checkpoints.save(state.checkpoint(self._run, threads))


def _run(
    state: PrivateState, steps: NoisedSteps, settings: TrainingSettings, threads: int, report: Report, keeper: _Keeper
) -> None:
    def tell(event: Event) -> None:
        try:
            report(event)
        except BaseException:
            keeper.keep(state, threads, now=True)
            raise

    parameters = sum(weight.numel() for weight in state.learning.values())
    tell(Started(state.step, settings.steps, parameters, "float32", threads))
    while state.step < settings.steps:
        started = time.monotonic()
        rate = _learning_rate(settings, state)
        state.apply(steps.gradient(state), rate)
        state.seconds += time.monotonic() - started
        keeper.keep(state, threads)
        tell(Stepped(state.step, settings.steps, math.nan, rate, state.seconds))
    keeper.keep(state, threads, now=True)


def _learning_rate(settings: TrainingSettings, state: PrivateState) -> float:
    """As in training without privacy: linear warm-up, then a cosine to 0, of the whole run."""
    before, steps = state.guide.place(state.step, settings.steps)
    warm = min(1.0, (before + 1) / WARM_UP_STEPS)
    return settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * before / steps))


def _check(split: Split, network_config: NetworkConfig, settings: TrainingSettings) -> None:
    names = [example.name for part in (split.real, split.synthetic) for example in part]
    if len(set(names)) < len(names):
        raise PrivacySettingsError("Expected one case a patient, each with its own name; two cases share one.")
    if any(length % network_config.stride for length in settings.patch):
        raise TrainingSettingsError(
            f"Expected a patch in multiples of the network's stride, {network_config.stride}, got {settings.patch}."
        )


def _run_digest(
    split: Split,
    network_config: NetworkConfig,
    settings: TrainingSettings,
    privacy: Privacy,
    device: torch.device,
    initial: Mapping[str, Tensor] | None,
    guide: Guide,
) -> str:
    """What must be the same for noise to be drawn again: data, weights, and everything that acts on them."""
    identity = {
        "settings": {**asdict(settings), "threads": None},
        "privacy": asdict(privacy),
        "network": describe_network(network_config),
        "data": split.digest(),
        "device": device.type,
        "torch": torch.__version__,
        "guide": guide.describe(),
        "initial": None if initial is None else _digest(initial),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _digest(weights: Mapping[str, Tensor]) -> str:
    return hashlib.sha256(save({name: each.contiguous() for name, each in weights.items()})).hexdigest()
