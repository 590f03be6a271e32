"""The quantum-volume test of Cross et al. (2019), arXiv:1811.12926: can a device run square random circuits?

A perfect device measures a heavy output of a model circuit with probability (1 + ln 2) / 2 = 0.85, a device that only
makes noise with 1/2. Width n is passed when the mean over all circuits, less two standard deviations, is above 2/3; the
volume is 2**n.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from federated.errors import CircuitError, QuantumJobError, ShotsError
from federated.ports import Progress
from federated.quantum.circuit import MAX_WIRES
from federated.quantum.density_matrix import NoisyGates, Probabilities, apply_channel, ground_state
from federated.quantum.model_circuit import ModelCircuit, heavy_outputs, random_model_circuit, to_openqasm
from federated.quantum.noise_rates import NoiseRates
from federated.quantum.policy import check_shots
from federated.quantum.sampler import Sampler
from federated.quantum.steps import Matrix, Step

Device = Callable[[Sequence[ModelCircuit], Progress], Probabilities]
"""Runs model circuits; gives the probability of a heavy output of each, float64 (circuits,)."""

THRESHOLD: Final = 2 / 3
MIN_TRIALS: Final = 100
"""Circuits a width, at least, as the paper's algorithm 1 prescribes."""

_TURNED: Final = np.arange(16).reshape(2, 2, 2, 2).transpose(1, 0, 3, 2).ravel()


@dataclass(frozen=True)
class VolumeTest:
    """The test at one width.

    Attributes:
        trials: Circuits.
        heavy_outputs: Mean probability of a heavy output.
    """

    wires: int
    trials: int
    heavy_outputs: float

    @property
    def two_sigma(self) -> float:
        """Twice the standard deviation of the mean, as the paper bounds it: binomial over the circuits."""
        return 2 * math.sqrt(self.heavy_outputs * (1 - self.heavy_outputs) / self.trials)

    @property
    def passed(self) -> bool:
        """Whether the mean less two standard deviations is above 2/3."""
        return self.heavy_outputs - self.two_sigma > THRESHOLD


def largest_volume(tests: Sequence[VolumeTest]) -> int:
    """2**n of the widest test that was passed; 1 when none was."""
    return int(2 ** max((test.wires for test in tests if test.passed), default=0))


def measure_volume(
    device: Device,
    max_width: int,
    trials: int,
    seed: int,
    progress: Progress,
    *,
    stop_at_failure: bool = False,
) -> tuple[VolumeTest, ...]:
    """Test a device at width 2, 3, and so on.

    Args:
        device: See `simulated` and `sampled`.
        max_width: Widest circuits, 2 to 10.
        trials: Circuits a width, at least 100.
        seed: Of the circuits.
        progress: Called as the work goes on.
        stop_at_failure: Do not test wider circuits than the first that fail; a quantum computer costs money.

    Raises:
        CircuitError: The width is out of range.
        ShotsError: Too few trials.
        QuantumError: What the device says.
    """
    check_volume_test(max_width, trials)
    rng = np.random.default_rng(seed)
    blocks = {width: width * (width // 2) for width in range(2, max_width + 1)}
    tests: list[VolumeTest] = []
    for width in range(2, max_width + 1):
        done = sum(blocks[test.wires] for test in tests)

        def within(fraction: float, done: int = done, share: int = blocks[width]) -> None:
            progress((done + fraction * share) / sum(blocks.values()))

        circuits = []
        for trial in range(trials):
            circuits.append(random_model_circuit(width, rng))
            within(trial / trials / 2)
        found = device(circuits, lambda fraction: within((1 + fraction) / 2))
        tests.append(VolumeTest(width, trials, float(found.mean())))
        if stop_at_failure and not tests[-1].passed:
            break
    progress(1.0)
    return tuple(tests)


def check_volume_test(max_width: int, trials: int) -> None:
    """See measure_volume."""
    if not 2 <= max_width <= MAX_WIRES:
        raise CircuitError(f"The quantum-volume test takes 2 to {MAX_WIRES} wires, got {max_width}.")
    if trials < MIN_TRIALS:
        raise ShotsError(f"The quantum-volume test needs at least {MIN_TRIALS} trials a width, got {trials}.")


def simulated(rates: NoiseRates) -> Device:
    """A device with this noise: density matrices without shots.

    The noise follows each gate of a block's decomposition: what is simulated is what a device would run.
    """
    gates = NoisyGates(rates)

    def channel_of(steps: Sequence[Step]) -> Matrix:
        """A block's gates and their noise as one superoperator on the pair, (16, 16)."""
        channel, local = np.eye(16, dtype=complex), [np.eye(4, dtype=complex)] * 2
        for step in steps:
            if len(step.wires) == 2:
                gate = gates.channel(step)
                # Turned round, both halves of each index of the pair change places.
                turned = gate if step.wires == (0, 1) else gate[np.ix_(_TURNED, _TURNED)]
                channel, local = turned @ _on_pair(*local) @ channel, [np.eye(4, dtype=complex)] * 2
            else:
                (wire,) = step.wires
                local[wire] = gates.channel(step) @ local[wire]
        return _on_pair(*local) @ channel

    def run(circuit: ModelCircuit) -> float:
        density = ground_state(circuit.wires)
        for block in circuit.blocks:
            density = apply_channel(channel_of(block.steps), density, block.pair)
        return float(gates.measured(density)[heavy_outputs(circuit)].sum())

    def device(circuits: Sequence[ModelCircuit], progress: Progress) -> Probabilities:
        found = []
        for circuit in circuits:
            found.append(run(circuit))
            progress(len(found) / len(circuits))
        return np.array(found)

    return device


def _on_pair(first: Matrix, second: Matrix) -> Matrix:
    """Two superoperators side by side: each maps (row, column), the pair's maps (rows, columns)."""
    joined = np.einsum("abcd,efgh->aebfcgdh", first.reshape(2, 2, 2, 2), second.reshape(2, 2, 2, 2))
    return np.asarray(joined.reshape(16, 16))


def sampled(sampler: Sampler, shots: int) -> Device:
    """A device that counts what it measures, such as a quantum computer.

    Args:
        sampler: Gets one program for each circuit, all circuits of a width at once.
        shots: Runs of each circuit.

    Raises:
        ShotsError: Fewer than one shot.
    """
    check_shots(shots)

    def device(circuits: Sequence[ModelCircuit], progress: Progress) -> Probabilities:
        counts = sampler.counts([to_openqasm(circuit) for circuit in circuits], shots)
        progress(1.0)
        return np.array([_heavy_share(circuit, one) for circuit, one in zip(circuits, counts, strict=True)])

    return device


def _heavy_share(circuit: ModelCircuit, counts: Mapping[str, int]) -> float:
    measured = sum(counts.values())
    if not measured:
        raise QuantumJobError("Expected the counts of at least one shot of a model circuit, got none.")
    heavy = heavy_outputs(circuit)
    return sum(times for bits, times in counts.items() if heavy[int(bits, 2)]) / measured
