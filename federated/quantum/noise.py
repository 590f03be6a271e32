"""The noise of a quantum device: what its rates do to a circuit.

    one-qubit gates     depolarising, then amplitude damping
    two-qubit gates     two-qubit depolarising, then amplitude damping on each of both wires
    RZ                  no noise: superconducting and ion devices shift the phase of later pulses instead
                        (McKay et al. (2017), arXiv:1612.00858)
    readout             each measured bit is flipped

Depolarising and damping do not commute; the order above is everybody's here. Gate errors that a vendor publishes
contain the decay during the gate, so damping counts it twice: the estimates lean to the cautious side.
"""

import math
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pennylane as qml

from federated.quantum.noise_rates import NoiseRates

Matrix = npt.NDArray[np.complex128]

_PAULIS: Final = (
    np.eye(2, dtype=complex),
    np.array([[0, 1], [1, 0]], complex),
    np.array([[0, -1j], [1j, 0]]),
    np.diag([1, -1]).astype(complex),
)


def noise_model(rates: NoiseRates) -> qml.NoiseModel:
    """The rates as PennyLane puts them on a device of mixed states (`qml.noise.add_noise`)."""

    def after_one(op: Any, **_: Any) -> None:
        qml.DepolarizingChannel(rates.depolarizing, wires=op.wires)
        qml.AmplitudeDamping(rates.amplitude_damping, wires=op.wires)

    def after_two(op: Any, **_: Any) -> None:
        qml.QubitChannel(depolarizing2(rates.depolarizing2), wires=op.wires)
        for wire in op.wires:
            qml.AmplitudeDamping(rates.amplitude_damping, wires=wire)

    def before_readout(measurement: Any, **_: Any) -> None:
        for wire in measurement.wires:
            qml.BitFlip(rates.readout, wires=wire)

    measured = (
        qml.noise.meas_eq(qml.expval)
        | qml.noise.meas_eq(qml.probs)
        | qml.noise.meas_eq(qml.sample)
        | qml.noise.meas_eq(qml.counts)
    )
    return qml.NoiseModel(
        {qml.BooleanFn(_is_pulse): after_one, qml.BooleanFn(_is_two_qubit_gate): after_two},
        meas_map={measured: before_readout},
    )


_NOT_GATES: Final = (qml.operation.Channel, qml.operation.StatePrepBase)


def _is_pulse(op: Any) -> bool:
    return len(op.wires) == 1 and _is_gate(op) and getattr(op, "base", op).name != "RZ"


def _is_two_qubit_gate(op: Any) -> bool:
    return len(op.wires) == 2 and _is_gate(op)


def _is_gate(op: Any) -> bool:
    return isinstance(op, qml.operation.Operation) and not isinstance(op, _NOT_GATES)


def depolarizing2(rate: float) -> list[Matrix]:
    """Two-qubit depolarising as 16 Kraus matrices, complex128 (4, 4)."""
    pairs: list[Matrix] = [np.kron(first, second) for first, second in product(_PAULIS, _PAULIS)]
    return [math.sqrt(1 - rate) * pairs[0], *(math.sqrt(rate / 15) * pair for pair in pairs[1:])]


def twirled_damping(probability: float) -> tuple[float, float, float]:
    """Amplitude damping as random Pauli errors, which stabiliser simulators understand.

    Args:
        probability: Of decay.

    Returns:
        Probabilities of X, Y and Z: the diagonal of the channel in the Pauli basis, what a Pauli twirl leaves of it.

    References:
        Geller and Zhou (2013), arXiv:1305.2021.
    """
    phase = (1 - math.sqrt(1 - probability)) ** 2 / 4
    return probability / 4, probability / 4, phase
