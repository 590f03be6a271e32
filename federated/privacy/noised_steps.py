"""The noised gradient of a step: who is drawn, what is clipped, what is added. Only here are patients looked at."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch

from federated.augmentation import Batch, Randomness, augment, plain
from federated.privacy.per_patient import clipped_sum, per_patient_gradients
from federated.privacy.private_state import PrivateState
from federated.privacy.randomness import SecretRandom
from federated.rounds.terms import Privacy
from federated.sampling import Pool
from federated.training_settings import TrainingSettings

Tensor = torch.Tensor

MICROBATCH: Final = 2
"""Cases whose gradients are held at once. torch's convolution of a single case on one CPU thread is three times slower
than of one of two, so a lone case is computed twice and counted once."""


class NoisedSteps:
    """Gives the noised gradients of a run."""

    def __init__(self, pool: Pool, settings: TrainingSettings, privacy: Privacy, random: SecretRandom) -> None:
        self._pool, self._settings, self._privacy, self._random = pool, settings, privacy, random
        self._rate = min(1.0, settings.batch / len(pool))
        # One case is never varied by means of another.
        chosen = settings.augmentation
        self._augmentation = replace(chosen, transplant=0.0) if chosen else None

    def gradient(self, state: PrivateState) -> Tensor:
        """Of the step that comes, float32 (numbers,) on the CPU."""
        random = self._random.child("step", state.step)
        drawn = draw_patients(len(self._pool), self._rate, random)
        variation = Randomness(random.seed(), state.device)
        numbers = sum(weight.numel() for weight in state.learning.values())
        total = torch.zeros(numbers, dtype=torch.float64, device=state.device)
        for start in range(0, len(drawn), MICROBATCH):
            total += self._clipped(state, drawn[start : start + MICROBATCH], variation)
        noise = torch.from_numpy(random.normal(numbers)) * (self._privacy.record_noise * self._privacy.record_clip)
        return ((total.cpu() + noise) / (self._rate * len(self._pool))).float()

    def _clipped(self, state: PrivateState, cases: Sequence[int], variation: Randomness) -> Tensor:
        padded = [*cases, *cases][: max(2, len(cases))]
        index = torch.tensor(padded, device=state.device)
        pool = self._pool.batch
        batch = Batch(pool.images[index], pool.depth[index], pool.present[index])
        chosen = self._augmentation
        varied = augment(batch, chosen, variation, self._settings.patch) if chosen else plain(batch)
        found = per_patient_gradients(state.network, state.learning, varied.channels(), varied.regions())
        return clipped_sum({name: each[: len(cases)] for name, each in found.items()}, self._privacy.record_clip)


def draw_patients(count: int, rate: float, random: SecretRandom) -> list[int]:
    """Poisson sampling: each of `count` patients with the same chance, independently; their indices, perhaps none."""
    return [int(index) for index in (random.uniform(count) < rate).nonzero()[0]]
