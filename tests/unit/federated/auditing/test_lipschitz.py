from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.auditing.audited_model import to_audited_model
from federated.auditing.lipschitz import (
    encoded_product_states,
    encoded_trace_distance,
    evolved_observables,
    head_lipschitz,
    joint_outcome_bound,
    noise_bound,
    spectral_span,
)
from federated.errors import EvaluationError
from federated.model_file import Model
from federated.models import UNetConfig, build_network
from federated.ports import ModelIdentity
from federated.quantum.circuit import Circuit
from federated.quantum.density_matrix import NoisyGates
from federated.quantum.fused import FusedBackend
from federated.quantum.noise_rates import NoiseRates
from federated.quantum.slot import SlotConfig
from federated.quantum.steps import bind
from tests.fakes.tiny_model import TINY_NETWORK, TINY_PREPROCESSING, build_tiny_model
from tests.fakes.tiny_training import tiny_example

IDENTITY = ModelIdentity("Tiny", "0" * 64, TINY_PREPROCESSING.contrasts, {})
ONE_WIRE = Circuit(1, layers=1, encoding="rx", rotation="ry", entangler="none")
STILL = np.zeros(ONE_WIRE.weight_shape)
NONE = NoiseRates()


def audited(model: Model):
    return to_audited_model(model, IDENTITY)


def of_network(config):
    torch.manual_seed(0)
    return audited(replace(build_tiny_model(), network=config, weights=build_network(config).state_dict()))


def random_weights(circuit, seed=0):
    return np.random.default_rng(seed).uniform(0, 2 * np.pi, circuit.weight_shape)


def bound(circuit, weights, rates=NONE, readout=None, seed=0):
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0, np.pi, (200, circuit.wires))
    return noise_bound("n", circuit, weights, rates, np.eye(circuit.wires) if readout is None else readout, angles, rng)


def test_a_circuit_that_does_nothing_has_the_bounds_of_its_observable():
    found = bound(ONE_WIRE, STILL)
    assert found.outcome == pytest.approx(1)
    assert found.joint == pytest.approx(1)
    assert found.answers == pytest.approx((2.0,))
    # |cos x - cos y| <= 2 sin(|x - y| / 2), which neighbours about pi/2 reach.
    assert 1.9 < found.observed <= 2 + 1e-9


@pytest.mark.parametrize("circuit", [Circuit(2), Circuit(3, 2, entangler="cnot"), Circuit(3, 1, encoding="rz")])
def test_no_unitary_changes_how_far_outcomes_can_be_apart(circuit):
    found = bound(circuit, random_weights(circuit))
    assert found.outcome == pytest.approx(1)
    assert found.joint == pytest.approx(1)
    assert found.answers == pytest.approx((2.0,) * circuit.wires)


@pytest.mark.parametrize(
    ("rates", "shrunk"),
    [
        pytest.param(NoiseRates(depolarizing=0.3), 1 - 4 * 0.3 / 3, id="depolarizing"),
        pytest.param(NoiseRates(depolarizing=0.75), 0.0, id="completely depolarizing"),
        pytest.param(NoiseRates(amplitude_damping=0.2), 1 - 0.2, id="damping"),
        pytest.param(NoiseRates(readout=0.1), 1 - 2 * 0.1, id="readout"),
        pytest.param(NoiseRates(depolarizing=0.3, readout=0.1), (1 - 0.4) * 0.8, id="both"),
    ],
)
def test_noise_on_one_gate_shrinks_it_as_the_closed_form_says(rates, shrunk):
    found = bound(ONE_WIRE, STILL, rates)
    assert found.outcome == pytest.approx(shrunk)
    assert found.joint == pytest.approx(shrunk)
    assert found.answers[0] == pytest.approx(2 * shrunk)


def test_two_wires_that_are_misread_alone():
    # The best set of outcomes tells |00> from |11>: one of both is read right with (1-r)^2, and by mistake with r^2.
    circuit = Circuit(2, layers=1, rotation="ry", entangler="none")
    rates = NoiseRates(readout=0.1)
    assert joint_outcome_bound(circuit, np.zeros(circuit.weight_shape), rates) == pytest.approx(0.9**2 - 0.1**2)


@pytest.mark.parametrize("encoding", ["rx", "ry", "rz"])
def test_observables_carried_back_give_the_circuits_expectations(encoding):
    circuit = Circuit(3, 2, encoding=encoding, entangler="cnot", observables=((0,), (1, 2)))
    weights, angles = random_weights(circuit), np.random.default_rng(1).uniform(0, np.pi, (5, 3))
    states = encoded_product_states(circuit, angles)
    found = np.stack(
        [
            np.einsum("ni,ij,nj->n", states.conj(), each, states).real
            for each in evolved_observables(circuit, weights, NONE)
        ],
        1,
    )
    expected = FusedBackend().expectations(circuit, torch.from_numpy(angles), torch.from_numpy(weights))
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_they_do_so_under_noise():
    circuit, rates = Circuit(3, 2), NoiseRates(0.02, 0.05, 0.03, 0.04)
    weights = random_weights(circuit)
    ground = [each[0, 0].real for each in evolved_observables(circuit, weights, rates)]
    # Without the encoding's gates, from the state with all wires in |0>.
    measured = NoisyGates(rates).run(3, bind(circuit, np.zeros(3), weights)[3:]).reshape(2, 2, 2)
    expected = [(measured.take(0, axis) - measured.take(1, axis)).sum() for axis in range(3)]
    np.testing.assert_allclose(ground, expected, atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.sampled_from(["rx", "ry", "rz"]), st.floats(0, 0.2))
