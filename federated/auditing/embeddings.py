"""What the network makes of a case at its neck, as one row of numbers: what subgroups are compared by."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from federated.auditing.audited_model import AuditedModel, chosen_cases, ignore
from federated.cases import Example
from federated.errors import EvaluationError
from federated.hybrid import Bottleneck, HybridNet
from federated.ports import Progress

Tensor = torch.Tensor
Floats = npt.NDArray[np.float64]
Place = Literal["before-neck", "neck-slot", "after-neck"]
_LEAST_WEIGHT: Final = 1e-6


@dataclass(frozen=True, eq=False)
class Embeddings:
    """One row a case.

    Attributes:
        place: Where in the network.
        names: Of the cases, in their order.
        values: float64 (cases, 2 * channels): each channel's mean inside the head, then its standard deviation.
    """

    place: Place
    names: tuple[str, ...]
    values: Floats


def case_embeddings(
    model: AuditedModel,
    examples: Sequence[Example],
    *,
    place: Place = "after-neck",
    limit: int | None = None,
    progress: Progress = ignore,
) -> Embeddings:
    """Look at each case once.

    Args:
        model: With the hybrid network; any of its slots' kinds.
        examples: On the model's grid.
        place: The deepest features before the neck's circuit is added to them, what the slot answers, or their sum.
        limit: Most cases.
        progress: Takes the finished fraction.

    Raises:
        EvaluationError: There is no case, or the network has no such place.
    """
    chosen = chosen_cases(examples, limit)
    module, takes_input = _module(model, place)
    seen: list[Tensor] = []

    def keep(_module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append(inputs[0] if takes_input else output)

    rows = []
    handle = module.register_forward_hook(keep)
    try:
        for done, example in enumerate(chosen, start=1):
            seen.clear()
            with torch.inference_mode():
                model.logits(torch.from_numpy(example.model_input.channels))
            # The slot has its channels last.
            features = seen[0].movedim(-1, 1) if place == "neck-slot" else seen[0]
            head = torch.from_numpy(example.model_input.head)
            rows.append(_pooled(features[0].double(), head, model.model.network.stride))
            progress(done / len(chosen))
    finally:
        handle.remove()
    return Embeddings(place, tuple(example.name for example in chosen), np.stack(rows))


def _module(model: AuditedModel, place: Place) -> tuple[torch.nn.Module, bool]:
    """What is hooked, and whether its input is what is wanted."""
    if place not in get_args(Place):
        raise EvaluationError(f"Expected a place of {', '.join(get_args(Place))}, got {place!r}.")
    network = model.network
    if not isinstance(network, HybridNet):
        raise EvaluationError(f"Expected a hybrid network, which has a neck, got {type(network).__name__}.")
    if place != "neck-slot":
        return network.neck, place == "before-neck"
    if not isinstance(network.neck, Bottleneck):
        raise EvaluationError("Expected a network with a slot in its neck, got one without.")
    return network.neck.slot, False


def _pooled(features: Tensor, head: Tensor, stride: int) -> Floats:
    """Mean and standard deviation of each channel (channels, ...), weighted by how much of the head a feature sees."""
    # As run_network pads the input: behind its last voxels.
    surplus = [pad for size in reversed(head.shape) for pad in (0, -size % stride)]
    share = functional.avg_pool3d(functional.pad(head.double(), surplus)[None], stride)[0]
    weights = (share / share.sum().clamp(min=_LEAST_WEIGHT)).flatten()
    flat = features.flatten(1)
    mean = flat @ weights
    deviation = ((flat - mean[:, None]).square() @ weights).sqrt()
    pooled: Floats = torch.cat([mean, deviation]).numpy()
    return pooled
