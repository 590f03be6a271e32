from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.balancing.balance_problem import Coefficients, build_problem
from federated.balancing.cohort_table import LARGE, SMALL
from federated.balancing.quadratic import to_bits
from federated.balancing.reweighing import reweigh
from federated.errors import BalanceDataError, TrainingSettingsError
from tests.fakes.balance_cohorts import cohort, crossed


def imbalance(problem, cases, bits, attributes, coefficients, shares):
    """The energy as the module's docstring writes it, case by case."""
    weights = dict(zip(problem.strata, problem.weights(bits), strict=True))
    weighed = [(case, weights[tuple((a, case.groups[a]) for a in attributes), case.outcome]) for case in cases]
    n = len(cases)
    outcomes = {name: count / n for name, count in Counter(case.outcome for case in cases).items()}
    energy = 0.0
    for attribute in attributes:
        groups = sorted({case.groups[attribute] for case in cases})
        for group in groups:
            of_group = sum(w for case, w in weighed if case.groups[attribute] == group)
            for outcome, share in outcomes.items():
                both = sum(w for case, w in weighed if case.groups[attribute] == group and case.outcome == outcome)
                energy += coefficients.dependence * ((both - share * of_group) / n) ** 2
            present = sum(case.groups[attribute] == group for case in cases) / n
            wanted = 1 / len(groups) if shares == "equal" else present
            everybody = sum(w for _, w in weighed)
            energy += coefficients.representation * ((of_group - wanted * everybody) / n) ** 2
    energy += coefficients.total * ((sum(w for _, w in weighed) - n) / n) ** 2
    return energy + coefficients.change * sum((w - 1) ** 2 for _, w in weighed) / n


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=8, max_size=8),
    st.tuples(*[st.floats(0, 3)] * 4),
    st.sampled_from(["equal", "present"]),
    st.integers(3, 12),
    st.integers(0, 2**32 - 1),
)
def test_the_energy_is_the_imbalance_that_is_counted_case_by_case(counts, values, shares, qubits, seed):
    keys = [((sex, age), outcome) for sex in "FM" for age in ("0-39", "60-79") for outcome in (SMALL, LARGE)]
    cases, attributes = crossed(dict(zip(keys, counts, strict=True))), ("sex", "age")
    coefficients = Coefficients(*values)
    problem = build_problem(cases, attributes, minimum=1, qubits=qubits, shares=shares, coefficients=coefficients)
    assert problem.energy.bits <= qubits
    energies = problem.energy.all_energies()
    for index in np.random.default_rng(seed).integers(len(energies), size=3):
        bits = to_bits(int(index), problem.energy.bits)
        expected = imbalance(problem, cases, bits, attributes, coefficients, shares)
        assert energies[index] == pytest.approx(expected, abs=1e-9)


def test_strata_share_the_bits_and_the_smallest_keep_weight_1():
    problem = build_problem(cohort(), ["sex"], minimum=10, qubits=3)
    assert problem.sizes == (30, 16, 14, 4)
    assert (len(problem.targets), problem.bits_a_stratum) == (3, 1)
    assert problem.weights([0, 1, 1]) == (1.0, *problem.targets[1:], 1.0)
    assert build_problem(cohort(), ["sex"], minimum=10, qubits=12).bits_a_stratum == 3


def test_weights_go_from_1_to_those_of_reweighing():
    cases = cohort()
    problem = build_problem(cases, ["sex"], minimum=10, qubits=12)
    expected = reweigh([case.groups["sex"] for case in cases], [case.outcome for case in cases], "equal")
    by_stratum = {((("sex", c.groups["sex"]),), c.outcome): w for c, w in zip(cases, expected, strict=True)}
    at_the_end = dict(zip(problem.strata, problem.weights([1] * 12), strict=True))
    assert at_the_end == pytest.approx({stratum: min(4, weight) for stratum, weight in by_stratum.items()})
    assert problem.weights([0] * 12) == (1.0,) * 4
    part = problem.weights([0, 1, 0] * 4)
    assert part == pytest.approx([1 + 2 / 7 * (target - 1) for target in problem.targets])


def test_weights_stay_within_a_quarter_and_four():
    lopsided = cohort({("F", SMALL): 60, ("F", LARGE): 1, ("M", SMALL): 1, ("M", LARGE): 60})
    problem = build_problem(lopsided, ["sex"], minimum=10, qubits=12)
    assert min(problem.targets) >= 0.25
    assert max(problem.targets) == 4.0


def test_a_balanced_cohort_is_left_as_it_is():
    even = cohort({(sex, outcome): 10 for sex in "FM" for outcome in (SMALL, LARGE)})
    problem = build_problem(even, ["sex"], minimum=10, qubits=8)
    assert problem.weights(to_bits(int(problem.energy.all_energies().argmin()), 8)) == (1.0,) * 4
    assert problem.energy.all_energies().min() == pytest.approx(0)


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(cohort({("F", SMALL): 30}), id="one group"),
        pytest.param(cohort({("F", SMALL): 30, ("M", SMALL): 9}), id="small group"),
        pytest.param(cohort({(None, SMALL): 30}), id="unknown"),
    ],
)
def test_says_insufficient_evidence_where_nothing_can_be_compared(cases):
    with pytest.raises(BalanceDataError, match=r"Insufficient evidence: .* two groups of 10 cases or more by sex"):
        build_problem(cases, ["sex"], minimum=10, qubits=8)


@pytest.mark.parametrize("qubits", [0, 21])
def test_refuses_a_number_of_qubits_out_of_range(qubits):
    with pytest.raises(TrainingSettingsError, match="1 to 20 qubits"):
        build_problem(cohort(), ["sex"], minimum=10, qubits=qubits)


def test_refuses_negative_coefficients():
    with pytest.raises(TrainingSettingsError, match="coefficients of 0 or more"):
        Coefficients(change=-1)
