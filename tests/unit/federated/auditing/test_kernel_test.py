from itertools import pairwise

import numpy as np
import pennylane as qml
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.auditing.kernel_test import (
    KernelComparison,
    compare_groups,
    encoded_states,
    feature_circuit,
    mmd2,
    principal_components,
    quantum_kernel,
    rbf_kernel,
    two_sample_test,
)
from federated.errors import EvaluationError
from federated.quantum.circuit import Input

GATES = {"ry": qml.RY, "cz": qml.CZ}


def with_pennylane(angles: np.ndarray) -> np.ndarray:
    wires = len(angles)

    @qml.qnode(qml.device("default.qubit", wires=wires))
    def node():
        for gate in feature_circuit(wires).gates():
            given = (
                []
                if gate.parameter is None
                else [angles[gate.parameter.wire] if isinstance(gate.parameter, Input) else 0.0]
            )
            GATES[gate.name](*given, wires=list(gate.wires))
        return qml.state()

    return node()


@pytest.mark.parametrize("wires", [1, 2, 3, 8])
def test_states_are_those_of_pennylane(wires):
    angles = np.random.default_rng(wires).normal(size=(3, wires))
    for row, state in zip(angles, encoded_states(angles), strict=True):
        np.testing.assert_allclose(state, with_pennylane(row), atol=1e-10)


def test_the_kernel_is_a_fidelity():
    components = np.random.default_rng(0).normal(size=(6, 3))
    kernel = quantum_kernel(components, 0.7)
    np.testing.assert_allclose(np.diag(kernel), 1)
    np.testing.assert_allclose(kernel, kernel.T)
    assert np.linalg.eigvalsh(kernel).min() > -1e-10
    first, second = with_pennylane(0.7 * components[0]), with_pennylane(0.7 * components[1])
    assert kernel[0, 1] == pytest.approx(abs(np.vdot(first, second)) ** 2)


def test_the_kernel_is_no_product_over_the_wires():
    components = np.random.default_rng(1).normal(size=(4, 2))
    product = quantum_kernel(components[:, :1], 1.0) * quantum_kernel(components[:, 1:], 1.0)
    assert np.abs(quantum_kernel(components, 1.0) - product).max() > 0.01


def naive_mmd2(kernel, inside):
    first, second = np.flatnonzero(inside), np.flatnonzero(~inside)

    def mean(rows, columns):
        pairs = [kernel[i, j] for i in rows for j in columns if i != j]
        return sum(pairs) / len(pairs)

    return mean(first, first) + mean(second, second) - 2 * mean(first, second)


def test_the_statistic_is_the_mean_over_pairs():
    rng = np.random.default_rng(2)
    _, kernel = rbf_kernel(rng.normal(size=(9, 2)))
    members = np.stack([np.arange(9) < 4, rng.permutation(np.arange(9) < 4)])
    np.testing.assert_allclose(mmd2(kernel, members), [naive_mmd2(kernel, each) for each in members])


