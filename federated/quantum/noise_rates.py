"""The rates that stand for a device's noise. No PennyLane, so that commands start fast."""

import math
from dataclasses import astuple, dataclass, fields
from typing import Final

from federated.errors import ShotsError


@dataclass(frozen=True)
class NoiseRates:
    """How often what goes wrong.

    Attributes:
        depolarizing: Probability that one of X, Y, Z, all alike, hits the wire of a one-qubit gate.
        depolarizing2: Probability that one of the 15 Pauli errors, all alike, hits the wires of a two-qubit gate.
        amplitude_damping: Probability that an excited wire decays while a gate runs: 1 - exp(-gate time / T1).
        readout: Probability that a measured bit is flipped.

    Raises:
        ShotsError: A rate is not a number from 0 to 1.
    """

    depolarizing: float = 0.0
    depolarizing2: float = 0.0
    amplitude_damping: float = 0.0
    readout: float = 0.0

    def __post_init__(self) -> None:
        """Check each rate."""
        for field in fields(self):
            found = getattr(self, field.name)
            if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= 1:
                name = field.name.replace("_", "-")
                raise ShotsError(f"The noise rate {name} is a probability from 0 to 1, got {found!r}.")

    def scaled(self, factor: float) -> "NoiseRates":
        """Each rate times a factor; a product above 1 counts as 1.

        Raises:
            ShotsError: The factor is negative or not finite.
        """
        if not (math.isfinite(factor) and factor >= 0):
            raise ShotsError(f"A noise scale is a number from 0 on, got {factor!r}.")
        return NoiseRates(*(min(1.0, rate * factor) for rate in astuple(self)))


SUPERCONDUCTING: Final = NoiseRates(
    depolarizing=0.00035, depolarizing2=0.0033, amplitude_damping=0.0006, readout=0.0077
)
"""Means of a current superconducting device, all qubits used at once: Google Quantum AI, Willow specification sheet (9
December 2024), error-correction chip: one-qubit gates 0.035 %, CZ 0.33 %, measurement 0.77 %, T1 68 us. Damping is for
a gate of 40 ns."""
