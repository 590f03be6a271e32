"""The slot: what it does to features, whatever sits in it."""

import math

import pytest
import torch

from federated.errors import CircuitError, NetworkConfigError
from federated.quantum.slot import Slot, SlotConfig

KINDS = ["quantum", "no-entangler", "frozen", "mlp", "wide-mlp", "identity"]


@pytest.mark.parametrize("kind", KINDS)
def test_gives_as_many_features_as_it_takes(kind: str) -> None:
    slot = Slot(SlotConfig(kind, wires=3))
    assert slot(torch.randn(2, 5, 3)).shape == (2, 5, 3)


def test_a_circuit_without_weights_is_a_squashed_sine() -> None:
    """RX by pi/2 (1 + tanh x) and nothing else: <Z> = cos of it = -sin(pi/2 tanh x), up to CZ's, which Z ignores."""
    slot = Slot(SlotConfig("quantum", wires=3, layers=1))
    torch.nn.init.zeros_(slot.body.weights)
    features = torch.linspace(-3, 3, 12).reshape(4, 3)
    assert torch.allclose(slot(features), -torch.sin(math.pi / 2 * features.tanh()), atol=1e-6)


def test_the_gain_widens_the_range() -> None:
    slot = Slot(SlotConfig("identity", wires=2))
    torch.nn.init.constant_(slot.gain, 7.0)
    assert torch.allclose(slot(torch.full((1, 2), 9.0)), torch.full((1, 2), 7.0), atol=1e-4)


def test_computes_in_float32_inside_mixed_precision() -> None:
    slot = Slot(SlotConfig("quantum", wires=2))
    with torch.autocast("cpu", torch.bfloat16):
        answer = slot(torch.randn(4, 2, dtype=torch.bfloat16))
    assert answer.dtype is torch.float32


def test_the_matched_control_is_within_one_hidden_unit() -> None:
    for wires in range(2, 11):
        circuit = sum(p.numel() for p in Slot(SlotConfig("quantum", wires=wires, layers=3)).parameters())
        matched = sum(p.numel() for p in Slot(SlotConfig("mlp", wires=wires, layers=3)).parameters())
        assert abs(circuit - matched) <= (2 * wires + 1) / 2 + 1


def test_refuses_an_unknown_kind() -> None:
    with pytest.raises(NetworkConfigError, match="got 'magic'"):
        SlotConfig("magic")


def test_refuses_too_many_wires() -> None:
    with pytest.raises(CircuitError, match="1 to 10 wires, got 11"):
        SlotConfig("quantum", wires=11)
