"""What a federation's first round starts from: fresh weights, or those of a released model; and weights as arrays."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from federated.model_file import load_model
from federated.models import NetworkConfig, build_network
from federated.rounds.layout import Weights


def fresh_weights(network: NetworkConfig, seed: int) -> Weights:
    """A new network's weights, float32; the same for the same seed and version of torch."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return to_arrays(build_network(network).state_dict())


def released_weights(folder: Path) -> tuple[NetworkConfig, Weights]:
    """A released model's network and weights, float32.

    Raises:
        ModelFileError: The folder holds no model, or one that was changed.
    """
    model, _ = load_model(folder)
    return model.network, to_arrays(dict(model.weights))


def to_arrays(weights: Mapping[str, torch.Tensor]) -> dict[str, npt.NDArray[np.float32]]:
    """Tensors as float32 arrays of their own memory."""
    return {name: tensor.detach().cpu().float().contiguous().numpy().copy() for name, tensor in weights.items()}


def to_tensors(weights: Weights) -> dict[str, torch.Tensor]:
    """Arrays as float32 tensors of their own memory."""
    return {name: torch.from_numpy(np.array(each, np.float32)) for name, each in weights.items()}
