"""A quadratic function of bits, and the same as an Ising Hamiltonian of spins.

    E(x) = constant + sum_i linear_i x_i + sum_{i<j} quadratic_ij x_i x_j,             x_i of 0, 1
    H(z) = constant + sum_i fields_i z_i + sum_{i<j} couplings_ij z_i z_j,             z_i = 1 - 2 x_i of 1, -1

Bit 0 is the most significant of an assignment's index, as wire 0 is of a basis state's.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from federated.errors import TrainingSettingsError

Floats = npt.NDArray[np.float64]
Bits = npt.NDArray[np.int8]

MAX_BITS: Final = 20
"""Beyond it nothing is enumerated: a million energies take a second."""


@dataclass(frozen=True, eq=False)
class Ising:
    """The Hamiltonian: diagonal, of Pauli Z on single wires and on pairs.

    Attributes:
        fields: (spins,).
        couplings: (spins, spins), upper triangle only.
    """

    constant: float
    fields: Floats
    couplings: Floats


@dataclass(frozen=True, eq=False)
class Quadratic:
    """A quadratic function of bits (QUBO).

    Attributes:
        linear: (bits,).
        quadratic: (bits, bits), upper triangle only.

    Raises:
        TrainingSettingsError: There is no bit, or there are too many.
    """

    constant: float
    linear: Floats
    quadratic: Floats

    def __post_init__(self) -> None:
        """Check the number of bits."""
        if not 1 <= self.bits <= MAX_BITS:
            raise TrainingSettingsError(f"Expected 1 to {MAX_BITS} bits to choose, got {self.bits}.")

    @property
    def bits(self) -> int:
        """How many there are."""
        return len(self.linear)

    def energies(self, assignments: npt.NDArray[np.integer]) -> Floats:
        """Energies (rows,) of assignments (rows, bits)."""
        values = assignments.astype(np.float64)
        found: Floats = self.constant + values @ self.linear + ((values @ self.quadratic) * values).sum(1)
        return found

    def all_energies(self) -> Floats:
        """Energies of all assignments, (2^bits,), by their index; built bit by bit."""
        # Of the bits so far: their energy, and what each later bit would add beside them.
        found, adds = np.array([self.constant]), self.linear[None]
        for bit in range(self.bits):
            found = np.stack([found, found + adds[:, bit]], 1).ravel()
            adds = np.stack([adds, adds + self.quadratic[bit]], 1).reshape(len(found), -1)
        return found

    def ising(self) -> Ising:
        """The same energies as a Hamiltonian of spins."""
        pairs = self.quadratic + self.quadratic.T
        return Ising(
            self.constant + float(self.linear.sum()) / 2 + float(self.quadratic.sum()) / 4,
            -self.linear / 2 - pairs.sum(1) / 4,
            self.quadratic / 4,
        )


def squares(rows: Floats, offsets: Floats) -> Quadratic:
    """The sum of squares |rows x + offsets|^2 as a quadratic function of the bits x.

    Args:
        rows: (squares, bits).
        offsets: (squares,).
    """
    gram = rows.T @ rows
    # A bit is its own square.
    linear = np.diag(gram) + 2 * rows.T @ offsets
    return Quadratic(float(offsets @ offsets), linear, 2 * np.triu(gram, 1))


def to_bits(index: int, bits: int) -> tuple[int, ...]:
    """The assignment of an index."""
    return tuple(index >> place & 1 for place in range(bits - 1, -1, -1))


def to_assignments(indices: npt.NDArray[np.integer], bits: int) -> Bits:
    """Assignments (rows, bits) of indices (rows,)."""
    found: Bits = (indices[:, None] >> np.arange(bits - 1, -1, -1) & 1).astype(np.int8)
    return found