def test_the_rbf_kernel_has_the_median_distance():
    points = np.random.default_rng(3).normal(size=(12, 4))
    distance, kernel = rbf_kernel(points)
    distances = [np.linalg.norm(a - b) for i, a in enumerate(points) for b in points[i + 1 :]]
    assert distance == pytest.approx(np.median(distances))
    assert kernel[0, 1] == pytest.approx(np.exp(-np.sum((points[0] - points[1]) ** 2) / (2 * distance**2)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(5, 20), st.integers(1, 12), st.integers(1, 8))
def test_components_are_standardised_and_uncorrelated(seed, cases, features, count):
    values = np.random.default_rng(seed).normal(size=(cases, features)) * 10.0 ** np.arange(features)
    components, variance = principal_components(values, count)
    assert components.shape == (cases, min(count, features, cases - 1))
    np.testing.assert_allclose(components.T @ components / cases, np.eye(components.shape[1]), atol=1e-8)
    assert 0 < variance <= 1 + 1e-12


def test_a_feature_that_never_changes_does_not_matter():
    values = np.random.default_rng(4).normal(size=(10, 3))
    with_constant = np.column_stack([values, np.full(10, 7.0)])
    for first, second in pairwise([principal_components(values, 2), principal_components(with_constant, 2)]):
        np.testing.assert_allclose(np.abs(first[0]), np.abs(second[0]))


def groups(rng, shift, cases=15):
    first, second = rng.normal(size=(2, cases, 5))
    return first, second + shift * np.array([1, 1, 0, 0, 0])


def test_false_positives_are_as_rare_as_they_should_be():
    rng = np.random.default_rng(5)
    tests = [two_sample_test(*groups(rng, 0.0), wires=3, permutations=59, seed=n) for n in range(120)]
    # 5 % of 120 are 6; more than 13 have a chance of 0.4 % if the test is right.
    for kernel in ("quantum", "classical"):
        assert sum(getattr(test, kernel).p_value <= 0.05 for test in tests) <= 13
    # And no fewer than a right test would give: p-values are uniform.
    assert 0.4 < np.mean([test.quantum.p_value for test in tests]) < 0.6


def test_a_difference_is_found():
    rng = np.random.default_rng(6)
    tests = [two_sample_test(*groups(rng, 1.6), wires=3, permutations=59, seed=n) for n in range(20)]
    for kernel in ("quantum", "classical"):
        assert sum(getattr(test, kernel).p_value <= 0.05 for test in tests) >= 17


def test_both_kernels_are_about_as_wide():
    found = two_sample_test(*groups(np.random.default_rng(7), 0.5), wires=4, permutations=9)
    assert found.classical.median == pytest.approx(np.exp(-0.5))
    assert found.quantum.median == pytest.approx(np.exp(-0.5), abs=0.06)
    assert found.components == 4


def test_the_smallest_p_value_counts_the_true_grouping():
    found = two_sample_test(*groups(np.random.default_rng(8), 50.0), wires=2, permutations=19)
    assert found.quantum.p_value == found.classical.p_value == 1 / 20


def test_each_group_is_compared_with_all_others():
    rng = np.random.default_rng(9)
    values = rng.normal(size=(40, 4))
    names = ["a"] * 14 + ["b"] * 13 + ["c"] * 10 + [None] * 3
    values[:14] += 3
    found = compare_groups(values, names, minimum=10, wires=3, permutations=199)
    assert [(each.group, each.cases, each.others, each.outcome) for each in found.groups] == [
        ("a", 14, 23, "measured"),
        ("b", 13, 24, "measured"),
        ("c", 10, 27, "measured"),
    ]
    assert found.unknown == 3
    assert found.groups[0].quantum_p == found.groups[0].classical_p == pytest.approx(3 / 200)
    assert all(each.quantum_p >= each.test.quantum.p_value for each in found.groups)


def test_of_two_groups_one_is_tested():
    values = np.random.default_rng(10).normal(size=(20, 3))
    found = compare_groups(values, ["F", "M"] * 10, minimum=10, permutations=9)
    assert [each.group for each in found.groups] == ["F"]


@pytest.mark.parametrize(
    ("names", "minimum"), [(["F"] * 3 + ["M"] * 17, 10), (["F"] * 20, 2), (["F"] * 3 + ["M"] * 17, 1)]
)
def test_too_few_cases_are_insufficient_evidence(names, minimum):
    found = compare_groups(np.random.default_rng(11).normal(size=(20, 3)), names, minimum=minimum, permutations=9)
    assert {each.outcome for each in found.groups} == {"insufficient-evidence"}
    assert all(each.test is None and each.quantum_p == 1 for each in found.groups)


def test_nobody_known_is_no_group():
    values = np.zeros((3, 2))
    assert compare_groups(values, [None] * 3, minimum=2) == KernelComparison((), 3)


def test_refuses_what_it_cannot_test():
    rng = np.random.default_rng(12)
    good = rng.normal(size=(6, 3))
    with pytest.raises(EvaluationError, match="finite"):
        two_sample_test(np.full((6, 3), np.nan), good)
    with pytest.raises(EvaluationError, match="as many features"):
        two_sample_test(good, rng.normal(size=(6, 4)))
    with pytest.raises(EvaluationError, match="at least 4 cases"):
        two_sample_test(good[:3], good)
    with pytest.raises(EvaluationError, match="wires"):
        two_sample_test(good, good, wires=9)
    with pytest.raises(EvaluationError, match="cases that differ"):
        two_sample_test(np.ones((6, 3)), np.ones((6, 3)))
    with pytest.raises(EvaluationError, match="a group for each"):
        compare_groups(good, ["F"], minimum=2)
