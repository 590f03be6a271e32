"""Noise: each channel against its closed form, and what is refused."""

import math

import pennylane as qml
import pytest

from federated.errors import ShotsError
from federated.quantum.noise import noise_model, twirled_damping
from federated.quantum.noise_rates import SUPERCONDUCTING, NoiseRates

THETA = 0.7


def expectation(rates: NoiseRates, gates, observable, scales=()) -> float:
    """Of some gates on a noisy device, optionally extrapolated to zero noise."""
    device = qml.noise.add_noise(qml.device("default.mixed", wires=2), noise_model(rates))

    def circuit():
        for name, *arguments in gates:
            getattr(qml, name)(*arguments)
        return qml.expval(observable)

    node = qml.QNode(circuit, device)
    if scales:
        node = qml.noise.mitigate_with_zne(
            node, scales, qml.noise.fold_global, qml.noise.poly_extrapolate, extrapolate_kwargs={"order": 2}
        )
    return float(node())


@pytest.mark.parametrize("gate", ["RX", "RY"])
def test_depolarising_shrinks_the_expectation(gate: str) -> None:
    found = expectation(NoiseRates(depolarizing=0.06), [(gate, THETA, 0)], qml.Z(0))
    assert found == pytest.approx((1 - 4 * 0.06 / 3) * math.cos(THETA))


def test_damping_pulls_towards_the_ground_state() -> None:
    found = expectation(NoiseRates(amplitude_damping=0.1), [("RX", THETA, 0)], qml.Z(0))
    assert found == pytest.approx(0.1 + 0.9 * math.cos(THETA))


def test_readout_flips_shrink_each_measured_wire() -> None:
    gates = [("RX", THETA, 0), ("RX", THETA, 1)]
    rates = NoiseRates(readout=0.05)
    assert expectation(rates, gates, qml.Z(0)) == pytest.approx(0.9 * math.cos(THETA))
    assert expectation(rates, gates, qml.Z(0) @ qml.Z(1)) == pytest.approx((0.9 * math.cos(THETA)) ** 2)


def test_damping_follows_depolarising() -> None:
    found = expectation(NoiseRates(depolarizing=0.06, amplitude_damping=0.1), [("RX", THETA, 0)], qml.Z(0))
    assert found == pytest.approx(0.1 + 0.9 * (1 - 4 * 0.06 / 3) * math.cos(THETA))


@pytest.mark.parametrize("gate", ["CZ", "CNOT"])
@pytest.mark.parametrize("observable", [qml.Z(0), qml.Z(1), qml.Z(0) @ qml.Z(1)], ids=["first", "second", "both"])
def test_two_qubit_depolarising_hits_every_pauli_alike(gate: str, observable) -> None:
    found = expectation(NoiseRates(depolarizing2=0.06), [(gate, [0, 1])], observable)
    assert found == pytest.approx(1 - 16 * 0.06 / 15)


def test_a_shift_of_phase_costs_nothing() -> None:
    rates = NoiseRates(0.06, 0.06, 0.1)
    plain = expectation(rates, [("RX", THETA, 0)], qml.Z(0))
    assert expectation(rates, [("RX", THETA, 0), ("RZ", 1.1, 0)], qml.Z(0)) == pytest.approx(plain)


def test_folded_gates_are_noisy_so_that_extrapolation_works() -> None:
    gates = [("RX", THETA, 0), ("RZ", 0.4, 0), ("RY", 0.3, 0)]
    exact = expectation(NoiseRates(), gates, qml.Z(0))
    raw = expectation(NoiseRates(depolarizing=0.01), gates, qml.Z(0))
    mitigated = expectation(NoiseRates(depolarizing=0.01), gates, qml.Z(0), scales=(1, 3, 5))
    assert abs(mitigated - exact) < 0.1 * abs(raw - exact)


def test_extrapolation_does_not_undo_readout() -> None:
    """Folding repeats gates, not the measurement; whoever reads the report should know."""
    found = expectation(NoiseRates(readout=0.05), [("RX", THETA, 0)], qml.Z(0), scales=(1, 3, 5))
    assert found == pytest.approx(0.9 * math.cos(THETA))


@pytest.mark.parametrize("probability", [0.0, 0.01, 0.5, 1.0])
def test_the_twirl_keeps_the_diagonal_of_the_channel(probability: float) -> None:
    """Damping shrinks X and Y by sqrt(1 - p) and Z by 1 - p; a Pauli channel by one less twice what anticommutes."""
    x, y, z = twirled_damping(probability)
    assert min(x, y, z) >= 0
    assert 1 - 2 * (y + z) == pytest.approx(math.sqrt(1 - probability))
    assert 1 - 2 * (x + z) == pytest.approx(math.sqrt(1 - probability))
    assert 1 - 2 * (x + y) == pytest.approx(1 - probability)


@pytest.mark.parametrize("rate", [-0.01, 1.01, math.nan, math.inf, "much", True])
@pytest.mark.parametrize("name", ["depolarizing", "depolarizing2", "amplitude_damping", "readout"])
def test_refuses_what_is_no_probability(name: str, rate) -> None:
    with pytest.raises(ShotsError, match=name.replace("_", "-")):
        NoiseRates(**{name: rate})


def test_scales_all_rates_and_keeps_them_probabilities() -> None:
    assert SUPERCONDUCTING.scaled(0) == NoiseRates()
    assert NoiseRates(0.1, 0.2, 0.3, 0.4).scaled(2) == NoiseRates(0.2, 0.4, 0.6, 0.8)
    assert NoiseRates(readout=0.4).scaled(5) == NoiseRates(readout=1.0)
    with pytest.raises(ShotsError, match="scale"):
        SUPERCONDUCTING.scaled(-1)
