"""The compiled loops against the plain sums of heisenberg.py, and the coefficients against state vectors."""

import math

import pytest
import torch

from federated.quantum import heisenberg, narrow_cones, state_vectors
from federated.quantum.circuit import Circuit
from federated.quantum.cone_coefficients import coefficients
from federated.quantum.light_cones import light_cones

CIRCUITS = [
    pytest.param(Circuit(1), id="one wire"),
    pytest.param(Circuit(2), id="two wires, one shared cone"),
    pytest.param(Circuit(3), id="three wires, one shared cone"),
    pytest.param(Circuit(6), id="a cone of three wires for each observable"),
    pytest.param(Circuit(5, layers=1), id="cones of one wire"),
    pytest.param(Circuit(4, observables=((0,), (3,), (1,))), id="observables in any order"),
    pytest.param(Circuit(4, entangler="cnot"), id="four wires, one shared cone"),
    pytest.param(Circuit(7, observables=((0, 1), (4, 5))), id="a cone of four wires for each observable"),
]


def drawn(circuit: Circuit, batch: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    angles = math.pi * (torch.rand(circuit.wires, batch, generator=generator, dtype=dtype) - 0.5)
    return angles, 2 * torch.randn(circuit.weight_shape, generator=generator, dtype=dtype)


@pytest.mark.parametrize("circuit", CIRCUITS)
@pytest.mark.parametrize("batch", [1, 17, narrow_cones._SAMPLES, narrow_cones._SAMPLES + 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_does_the_sums_of_heisenbergs_picture(circuit: Circuit, batch: int, dtype: torch.dtype) -> None:
    angles, weights = drawn(circuit, batch, dtype)
    shared, wires = coefficients(circuit, weights), torch.from_numpy(light_cones(circuit).wires)
    upstream = torch.randn(len(circuit.observables), batch, dtype=dtype)
    found = narrow_cones.expectations(angles, shared, wires), *narrow_cones.gradients(upstream, angles, shared, wires)
    wanted = heisenberg.expectations(angles, shared, wires), *heisenberg.gradients(upstream, angles, shared, wires)
    scale = 1e-13 if dtype is torch.float64 else 3e-5
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype is dtype
        torch.testing.assert_close(one, other, rtol=scale, atol=scale * max(1.0, float(other.abs().max())))


def test_takes_angles_that_lie_across_their_memory() -> None:
    circuit = Circuit(4)
    angles, weights = drawn(circuit, 50)
    shared, wires = coefficients(circuit, weights), torch.from_numpy(light_cones(circuit).wires)
    across = angles.T.contiguous().T
    assert not across.is_contiguous()
    torch.testing.assert_close(
        narrow_cones.expectations(across, shared, wires), narrow_cones.expectations(angles, shared, wires)
    )
    upstream = torch.randn(50, 4, dtype=torch.float64).T
    found, _ = narrow_cones.gradients(upstream, across, shared, wires)
    wanted, _ = narrow_cones.gradients(upstream.contiguous(), angles, shared, wires)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("fault", [math.nan, math.inf])
def test_an_angle_that_is_not_finite_spoils_its_own_sample_only(fault: float) -> None:
    circuit = Circuit(4)
    angles, weights = drawn(circuit, 40)
    shared, wires = coefficients(circuit, weights), torch.from_numpy(light_cones(circuit).wires)
    wanted = narrow_cones.expectations(angles, shared, wires)
    angles[2, 7] = fault
    found = narrow_cones.expectations(angles, shared, wires)
    assert found[:, 7].isnan().any()
    others = [sample for sample in range(40) if sample != 7]
    torch.testing.assert_close(found[:, others], wanted[:, others])


def test_wide_cones_and_accelerators_are_for_others() -> None:
    assert narrow_cones.fits(torch.zeros(5, 1), 4)
    assert not narrow_cones.fits(torch.zeros(5, 1), 5)
    assert not narrow_cones.fits(torch.zeros(4, 1, device="meta"), 3)


@pytest.mark.parametrize("rotation", ["rot", "rx", "ry"])
@pytest.mark.parametrize("encoding", ["rx", "ry", "rz"])
@pytest.mark.parametrize("entangler", ["cz", "cnot", "none"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_gradients_by_weights_are_those_of_state_vectors(
    layers: int, entangler: str, encoding: str, rotation: str
) -> None:
    circuit = Circuit(3, layers, 1, encoding, rotation, entangler, ((0,), (1, 2)))
    angles, weights = drawn(circuit, 3)
    weights.requires_grad_()
    wires = torch.from_numpy(light_cones(circuit).wires)
    upstream = torch.randn(2, 3, dtype=torch.float64)
    shared = coefficients(circuit, weights)
    _, by_shared = heisenberg.gradients(upstream, angles, shared.detach(), wires)
    (found,) = torch.autograd.grad(shared, weights, by_shared)
    (wanted,) = torch.autograd.grad((upstream * state_vectors.evolve(circuit, angles, weights)).sum(), weights)
    torch.testing.assert_close(found, wanted)


def test_coefficients_of_several_weights_at_once() -> None:
    circuit = Circuit(3)
    many = torch.stack([drawn(circuit, 1)[1] * scale for scale in (1.0, 0.3)])

    def loss(weights: torch.Tensor) -> torch.Tensor:
        return coefficients(circuit, weights).square().sum()

    found = torch.func.vmap(torch.func.grad(loss))(many)
    for one, weights in zip(found, many, strict=True):
        own = weights.clone().requires_grad_()
        torch.testing.assert_close(one, torch.autograd.grad(loss(own), own)[0])


def test_has_first_derivatives_only() -> None:
    weights = drawn(Circuit(3), 1)[1].requires_grad_()
    (slope,) = torch.autograd.grad(coefficients(Circuit(3), weights).square().sum(), weights, create_graph=True)
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        slope.sum().backward()


def test_what_forward_kept_serves_several_slopes() -> None:
    circuit = Circuit(4)
    weights = drawn(circuit, 1)[1].requires_grad_()
    shared, pull = torch.func.vjp(lambda own: coefficients(circuit, own), weights.detach())
    slopes = torch.randn(3, *shared.shape, dtype=torch.float64)
    (at_once,) = torch.func.vmap(pull)(slopes)
    shared = coefficients(circuit, weights)
    for one, slope in zip(at_once, slopes, strict=True):
        torch.testing.assert_close(one, torch.autograd.grad(shared, weights, slope, retain_graph=True)[0])
        torch.testing.assert_close(one, torch.autograd.grad(coefficients(circuit, weights), weights, slope)[0])
