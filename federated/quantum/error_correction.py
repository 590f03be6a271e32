"""An estimate: could a surface code correct the noise of a device?

The rotated surface code keeps one logical bit through many rounds of syndrome measurement (memory experiment in the Z
basis). Its circuit gets the device's noise:

    one- and two-qubit gates    depolarising, as the rates say
    measurement and reset       a flip with the readout rate, before and after
    decay                       amplitude damping as its Pauli twirl, on every qubit while each layer of gates runs,
                                and on the data qubits while the others are measured and reset

stim samples the circuit, pymatching decodes it by minimum-weight perfect matching. Leakage, crosstalk and correlated
bursts are left out, and a twirl is not the channel itself: this tells the order of magnitude, not the device's figure.

References:
    Fowler et al. (2012), arXiv:1208.0928; Gidney (2021), arXiv:2103.02202; Higgott and Gidney (2023), arXiv:2303.15933.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pymatching
import stim
from scipy.stats import beta

from federated.ports import Progress
from federated.quantum.noise import twirled_damping
from federated.quantum.noise_rates import NoiseRates
from federated.quantum.policy import check_shots

DISTANCES: Final = (3, 5, 7)
ROUNDS_PER_DISTANCE: Final = 3
"""Rounds of an experiment by its distance; long enough that its perfect start and end do not flatter the rate."""
READOUT_LAYERS: Final = 20
"""Measurement and reset take as long as this many layers of gates: a cycle of 1.1 us with gates of about 40 ns, Google
Quantum AI (2024), arXiv:2408.13687."""
TARGET: Final = 1e-6
"""Logical errors a round that a useful computation tolerates."""
ENOUGH_ERRORS: Final = 1000
_BATCH: Final = 2_000
_DRAWS: Final = 4_000
_QUANTILES: Final = (0.025, 0.5, 0.975)


@dataclass(frozen=True)
class Memory:
    """One memory experiment.

    Attributes:
        distance: Of the code; it takes 2 * distance**2 - 1 qubits.
        errors: Shots whose logical bit was wrong after decoding.
    """

    distance: int
    rounds: int
    shots: int
    errors: int

    @property
    def per_round(self) -> float:
        """Logical errors a round."""
        return float(_per_round(self.errors / self.shots, self.rounds))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % credible interval of per_round, by Jeffreys' prior; informative without a single error, too."""
        low, high = beta.ppf([0.025, 0.975], self.errors + 0.5, self.shots - self.errors + 0.5)
        return float(_per_round(low, self.rounds)), float(_per_round(high, self.rounds))


@dataclass(frozen=True)
class Suppression:
    """How the logical error falls with distance: per_round = amplitude / factor ** ((distance + 1) / 2).

    Attributes:
        factor: Lambda: what two more steps of distance divide the error by; below 1 more qubits make it worse.
        interval: 95 % credible interval of the factor, from the shots alone.
        distance: Smallest odd distance that reaches the target by extrapolation; None where none does.
        distance_interval: 95 % credible interval of the distance; None stands for no distance at all.
        is_noise_only: Whether the logical bit of an experiment cannot be told from a coin's flip; the factor
            then says nothing.
    """

    factor: float
    interval: tuple[float, float]
    distance: int | None
    distance_interval: tuple[int | None, int | None]
    is_noise_only: bool

    @property
    def is_correctable(self) -> bool | None:
        """Whether more qubits help; None where the shots do not tell."""
        low, high = self.interval
        if self.is_noise_only:
            return False
        return True if low > 1 else False if high < 1 else None


def memory_circuit(distance: int, rounds: int, rates: NoiseRates) -> stim.Circuit:
    """The noisy circuit of a memory experiment.

    Args:
        distance: Odd, 3 or more.
        rounds: Of syndrome measurement.
        rates: Of the device.
    """
    ideal = stim.Circuit.generated("surface_code:rotated_memory_z", distance=distance, rounds=rounds)
    return _with_noise(ideal, rates, _qubits(ideal))


def _qubits(circuit: stim.Circuit) -> frozenset[int]:
    return frozenset(target.value for op in circuit if op.name == "R" for target in op.targets_copy())


def _with_noise(ideal: stim.Circuit, rates: NoiseRates, qubits: frozenset[int]) -> stim.Circuit:
    noisy = stim.Circuit()
    for op in ideal:
        if isinstance(op, stim.CircuitRepeatBlock):
            noisy.append(stim.CircuitRepeatBlock(op.repeat_count, _with_noise(op.body_copy(), rates, qubits)))
            continue
        for name, targets, arguments in _noise_before(op, rates):
            noisy.append(name, targets, arguments)
        noisy.append(op)
        for name, targets, arguments in _noise_after(op, rates, qubits):
            noisy.append(name, targets, arguments)
    return noisy


_Noise = tuple[str, Sequence[Any], float | tuple[float, ...]]


def _noise_before(op: stim.CircuitInstruction, rates: NoiseRates) -> Iterator[_Noise]:
    if op.name in {"M", "MR"} and rates.readout:
        yield "X_ERROR", op.targets_copy(), rates.readout


