"""A segmentation model small enough for a unit test, with random weights."""

import torch

from federated.decision import Decision
from federated.model_file import Model
from federated.models import HybridConfig, build_network
from federated.preprocessing import Preprocessing
from federated.quantum.slot import SlotConfig

TINY_NETWORK = HybridConfig(
    filters=(4, 8), detail=4, neck=SlotConfig(wires=2, layers=1), head=SlotConfig(wires=2, layers=1)
)
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
        for name in ("head.outward.weight", "head.outward.bias"):
            weights[name] = torch.full_like(weights[name], logit if name.endswith("bias") else 0.0)
    return Model("Tiny", TINY_NETWORK, TINY_PREPROCESSING, Decision(), weights, {"subjects": []})
