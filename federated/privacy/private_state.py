"""Everything that decides how a private training goes on, and its way to a checkpoint and back."""

from collections.abc import Mapping

import torch

from federated.checkpoints import Checkpoint
from federated.errors import CheckpointError, DivergedError, TrainingSettingsError
from federated.guidance import Guide
from federated.models import NetworkConfig, build_network
from federated.training_settings import TrainingSettings

Tensor = torch.Tensor


class PrivateState:
    """A run between two steps."""

    def __init__(
        self,
        network_config: NetworkConfig,
        settings: TrainingSettings,
        device: torch.device,
        guide: Guide,
        initial: Mapping[str, Tensor] | None,
    ) -> None:
        self.device, self.guide = device, guide
        self.network = build_network(network_config).to(device).train()
        if initial is not None:
            _load(self.network, initial)
        for name, weight in self.network.named_parameters():
            weight.requires_grad_(weight.requires_grad and guide.may_learn(name))
        self.learning = {name: weight for name, weight in self.network.named_parameters() if weight.requires_grad}
        if not self.learning:
            raise TrainingSettingsError("Expected weights that learn, got none.")
        self.optimiser = torch.optim.AdamW(
            self.learning.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.step, self.seconds = 0, 0.0

    def weights(self) -> dict[str, Tensor]:
        """All of the network's, float32 on the CPU."""
        return {name: each.detach().float().cpu().contiguous() for name, each in self.network.state_dict().items()}

    def apply(self, gradient: Tensor, rate: float) -> None:
        """Let the optimiser take a step along a noised gradient, float32 (numbers,)."""
        sizes = [weight.numel() for weight in self.learning.values()]
        for weight, part in zip(self.learning.values(), torch.split(gradient, sizes), strict=True):
            weight.grad = part.reshape(weight.shape).to(self.device, weight.dtype)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.guide.adjust(self.learning)
        self.optimiser.step()
        self.step += 1
        if not all(bool(weight.isfinite().all()) for weight in self.learning.values()):
            raise DivergedError(
                f"Step {self.step}: expected finite weights, got others; train with a lower learning rate."
            )

    def checkpoint(self, run: str, threads: int) -> Checkpoint:
        """What restore needs; between two steps only."""
        parts: dict[str, Mapping[str, Tensor]] = {"network": self.network.state_dict(), "guide": self.guide.tensors()}
        for index, weight in enumerate(self.learning.values()):
            parts[f"optimiser/{index}"] = self.optimiser.state[weight]
        tensors = {f"{part}:{name}": each for part, group in parts.items() for name, each in group.items()}
        return Checkpoint(run, self.step, tensors, {"threads": threads, "seconds": self.seconds})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on after the checkpoint's step.

        Raises:
            CheckpointError: Something is missing in it.
        """
        parts: dict[str, dict[str, Tensor]] = {}
        for key, tensor in checkpoint.tensors.items():
            part, _, name = key.partition(":")
            parts.setdefault(part, {})[name] = tensor
        try:
            self.network.load_state_dict(parts["network"])
            for index, weight in enumerate(self.learning.values()):
                self.optimiser.state[weight] = {
                    name: value if name == "step" else value.to(self.device)
                    for name, value in parts.get(f"optimiser/{index}", {}).items()
                }
            self.guide.restore(parts.get("guide", {}), self.learning)
            self.step, self.seconds = checkpoint.step, float(checkpoint.record["seconds"])
        except (KeyError, TypeError, ValueError, RuntimeError) as fault:
            raise CheckpointError(
                f"The checkpoint of step {checkpoint.step} lacks what this version needs ({fault}); start again."
            ) from fault


def _load(network: torch.nn.Module, weights: Mapping[str, Tensor]) -> None:
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError as fault:
        raise TrainingSettingsError(
            "The initial weights do not fit the network; choose a model of the same architecture."
        ) from fault
