"""How far a noisy device is off: expectation values of a circuit against the exact ones.

Zero-noise extrapolation (ZNE) runs the circuit with its gates folded to 1, 3 and 5 times their number and extrapolates
a parabola to none: Temme, Bravyi and Gambetta (2017), arXiv:1612.02058; folding after Giurgica-Tiron et al. (2020),
arXiv:2005.10921. It cannot undo readout errors, which do not grow with the gates, and it multiplies the sampling error
of finite shots by 2.3 (the norm of the coefficients 15/8, -10/8, 3/8). Everything here is without shots.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch

from federated.errors import ShotsError
from federated.ports import Progress
from federated.quantum.circuit import Circuit
from federated.quantum.fused import FusedBackend
from federated.quantum.noise import noise_model
from federated.quantum.noise_rates import NoiseRates
from federated.quantum.pennylane_backend import PennyLaneBackend
from federated.quantum.ports import Backend

ZNE_SCALES: Final = (1, 3, 5)
NOISE_SCALES: Final = (0.25, 1.0, 4.0)
"""Multiples of the given rates, so that the report shows where a better or worse device would stand."""
_WEIGHTS, _ANGLES = 2, 24
"""Random weights, and random angles for each."""


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
        circuit: What to execute. A density matrix simulates it: 4 wires take seconds a scale, each more wire about
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
    generator = torch.Generator().manual_seed(seed)
    angles = math.pi * torch.rand((_WEIGHTS, _ANGLES, circuit.wires), generator=generator, dtype=torch.float64)
    weights = 2 * math.pi * torch.rand((_WEIGHTS, *circuit.weight_shape), generator=generator, dtype=torch.float64)
    exact = _values(FusedBackend(), circuit, angles, weights)
    tests = []
    for scale in scales:
        model = noise_model(rates.scaled(scale))
        raw = _values(PennyLaneBackend("default.mixed", noise=model), circuit, angles, weights)
        mitigating = PennyLaneBackend("default.mixed", noise=model, zne_scales=ZNE_SCALES)
        mitigated = _values(mitigating, circuit, angles, weights)
        tests.append(ExpectationTest(scale, accuracy(raw, exact), accuracy(mitigated, exact)))
        progress(len(tests) / len(scales))
    return tuple(tests)


def accuracy(found: torch.Tensor, exact: torch.Tensor) -> Accuracy:
    """Compare values of the same shape."""
    slope = (found * exact).sum() / exact.square().sum()
    return Accuracy(float((found - exact).abs().mean()), float(slope))


def _values(backend: Backend, circuit: Circuit, angles: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.stack(
            [backend.expectations(circuit, rows, one) for rows, one in zip(angles, weights, strict=True)]
        )