def _noise_after(op: stim.CircuitInstruction, rates: NoiseRates, qubits: frozenset[int]) -> Iterator[_Noise]:
    targets = op.targets_copy()
    if op.name == "H" and rates.depolarizing:
        yield "DEPOLARIZE1", targets, rates.depolarizing
    if op.name == "CX" and rates.depolarizing2:
        yield "DEPOLARIZE2", targets, rates.depolarizing2
    if op.name in {"R", "MR"} and rates.readout:
        yield "X_ERROR", targets, rates.readout
    if op.name in {"H", "CX"} and rates.amplitude_damping:
        yield "PAULI_CHANNEL_1", sorted(qubits), twirled_damping(rates.amplitude_damping)
    if op.name == "MR" and rates.amplitude_damping:
        waiting = qubits - {target.value for target in targets}
        yield "PAULI_CHANNEL_1", sorted(waiting), twirled_damping(1 - (1 - rates.amplitude_damping) ** READOUT_LAYERS)


def run_memory(distance: int, rates: NoiseRates, max_shots: int, seed: int) -> Memory:
    """Sample and decode a memory experiment until it has shown enough errors, or the shots are spent.

    Raises:
        ShotsError: Fewer than one shot.
    """
    check_shots(max_shots, "a memory experiment")
    rounds = ROUNDS_PER_DISTANCE * distance
    circuit = memory_circuit(distance, rounds, rates)
    # The decoder's prior cannot express noise beyond full mixing; there is nothing left to decode then, anyway.
    prior = memory_circuit(distance, rounds, _below_full_mixing(rates)).detector_error_model(decompose_errors=True)
    matching = pymatching.Matching.from_detector_error_model(prior)
    sampler = circuit.compile_detector_sampler(seed=seed)
    shots = errors = 0
    while shots < max_shots and errors < ENOUGH_ERRORS:
        batch = min(_BATCH, max_shots - shots)
        events, flips = sampler.sample(batch, separate_observables=True)
        errors += int((matching.decode_batch(events) != flips).any(axis=1).sum())
        shots += batch
    return Memory(distance, rounds, shots, errors)


def _below_full_mixing(rates: NoiseRates) -> NoiseRates:
    return replace(rates, depolarizing=min(rates.depolarizing, 0.74), depolarizing2=min(rates.depolarizing2, 0.93))


def measure_suppression(
    rates: NoiseRates, max_shots: int, seed: int, progress: Progress
) -> tuple[tuple[Memory, ...], Suppression]:
    """Run the experiment at each distance and fit how the logical error falls.

    Args:
        rates: Of the device.
        max_shots: For each distance.
        seed: Of the samples.
        progress: Called as the work goes on.

    Raises:
        ShotsError: Fewer than one shot.
    """
    memories = []
    for distance in DISTANCES:
        memories.append(run_memory(distance, rates, max_shots, seed + distance))
        progress(sum(d**3 for d in DISTANCES if d <= distance) / sum(d**3 for d in DISTANCES))
    return tuple(memories), fit_suppression(memories, seed)


def fit_suppression(memories: Sequence[Memory], seed: int) -> Suppression:
    """Fit log(per_round) as a straight line over distance, weighted by its precision.

    The interval comes from fits to error rates that are drawn from their posterior.
    """
    rng = np.random.default_rng(seed)
    steps = np.array([(memory.distance + 1) / 2 for memory in memories])
    drawn = np.log(
        [
            _per_round(rng.beta(memory.errors + 0.5, memory.shots - memory.errors + 0.5, _DRAWS), memory.rounds)
            for memory in memories
        ]
    )
    slopes, offsets = np.polyfit(steps, drawn, 1, w=1 / drawn.std(axis=1))
    # Odd distances only, from 3 on; where errors do not fall, no distance is enough.
    needed = np.where(slopes < 0, (offsets - math.log(TARGET)) / np.maximum(-slopes, 1e-9), np.inf)
    distances = np.maximum(3, 2 * np.ceil(needed) - 1)
    low, middle, high = (float(factor) for factor in np.quantile(np.exp(-slopes), _QUANTILES))
    # Not interpolated: a distance is a whole number, and may be infinite.
    shortest, usual, longest = np.quantile(distances, _QUANTILES, method="inverted_cdf")
    if any(memory.interval[1] >= 0.5 for memory in memories):
        return Suppression(middle, (low, high), None, (None, None), is_noise_only=True)
    return Suppression(middle, (low, high), _whole(usual), (_whole(shortest), _whole(longest)), is_noise_only=False)


def _whole(distance: float) -> int | None:
    return int(distance) if math.isfinite(distance) else None


def _per_round(share: npt.ArrayLike, rounds: int) -> npt.NDArray[np.float64]:
    """From the share of shots that are wrong after some rounds; a bit flipped twice is right again."""
    return np.asarray((1 - np.abs(1 - 2 * np.clip(np.asarray(share), 0, 0.5)) ** (1 / rounds)) / 2)
