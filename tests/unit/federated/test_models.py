"""The model family: shapes, sizes, and the way to JSON and back."""

import json
from dataclasses import replace

import pytest
import torch

from federated.errors import NetworkConfigError
from federated.models import (
    ARMS,
    REGIONS,
    HybridConfig,
    SegResNetConfig,
    UNetConfig,
    build_network,
    describe_network,
    parse_network,
)
from federated.quantum.slot import SlotConfig


@pytest.mark.parametrize("arm", ARMS)
def test_maps_channels_to_region_logits_on_the_same_grid(arm):
    config = ARMS[arm]
    network = build_network(config).eval()
    size = (config.stride * 2, config.stride * 3, config.stride * 2)
    with torch.inference_mode():
        logits = network(torch.randn(1, config.in_channels, *size))
    assert logits.shape == (1, REGIONS, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("arm", ARMS)
def test_half_precision_weights_fit_into_ten_megabytes(arm):
    count = sum(parameter.numel() for parameter in build_network(ARMS[arm]).parameters())
    assert 2 * count < 10 * 2**20


def test_the_slot_alone_tells_the_hybrid_from_its_controls():
    shared = {
        arm: {
            name: tensor.shape
            for name, tensor in build_network(ARMS[arm]).state_dict().items()
            if ".body." not in name or "slot" not in name
        }
        for arm in ("hybrid", "no-entangler", "frozen", "mlp", "wide-mlp", "identity")
    }
    assert all(found == shared["hybrid"] for found in shared.values())


@pytest.mark.parametrize("arm", ARMS)
def test_a_configuration_survives_json(arm):
    assert parse_network(json.loads(json.dumps(describe_network(ARMS[arm])))) == ARMS[arm]


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(replace(HybridConfig(), filters=()), id="no level"),
        pytest.param(replace(HybridConfig(), detail=0), id="no detail"),
        pytest.param(UNetConfig(in_channels=-8), id="negative channels"),
        pytest.param(SegResNetConfig(init_filters=4096), id="too wide"),
    ],
)
def test_refuses_numbers_out_of_range(config):
    with pytest.raises(NetworkConfigError, match="from 1 to 1024, got"):
        build_network(config)


@pytest.mark.parametrize(
    ("card", "told"),
    [
        pytest.param({"architecture": "transformer"}, "Expected an architecture of hybrid, unet", id="architecture"),
        pytest.param({"architecture": "unet", "filters": [8, 16]}, "expected the fields", id="missing field"),
        pytest.param({**describe_network(UNetConfig()), "res_units": "many"}, "invalid literal", id="not a number"),
        pytest.param({**describe_network(HybridConfig()), "neck": {"qubits": 3}}, "unexpected", id="unknown slot"),
    ],
)
def test_refuses_a_card_of_no_network(card, told):
    with pytest.raises(NetworkConfigError, match=told):
        parse_network(card)


def test_a_slot_is_part_of_the_configuration():
    assert parse_network(describe_network(HybridConfig(neck=None, head=SlotConfig("mlp", 3)))) == HybridConfig(
        neck=None, head=SlotConfig("mlp", 3)
    )
