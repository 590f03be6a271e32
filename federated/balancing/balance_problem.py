"""The subgroup-balance Hamiltonian: which weight each stratum of a cohort gets, as a quadratic function of bits.

A stratum is all cases of the same groups and outcome; its n_s cases share one weight, written in B bits: from 1, left
as it is, to w*_s, the weight that reweighing would give it, within 1/4 and 4:

    w_s = 1 + (w*_s - 1) / (2^B - 1) * sum_b 2^b x_sb,          w*_s = n q_y (product over attributes of p_g) / n_s

With n cases in the strata, W the sum of n_s w_s over some of them, q_y the share of outcome y and p_g the wanted share
of group g, the energy is

    dependence      sum over attributes, groups g, outcomes y of  ((W_gy - q_y W_g) / n)^2     0: independent
  + representation  sum over attributes, groups g of              ((W_g - p_g W_a) / n)^2      0: shares as wanted
  + total           ((W - n) / n)^2                                                            0: mean weight 1
  + change          sum over strata of                            (n_s / n) (w_s - 1)^2        lost and repeated cases

each term times its coefficient; W_a is the weight of all cases whose group of that attribute is known. All terms are
squares of what is linear in the bits, so the sum is quadratic. The shares q_y are fixed, those of the cohort: true
independence, W_gy W = W_g W_y, would be of fourth order, and has the same zeros under these shares. With weights of 0
and 1 the last term is the share of lost cases. Without the third one small weights would look like balanced ones.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from federated.balancing.cohort_table import CohortCase, group_sizes
from federated.balancing.quadratic import MAX_BITS, Quadratic, squares
from federated.balancing.reweighing import Shares
from federated.errors import BalanceDataError, TrainingSettingsError

Floats = npt.NDArray[np.float64]

LOWEST: Final = 0.25
HIGHEST: Final = 4.0
"""Of the weights that a case may get: beyond these two a few cases would make up the training."""
MOST_BITS_A_STRATUM: Final = 3

Stratum = tuple[tuple[tuple[str, str], ...], str]
"""The groups as (attribute, group), and the outcome."""


@dataclass(frozen=True)
class Coefficients:
    """How much each term counts."""

    dependence: float = 1.0
    representation: float = 1.0
    total: float = 1.0
    change: float = 0.02

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            TrainingSettingsError: One is negative or not finite.
        """
        if not all(0 <= each < float("inf") for each in vars(self).values()):
            raise TrainingSettingsError(f"Expected coefficients of 0 or more, got {vars(self)}.")


@dataclass(frozen=True, eq=False)
class BalanceProblem:
    """One cohort's problem.

    Attributes:
        energy: The quadratic function.
        strata: In the order of the bits; those without bits, of weight 1, at the end.
        sizes: Cases of each stratum.
        bits_a_stratum: Of those that have bits.
        targets: Their weights when all bits are 1.
    """

    energy: Quadratic
    strata: tuple[Stratum, ...]
    sizes: tuple[int, ...]
    bits_a_stratum: int
    targets: tuple[float, ...]

    def weights(self, bits: Sequence[int]) -> tuple[float, ...]:
        """The strata's weights that an assignment stands for."""
        values = np.array(bits, np.float64).reshape(len(self.targets), self.bits_a_stratum)
        chosen = 1 + (np.array(self.targets) - 1) * (values @ _parts(self.bits_a_stratum))
        return (*(float(each) for each in chosen), *(1.0,) * (len(self.strata) - len(chosen)))


@dataclass(frozen=True)
class _Goal:
    attributes: tuple[str, ...]
    outcome_shares: Mapping[str, float]
    group_shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def stratum_of(case: CohortCase, known: Mapping[str, Sequence[str]]) -> Stratum | None:
    """The stratum of a case, by the groups that take part; None where it is in none of them.

    Args:
        case: The case.
        known: By attribute the groups that take part.
    """
    groups = tuple((name, case.groups[name]) for name, among in known.items() if case.groups.get(name) in among)
    return (groups, case.outcome) if groups else None


