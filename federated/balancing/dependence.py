"""How far groups and outcomes depend on each other in a table, weighted or not."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from federated.balancing.cohort_table import CrossTable

Floats = npt.NDArray[np.float64]

PERMUTATIONS: Final = 2000


@dataclass(frozen=True)
class Dependence:
    """Figures of one table; all but the last are 0 where groups and outcomes are independent.

    Attributes:
        chi_squared: Pearson's, of the weights as they stand.
        cramers_v: The same as 0 (independent) to 1 (one tells the other).
        information_bits: Mutual information.
        parity_gap: Largest difference between two groups' shares of one outcome, 0 to 1.
        share_gap: Largest minus smallest share of the whole weight that a group has, 0 to 1.
    """

    chi_squared: float
    cramers_v: float
    information_bits: float
    parity_gap: float
    share_gap: float


def measure_dependence(table: CrossTable) -> Dependence | None:
    """Measure a table; None where it has fewer than two groups, or no weight."""
    total = float(table.weights.sum())
    if len(table.groups) < 2 or total <= 0:
        return None
    joint = table.weights / total
    rows, columns = joint.sum(1), joint.sum(0)
    expected = np.outer(rows, columns)
    seen = expected > 0
    chi = float((((joint - expected) ** 2)[seen] / expected[seen]).sum())
    freedom = min(int((rows > 0).sum()), int((columns > 0).sum())) - 1
    positive = joint > 0
    information = float((joint[positive] * np.log2(joint[positive] / expected[positive])).sum())
    by_group = joint[rows > 0] / rows[rows > 0, None]
    return Dependence(
        chi_squared=total * chi,
        cramers_v=float(np.sqrt(chi / freedom)) if freedom else 0.0,
        information_bits=max(0.0, information),
        parity_gap=float(np.ptp(by_group, axis=0).max()),
        share_gap=float(np.ptp(rows)),
    )


def permutation_p(table: CrossTable, *, permutations: int = PERMUTATIONS, seed: int = 0) -> float:
    """The chance of a chi-squared as large when outcomes are dealt to the cases anew.

    Args:
        table: Of counts, without case weights.
        permutations: How often; the answer is at least 1 / (permutations + 1).
        seed: The same one gives the same answer.
    """
    counts = table.weights.round().astype(int)
    rows = np.repeat(np.arange(len(counts)), counts.sum(1))
    columns = np.concatenate([np.repeat(np.arange(counts.shape[1]), row) for row in counts])
    expected = np.outer(counts.sum(1), counts.sum(0)) / max(1, counts.sum())
    seen = expected > 0

    def statistic(dealt: npt.NDArray[np.int64]) -> float:
        found = np.zeros(counts.shape)
        np.add.at(found, (rows, dealt), 1)
        return float((((found - expected) ** 2)[seen] / expected[seen]).sum())

    rng = np.random.default_rng(seed)
    observed = statistic(columns)
    # A rounding error must not make an equal table a smaller one.
    larger = sum(statistic(rng.permutation(columns)) >= observed - 1e-9 for _ in range(permutations))
    return (larger + 1) / (permutations + 1)
