"""Gates with their numbers filled in: what a device is told, step by step."""

import cmath
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from federated.quantum.circuit import Circuit, Input

Matrix = npt.NDArray[np.complex128]

_FIXED: Final = {
    "h": np.array([[1, 1], [1, -1]], complex) / math.sqrt(2),
    "cx": np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], complex),
    "cz": np.diag([1, 1, 1, -1]).astype(complex),
}


@dataclass(frozen=True)
class Step:
    """One gate.

    Attributes:
        name: "h", "rx", "ry", "rz", "cx" or "cz", as OpenQASM spells them.
        wires: One, or control and target.
        angle: Radian; None for gates without.
    """

    name: str
    wires: tuple[int, ...]
    angle: float | None = None

    @property
    def matrix(self) -> Matrix:
        """The unitary on the step's own wires, complex128 (2, 2) or (4, 4); the first wire is the more significant."""
        if self.angle is None:
            return _FIXED[self.name]
        cosine, sine = math.cos(self.angle / 2), math.sin(self.angle / 2)
        if self.name == "rz":
            return np.diag([cmath.exp(-0.5j * self.angle), cmath.exp(0.5j * self.angle)])
        if self.name == "rx":
            return np.array([[cosine, -1j * sine], [-1j * sine, cosine]])
        return np.array([[cosine, -sine], [sine, cosine]], complex)

    @property
    def inverse(self) -> "Step":
        """The step that undoes this one."""
        return self if self.angle is None else replace(self, angle=-self.angle)


def bind(circuit: Circuit, angles: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> tuple[Step, ...]:
    """A circuit's gates for one row of angles.

    Args:
        circuit: What to execute.
        angles: (wires,), radian.
        weights: circuit.weight_shape, radian.
    """
    steps = []
    for gate in circuit.gates():
        source = gate.parameter
        angle = None if source is None else angles[source.wire] if isinstance(source, Input) else weights[source.index]
        steps.append(Step(gate.name, gate.wires, None if angle is None else float(angle)))
    return tuple(steps)


def folded(steps: Sequence[Step], times: int) -> tuple[Step, ...]:
    """The same unitary from an odd multiple of the gates: the steps, then undone and done again."""
    undone = tuple(step.inverse for step in reversed(steps))
    return tuple(steps) + (undone + tuple(steps)) * (times // 2)