def build_problem(
    cases: Sequence[CohortCase],
    attributes: Sequence[str],
    *,
    minimum: int,
    qubits: int,
    shares: Shares = "equal",
    coefficients: Coefficients | None = None,
) -> BalanceProblem:
    """State the problem of a cohort.

    Args:
        cases: The cohort; check_cohort has looked at it.
        attributes: What is to be balanced.
        minimum: Cases of a group that takes part.
        qubits: As many bits at most. Each stratum gets as many as all can have, up to 3; where there are more strata
            than bits, the smallest ones keep weight 1.
        shares: Of the groups: "equal" ones, or as they are "present".
        coefficients: Of the terms.

    Raises:
        BalanceDataError: No attribute has two groups that are large enough.
        TrainingSettingsError: The number of bits is out of range.
    """
    if not 1 <= qubits <= MAX_BITS:
        raise TrainingSettingsError(f"Expected 1 to {MAX_BITS} qubits, got {qubits}.")
    known = comparable_groups(cases, attributes, minimum)
    if not known:
        raise BalanceDataError(
            f"Insufficient evidence: expected two groups of {minimum} cases or more by {' or '.join(attributes)}, got "
            "fewer; add cases, or train without balance."
        )
    sizes = Counter(stratum for case in cases if (stratum := stratum_of(case, known)))
    # The largest first: they get the bits.
    strata = tuple(sorted(sizes, key=lambda stratum: (-sizes[stratum], stratum)))
    free = min(len(strata), qubits)
    bits = min(MOST_BITS_A_STRATUM, qubits // free)
    goal = _goal(cases, known, shares)
    targets = _targets(strata[:free], sizes, goal)
    counts = np.array([sizes[stratum] for stratum in strata], np.float64)
    forms = _forms(strata, counts, goal, coefficients or Coefficients())
    # Weights are linear in the bits: what the forms say of weights becomes what they say of bits.
    rows = np.kron(forms.rows[:, :free] * (np.array(targets) - 1), _parts(bits))
    energy = squares(rows, forms.rows.sum(1) + forms.offsets)
    return BalanceProblem(energy, strata, tuple(int(count) for count in counts), bits, targets)


def comparable_groups(
    cases: Sequence[CohortCase], attributes: Sequence[str], minimum: int
) -> dict[str, tuple[str, ...]]:
    """By attribute the groups of enough cases; attributes with fewer than two of them are left out."""
    found = {}
    for attribute in attributes:
        groups = tuple(name for name, count in group_sizes(cases, attribute).items() if count >= minimum)
        if len(groups) > 1:
            found[attribute] = groups
    return found


@dataclass(frozen=True, eq=False)
class _Forms:
    """Linear forms of the strata's weights, (forms, strata) and (forms,); the energy is the sum of their squares."""

    rows: Floats
    offsets: Floats


def _goal(cases: Sequence[CohortCase], known: Mapping[str, Sequence[str]], shares: Shares) -> _Goal:
    taking_part = [case for case in cases if stratum_of(case, known)]
    outcomes = Counter(case.outcome for case in taking_part)
    wanted = {}
    for attribute, groups in known.items():
        counts = Counter(case.groups[attribute] for case in taking_part if case.groups.get(attribute) in groups)
        all_known = sum(counts.values())
        wanted[attribute] = {
            group: 1 / len(groups) if shares == "equal" else counts[group] / all_known for group in groups
        }
    return _Goal(tuple(known), {name: count / len(taking_part) for name, count in outcomes.items()}, wanted)


def _targets(strata: Sequence[Stratum], sizes: Mapping[Stratum, int], goal: _Goal) -> tuple[float, ...]:
    """The weights that reweighing of the strata would give, within the limits."""
    found = []
    for groups, outcome in strata:
        wanted = goal.outcome_shares[outcome] * sum(sizes.values())
        for attribute, group in groups:
            wanted *= goal.group_shares[attribute][group]
        found.append(min(HIGHEST, max(LOWEST, wanted / sizes[groups, outcome])))
    return tuple(found)


def _forms(strata: Sequence[Stratum], counts: Floats, goal: _Goal, coefficients: Coefficients) -> _Forms:
    shares = counts / counts.sum()
    outcomes = np.array([outcome for _, outcome in strata])
    rows, offsets = [], []

    def add(coefficient: float, row: Floats, offset: float = 0.0) -> None:
        rows.append(np.sqrt(coefficient) * row)
        offsets.append(np.sqrt(coefficient) * offset)

    for attribute in goal.attributes:
        members = [dict(groups).get(attribute) for groups, _ in strata]
        is_known = np.array([member is not None for member in members])
        for group, wanted in goal.group_shares[attribute].items():
            is_in = np.array([member == group for member in members])
            for outcome, share in goal.outcome_shares.items():
                add(coefficients.dependence, shares * is_in * ((outcomes == outcome) - share))
            add(coefficients.representation, shares * (is_in - wanted * is_known))
    add(coefficients.total, shares, -1.0)
    for place, share in enumerate(shares):
        row = np.zeros(len(shares))
        row[place] = np.sqrt(share)
        add(coefficients.change, row, -float(np.sqrt(share)))
    return _Forms(np.array(rows), np.array(offsets))


def _parts(bits: int) -> Floats:
    """What part of the way from 1 to the target each bit goes, the most significant first; together 1."""
    parts: Floats = 2.0 ** np.arange(bits - 1, -1, -1) / (2**bits - 1)
    return parts
