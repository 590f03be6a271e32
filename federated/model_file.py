"""A model on disk: segmenter.safetensors (weights) and segmenter.json (everything else that decides the answer).

The version is a digest over all of it; a folder whose content does not match its version is refused.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from federated.decision import LABEL_MAP, Decision
from federated.errors import FederatedError, ModelFileError
from federated.models import NetworkConfig, describe_network, parse_network
from federated.ports import ModelIdentity
from federated.preprocessing import Preprocessing
from governance.canonical import Canonical, digest

WEIGHTS, CARD = "segmenter.safetensors", "segmenter.json"
MAX_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class Model:
    """Everything that decides a model's answer.

    Attributes:
        weights: float32, or float16 as stored.
        training: What it was trained on and how, for people; not part of the version.
    """

    name: str
    network: NetworkConfig
    preprocessing: Preprocessing
    decision: Decision
    weights: Mapping[str, torch.Tensor]
    training: Mapping[str, Any]


def save_model(folder: Path, model: Model) -> str:
    """Write a model, its floating-point weights as float16; the same model gives the same bytes.

    Returns:
        The model's version.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = {name: _half(tensor).contiguous().cpu() for name, tensor in sorted(model.weights.items())}
    weights = save(stored)
    card = _card(model)
    version = _version(weights, card)
    (folder / WEIGHTS).write_bytes(weights)
    text = json.dumps({"version": version, **card, "training": model.training}, indent=2)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")
    return version


def load_model(folder: Path) -> tuple[Model, ModelIdentity]:
    """Read a model and check that it is what its version says.

    Raises:
        ModelFileError: A file is missing, too large or unreadable, or the digest differs.
    """
    weights, text = _read(folder / WEIGHTS), _read(folder / CARD)
    try:
        document = json.loads(text)
        model = Model(
            name=str(document["name"]),
            network=parse_network(document["network"]),
            preprocessing=_parse_preprocessing(document["preprocessing"]),
            decision=_parse_decision(document["decision"]),
            weights=load(weights),
            training=document.get("training", {}),
        )
        stated, label_map = document["version"], document["label_map"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, FederatedError, SafetensorError) as fault:
        raise ModelFileError(f"{folder}: not a model ({type(fault).__name__}: {fault}); install it again.") from fault
    card = _card(model)
    found = _version(weights, card)
    if found != stated or label_map != card["label_map"]:
        raise ModelFileError(
            f"{folder}: expected version {stated}, got {found}; the files were changed: install them again."
        )
    identity = ModelIdentity(model.name, found, model.preprocessing.contrasts, dict(LABEL_MAP))
    return model, identity


def _card(model: Model) -> dict[str, Any]:
    network, preprocessing, decision = model.network, model.preprocessing, model.decision
    return {
        "name": model.name,
        "label_map": {str(value): region for value, region in LABEL_MAP.items()},
        "network": describe_network(network),
        # Measured numbers are strings: the canonical form that is hashed has no floats.
        "preprocessing": {
            "contrasts": list(preprocessing.contrasts),
            "spacing_mm": repr(preprocessing.spacing_mm),
            "margin_voxels": preprocessing.margin_voxels,
            "stride": preprocessing.stride,
            "clip": repr(preprocessing.clip),
        },
        "decision": {
            "thresholds": [repr(threshold) for threshold in decision.thresholds],
            "temperatures": [repr(temperature) for temperature in decision.temperatures],
            "min_component_ml": repr(decision.min_component_ml),
        },
    }


def _version(weights: bytes, card: Mapping[str, Canonical]) -> str:
    parts = {key: card[key] for key in ("label_map", "network", "preprocessing", "decision")}
    return digest({"weights_sha256": hashlib.sha256(weights).hexdigest(), **parts})


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelFileError(f"{path}: expected at most {MAX_BYTES} bytes, got {path.stat().st_size}.")
        return path.read_bytes()
    except OSError as fault:
        raise ModelFileError(f"{path}: cannot be read ({fault.strerror}); install the model's files.") from fault


def _half(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().half() if tensor.is_floating_point() else tensor.detach()


def _parse_preprocessing(card: Mapping[str, Any]) -> Preprocessing:
    return Preprocessing(
        contrasts=tuple(str(contrast) for contrast in card["contrasts"]),
        spacing_mm=float(card["spacing_mm"]),
        margin_voxels=int(card["margin_voxels"]),
        stride=int(card["stride"]),
        clip=float(card["clip"]),
    )


def _parse_decision(card: Mapping[str, Any]) -> Decision:
    return Decision(
        thresholds=_three(card["thresholds"]),
        temperatures=_three(card["temperatures"]),
        min_component_ml=float(card["min_component_ml"]),
    )


def _three(values: Sequence[Any]) -> tuple[float, float, float]:
    whole, core, enhancing = (float(value) for value in values)
    return whole, core, enhancing
