"""Models to audit that are small enough for a unit test."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import torch

from federated.auditing.audited_model import AuditedModel, to_audited_model
from federated.cases import Example
from federated.models import HybridConfig, NetworkConfig, build_network
from federated.ports import ModelIdentity
from federated.preprocessing import Preprocessing
from federated.sampling import Split
from federated.training import train
from tests.fakes.tiny_model import TINY_NETWORK, build_tiny_model
from tests.fakes.tiny_training import CPU, SPACING_MM, tiny_example, tiny_settings

IDENTITY = ModelIdentity("Tiny", "0" * 64, Preprocessing().contrasts, {})
TRAINED_ON = (0, 1)
"""Seeds of tiny_example."""


def audited_network(config: NetworkConfig = TINY_NETWORK, seed: int = 0) -> AuditedModel:
    """A network with random weights, at 8 mm."""
    torch.manual_seed(seed)
    weights = dict(build_network(config).state_dict())
    model = replace(
        build_tiny_model(), network=config, weights=weights, preprocessing=Preprocessing(spacing_mm=SPACING_MM)
    )
    return to_audited_model(model, IDENTITY)


@cache
def trained_network(config: HybridConfig = TINY_NETWORK, steps: int = 60) -> AuditedModel:
    """One that has learnt its two training cases by heart; it must not be changed."""
    examples: Sequence[Example] = [tiny_example(seed) for seed in TRAINED_ON]
    settings = tiny_settings(steps=steps, validate_every=steps, augmentation=None, learning_rate=3e-2, batch=2)
    trained = train(Split(real=examples), config, settings, CPU)
    model = replace(
        build_tiny_model(), network=config, weights=trained.weights, preprocessing=Preprocessing(spacing_mm=SPACING_MM)
    )
    return to_audited_model(model, IDENTITY)
