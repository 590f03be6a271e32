"""A model in a folder, with the real network, whose weights make it call what is bright on T1ce enhancing tumour."""

from pathlib import Path

import torch

from federated.decision import Decision
from federated.model_file import Model, save_model
from federated.models import HybridConfig, build_network
from federated.preprocessing import Preprocessing

T1CE_CHANNEL = 1
_NETWORK = HybridConfig(filters=(2, 2), detail=1, neck=None, head=None)


def save_threshold_model(folder: Path, *, spacing_mm: float = 3.0) -> str:
    """Save it; returns its version."""
    weights = {name: torch.zeros_like(tensor) for name, tensor in build_network(_NETWORK).state_dict().items()}
    weights["detail.weight"][0, T1CE_CHANNEL, 1, 1, 1] = 1
    # Instance norm, rectifier, projection: the channel over its standard deviation.
    weights["mix.0.weight"][:] = 1
    weights["mix.2.weight"][:] = 1
    weights["head.outward.weight"][:] = 3
    weights["head.outward.bias"][:] = -15
    model = Model("Threshold", _NETWORK, Preprocessing(spacing_mm=spacing_mm), Decision(), weights, {"subjects": []})
    return save_model(folder, model)
