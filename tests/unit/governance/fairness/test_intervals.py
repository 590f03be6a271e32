import numpy as np
import pytest

from governance.errors import AuditDataError
from governance.fairness.intervals import mean_figure, stratified_figure


def test_the_interval_of_a_mean_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for seed in range(60):
        found = mean_figure(rng.beta(6, 2, 30), confidence=0.9, seed=seed)
        inside += found.low <= 0.75 <= found.high
    assert 46 <= inside <= 60


def test_equal_values_have_no_spread():
    found = mean_figure([0.7] * 12, confidence=0.95)
    assert (found.value, found.low, found.high) == pytest.approx((0.7, 0.7, 0.7))


def test_a_group_keeps_its_size():
    sizes = []

    def statistic(groups):
        sizes.append({name: len(values) for name, values in groups.items()})
        return float(np.mean(groups["a"]) - np.mean(groups["b"]))

    found = stratified_figure({"a": [1.0, 0.8, 0.9], "b": [0.1, 0.2]}, statistic, confidence=0.95)
    assert all(each == {"a": 3, "b": 2} for each in sizes)
    assert found.value == pytest.approx(0.75)
    assert 0.6 <= found.low < found.value < found.high <= 0.9


@pytest.mark.parametrize("values", [[], [0.5, float("nan")]])
def test_refuses_what_is_no_sample(values):
    with pytest.raises(AuditDataError, match="finite"):
        mean_figure(values, confidence=0.95)


def test_refuses_no_groups():
    with pytest.raises(AuditDataError, match="got none"):
        stratified_figure({}, lambda _: 0.0, confidence=0.95)
