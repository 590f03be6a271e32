"""The quantum-volume test, against PennyLane's simulators and the paper's own numbers."""

import math
from collections.abc import Sequence

import numpy as np
import pennylane as qml
import pytest
from scipy.stats import unitary_group

from federated.errors import CircuitError, QuantumJobError, ShotsError
from federated.quantum.model_circuit import (
    ModelCircuit,
    decompose,
    heavy_outputs,
    ideal_probabilities,
    random_model_circuit,
    to_openqasm,
)
from federated.quantum.noise import noise_model
from federated.quantum.noise_rates import SUPERCONDUCTING, NoiseRates
from federated.quantum.quantum_volume import (
    VolumeTest,
    largest_volume,
    measure_volume,
    sampled,
    simulated,
)
from federated.quantum.sampler import LocalSampler

GATES = {"ry": qml.RY, "rz": qml.RZ, "cx": qml.CNOT}
NOISY = NoiseRates(0.01, 0.03, 0.02, 0.04)


def ignore(fraction: float) -> None:
    """No progress is shown."""


def circuits(wires: int, count: int) -> list[ModelCircuit]:
    rng = np.random.default_rng(wires)
    return [random_model_circuit(wires, rng) for _ in range(count)]


def run_with_pennylane(circuit: ModelCircuit, device) -> np.ndarray:
    @qml.qnode(device)
    def node():
        for block in circuit.blocks:
            for step in block.steps:
                wires = [block.pair[wire] for wire in step.wires]
                GATES[step.name](*([] if step.angle is None else [step.angle]), wires=wires)
        return qml.probs(wires=range(circuit.wires))

    return node()


SPECIAL = {
    "identity": np.eye(4),
    "cnot": np.eye(4)[[0, 1, 3, 2]],
    "swap": np.eye(4)[[0, 2, 1, 3]],
    "local": np.kron(unitary_group.rvs(2, random_state=1), unitary_group.rvs(2, random_state=2)),
}


@pytest.mark.parametrize(
    "unitary",
    [
        *(pytest.param(unitary_group.rvs(4, random_state=seed), id=f"haar-{seed}") for seed in range(6)),
        *(pytest.param(matrix.astype(complex), id=name) for name, matrix in SPECIAL.items()),
    ],
)
def test_the_decomposition_is_the_unitary(unitary: np.ndarray) -> None:
    steps = decompose(unitary)
    product = np.eye(4)
    for step in steps:
        operation = GATES[step.name](*([] if step.angle is None else [step.angle]), wires=list(step.wires))
        assert step.matrix == pytest.approx(operation.matrix(), abs=1e-12)
        product = qml.matrix(operation, wire_order=[0, 1]) @ product
    phase = np.vdot(product, unitary) / 4
    assert abs(phase) == pytest.approx(1)
    assert product * phase == pytest.approx(unitary, abs=1e-7)
    assert sum(step.name == "cx" for step in steps) <= 3


def test_a_model_circuit_is_square_and_pairs_each_wire_once_a_layer() -> None:
    (circuit,) = circuits(5, 1)
    assert len(circuit.blocks) == 5 * 2
    for first, second in zip(circuit.blocks[::2], circuit.blocks[1::2], strict=True):
        assert len({*first.pair, *second.pair}) == 4


@pytest.mark.parametrize("wires", [2, 3, 4])
def test_ideal_probabilities_are_those_of_pennylane(wires: int) -> None:
    (circuit,) = circuits(wires, 1)
    expected = run_with_pennylane(circuit, qml.device("default.qubit", wires=wires))
    assert ideal_probabilities(circuit) == pytest.approx(expected)


@pytest.mark.parametrize("wires", [2, 3])
def test_the_noisy_device_is_that_of_pennylane(wires: int) -> None:
    (circuit,) = circuits(wires, 1)
    device = qml.noise.add_noise(qml.device("default.mixed", wires=wires), noise_model(NOISY))
    expected = run_with_pennylane(circuit, device)[heavy_outputs(circuit)].sum()
    assert simulated(NOISY)([circuit], ignore) == pytest.approx([expected])


def test_half_of_the_bitstrings_are_heavy() -> None:
    for circuit in circuits(4, 3):
        assert heavy_outputs(circuit).sum() == 8


def test_a_perfect_device_nears_the_papers_limit() -> None:
    """(1 + ln 2) / 2 for many wires; at four it is there within the error of the mean."""
    found = simulated(NoiseRates())(circuits(4, 25), ignore)
    assert abs(found.mean() - (1 + math.log(2)) / 2) < 3 * found.std() / math.sqrt(len(found))


