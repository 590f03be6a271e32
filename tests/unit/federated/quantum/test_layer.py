"""The quantum layer as a torch module."""

import math

import pytest
import torch

from federated.errors import CircuitInputError
from federated.quantum.circuit import Circuit
from federated.quantum.layer import NEAR_IDENTITY, QuantumLayer
from federated.quantum.pennylane_backend import PennyLaneBackend


@pytest.mark.parametrize("leading", [(), (5,), (2, 3, 4), (0,)], ids=str)
def test_maps_the_last_axis(leading: tuple[int, ...]) -> None:
    layer = QuantumLayer(Circuit(3, observables=((0,), (1, 2))))
    angles = torch.randn(*leading, 3)
    values = layer(angles)
    assert values.shape == (*leading, 2)
    torch.testing.assert_close(values.reshape(-1, 2), layer(angles.reshape(-1, 3)))


def test_fresh_weights_are_near_the_identity() -> None:
    torch.manual_seed(0)
    weights = QuantumLayer(Circuit(10, 16)).weights
    assert weights.std().item() == pytest.approx(NEAR_IDENTITY, rel=0.15)
    assert abs(weights.mean().item()) < 0.02


def test_uniform_weights_go_once_around() -> None:
    torch.manual_seed(0)
    weights = QuantumLayer(Circuit(10, 16), uniform=True).weights
    assert 0 <= weights.min() < 0.2
    assert 2 * math.pi - 0.2 < weights.max() < 2 * math.pi


def test_a_near_identity_circuit_starts_as_a_cosine() -> None:
    torch.manual_seed(0)
    angles = math.pi * torch.rand(200, 4)
    assert (QuantumLayer(Circuit(4))(angles) - angles.cos()).abs().mean() < 0.15


def test_weights_are_one_parameter_that_is_saved_and_loaded() -> None:
    first, second = QuantumLayer(Circuit(4)), QuantumLayer(Circuit(4))
    assert [name for name, _ in first.named_parameters()] == ["weights"]
    second.load_state_dict(first.state_dict())
    angles = torch.randn(3, 4)
    assert torch.equal(first(angles), second(angles))


def test_runs_on_another_backend() -> None:
    layer = QuantumLayer(Circuit(3))
    angles = torch.randn(4, 3)
    layer_values = layer(angles)
    layer.backend = PennyLaneBackend()
    torch.testing.assert_close(layer(angles), layer_values, rtol=0, atol=1e-5)


def test_learns_by_gradient_descent() -> None:
    torch.manual_seed(0)
    teacher, pupil = QuantumLayer(Circuit(3)), QuantumLayer(Circuit(3))
    angles = math.pi * torch.rand(64, 3)
    wanted = teacher(angles).detach()
    optimizer = torch.optim.Adam(pupil.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (pupil(angles) - wanted).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 20


def test_refuses_features_that_are_no_angles_of_its_wires() -> None:
    with pytest.raises(CircuitInputError, match=r"\(batch, 4\), got \(5, 3\)"):
        QuantumLayer(Circuit(4))(torch.zeros(5, 3))