def test_no_pair_of_states_is_beyond_the_bound(seed, wires, encoding, rate):
    circuit = Circuit(wires, 1, encoding=encoding)
    rng = np.random.default_rng(seed)
    readout = rng.normal(size=(2, wires))
    found = noise_bound(
        "n",
        circuit,
        random_weights(circuit, seed),
        NoiseRates(rate, rate, rate, rate),
        readout,
        rng.uniform(-np.pi, np.pi, (40, wires)),
        rng,
    )
    assert found.observed <= max(found.answers) + 1e-9
    assert found.joint <= 1 + 1e-9
    assert found.outcome <= found.joint + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.sampled_from(["rx", "ry", "rz"]))
def test_trace_distances_are_those_of_the_states(seed, wires, encoding):
    first, second = np.random.default_rng(seed).uniform(-4, 4, (2, wires))
    states = encoded_product_states(Circuit(wires, encoding=encoding), np.stack([first, second]))
    apart = np.outer(states[0], states[0].conj()) - np.outer(states[1], states[1].conj())
    exact = np.abs(np.linalg.eigvalsh(apart)).sum() / 2
    assert encoded_trace_distance(first, second) == pytest.approx(exact, abs=1e-6)
    assert exact <= np.linalg.norm(first - second) / 2 + 1e-9


def test_the_span_of_a_known_matrix():
    assert spectral_span(np.array([[0, 1], [1, 0]], complex)) == pytest.approx(2)


@pytest.mark.parametrize("slot", ["head", "neck"])
def test_a_networks_slot_is_within_its_bounds(slot):
    model = audited(build_tiny_model())
    found = head_lipschitz(model, [tiny_example(0)], slot=slot)
    assert found.kind == "quantum"
    assert found.noises[0].name == "none"
    assert found.inputs == 2 * 512
    calm, *noisy = found.noises
    assert calm.outcome == pytest.approx(1)
    assert all(each.outcome < calm.outcome for each in noisy)
    for slope in (found.angle_slope, found.feature_slope):
        assert all(seen <= most + 1e-9 for seen, most in zip(slope.observed, slope.bound, strict=True))
        assert min(slope.observed) > 0


def test_the_slope_by_features_is_that_of_the_module():
    model = audited(build_tiny_model())
    found = head_lipschitz(model)
    head = model.network.head
    features = torch.randn(100, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float32)

    def answers(row):
        return head.outward(head.slot(row)[:, None, None, None])[:, 0, 0, 0]

    steep = torch.stack([torch.autograd.functional.jacobian(answers, row).norm(dim=1) for row in features]).amax(0)
    slope = found.feature_slope
    for seen, most, tried in zip(steep.tolist(), slope.bound, slope.observed, strict=True):
        assert seen <= most + 1e-5
        assert seen == pytest.approx(tried, rel=0.35)


def test_the_bound_by_angles_in_closed_form():
    # One wire, layers that do nothing: the answer is w g cos x, whose slope is at most |w g|.
    config = replace(TINY_NETWORK, head=SlotConfig(wires=1, layers=1, rotation="ry", entangler="none"))
    model = of_network(config)
    with torch.no_grad():
        model.network.head.slot.body.weights.zero_()
    found = head_lipschitz(model)
    weights = model.network.head.outward.weight.flatten().abs().tolist()
    assert found.angle_slope.bound == pytest.approx(weights)
    assert found.angle_slope.observed == pytest.approx(weights, rel=1e-3)


@pytest.mark.parametrize("uploads", [2, 3])
def test_a_circuit_that_uploads_again_is_within_its_bound_by_angles(uploads):
    config = replace(TINY_NETWORK, head=SlotConfig(wires=2, layers=1, uploads=uploads))
    found = head_lipschitz(of_network(config))
    assert found.noises[0].observed is None
    slope = found.angle_slope
    assert all(seen <= most + 1e-9 for seen, most in zip(slope.observed, slope.bound, strict=True))


def test_a_classical_twin_is_bounded_by_its_matrices():
    twin = of_network(replace(TINY_NETWORK, head=SlotConfig("mlp", wires=2, layers=1)))
    found = head_lipschitz(audited(build_tiny_model()), twin=twin)
    head = twin.network.head
    first, second = head.slot.body[0].weight, head.slot.body[2].weight
    product = float(torch.linalg.matrix_norm(first, 2) * torch.linalg.matrix_norm(second, 2))
    rows = head.outward.weight.flatten(1).norm(dim=1)
    assert found.twin_kind == "mlp"
    assert found.twin_slope.bound == pytest.approx((rows * product).tolist(), rel=1e-5)
    assert all(s <= b + 1e-9 for s, b in zip(found.twin_slope.observed, found.twin_slope.bound, strict=True))


def test_a_control_without_a_circuit_has_a_slope_only():
    found = head_lipschitz(of_network(replace(TINY_NETWORK, head=SlotConfig("identity", wires=2))))
    assert found.noises == ()
    assert found.angle_slope is None
    assert min(found.feature_slope.bound) > 0


@pytest.mark.parametrize(
    "config", [UNetConfig(filters=(4, 8)), replace(TINY_NETWORK, head=None)], ids=["unet", "plain projection"]
)
def test_refuses_a_network_without_the_slot(config):
    with pytest.raises(EvaluationError, match="a slot in its head"):
        head_lipschitz(of_network(config))


def test_refuses_too_many_wires():
    circuit = Circuit(9)
    with pytest.raises(EvaluationError, match="at most 8 wires"):
        evolved_observables(circuit, np.zeros(circuit.weight_shape), NONE)
    with pytest.raises(EvaluationError, match="at most 4 wires"):
        joint_outcome_bound(Circuit(5), np.zeros(Circuit(5).weight_shape), NONE)
