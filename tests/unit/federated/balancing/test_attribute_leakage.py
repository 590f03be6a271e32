import numpy as np
import pytest

from federated.balancing.attribute_leakage import measure_leakage, weighted_areas
from federated.errors import BalanceDataError
from federated.evaluation import area_under_roc


def features(rng, groups, shift):
    drawn = rng.normal(size=(len(groups), 6))
    drawn[:, 0] += shift * np.array([group == "F" for group in groups])
    return drawn


def measured(shift, seed=0, **options):
    groups = ["F"] * 30 + ["M"] * 40
    drawn = features(np.random.default_rng(seed), groups, shift)
    return measure_leakage("sex", drawn, groups, permutations=options.pop("permutations", 200), **options)


def test_finds_what_leaks():
    found = measured(2.0)
    assert found.finding == "leaks"
    assert found.auc > 0.85
    assert found.interval.low > 0.5
    assert found.p_value < 0.01
    assert found.information_bits > 0.1


def test_a_clear_difference_is_told_fully():
    assert measured(50.0, permutations=20).auc == pytest.approx(1.0)


def test_nothing_is_found_where_nothing_is():
    found = [measured(0.0, seed, permutations=99) for seed in range(40)]
    # 5 % expected; 6 or more of 40 has a chance below 2 %.
    assert sum(each.finding == "leaks" for each in found) <= 5
    assert np.mean([each.auc for each in found]) == pytest.approx(0.5, abs=0.05)


def test_several_groups_are_compared_each_with_the_rest():
    rng = np.random.default_rng(0)
    groups = ["a"] * 20 + ["b"] * 20 + ["c"] * 20 + ["d"] * 3
    drawn = rng.normal(size=(63, 4))
    for column, name in enumerate("abc"):
        drawn[[group == name for group in groups], column] += 4
    found = measure_leakage("site", drawn, groups, permutations=50)
    assert found.sizes == {"a": 20, "b": 20, "c": 20}, "d is too small"
    assert found.auc > 0.95


def test_weights_take_a_difference_away():
    # Within each outcome the groups are alike: what tells them apart is that women have other outcomes.
    rng = np.random.default_rng(1)
    outcome = np.array([1] * 10 + [0] * 30 + [1] * 30 + [0] * 10)
    groups = ["F"] * 40 + ["M"] * 40
    drawn = np.column_stack([3.0 * outcome + rng.normal(size=80), rng.normal(size=80)])
    weights = np.where((np.arange(80) < 40) == (outcome == 1), 2.0, 2 / 3)
    before = measure_leakage("sex", drawn, groups, permutations=50)
    after = measure_leakage("sex", drawn, groups, weights=weights, permutations=50)
    assert before.auc > 0.65
    assert abs(after.auc - 0.5) < 0.1
    assert after.p_value is None


def test_the_area_is_that_of_mann_and_whitney():
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(5, size=50).astype(np.float32), rng.random(50) < 0.4
    counts = rng.integers(0, 4, size=50)
    found = weighted_areas(scores, positive, np.stack([np.ones(50), counts]))
    repeated = area_under_roc(np.repeat(scores, counts), np.repeat(positive, counts))
    assert found == pytest.approx([area_under_roc(scores, positive), repeated])


@pytest.mark.parametrize("groups", [["F"] * 30 + ["M"] * 9, ["F"] * 39, [None] * 39], ids=["small", "one", "unknown"])
def test_says_insufficient_evidence(groups):
    found = measure_leakage("sex", np.zeros((39, 2)), groups)
    assert found.finding == "insufficient evidence"
    assert found.auc is None


def test_a_feature_that_never_changes_tells_nothing():
    found = measure_leakage("sex", np.ones((40, 3)), ["F", "M"] * 20, permutations=20)
    assert (found.auc, found.finding) == (0.5, "no evidence")


def test_refuses_features_that_do_not_fit():
    with pytest.raises(BalanceDataError, match="got 3, 2 and 2"):
        measure_leakage("sex", np.zeros((3, 1)), ["F", "M"])
    with pytest.raises(BalanceDataError, match="finite features"):
        measure_leakage("sex", np.array([[np.nan], [0]]), ["F", "M"])
