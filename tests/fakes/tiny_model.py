"""A segmentation model small enough for a unit test, with random weights."""

import torch

from federated.decision import Decision
from federated.model_file import Model
from federated.models import NetworkConfig, build_network
from federated.preprocessing import Preprocessing

TINY_NETWORK = NetworkConfig(fold=2, init_filters=8, blocks_down=(1, 1), blocks_up=(1,), norm_groups=2)
TINY_PREPROCESSING = Preprocessing(spacing_mm=4.0)


def build_tiny_model(seed: int = 0, *, logit: float | None = None) -> Model:
    """Build it.

    Args:
        seed: Of the weights.
        logit: Its answer for every voxel and region, whatever the images show; None for one that depends on them.
    """
    torch.manual_seed(seed)
    weights = dict(build_network(TINY_NETWORK).state_dict())
    if logit is not None:
        last = [name for name in weights if "conv_final" in name and "conv." in name]
        for name in last:
            weights[name] = torch.full_like(weights[name], logit if name.endswith("bias") else 0.0)
    return Model("Tiny", TINY_NETWORK, TINY_PREPROCESSING, Decision(), weights, {"subjects": []})
