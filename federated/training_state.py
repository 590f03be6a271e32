"""Everything that decides how a training goes on, and its way to a checkpoint and back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel

from federated.augmentation import Randomness
from federated.checkpoints import Checkpoint
from federated.errors import CheckpointError, TrainingSettingsError
from federated.guidance import Guide
from federated.models import NetworkConfig, build_network
from federated.numerics import choose_precision, restore_torch_states, torch_states
from federated.training_settings import TrainingSettings
from federated.validation import Validation

Tensor = torch.Tensor


class TrainingState:
    """A run between two steps: network, average, optimiser, randomness, and what was reached so far."""

    def __init__(
        self, network_config: NetworkConfig, settings: TrainingSettings, device: torch.device, guide: Guide
    ) -> None:
        self.device, self.guide = device, guide
        self.precision = choose_precision(settings.precision, device)
        network = build_network(network_config).train()
        self.network = network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        for name, weight in self.network.named_parameters():
            weight.requires_grad_(weight.requires_grad and guide.may_learn(name))
        self.named = {name: weight for name, weight in self.network.named_parameters() if weight.requires_grad}
        self.learning = list(self.named.values())
        self.average = AveragedModel(self.network, multi_avg_fn=_ramped_average(settings.average_decay))
        self.optimiser = torch.optim.AdamW(
            self.learning, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self.rng = Randomness(settings.seed, device)
        self.losses: list[float] = []
        self.validations: dict[int, Validation] = {}
        self.best_step = 0
        self.best: Mapping[str, Tensor] = {}
        self.seconds = 0.0

    def start_from(self, weights: Mapping[str, Tensor]) -> None:
        """Take a trained network's weights instead of fresh ones.

        Raises:
            TrainingSettingsError: They are another network's.
        """
        try:
            self.network.load_state_dict(dict(weights))
            self.average.module.load_state_dict(dict(weights))
        except RuntimeError as fault:
            raise TrainingSettingsError(
                "The initial weights do not fit the network; choose a model of the same architecture."
            ) from fault

    @property
    def step(self) -> int:
        """Steps that are done."""
        return len(self.losses)

    def averaged(self) -> dict[str, Tensor]:
        """A copy of the averaged weights."""
        return {name: tensor.detach().clone() for name, tensor in self.average.module.state_dict().items()}

    def checkpoint(self, run: str, threads: int) -> Checkpoint:
        """What restore needs; between two steps only."""
        parts: dict[str, Mapping[str, Tensor]] = {
            "network": self.network.state_dict(),
            "average": self.average.module.state_dict(),
            "best": self.best,
            "random": {"choices": self.rng.choices.get_state(), "voxels": self.rng.voxels.get_state()},
            "torch": torch_states(self.device),
            "guide": self.guide.tensors(),
            **{f"optimiser/{index}": self.optimiser.state[weight] for index, weight in enumerate(self.learning)},
        }
        record = {
            "losses": self.losses,
            "validations": {step: asdict(found) for step, found in self.validations.items()},
            "best_step": self.best_step,
            "averaged": int(self.average.n_averaged),
            "seconds": self.seconds,
            "threads": threads,
        }
        tensors = {f"{part}/{name}": tensor for part, named in parts.items() for name, tensor in named.items()}
        return Checkpoint(run, self.step, tensors, record)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of the same run.

        Raises:
            CheckpointError: Something is missing from it.
        """
        parts: dict[str, dict[str, Tensor]] = {}
        for name, tensor in checkpoint.tensors.items():
            part, _, rest = name.rpartition("/")
            parts.setdefault(part, {})[rest] = tensor
        try:
            # Copied into what is there, so that the memory layout is that of the run which wrote it.
            self.network.load_state_dict(parts["network"])
            self.average.module.load_state_dict(parts["average"])
            self.average.n_averaged.fill_(checkpoint.record["averaged"])
            for index, weight in enumerate(self.learning):
                self.optimiser.state[weight] = {
                    name: torch.empty_like(weight).copy_(value)
                    if value.shape == weight.shape
                    else value.to(self.device)
                    for name, value in parts.get(f"optimiser/{index}", {}).items()
                }
            self.guide.restore(parts.get("guide", {}), self.named)
            self.rng.choices.set_state(parts["random"]["choices"])
            self.rng.voxels.set_state(parts["random"]["voxels"])
            restore_torch_states(parts["torch"], self.device)
            self.best = {name: tensor.to(self.device) for name, tensor in parts.get("best", {}).items()}
            self._restore_record(checkpoint.record)
        except (KeyError, TypeError, ValueError, RuntimeError) as fault:
            raise CheckpointError(
                f"The checkpoint of step {checkpoint.step} lacks what this version needs ({fault}); start again."
            ) from fault

    def _restore_record(self, record: Mapping[str, Any]) -> None:
        self.losses = [float(loss) for loss in record["losses"]]
        self.validations = {
            int(step): Validation(found["dice"], tuple(found["thresholds"]))
            for step, found in record["validations"].items()
        }
        self.best_step, self.seconds = int(record["best_step"]), float(record["seconds"])


def _ramped_average(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """A running average that forgets its first, untrained members sooner."""

    def average(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        keep = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(list(averaged), list(current), 1 - keep)

    return average
