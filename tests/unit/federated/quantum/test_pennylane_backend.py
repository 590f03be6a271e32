"""The PennyLane backend: shots, noise, mitigation, drawings and what it refuses."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from federated.errors import CircuitError, CircuitInputError, ShotsError
from federated.quantum.circuit import Circuit
from federated.quantum.fused import FusedBackend
from federated.quantum.noise import noise_model
from federated.quantum.noise_rates import NoiseRates
from federated.quantum.pennylane_backend import PennyLaneBackend, draw_circuit

Tensor = torch.Tensor
CIRCUIT = Circuit(3, 2, observables=((0,), (1,), (0, 2)))


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return (
        torch.randn(6, CIRCUIT.wires, generator=generator, dtype=torch.float64),
        torch.randn(CIRCUIT.weight_shape, generator=generator, dtype=torch.float64),
    )


@pytest.mark.parametrize(
    ("device", "tolerance"),
    [
        pytest.param("default.qubit", 1e-12, id="default.qubit"),
        # These round to single precision on the way.
        pytest.param("lightning.qubit", 1e-6, id="lightning.qubit"),
        pytest.param("default.mixed", 1e-6, id="default.mixed"),
    ],
)
def test_every_device_agrees_with_the_fused_backend(
    device: str, tolerance: float, inputs: tuple[Tensor, Tensor]
) -> None:
    answers = []
    for backend in (PennyLaneBackend(device), FusedBackend()):
        angles, weights = (each.clone().requires_grad_() for each in inputs)
        values = backend.expectations(CIRCUIT, angles, weights)
        answers.append((values.detach(), *torch.autograd.grad(values.square().sum(), [angles, weights])))
    torch.testing.assert_close(*answers, rtol=0, atol=tolerance)


@pytest.mark.parametrize("device", ["default.qubit", "default.mixed", "lightning.qubit"])
def test_finite_shots_stay_within_their_standard_error(device: str, inputs: tuple[Tensor, Tensor]) -> None:
    shots = 4000
    exact = FusedBackend().expectations(CIRCUIT, *inputs)
    found = PennyLaneBackend(device, shots=shots, seed=11).expectations(CIRCUIT, *inputs)
    standard_error = ((1 - exact.square()) / shots).sqrt()
    assert ((found - exact).abs() / standard_error).max() < 5
    assert (found - exact).abs().max() > 1e-4


def test_a_seed_draws_the_same_shots_again(inputs: tuple[Tensor, Tensor]) -> None:
    one, again, other = (PennyLaneBackend(shots=100, seed=seed).expectations(CIRCUIT, *inputs) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_finite_shots_give_no_gradients_and_say_so(inputs: tuple[Tensor, Tensor]) -> None:
    angles, weights = inputs
    backend = PennyLaneBackend(shots=10)
    with pytest.raises(CircuitInputError, match="not differentiable"):
        backend.expectations(CIRCUIT, angles, weights.requires_grad_())
    with torch.no_grad():
        assert backend.expectations(CIRCUIT, angles, weights).shape == (6, 3)


def test_readout_errors_shrink_a_value_by_their_closed_form(inputs: tuple[Tensor, Tensor]) -> None:
    angles, weights = inputs
    rate = 0.1
    noisy = PennyLaneBackend("default.mixed", noise=noise_model(NoiseRates(readout=rate)))
    exact = FusedBackend().expectations(CIRCUIT, angles, weights)
    shrunk = exact * torch.tensor([1 - 2 * rate, 1 - 2 * rate, (1 - 2 * rate) ** 2])
    torch.testing.assert_close(noisy.expectations(CIRCUIT, angles, weights), shrunk)


def test_extrapolation_brings_noisy_values_nearer(inputs: tuple[Tensor, Tensor]) -> None:
    circuit = Circuit(2, 2)
    angles, weights = inputs[0][:2, :2], inputs[1][:, :2]
    noise = noise_model(NoiseRates(depolarizing=0.002, depolarizing2=0.01, amplitude_damping=0.001))
    exact = FusedBackend().expectations(circuit, angles, weights)
    off = [
        (
            PennyLaneBackend("default.mixed", noise=noise, zne_scales=scales).expectations(circuit, angles, weights)
            - exact
        )
        .abs()
        .mean()
        for scales in ((), (1, 3, 5))
    ]
    assert off[1] < off[0] / 5


def test_noisy_values_are_differentiable(inputs: tuple[Tensor, Tensor]) -> None:
    circuit = Circuit(2, 1)
    noise = noise_model(NoiseRates(depolarizing2=0.05))
    angles = torch.tensor([[0.3, 0.8]], dtype=torch.float64)
    weights = torch.full(circuit.weight_shape, 0.4, dtype=torch.float64)
    backend = PennyLaneBackend("default.mixed", noise=noise)
    assert torch.autograd.gradcheck(
        lambda one, other: backend.expectations(circuit, one, other),
        (angles.requires_grad_(), weights.requires_grad_()),
        eps=1e-3,  # the device rounds to single precision on the way
        atol=1e-4,
        fast_mode=True,
    )


@pytest.mark.parametrize("shots", [0, -5, 2.5, True], ids=str)
def test_refuses_shots_that_cannot_be_taken(shots: object) -> None:
    with pytest.raises(ShotsError, match="at least 1 shot"):
        PennyLaneBackend(shots=shots)


@pytest.mark.parametrize("scales", [(1,), (3, 3), (0.5, 1), (1, float("nan"))], ids=str)
def test_refuses_scales_that_nothing_follows_from(scales: tuple[float, ...]) -> None:
    with pytest.raises(ShotsError, match="two or more different scales"):
        PennyLaneBackend(zne_scales=scales)


def test_refuses_a_device_it_does_not_know() -> None:
    with pytest.raises(CircuitError, match=r"got 'ibm\.qubit'"):
        PennyLaneBackend("ibm.qubit")


def test_refuses_noise_on_a_device_of_pure_states() -> None:
    with pytest.raises(CircuitError, match=r"default\.mixed"):
        PennyLaneBackend(noise=noise_model(NoiseRates(readout=0.1)))


def test_an_empty_batch_has_an_empty_answer(inputs: tuple[Tensor, Tensor]) -> None:
    assert PennyLaneBackend().expectations(CIRCUIT, inputs[0][:0], inputs[1]).shape == (0, 3)


def test_draws_every_gate_as_text_and_as_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "circuit.png"
    text = draw_circuit(Circuit(2, 1, encoding="rz", entangler="cnot"), path)
    assert [line.split("─┤")[0] for line in text.splitlines()] == [
        "0: ──H──RZ──RZ──RY──RZ─╭●─╭X",
        "1: ──H──RZ──RZ──RY──RZ─╰X─╰●",
    ]
    with Image.open(path) as picture:
        assert picture.width > 300
        assert len(picture.convert("L").getcolors(256)) > 1
