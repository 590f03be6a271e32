import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from federated.auditing.proportion import judge_share, proportion, trials_to_pass
from federated.errors import EvaluationError


@pytest.mark.parametrize(("count", "of"), [(0, 20), (3, 20), (20, 20), (1, 1000)])
def test_the_intervals_are_exact(count, of):
    found = proportion(count, of)
    exact = binomtest(count, of).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    assert found.at_most == pytest.approx(binomtest(count, of, alternative="less").proportion_ci(0.95).high)
    assert found.at_least == pytest.approx(binomtest(count, of, alternative="greater").proportion_ci(0.95).low)


def test_nothing_is_known_without_trials():
    found = proportion(0, 0)
    assert (found.rate, found.low, found.high) == (0.0, 0.0, 1.0)
    assert judge_share(found, 0.5) == "insufficient-evidence"


@pytest.mark.parametrize(
    ("count", "of", "outcome"),
    [(0, 20, "insufficient-evidence"), (0, 597, "insufficient-evidence"), (0, 598, "passed"), (3, 20, "failed")],
)
def test_a_limit_of_half_a_percent(count, of, outcome):
    assert judge_share(proportion(count, of), 0.005) == outcome


@given(st.floats(0.001, 0.5))
def test_so_many_trials_without_success_pass_and_no_fewer(limit):
    needed = trials_to_pass(limit)
    assert judge_share(proportion(0, needed), limit) == "passed"
    assert judge_share(proportion(0, needed - 1), limit) == "insufficient-evidence"


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.floats(0.02, 0.98))
def test_the_interval_covers_as_often_as_it_says(of, rate):
    covered = 0.0
    for count in range(of + 1):
        found = proportion(count, of)
        covered += float(binom.pmf(count, of, rate)) * (found.low <= rate <= found.high)
    assert covered >= 0.95 - 1e-9


@pytest.mark.parametrize(("count", "of"), [(-1, 5), (6, 5)])
def test_refuses_impossible_counts(count, of):
    with pytest.raises(EvaluationError, match="from 0 to the number of trials"):
        proportion(count, of)


@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_no_number_of_trials_shows_a_limit_of_nothing(limit):
    with pytest.raises(EvaluationError, match="between 0 and 1"):
        trials_to_pass(limit)
