"""Noisy simulation, gate by gate, against PennyLane's device of mixed states."""

import numpy as np
import pennylane as qml
import pytest

from federated.quantum.circuit import Circuit
from federated.quantum.density_matrix import NoisyGates
from federated.quantum.noise import noise_model
from federated.quantum.noise_rates import NoiseRates
from federated.quantum.steps import Step, bind, folded

GATES = {"h": qml.Hadamard, "rx": qml.RX, "ry": qml.RY, "rz": qml.RZ, "cx": qml.CNOT, "cz": qml.CZ}
NOISY = NoiseRates(0.02, 0.05, 0.03, 0.04)


def operation(step: Step) -> qml.operation.Operation:
    return GATES[step.name](*([] if step.angle is None else [step.angle]), wires=list(step.wires))


def with_pennylane(wires: int, steps: list[Step], rates: NoiseRates) -> np.ndarray:
    device = qml.noise.add_noise(qml.device("default.mixed", wires=wires), noise_model(rates))

    @qml.qnode(device)
    def node():
        for step in steps:
            operation(step)
        return qml.probs(wires=range(wires))

    return node()


def random_steps(name: str, wires: tuple[int, ...]) -> list[Step]:
    """A gate in the middle of others, so that it meets no special state."""
    around = [Step("ry", (0,), 0.7), Step("rx", (1,), 1.1), Step("cx", (0, 1)), Step("ry", (2,), 0.4)]
    angle = 0.9 if name in {"rx", "ry", "rz"} else None
    return [*around, Step(name, wires, angle), *around]


@pytest.mark.parametrize(
    ("name", "wires"),
    [
        *(pytest.param(name, (1,), id=name) for name in ("h", "rx", "ry", "rz")),
        *(pytest.param(name, pair, id=f"{name}-{pair}") for name in ("cx", "cz") for pair in ((0, 2), (2, 1))),
    ],
)
def test_each_gate_is_that_of_pennylane(name: str, wires: tuple[int, ...]) -> None:
    steps = random_steps(name, wires)
    for step in steps:
        assert step.matrix == pytest.approx(operation(step).matrix())
    assert NoisyGates(NOISY).run(3, steps) == pytest.approx(with_pennylane(3, steps, NOISY))


def test_probabilities_stay_probabilities() -> None:
    steps = folded(random_steps("h", (1,)), 5)
    found = NoisyGates(NOISY).run(3, steps)
    assert found.sum() == pytest.approx(1)
    assert found.min() >= 0


@pytest.mark.parametrize("times", [1, 3, 5])
def test_folding_repeats_the_gates_but_not_the_effect(times: int) -> None:
    steps = random_steps("rz", (0,))
    more = folded(steps, times)
    assert len(more) == times * len(steps)
    exact = NoisyGates(NoiseRates())
    assert exact.run(3, more) == pytest.approx(exact.run(3, steps))


@pytest.mark.parametrize(
    "circuit",
    [
        pytest.param(Circuit(3, layers=2), id="rx-rot-cz"),
        pytest.param(Circuit(2, layers=1, uploads=2, encoding="rz", rotation="ry", entangler="cnot"), id="rz-ry-cnot"),
    ],
)
def test_a_bound_circuit_is_the_circuit(circuit: Circuit) -> None:
    rng = np.random.default_rng(0)
    angles, weights = rng.uniform(0, 3, circuit.wires), rng.uniform(0, 6, circuit.weight_shape)
    steps = bind(circuit, angles, weights)
    assert [(step.name, step.wires) for step in steps] == [(gate.name, gate.wires) for gate in circuit.gates()]
    assert NoisyGates(NOISY).run(circuit.wires, steps) == pytest.approx(with_pennylane(circuit.wires, steps, NOISY))
