"""The bounds of a mean, at every look."""

import numpy as np

from governance.monitoring.means import mean_bounds


def test_the_true_mean_is_rarely_ever_left_out():
    values = np.random.default_rng(1).beta(17, 3, (1000, 400))
    bounds = mean_bounds(values, np.ones(400, bool), 0.05)
    assert ((bounds.low > 0.85) | (bounds.high < 0.85)).any(axis=1).mean() <= 0.05


def test_the_hard_case_of_zeros_and_ones_holds():
    values = (np.random.default_rng(2).random((1000, 400)) < 0.03).astype(float)
    bounds = mean_bounds(values, np.ones(400, bool), 0.05)
    assert ((bounds.low > 0.03) | (bounds.high < 0.03)).any(axis=1).mean() <= 0.05


def test_numbers_that_scatter_little_give_narrow_bounds():
    rng = np.random.default_rng(3)
    quiet = mean_bounds(rng.normal(0.85, 0.02, 400).clip(0, 1), np.ones(400, bool), 0.05)
    loud = mean_bounds((rng.random(400) < 0.85).astype(float), np.ones(400, bool), 0.05)
    assert (quiet.high - quiet.low)[-1] < 0.5 * (loud.high - loud.low)[-1]


def test_members_alone_count():
    values = np.random.default_rng(4).random(200)
    members = np.arange(200) % 3 == 0
    of_group = mean_bounds(values, members, 0.05)
    alone = mean_bounds(values[members], np.ones(members.sum(), bool), 0.05)
    np.testing.assert_allclose(of_group.low[members], alone.low)
    np.testing.assert_allclose(of_group.high[members], alone.high)


def test_before_the_first_member_nothing_is_known():
    bounds = mean_bounds(np.full(3, 0.5), np.array([False, False, True]), 0.05)
    np.testing.assert_array_equal(bounds.low[:2], 0.0)
    np.testing.assert_array_equal(bounds.high[:2], 1.0)
