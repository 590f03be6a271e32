"""How far a noisy device is off: expectation values of a circuit against the exact ones.

Zero-noise extrapolation (ZNE) runs the circuit with its gates folded to 1, 3 and 5 times their number and extrapolates
a parabola to none: Temme, Bravyi and Gambetta (2017), arXiv:1612.02058; folding after Giurgica-Tiron et al. (2020),
arXiv:2005.10921. It cannot undo readout errors, which do not grow with the gates, and it multiplies the sampling error
of finite shots by 2.3 (the norm of the coefficients 15/8, -10/8, 3/8). Everything here is without shots.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

from federated.errors import ShotsError
from federated.ports import Progress
from federated.quantum.circuit import Circuit
from federated.quantum.density_matrix import NoisyGates
from federated.quantum.noise_rates import NoiseRates
from federated.quantum.steps import Step, bind, folded

ZNE_SCALES: Final = (1, 3, 5)
_EXTRAPOLATION: Final = (15 / 8, -10 / 8, 3 / 8)
"""The parabola through the values at those scales, at 0."""
NOISE_SCALES: Final = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Multiples of the given rates, so that the report shows where a better or worse device would stand."""
_WEIGHTS, _ANGLES = 16, 4
"""Random weights, and random angles for each: how large the error is depends on the weights, above all."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Accuracy:
    """How close values come to the exact ones.

    Attributes:
        mean_absolute_error: 0 to 2.
        slope: What is left of the signal: of the line through the origin that fits the values over the exact ones best.
    """

    mean_absolute_error: float
    slope: float


@dataclass(frozen=True)
class ExpectationTest:
    """One device.

    Attributes:
        scale: What the rates were multiplied by.
        raw: As the device gives them.
        mitigated: With zero-noise extrapolation.
    """

    scale: float
    raw: Accuracy
    mitigated: Accuracy


def measure_expectations(
    circuit: Circuit, rates: NoiseRates, seed: int, progress: Progress, scales: Sequence[float] = NOISE_SCALES
) -> tuple[ExpectationTest, ...]:
    """Compare a circuit's expectation values with and without noise, over random angles and weights.

    Args:
        circuit: What to execute. A density matrix simulates it: 4 wires take a second a scale, each more wire up to
            four times as long.
        rates: Of the device.
        seed: Of angles (uniform, 0 to pi: what a slot asks for) and weights (uniform, 0 to 2 pi).
        progress: Called as the work goes on.
        scales: Multiples of the rates.

    Raises:
        ShotsError: A scale is negative.
    """
    if not scales:
        raise ShotsError("Expected at least one noise scale, got none.")
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0, math.pi, (_WEIGHTS, _ANGLES, circuit.wires))
    weights = rng.uniform(0, 2 * math.pi, (_WEIGHTS, *circuit.weight_shape))
    runs = [bind(circuit, row, one) for rows, one in zip(angles, weights, strict=True) for row in rows]
    exact = expectations(circuit, NoisyGates(NoiseRates()), runs)
    tests = []
    for scale in scales:
        gates = NoisyGates(rates.scaled(scale))
        raw, *more = (expectations(circuit, gates, [folded(steps, times) for steps in runs]) for times in ZNE_SCALES)
        mitigated = sum(factor * values for factor, values in zip(_EXTRAPOLATION, (raw, *more), strict=True))
        tests.append(ExpectationTest(scale, accuracy(raw, exact), accuracy(np.asarray(mitigated), exact)))
        progress(len(tests) / len(scales))
    return tuple(tests)


def expectations(circuit: Circuit, gates: NoisyGates, runs: Sequence[Sequence[Step]]) -> Values:
    """A circuit's observables after each run of steps, float64 (runs, observables)."""
    bits = np.array(list(product((0, 1), repeat=circuit.wires)))
    signs = np.stack([1 - 2 * (bits[:, list(wires)].sum(1) % 2) for wires in circuit.observables], 1)
    return np.array([gates.run(circuit.wires, steps) @ signs for steps in runs])


def accuracy(found: Values, exact: Values) -> Accuracy:
    """Compare values of the same shape."""
    slope = (found * exact).sum() / np.square(exact).sum()
    return Accuracy(float(np.abs(found - exact).mean()), float(slope))
