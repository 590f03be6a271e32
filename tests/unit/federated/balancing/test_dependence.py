import numpy as np
import pytest
from scipy.stats import chi2_contingency
from scipy.stats.contingency import association

from federated.balancing.cohort_table import CrossTable
from federated.balancing.dependence import measure_dependence, permutation_p

COUNTS = np.array([[14.0, 4], [16, 30]])


def table(counts):
    counts = np.asarray(counts, np.float64)
    names = "abcdef"
    return CrossTable(tuple(names[: len(counts)]), tuple(names[: counts.shape[1]]), counts)


@pytest.mark.parametrize("counts", [COUNTS, np.array([[5.0, 1, 2], [3, 8, 4], [1, 1, 9]])], ids=["2x2", "3x3"])
def test_agrees_with_scipy(counts):
    found = measure_dependence(table(counts))
    assert found.chi_squared == pytest.approx(chi2_contingency(counts, correction=False).statistic)
    assert found.cramers_v == pytest.approx(association(counts.astype(int), "cramer"))
    g = chi2_contingency(counts, correction=False, lambda_="log-likelihood").statistic
    assert found.information_bits == pytest.approx(g / (2 * counts.sum() * np.log(2)))


def test_gaps_are_differences_of_shares():
    found = measure_dependence(table(COUNTS))
    assert found.parity_gap == pytest.approx(30 / 46 - 4 / 18)
    assert found.share_gap == pytest.approx(46 / 64 - 18 / 64)


def test_independent_groups_are_told_so():
    found = measure_dependence(table([[2, 4], [3, 6]]))
    assert (found.chi_squared, found.cramers_v, found.information_bits) == pytest.approx((0, 0, 0), abs=1e-12)
    assert found.parity_gap == pytest.approx(0)


def test_one_outcome_tells_nothing_and_one_group_is_not_compared():
    assert measure_dependence(table([[3], [5]])).cramers_v == 0
    assert measure_dependence(table([[3, 2]])) is None
    assert measure_dependence(table([[0, 0], [0, 0]])) is None


def test_the_permutation_p_is_near_fishers_and_uniform_without_dependence():
    from scipy.stats import fisher_exact

    # The same tables are extreme by both statistics in a table this skewed.
    assert permutation_p(table(COUNTS)) == pytest.approx(fisher_exact(COUNTS).pvalue, abs=0.01)
    rng = np.random.default_rng(3)
    found = []
    for _ in range(60):
        women = rng.binomial(20, 0.5)
        found.append(permutation_p(table([[women, 20 - women], [10, 10]]), permutations=199))
    assert np.mean(np.array(found) <= 0.05) <= 0.15
