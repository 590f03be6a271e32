"""The gradient of each patient by itself, clipped: what private training adds up."""

from collections.abc import Mapping

import torch
from torch.func import functional_call, grad, vmap

from federated.losses import region_loss

Tensor = torch.Tensor


def per_patient_gradients(
    network: torch.nn.Module, weights: Mapping[str, Tensor], channels: Tensor, regions: Tensor
) -> dict[str, Tensor]:
    """Gradients of each case's own loss, through the circuits too.

    Args:
        network: Its other weights are constants.
        weights: Those that learn, by name.
        channels, regions: (batch, channels or regions, slices, rows, columns), one case a patient.

    Returns:
        By name, (batch, *shape).
    """
    learning = {name: weight.detach() for name, weight in weights.items()}

    def loss(learning: Mapping[str, Tensor], case: Tensor, drawn: Tensor) -> Tensor:
        return region_loss(functional_call(network, dict(learning), (case[None],)), drawn[None])

    found: dict[str, Tensor] = vmap(grad(loss), in_dims=(None, 0, 0))(learning, channels, regions)
    return found


def clipped_sum(gradients: Mapping[str, Tensor], norm: float) -> Tensor:
    """Sum over patients of their gradients, each scaled to at most a norm over all weights together.

    A gradient that is not finite counts as zero: the bound holds for every patient, and whether one was so is not told.

    Args:
        gradients: As per_patient_gradients gives them, in the order of the answer.
        norm: At most this much, 2-norm.

    Returns:
        float64 (numbers,).
    """
    flat = torch.cat([each.flatten(1) for each in gradients.values()], dim=1).double()
    lengths = flat.norm(dim=1)
    factors = torch.where(lengths.isfinite(), (norm / lengths.clamp(min=norm)), 0.0)
    return factors @ flat.nan_to_num(0.0, 0.0, 0.0)
