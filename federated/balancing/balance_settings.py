"""What a person asks of the fairness filter. Needs no torch."""

from dataclasses import dataclass
from typing import Final, Literal, get_args

from federated.balancing.cohort_table import ATTRIBUTES, MINIMUM_GROUP
from federated.errors import TrainingSettingsError

BalanceSolver = Literal["exact", "annealed", "greedy", "qaoa", "vqe", "reweighing", "equal-reweighing"]

QUBITS: Final = 12
VQE_QUBITS: Final = 10
"""As many as a Circuit has wires."""


@dataclass(frozen=True)
class BalanceSettings:
    """How a cohort is balanced.

    Attributes:
        attributes: What is balanced, of cohort_table.ATTRIBUTES.
        solver: How the weights are found: "reweighing" keeps each group's share of the training and takes away what
            groups tell about outcomes, as AIF360 does; "equal-reweighing" gives the groups equal shares too; the others
            choose weights from a few, by the subgroup-balance Hamiltonian, with equal shares wanted.
        minimum_group: Cases of a group that takes part.
        seed: Of the solver.
        max_gap: Bound on the groups' gap of mean Dice, 0 to 1, by which the model's thresholds are chosen after
            training; for one attribute only. None for no bound.

    Raises:
        TrainingSettingsError: A name is unknown, or a number out of range.
    """

    attributes: tuple[str, ...]
    solver: BalanceSolver = "exact"
    minimum_group: int = MINIMUM_GROUP
    seed: int = 0
    max_gap: float | None = None

    def __post_init__(self) -> None:
        """Check each."""
        unknown = [name for name in self.attributes if name not in ATTRIBUTES]
        if not self.attributes or unknown or len(set(self.attributes)) != len(self.attributes):
            raise TrainingSettingsError(
                f"Expected to balance different ones of {', '.join(ATTRIBUTES)}, got "
                f"{', '.join(self.attributes) or 'none'}."
            )
        if self.solver not in get_args(BalanceSolver):
            raise TrainingSettingsError(
                f"Expected a balance solver of {', '.join(get_args(BalanceSolver))}, got {self.solver!r}."
            )
        if not 1 <= self.minimum_group <= 10_000:
            raise TrainingSettingsError(f"Expected a minimum group of 1 to 10000 cases, got {self.minimum_group}.")
        if self.max_gap is not None and (not 0 <= self.max_gap <= 1 or len(self.attributes) > 1):
            raise TrainingSettingsError(
                f"Expected a gap of 0 to 1 between the groups of one attribute, got {self.max_gap} for "
                f"{', '.join(self.attributes)}."
            )

    @property
    def qubits(self) -> int:
        """Bits of the problem at most."""
        return VQE_QUBITS if self.solver == "vqe" else QUBITS
