"""QAOA and VQE against PennyLane."""

import numpy as np
import pennylane as qml
import pytest
import torch

from federated.balancing.qaoa import qaoa_probabilities
from federated.balancing.quadratic import Quadratic
from federated.balancing.solvers import solve
from federated.balancing.vqe import ansatz, ansatz_probabilities
from federated.quantum.layer import QuantumLayer
from federated.quantum.pennylane_backend import PennyLaneBackend

WIRES = 4


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(5)
    return Quadratic(0.3, rng.normal(size=WIRES), np.triu(rng.normal(size=(WIRES, WIRES)), 1))


def hamiltonian(problem):
    ising = problem.ising()
    terms = [(ising.constant, qml.Identity(0))]
    terms += [(ising.fields[i], qml.Z(i)) for i in range(WIRES)]
    terms += [(ising.couplings[i, j], qml.Z(i) @ qml.Z(j)) for i in range(WIRES) for j in range(i + 1, WIRES)]
    return qml.Hamiltonian(*zip(*terms, strict=True))


def test_the_energy_of_qaoa_is_that_of_pennylanes_layers(problem):
    cost, mixer = hamiltonian(problem), qml.qaoa.x_mixer(range(WIRES))
    angles = np.random.default_rng(1).uniform(-1, 1, (2, 3))

    @qml.qnode(qml.device("default.qubit", wires=WIRES))
    def executed():
        for wire in range(WIRES):
            qml.Hadamard(wire)
        for gamma, beta in angles.T:
            qml.qaoa.cost_layer(gamma, cost)
            qml.qaoa.mixer_layer(beta, mixer)
        return qml.expval(cost), qml.probs(range(WIRES))

    energy, probabilities = executed()
    energies = torch.from_numpy(problem.all_energies())
    found = qaoa_probabilities(energies, torch.from_numpy(angles))
    np.testing.assert_allclose(found, probabilities, atol=1e-10)
    assert float(found @ energies) == pytest.approx(float(energy))


def test_the_energy_of_the_ansatz_is_that_of_its_probabilities_and_of_pennylane(problem):
    circuit, ising = ansatz(WIRES), problem.ising()
    rng = np.random.default_rng(2)
    weights = torch.from_numpy(rng.uniform(-3, 3, circuit.weight_shape))
    probabilities = ansatz_probabilities(circuit, weights)
    coefficients = [ising.fields[w[0]] if len(w) == 1 else ising.couplings[w] for w in circuit.observables]
    nothing = torch.zeros(1, WIRES, dtype=torch.float64)
    for backend in (None, PennyLaneBackend()):
        layer = QuantumLayer(circuit, backend).double()
        layer.weights.data = weights
        measured = ising.constant + float(layer(nothing)[0].detach() @ torch.tensor(coefficients, dtype=torch.float64))
        assert measured == pytest.approx(float(probabilities.numpy() @ problem.all_energies()))


def test_more_layers_than_none_concentrate_on_low_energies(problem):
    energies = problem.all_energies()
    found = solve("qaoa", problem, evaluations=16)
    uniform = float((energies <= energies.min() + 1e-9).mean())
    assert found.details["ground_probability"] > 3 * uniform
    assert found.details["expectation"] < energies.mean() - energies.std()


def test_finite_shots_follow_the_state(problem):
    # One shot shows an optimum as often as the trained state promises.
    found = [solve("qaoa", problem, seed=0, evaluations=1)]
    promised = found[0].details["ground_probability"]
    many = solve("qaoa", problem, seed=0, evaluations=400)
    assert many.details["ground_probability"] == pytest.approx(promised)
    assert many.energy == pytest.approx(problem.all_energies().min())