def test_a_device_of_noise_alone_gives_a_half() -> None:
    found = simulated(NoiseRates(depolarizing=0.75, depolarizing2=15 / 16))(circuits(3, 3), ignore)
    assert found == pytest.approx([0.5] * 3)


def test_blind_readout_gives_a_half() -> None:
    assert simulated(NoiseRates(readout=0.5))(circuits(3, 2), ignore) == pytest.approx([0.5] * 2)


@pytest.mark.parametrize(
    ("trials", "share", "passed"),
    [
        pytest.param(100, 0.75, False, id="0.75 of 100 is within two sigma of 2/3"),
        pytest.param(100, 0.76, True, id="0.76 of 100 is above"),
        pytest.param(400, 0.72, True, id="more trials tell sooner"),
        pytest.param(10_000, 0.66, False, id="below 2/3 never"),
    ],
)
def test_the_two_sigma_rule(trials: int, share: float, passed: bool) -> None:
    test = VolumeTest(4, trials, share)
    assert test.passed is passed
    assert passed is (share - 2 * math.sqrt(share * (1 - share) / trials) > 2 / 3)


def test_the_volume_is_that_of_the_widest_test_passed() -> None:
    assert largest_volume([VolumeTest(2, 100, 0.8), VolumeTest(3, 100, 0.8), VolumeTest(4, 100, 0.6)]) == 8
    assert largest_volume([VolumeTest(2, 100, 0.6)]) == 1


def test_measures_each_width_repeatably() -> None:
    seen: list[float] = []
    first = measure_volume(simulated(SUPERCONDUCTING), 3, 100, 7, seen.append)
    assert [(test.wires, test.trials) for test in first] == [(2, 100), (3, 100)]
    assert largest_volume(first) == 8
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert measure_volume(simulated(SUPERCONDUCTING), 2, 100, 7, ignore) == first[:1]


def test_stops_at_the_first_width_that_fails_where_runs_cost_money() -> None:
    def coin(asked: Sequence[ModelCircuit], progress) -> np.ndarray:
        return np.full(len(asked), 0.5)

    tests = measure_volume(coin, 4, 100, 0, ignore, stop_at_failure=True)
    assert [test.wires for test in tests] == [2]
    assert largest_volume(tests) == 1


@pytest.mark.parametrize(
    ("wires", "trials", "error", "message"),
    [
        pytest.param(6, 99, ShotsError, "at least 100 trials", id="too few trials"),
        pytest.param(6, 0, ShotsError, "got 0", id="no trials"),
        pytest.param(1, 100, CircuitError, "2 to 10 wires", id="one wire"),
        pytest.param(11, 100, CircuitError, "got 11", id="too many wires"),
    ],
)
def test_refuses_a_test_that_proves_nothing(wires: int, trials: int, error, message: str) -> None:
    with pytest.raises(error, match=message):
        measure_volume(simulated(NoiseRates()), wires, trials, 0, ignore)


def test_the_program_runs_as_it_was_meant() -> None:
    """OpenQASM to QIR to qdk's simulator: within four standard errors of the exact probability, circuit by circuit."""
    drawn = [*circuits(2, 3), *circuits(3, 1)]
    found = sampled(LocalSampler(seed=3), 2000)(drawn, ignore)
    exact = simulated(NoiseRates())(drawn, ignore)
    assert (np.abs(found - exact) < 4 * np.sqrt(exact * (1 - exact) / 2000)).all()


class Recorder:
    """A sampler that gives all its counts for one bitstring."""

    def __init__(self, counts: dict[str, int]) -> None:
        self.counts_given = counts
        self.programs: list[str] = []

    def counts(self, programs: Sequence[str], shots: int) -> Sequence[dict[str, int]]:
        self.programs += programs
        return [self.counts_given] * len(programs)


def test_a_width_is_one_batch_of_programs() -> None:
    (circuit,) = circuits(2, 1)
    heaviest = int(ideal_probabilities(circuit).argmax())
    sampler = Recorder({f"{heaviest:02b}": 30, f"{int(ideal_probabilities(circuit).argmin()):02b}": 10})
    assert sampled(sampler, 100)([circuit], ignore) == pytest.approx([0.75])  # of 40 shots that came back
    assert sampler.programs == [to_openqasm(circuit)]


def test_a_circuit_without_a_single_shot_is_no_result() -> None:
    with pytest.raises(QuantumJobError, match="at least one shot"):
        sampled(Recorder({}), 100)(circuits(2, 1), ignore)


def test_refuses_zero_shots() -> None:
    with pytest.raises(ShotsError, match="got 0"):
        sampled(LocalSampler(), 0)
