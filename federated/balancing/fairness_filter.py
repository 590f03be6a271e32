"""The filter before training: what a cohort tells of its groups, case weights against that, and what they cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from federated.balancing.attribute_leakage import Leakage, measure_leakage
from federated.balancing.balance_problem import BalanceProblem, build_problem, comparable_groups, stratum_of
from federated.balancing.balance_settings import BalanceSettings
from federated.balancing.cohort_table import CohortCase, check_cohort, cross_table, group_sizes
from federated.balancing.dependence import Dependence, measure_dependence, permutation_p
from federated.balancing.reweighing import reweigh
from federated.balancing.solution import Solution
from federated.balancing.solvers import solve

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AttributeFindings:
    """What the filter found about one attribute.

    Attributes:
        outcome: "insufficient evidence" where fewer than two groups have enough cases: then all figures are None.
        sizes: Cases of every known group, the small ones too.
        unknown: Cases whose group is not known; they keep weight 1 as far as this attribute goes.
        left_out: Groups with too few cases.
        before, after: Groups against outcomes, without and with the weights.
        p_value: Of the dependence before, by permutation.
        leakage_before, leakage_after: What features tell of the groups, where there are features.
    """

    attribute: str
    outcome: Literal["measured", "insufficient evidence"]
    sizes: dict[str, int]
    unknown: int
    left_out: tuple[str, ...]
    before: Dependence | None = None
    after: Dependence | None = None
    p_value: float | None = None
    leakage_before: Leakage | None = None
    leakage_after: Leakage | None = None


@dataclass(frozen=True)
class Filtered:
    """A filtered cohort.

    Attributes:
        outcome: "insufficient evidence" where no attribute could be balanced: all weights are 1 then.
        weights: Of each case; their mean is 1.
        effective_cases: Kish's (sum w)^2 / sum w^2: how many cases of equal weight would teach as much.
        findings: Of each attribute that was asked for.
        solution: Of the Hamiltonian, where one was solved.
        optimum: Its lowest energy, found exactly.
        qubits: Bits of the Hamiltonian; 0 where none was solved.
    """

    outcome: Literal["balanced", "insufficient evidence"]
    weights: tuple[float, ...]
    effective_cases: float
    findings: tuple[AttributeFindings, ...]
    solution: Solution | None = None
    optimum: float | None = None
    qubits: int = 0


def filter_cohort(cases: Sequence[CohortCase], settings: BalanceSettings, features: Floats | None = None) -> Filtered:
    """Measure a cohort, choose case weights, and measure again.

    Args:
        cases: To train on; never those held out.
        settings: What to balance, and how.
        features: (cases, features) to measure what images tell of the groups; None to leave that out.

    Raises:
        BalanceDataError: There is no case, two share a name, or the features are not theirs.
    """
    check_cohort(cases, settings.attributes)
    known = comparable_groups(cases, settings.attributes, settings.minimum_group)
    weights, solution, problem = np.ones(len(cases)), None, None
    if known and settings.solver in {"reweighing", "equal-reweighing"}:
        weights = _reweighed(cases, known, settings)
    elif known:
        problem = build_problem(
            cases, settings.attributes, minimum=settings.minimum_group, qubits=settings.qubits, shares="equal"
        )
        solution = solve(settings.solver, problem.energy, seed=settings.seed)
        weights = _of_strata(cases, known, problem, solution)
    weights = weights / weights.mean()
    return Filtered(
        outcome="balanced" if known else "insufficient evidence",
        weights=tuple(float(each) for each in weights),
        effective_cases=effective_cases(weights),
        findings=tuple(_findings(cases, name, weights, settings, features) for name in settings.attributes),
        solution=solution,
        optimum=solve("exact", problem.energy).energy if problem else None,
        qubits=problem.energy.bits if problem else 0,
    )


def effective_cases(weights: Floats) -> float:
    """Kish's effective sample size."""
    return float(weights.sum() ** 2 / np.square(weights).sum())


def _reweighed(cases: Sequence[CohortCase], known: dict[str, tuple[str, ...]], settings: BalanceSettings) -> Floats:
    """Reweighing by the crossing of all attributes; cases of no group that takes part keep weight 1."""
    strata = [stratum_of(case, known) for case in cases]
    inside = [place for place, stratum in enumerate(strata) if stratum]
    crossed = [repr(stratum[0]) for stratum in strata if stratum]
    shares: Literal["present", "equal"] = "present" if settings.solver == "reweighing" else "equal"
    weights = np.ones(len(cases))
    weights[inside] = reweigh(crossed, [cases[place].outcome for place in inside], shares)
    return weights


def _of_strata(
    cases: Sequence[CohortCase], known: dict[str, tuple[str, ...]], problem: BalanceProblem, solution: Solution
) -> Floats:
    by_stratum = dict(zip(problem.strata, problem.weights(solution.bits), strict=True))
    strata = (stratum_of(case, known) for case in cases)
    return np.array([by_stratum[stratum] if stratum else 1.0 for stratum in strata])


def _findings(
    cases: Sequence[CohortCase], attribute: str, weights: Floats, settings: BalanceSettings, features: Floats | None
) -> AttributeFindings:
    sizes = group_sizes(cases, attribute)
    left_out = tuple(name for name, count in sizes.items() if count < settings.minimum_group)
    unknown = len(cases) - sum(sizes.values())
    table = cross_table(cases, attribute, minimum=settings.minimum_group)
    before = measure_dependence(table)
    if before is None:
        return AttributeFindings(attribute, "insufficient evidence", sizes, unknown, left_out)
    after = measure_dependence(cross_table(cases, attribute, weights.tolist(), minimum=settings.minimum_group))
    leakage: list[Leakage | None] = [None, None]
    if features is not None:
        groups = [case.groups.get(attribute) for case in cases]
        leakage = [
            measure_leakage(attribute, features, groups, weights=chosen, minimum=settings.minimum_group)
            for chosen in (None, weights.tolist())
        ]
    return AttributeFindings(
        attribute,
        "measured",
        sizes,
        unknown,
        left_out,
        before=before,
        after=after,
        p_value=permutation_p(table),
        leakage_before=leakage[0],
        leakage_after=leakage[1],
    )
