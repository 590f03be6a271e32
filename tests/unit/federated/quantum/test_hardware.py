"""The backend that samples: agreement with exact simulation, gradients by parameter shift, and what it refuses."""

from collections.abc import Mapping, Sequence

import pytest
import torch

from federated.errors import CircuitInputError, ShotsError
from federated.quantum.circuit import Circuit
from federated.quantum.fused import FusedBackend
from federated.quantum.hardware import HardwareBackend, parameter_shift_gradient
from federated.quantum.layer import QuantumLayer
from federated.quantum.qasm import measured_program
from federated.quantum.sampler import LocalSampler

SHOTS = 4000


class Forbidden:
    """A Sampler that nobody may call."""

    def counts(self, programs: Sequence[str], shots: int) -> Sequence[Mapping[str, int]]:
        raise AssertionError(f"{len(programs)} programs were run")


def drawn(circuit: Circuit, batch: int, seed: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    angles = torch.rand(batch, circuit.wires, generator=generator, dtype=torch.float64) * 3
    return angles, torch.randn(circuit.weight_shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    "circuit",
    [
        pytest.param(Circuit(4), id="as-trained"),
        pytest.param(Circuit(3, 2, 2, "ry", "rot", "cnot", ((0,), (2,), (0, 1))), id="asymmetric-re-uploaded"),
        pytest.param(Circuit(2, 1, 1, "rz", "ry", "cnot"), id="phase-encoding"),
        pytest.param(Circuit(1, 1), id="one-wire"),
    ],
)
def test_agrees_with_exact_simulation_within_five_standard_errors(circuit: Circuit) -> None:
    angles, weights = drawn(circuit, 3)
    exact = FusedBackend().expectations(circuit, angles, weights)
    found = HardwareBackend(LocalSampler(seed=11), SHOTS).expectations(circuit, angles, weights)
    errors = ((1 - exact**2).clamp(min=0) / SHOTS).sqrt() + 1 / SHOTS
    assert found.shape == exact.shape
    assert ((found - exact).abs() / errors).max() < 5


def test_bits_stand_in_the_order_of_wires() -> None:
    counts = LocalSampler().counts([measured_program(3, ["x q[0];"]), measured_program(3, ["x q[2];"])], 5)
    assert counts == [{"100": 5}, {"001": 5}]


def test_an_angle_of_pi_flips_its_own_wire() -> None:
    circuit = Circuit(3, layers=1, entangler="none")
    values = HardwareBackend(LocalSampler(), 20).expectations(
        circuit, torch.tensor([[0.0, torch.pi, 0.0]]), torch.zeros(circuit.weight_shape)
    )
    assert values.tolist() == [[1.0, -1.0, 1.0]]
    assert values.dtype == torch.float32


def test_a_seed_gives_the_same_counts_whatever_runs_beside() -> None:
    one, other = measured_program(2, ["h q[0];"]), measured_program(2, ["h q[1];"])
    alone = LocalSampler(seed=5).counts([one], 100)
    beside = LocalSampler(seed=5).counts([other, one], 100)
    assert alone[0] == beside[1]
    assert sum(alone[0].values()) == 100
    assert LocalSampler(seed=6).counts([one], 100) != alone


def test_parameter_shift_agrees_with_the_exact_gradient() -> None:
    circuit = Circuit(2, layers=1, observables=((0,), (0, 1)))
    angles, weights = drawn(circuit, 1)
    chosen = [(0, 0, 1), (0, 1, 1), (0, 1, 2)]
    exact = torch.autograd.functional.jacobian(lambda w: FusedBackend().expectations(circuit, angles, w), weights)
    expected = torch.stack([exact[..., i, j, k] for i, j, k in chosen], -1)
    found = parameter_shift_gradient(LocalSampler(seed=2), SHOTS, circuit, angles, weights, chosen)
    assert found.shape == (1, 2, 3)
    assert (found - expected).abs().max() < 5 * (1 / (2 * SHOTS)) ** 0.5


def test_a_gradient_is_two_circuits_for_each_parameter_and_sample() -> None:
    class Counting:
        programs = 0

        def counts(self, programs: Sequence[str], shots: int) -> Sequence[Mapping[str, int]]:
            self.programs += len(set(programs))
            return [{"00": shots}] * len(programs)

    sampler, circuit = Counting(), Circuit(2, layers=1)
    angles, weights = drawn(circuit, 5)
    gradient = parameter_shift_gradient(sampler, 10, circuit, angles, weights)
    assert sampler.programs == 2 * 6 * 5
    assert gradient.shape == (5, 2, 6)


def test_a_wanted_gradient_is_refused_before_anything_runs() -> None:
    layer = QuantumLayer(Circuit(2), HardwareBackend(Forbidden(), 10))
    with pytest.raises(CircuitInputError, match="no_grad"):
        layer(torch.zeros(1, 2))


def test_a_layer_evaluates_without_gradients() -> None:
    layer = QuantumLayer(Circuit(2, layers=1), HardwareBackend(LocalSampler(), 10))
    with torch.no_grad():
        assert layer(torch.zeros(2, 1, 2)).shape == (2, 1, 2)


def test_an_empty_batch_runs_nothing() -> None:
    circuit = Circuit(3)
    found = HardwareBackend(Forbidden(), 10).expectations(circuit, torch.zeros(0, 3), torch.zeros(circuit.weight_shape))
    assert found.shape == (0, 3)


@pytest.mark.parametrize(
    "angles",
    [
        pytest.param(torch.zeros(3), id="no-batch"),
        pytest.param(torch.zeros(1, 2), id="too-few"),
        pytest.param(torch.full((1, 3), torch.nan), id="nan"),
    ],
)
def test_refuses_angles_that_do_not_fit(angles: torch.Tensor) -> None:
    with pytest.raises(CircuitInputError):
        HardwareBackend(Forbidden(), 10).expectations(Circuit(3), angles, torch.zeros(Circuit(3).weight_shape))


def test_refuses_weights_and_indices_that_do_not_fit() -> None:
    circuit = Circuit(2, layers=1)
    with pytest.raises(CircuitInputError, match="weights"):
        parameter_shift_gradient(Forbidden(), 10, circuit, torch.zeros(1, 2), torch.zeros(1, 2, 1))
    with pytest.raises(CircuitInputError, match="indices"):
        parameter_shift_gradient(
            Forbidden(), 10, circuit, torch.zeros(1, 2), torch.zeros(circuit.weight_shape), [(1, 0, 0)]
        )


@pytest.mark.parametrize(
    "shots", [pytest.param(0, id="zero"), pytest.param(-5, id="negative"), pytest.param(True, id="bool")]
)
def test_refuses_shots_below_one(shots: int) -> None:
    with pytest.raises(ShotsError, match="at least 1 shot"):
        HardwareBackend(Forbidden(), shots)
    with pytest.raises(ShotsError, match="at least 1 shot"):
        LocalSampler().counts([], shots)
    with pytest.raises(ShotsError, match="at least 1 shot"):
        parameter_shift_gradient(Forbidden(), shots, Circuit(1), torch.zeros(1, 1), torch.zeros(2, 1, 3))
