"""The model circuits of the quantum-volume test, Cross et al. (2019), arXiv:1811.12926.

A model circuit of n wires has n layers; each pairs the wires at random and applies a Haar-random SU(4) to each pair.
Its heavy outputs are the bitstrings whose ideal probability is above the median.

Wire 0 is the most significant bit of a bitstring's index, and its first character.
"""

import cmath
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pennylane as qml
from scipy.stats import unitary_group

from federated.quantum.density_matrix import Probabilities, apply
from federated.quantum.qasm import measured_program
from federated.quantum.steps import Matrix, Step


@dataclass(frozen=True, eq=False)
class Block:
    """An SU(4) on a pair of wires: the matrix that is meant, and the gates that a device runs.

    Attributes:
        pair: First and second wire of the matrix.
        unitary: complex128 (4, 4).
        steps: On wires 0 and 1, which stand for the pair.
    """

    pair: tuple[int, int]
    unitary: Matrix
    steps: tuple[Step, ...]


@dataclass(frozen=True, eq=False)
class ModelCircuit:
    """A square random circuit; its blocks in the order of application."""

    wires: int
    blocks: tuple[Block, ...]


def random_model_circuit(wires: int, rng: np.random.Generator) -> ModelCircuit:
    """Draw a model circuit."""
    blocks = []
    for _ in range(wires):
        order = rng.permutation(wires)
        for place in range(0, wires - 1, 2):
            unitary = unitary_group.rvs(4, random_state=rng)
            blocks.append(Block((int(order[place]), int(order[place + 1])), unitary, decompose(unitary)))
    return ModelCircuit(wires, tuple(blocks))


def decompose(unitary: Matrix) -> tuple[Step, ...]:
    """Write a two-qubit unitary as rotations and at most three CNOTs, up to a global phase.

    References:
        Shende, Markov and Bullock (2004), arXiv:quant-ph/0308045.
    """
    steps: list[Step] = []
    for op in qml.ops.two_qubit_decomposition(unitary, wires=[0, 1]):
        if op.name == "QubitUnitary":
            steps += _rotations(op.matrix(), op.wires[0])
        elif op.name == "CNOT":
            steps.append(Step("cx", tuple(op.wires)))
        elif op.name != "GlobalPhase":
            steps.append(Step(op.name.lower(), tuple(op.wires), float(op.parameters[0])))
    return tuple(steps)


def _rotations(unitary: Matrix, wire: int) -> tuple[Step, Step, Step]:
    """A one-qubit unitary as RZ, RY, RZ, up to a global phase."""
    # With determinant 1 its first column is exp(-i (last + first) / 2) cos, exp(i (last - first) / 2) sin.
    upper, lower = (complex(entry) for entry in unitary[:, 0] / np.sqrt(complex(np.linalg.det(unitary))))
    return (
        Step("rz", (wire,), -cmath.phase(upper) - cmath.phase(lower)),
        Step("ry", (wire,), 2 * math.atan2(abs(lower), abs(upper))),
        Step("rz", (wire,), cmath.phase(lower) - cmath.phase(upper)),
    )


def ideal_probabilities(circuit: ModelCircuit) -> Probabilities:
    """What a perfect device would measure, float64 (2**wires,)."""
    state = np.zeros((2,) * circuit.wires, complex)
    state[(0,) * circuit.wires] = 1
    for block in circuit.blocks:
        state = apply(block.unitary, state, block.pair)
    return np.abs(state.ravel()) ** 2


def heavy_outputs(circuit: ModelCircuit) -> npt.NDArray[np.bool_]:
    """Which bitstrings are heavy, bool (2**wires,)."""
    probabilities = ideal_probabilities(circuit)
    return probabilities > np.median(probabilities)


def to_openqasm(circuit: ModelCircuit) -> str:
    """The circuit as an OpenQASM program that measures wire i into bit i."""
    statements = [
        f"{step.name}{'' if step.angle is None else f'({step.angle!r})'} "
        f"{', '.join(f'q[{block.pair[wire]}]' for wire in step.wires)};"
        for block in circuit.blocks
        for step in block.steps
    ]
    return measured_program(circuit.wires, statements)
