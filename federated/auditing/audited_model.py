"""The model under audit: its network, ready to be looked into, with the decision that turns answers into labels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from federated.decision import decide
from federated.errors import EvaluationError, ModelFileError
from federated.inference import MIRRORS, run_network
from federated.model_file import Model, load_model
from federated.models import build_network
from federated.ports import ModelIdentity
from federated.preprocessing import ModelInput
from federated.quantum.slot import Slot

Tensor = torch.Tensor
Case = TypeVar("Case")
LOOKS = MIRRORS[:1]
"""One look, without mirrored inputs: a quarter of the time, and the answer that gradients are of."""


@dataclass(frozen=True, eq=False)
class AuditedModel:
    """A model whose network may be hooked and differentiated; its weights do not learn.

    Attributes:
        network: In evaluation, float32, on the CPU.
    """

    model: Model
    identity: ModelIdentity
    network: torch.nn.Module

    @property
    def spacing_mm(self) -> float:
        """Of the model's grid."""
        return self.model.preprocessing.spacing_mm

    @property
    def contrasts(self) -> int:
        """How many of the input's channels are images; as many flags follow."""
        return len(self.model.preprocessing.contrasts)

    def logits(self, channels: Tensor) -> Tensor:
        """One look at a case, differentiable: (regions, slices, rows, columns) from (channels, ...)."""
        return run_network(self.network, channels, self.model.network.stride)

    def probabilities(
        self, model_input: ModelInput, *, looks: tuple[tuple[int, ...], ...] = LOOKS
    ) -> npt.NDArray[np.float32]:
        """Calibrated, mean over the looks, 0 outside the head.

        Args:
            model_input: What to look at.
            looks: Axes that are mirrored at each; federated.inference.MIRRORS is what the running model does.
        """
        channels = torch.from_numpy(model_input.channels)
        total = torch.zeros(())
        with torch.inference_mode():
            for axes in looks:
                spatial = [axis + 1 for axis in axes]
                total = total + self.calibrated(self.logits(channels.flip(spatial)).flip(spatial))
        mean: npt.NDArray[np.float32] = (total / len(looks)).numpy()
        return mean * model_input.head

    def calibrated(self, logits: Tensor) -> Tensor:
        """Probabilities from logits (regions, ...)."""
        temperatures = torch.tensor(self.model.decision.temperatures)[:, None, None, None]
        return (logits / temperatures).sigmoid()

    def labels(self, model_input: ModelInput, *, looks: tuple[tuple[int, ...], ...] = LOOKS) -> npt.NDArray[np.uint8]:
        """The decision on the model's grid; see federated.decision.decide."""
        return self.decided(self.probabilities(model_input, looks=looks))

    def decided(self, probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Labels from probabilities on the model's grid."""
        return decide(probabilities, self.spacing_mm**3 / 1000, self.model.decision)

    def slots(self) -> Iterator[tuple[str, Slot]]:
        """The slots that hold a circuit or one of its controls, by the names of their modules."""
        return ((name, module) for name, module in self.network.named_modules() if isinstance(module, Slot))


def load_audited_model(folder: Path) -> AuditedModel:
    """Load a model from its folder.

    Raises:
        ModelFileError: A file is missing or unreadable, is not what its version says, or does not fit its network.
    """
    return to_audited_model(*load_model(folder))


def to_audited_model(model: Model, identity: ModelIdentity) -> AuditedModel:
    """Build a model's network.

    Raises:
        ModelFileError: The weights do not fit it.
    """
    network = build_network(model.network)
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in model.weights.items()})
    except RuntimeError as fault:
        raise ModelFileError(
            f"{identity.version}: its weights do not fit its network; install the model again."
        ) from fault
    network.eval().requires_grad_(requires_grad=False).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return AuditedModel(model, identity, network)


def plain_network(model: Model) -> torch.nn.Module:
    """A model's network of its own, in evaluation and float32, whose weights may learn."""
    network = build_network(model.network).eval()
    network.load_state_dict({name: tensor.float() for name, tensor in model.weights.items()})
    return network


def chosen_cases(cases: Sequence[Case], limit: int | None, *, least: int = 1) -> Sequence[Case]:
    """The first cases, as many as may be looked at.

    Raises:
        EvaluationError: They are fewer than are needed.
    """
    found = cases if limit is None else cases[:limit]
    if len(found) < least:
        raise EvaluationError(f"Expected at least {least} cases to audit, got {len(found)}.")
    return found


def ignore(_fraction: float) -> None:
    """Progress that nobody looks at."""
