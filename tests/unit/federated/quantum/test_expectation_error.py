"""Expectation errors, on one wire, where the noisy value has a closed form: <Z> = cos(angle + weight), shrunk."""

import numpy as np
import pytest
import torch

from federated.errors import ShotsError
from federated.quantum.circuit import Circuit
from federated.quantum.density_matrix import NoisyGates
from federated.quantum.expectation_error import ZNE_SCALES, accuracy, expectations, measure_expectations
from federated.quantum.noise import noise_model
from federated.quantum.noise_rates import NoiseRates
from federated.quantum.pennylane_backend import PennyLaneBackend
from federated.quantum.steps import bind, folded

TWO_PULSES = Circuit(1, layers=1, encoding="rx", rotation="rx")


def measure(rates: NoiseRates, *scales: float):
    return measure_expectations(TWO_PULSES, rates, 0, lambda _: None, scales)


def test_without_noise_nothing_is_off() -> None:
    (test,) = measure(NoiseRates(), 1.0)
    for found in (test.raw, test.mitigated):
        assert found.mean_absolute_error == pytest.approx(0, abs=1e-6)
        assert found.slope == pytest.approx(1, abs=1e-6)


def test_depolarising_leaves_the_known_share_and_extrapolation_its_parabola() -> None:
    left = (1 - 4 * 0.03 / 3) ** 2
    (test,) = measure(NoiseRates(depolarizing=0.03), 1.0)
    assert test.raw.slope == pytest.approx(left, abs=1e-5)
    assert test.mitigated.slope == pytest.approx((15 * left - 10 * left**3 + 3 * left**5) / 8, abs=1e-5)
    assert test.mitigated.mean_absolute_error < 0.1 * test.raw.mean_absolute_error


def test_readout_errors_stay_after_extrapolation() -> None:
    (test,) = measure(NoiseRates(readout=0.05), 1.0)
    assert test.raw.slope == pytest.approx(0.9, abs=1e-5)
    assert test.mitigated.slope == pytest.approx(0.9, abs=1e-5)


def test_more_noise_is_a_larger_error() -> None:
    seen: list[float] = []
    tests = measure_expectations(TWO_PULSES, NoiseRates(0.01, 0.0, 0.01, 0.01), 0, seen.append, (0.5, 1.0, 2.0))
    errors = [test.raw.mean_absolute_error for test in tests]
    assert errors == sorted(errors)
    assert [test.scale for test in tests] == [0.5, 1.0, 2.0]
    assert seen == pytest.approx([1 / 3, 2 / 3, 1])


def test_the_seed_repeats_the_draw() -> None:
    assert measure(NoiseRates(0.01), 1.0) == measure(NoiseRates(0.01), 1.0)


@pytest.mark.parametrize(
    "circuit",
    [
        pytest.param(Circuit(3, layers=2, observables=((0,), (0, 2))), id="rx-rot-cz"),
        pytest.param(Circuit(2, layers=1, encoding="rz", rotation="ry", entangler="cnot"), id="rz-ry-cnot"),
    ],
)
def test_agrees_with_the_pennylane_backend(circuit: Circuit) -> None:
    """Noise and extrapolation: the report speaks of the backend that the product runs noisy circuits on."""
    rates, rng = NoiseRates(0.01, 0.03, 0.02, 0.04), np.random.default_rng(0)
    angles, weights = rng.uniform(0, 3, (2, circuit.wires)), rng.uniform(0, 6, circuit.weight_shape)
    runs = [bind(circuit, row, weights) for row in angles]
    found = [expectations(circuit, NoisyGates(rates), [folded(steps, times) for steps in runs]) for times in ZNE_SCALES]
    for scales, values in (((), found[0]), (ZNE_SCALES, (15 * found[0] - 10 * found[1] + 3 * found[2]) / 8)):
        backend = PennyLaneBackend("default.mixed", noise=noise_model(rates), zne_scales=scales)
        theirs = backend.expectations(circuit, torch.from_numpy(angles), torch.from_numpy(weights))
        assert values == pytest.approx(theirs.numpy(), abs=1e-6)


def test_accuracy_is_the_mean_error_and_the_slope_through_the_origin() -> None:
    exact = np.array([1.0, -0.5, 0.0])
    found = accuracy(0.8 * exact, exact)
    assert found.slope == pytest.approx(0.8)
    assert found.mean_absolute_error == pytest.approx(0.1)


def test_refuses_a_negative_scale() -> None:
    with pytest.raises(ShotsError, match="scale"):
        measure(NoiseRates(), -1.0)
