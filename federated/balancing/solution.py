"""What a solver answers with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from federated.balancing.quadratic import Quadratic

SAME: Final = 1e-9
"""Energies closer than this are the same."""


@dataclass(frozen=True)
class Solution:
    """An assignment.

    Attributes:
        bits: 0 or 1 each.
        energy: Of the assignment.
        evaluations: Assignments whose energy the solver asked for.
        seconds: Of the search.
        details: What else a solver tells, e.g. "expectation" of the circuit's last state.
    """

    bits: tuple[int, ...]
    energy: float
    evaluations: int
    seconds: float = 0.0
    details: Mapping[str, float] = field(default_factory=dict)


def best_of(problem: Quadratic, assignments: npt.NDArray[np.integer]) -> Solution:
    """The best of some assignments (rows, bits)."""
    energies = problem.energies(assignments)
    best = int(energies.argmin())
    return Solution(tuple(int(bit) for bit in assignments[best]), float(energies[best]), len(assignments))
