"""Density matrices of a few wires under the noise of a device, exact up to rounding.

A density matrix is a tensor of 2 * wires axes of length 2: the rows' wires, then the columns'. A superoperator acts on
(row, column) of one wire, or on (rows, columns) of a pair, flattened: (4, 4) or (16, 16).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pennylane as qml

from federated.quantum.noise import depolarizing2
from federated.quantum.noise_rates import NoiseRates
from federated.quantum.steps import Matrix, Step

Probabilities = npt.NDArray[np.float64]


def superoperator(kraus: Iterable[Matrix]) -> Matrix:
    """The linear map of Kraus matrices on density matrices that are flattened row by row."""
    return np.asarray(sum(np.kron(matrix, matrix.conj()) for matrix in kraus))


class NoisyGates:
    """What a device does for each gate: see federated.quantum.noise for the order of its errors."""

    def __init__(self, rates: NoiseRates) -> None:
        damping = qml.AmplitudeDamping(rates.amplitude_damping, wires=0).kraus_matrices()
        depolarizing = qml.DepolarizingChannel(rates.depolarizing, wires=0).kraus_matrices()
        both = superoperator(np.kron(first, second) for first in damping for second in damping)
        self._pulse = superoperator(damping) @ superoperator(depolarizing)
        self._pair = both @ superoperator(depolarizing2(rates.depolarizing2))
        self._fixed = {name: self._pair @ superoperator([Step(name, (0, 1)).matrix]) for name in ("cx", "cz")}
        self._misread = np.array([[1 - rates.readout, rates.readout], [rates.readout, 1 - rates.readout]])

    def channel(self, step: Step) -> Matrix:
        """A gate and its noise, (4, 4) or (16, 16), on the step's wires in their order."""
        if step.name in self._fixed:
            return self._fixed[step.name]
        exact = superoperator([step.matrix])
        return exact if step.name == "rz" else self._pulse @ exact

    def run(self, wires: int, steps: Sequence[Step]) -> Probabilities:
        """What is measured after some steps, readout errors included, float64 (2**wires,)."""
        density = ground_state(wires)
        for step in steps:
            density = apply_channel(self.channel(step), density, step.wires)
        return self.measured(density)

    def measured(self, density: Matrix) -> Probabilities:
        """The probability of each bitstring, readout errors included, float64 (2**wires,)."""
        wires = density.ndim // 2
        found: npt.NDArray[Any] = density.reshape(2**wires, 2**wires).diagonal().real.reshape((2,) * wires)
        for wire in range(wires):
            found = apply(self._misread, found, (wire,))
        return np.asarray(found.ravel(), np.float64)


def ground_state(wires: int) -> Matrix:
    """All wires in |0>."""
    density = np.zeros((2,) * (2 * wires), complex)
    density[(0,) * (2 * wires)] = 1
    return density


def apply_channel(channel: Matrix, density: Matrix, wires: Sequence[int]) -> Matrix:
    """Apply a superoperator to one wire, or to two in this order."""
    columns = density.ndim // 2
    return apply(channel, density, (*wires, *(columns + wire for wire in wires)))


def apply(matrix: npt.NDArray[Any], tensor: npt.NDArray[Any], axes: Sequence[int]) -> npt.NDArray[Any]:
    """Multiply some axes of a tensor, each of length 2, by a matrix (2**axes, 2**axes)."""
    count = len(axes)
    product = np.tensordot(matrix.reshape((2,) * (2 * count)), tensor, (tuple(range(count, 2 * count)), tuple(axes)))
    return np.moveaxis(product, range(count), tuple(axes))
