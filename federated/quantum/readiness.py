"""Is a quantum device ready for this product? Three questions, each with its number, in one report."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from federated.ports import Progress
from federated.quantum.circuit import Circuit
from federated.quantum.error_correction import TARGET, Memory, Suppression, measure_suppression
from federated.quantum.expectation_error import ExpectationTest, measure_expectations
from federated.quantum.noise_rates import NoiseRates
from federated.quantum.quantum_volume import (
    Device,
    VolumeTest,
    check_volume_test,
    largest_volume,
    measure_volume,
)

VOLUME_BAR: Final = 64
"""The quantum volume that the paper behind this product asks for."""
SHOTS: Final = 1000
SAMPLING_ERROR: Final = math.sqrt(2 / (math.pi * SHOTS))
"""Mean absolute error that 1,000 shots alone make where the expectation value is 0: what noise has to stay below."""
MEMORY_SHOTS: Final = 100_000

Stages = Callable[[str], Progress]
"""Takes what is about to be done; gives where to tell how far it is."""


@dataclass(frozen=True)
class Verdict:
    """The answer to one question.

    Attributes:
        is_met: None where it is left open.
    """

    question: str
    is_met: bool | None
    answer: str


@dataclass(frozen=True)
class ReadinessReport:
    """What a device with these rates can do.

    Attributes:
        device: Whose quantum volume was measured: "noise model", or a target's name.
        rates: What the expectation values and the error correction were computed for, whatever the device.
        circuit: Whose expectation values were compared.
        expectations: By rising noise; scale 1 stands for the rates.
        volume: By rising width.
        memories: By rising distance.
    """

    device: str
    rates: NoiseRates
    circuit: Circuit
    seed: int
    expectations: tuple[ExpectationTest, ...]
    volume: tuple[VolumeTest, ...]
    memories: tuple[Memory, ...]
    suppression: Suppression

    @property
    def largest_volume(self) -> int:
        """The largest quantum volume that was passed; 1 for none."""
        return largest_volume(self.volume)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """One for each question."""
        return self._expectation_verdict(), self._volume_verdict(), self._correction_verdict()

    def _expectation_verdict(self) -> Verdict:
        (test,) = (test for test in self.expectations if test.scale == 1)
        raw, mitigated = test.raw.mean_absolute_error, test.mitigated.mean_absolute_error
        way = "as it is" if raw < SAMPLING_ERROR else "with ZNE only" if mitigated < SAMPLING_ERROR else ""
        return Verdict(
            f"Does noise stay below the sampling error of {SHOTS:,} shots?",
            bool(way),
            f"{f'Yes, {way}' if way else 'No'}: mean error {raw:.4f}, with ZNE {mitigated:.4f}, sampling error "
            f"{SAMPLING_ERROR:.4f}; {test.raw.slope:.1%} of the signal is left, with ZNE {test.mitigated.slope:.1%}",
        )

    def _volume_verdict(self) -> Verdict:
        found, widest = self.largest_volume, self.volume[-1]
        is_met = True if found >= VOLUME_BAR else None if widest.passed else False
        more = " or more: no wider circuits were tested" if widest.passed else ""
        word = {True: "Yes", False: "No", None: "Open"}[is_met]
        return Verdict(
            f"Does its quantum volume reach the paper's {VOLUME_BAR}?",
            is_met,
            f"{word}: the largest passed volume is {found}{more} ({widest.trials} trials a width, two-sigma rule)",
        )

    def _correction_verdict(self) -> Verdict:
        is_met = self.suppression.is_correctable
        return Verdict(
            "Could a surface code correct decoherence at these rates? (estimate)", is_met, _correction(self.suppression)
        )

    def to_json(self) -> dict[str, Any]:
        """All numbers, as JSON takes them."""
        return {
            "device": self.device,
            "rates": asdict(self.rates),
            "circuit": asdict(self.circuit),
            "seed": self.seed,
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
            "expectations": [asdict(test) for test in self.expectations],
            "quantum_volume": {
                "largest_passed": self.largest_volume,
                "bar": VOLUME_BAR,
                "tests": [asdict(test) | {"two_sigma": test.two_sigma, "passed": test.passed} for test in self.volume],
            },
            "error_correction": {
                "is_estimate": True,
                "memories": [
                    asdict(memory) | {"per_round": memory.per_round, "interval": memory.interval}
                    for memory in self.memories
                ],
                "suppression": asdict(self.suppression) | {"is_correctable": self.suppression.is_correctable},
                "target_per_round": TARGET,
            },
        }


def _correction(suppression: Suppression) -> str:
    low, high = suppression.interval
    factor = f"Lambda {suppression.factor:.2f} (95 % {low:.2f} to {high:.2f})"
    if suppression.is_noise_only:
        return "No: after decoding the logical bit is a coin's flip"
    if suppression.is_correctable is None:
        return f"Open: {factor}; the experiments show too few logical errors, or this is the threshold itself"
    if not suppression.is_correctable:
        return f"No: {factor}, more qubits make the logical error worse"
    shortest, longest = suppression.distance_interval
    return (
        f"Yes, an estimate: {factor}; extrapolated, {TARGET:g} errors a round take distance {suppression.distance} "
        f"({shortest} to {longest}), {_qubits(suppression.distance)} qubits for one logical"
    )


def _qubits(distance: int | None) -> str:
    return "no number of" if distance is None else f"{2 * distance**2 - 1:,}"


def assess(
    device_name: str,
    device: Device,
    rates: NoiseRates,
    circuit: Circuit,
    max_width: int,
    trials: int,
    seed: int,
    stages: Stages,
    *,
    stop_at_failure: bool = False,
) -> ReadinessReport:
    """Measure everything that the report needs.

    Args:
        device_name: See ReadinessReport.
        device: Runs the quantum-volume test.
        rates: For the expectation values and the error correction.
        circuit: Whose expectation values are compared.
        max_width: Widest circuits of the quantum-volume test, 2 to 10.
        trials: Circuits a width, at least 100.
        seed: Of everything random.
        stages: See Stages.
        stop_at_failure: See measure_volume.

    Raises:
        CircuitError: The width is out of range.
        ShotsError: Too few trials.
        QuantumError: What the device says.
    """
    check_volume_test(max_width, trials)
    volume = measure_volume(device, max_width, trials, seed, stages("Quantum volume"), stop_at_failure=stop_at_failure)
    expectations = measure_expectations(circuit, rates, seed, stages("Expectation values"))
    memories, suppression = measure_suppression(rates, MEMORY_SHOTS, seed, stages("Error correction"))
    return ReadinessReport(device_name, rates, circuit, seed, expectations, volume, memories, suppression)
