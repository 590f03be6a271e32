"""The variational quantum eigensolver: the project's own circuit and layer, trained on the Hamiltonian's expectation.

The ansatz is a Circuit of RY rotations and CZ rings whose angles to encode are all 0; its observables are the Pauli Z
and ZZ of the Ising form, so that the expectation is measured the same way as on a quantum computer. The trained state
is then measured a finite number of times and the best outcome is taken.

References:
    Kandala et al. (2017), arXiv:1704.05018.
"""

from itertools import combinations
from typing import Final

import numpy as np
import torch

from federated.balancing.qaoa import measure
from federated.balancing.quadratic import Quadratic
from federated.balancing.solution import SAME, Solution
from federated.quantum.circuit import Circuit
from federated.quantum.layer import QuantumLayer
from federated.quantum.state_vectors import block_unitaries

Tensor = torch.Tensor

LAYERS: Final = 3
STEPS: Final = 100
STARTS: Final = 3
"""Random ones; the best is kept, since a single one may end beside the ground state."""
LEARNING_RATE: Final = 0.1


def solve_by_vqe(problem: Quadratic, rng: np.random.Generator, shots: int) -> Solution:
    """Train the ansatz from several starts, measure the best state, and take the best outcome.

    Args:
        problem: What to make small.
        rng: Of the first weights and of the measurement.
        shots: Measurements of the trained state.

    Raises:
        CircuitError: The problem has more bits than a Circuit may have wires.
    """
    ising, circuit = problem.ising(), ansatz(problem.bits)
    found = [ising.fields[wires[0]] if len(wires) == 1 else ising.couplings[wires] for wires in circuit.observables]
    coefficients = torch.tensor(found, dtype=torch.float64)
    trained = [_train(circuit, coefficients, rng) for _ in range(STARTS)]
    _, weights = min(trained, key=lambda each: each[0])
    return measure(
        problem,
        torch.from_numpy(problem.all_energies()),
        ansatz_probabilities(circuit, weights),
        rng,
        shots,
        training_steps=STARTS * STEPS,
    )


def _train(circuit: Circuit, coefficients: Tensor, rng: np.random.Generator) -> tuple[float, Tensor]:
    """The expectation, less the Hamiltonian's constant, and the weights that reach it."""
    scale = coefficients.abs().sum().clamp(min=SAME)
    layer = QuantumLayer(circuit).double()
    with torch.no_grad():
        layer.weights.copy_(torch.from_numpy(rng.uniform(-np.pi, np.pi, circuit.weight_shape)))
    nothing = torch.zeros(circuit.wires, dtype=torch.float64)
    optimiser = torch.optim.Adam(layer.parameters(), LEARNING_RATE)
    for _ in range(STEPS):
        optimiser.zero_grad()
        expectation = layer(nothing) @ coefficients / scale
        expectation.backward()
        optimiser.step()
    with torch.no_grad():
        return float(layer(nothing) @ coefficients), layer.weights.detach()


def ansatz(wires: int) -> Circuit:
    """The circuit, with every Z and ZZ as an observable.

    Raises:
        CircuitError: That is more wires than a Circuit may have.
    """
    observables = [(wire,) for wire in range(wires)] + list(combinations(range(wires), 2))
    return Circuit(wires, layers=LAYERS, encoding="ry", rotation="ry", entangler="cz", observables=tuple(observables))


def ansatz_probabilities(circuit: Circuit, weights: Tensor) -> Tensor:
    """Probabilities (2^wires,) of all outcomes of a circuit that encodes once, where the angles to encode are 0."""
    # The first encoding leaves |0...0> as it is, up to the basis change that is part of the unitary.
    state = block_unitaries(circuit, weights)[0][:, 0]
    return state.real.square() + state.imag.square()
