"""The bounds of shares and of their difference, against grids, and by simulation at every look."""

import numpy as np
import pytest

from governance.monitoring.shares import least_gap, log_evidence, log_evidence_of_difference, share_bounds

GRID = np.linspace(1e-6, 1 - 1e-6, 200_001)
COARSE = np.linspace(1e-4, 1 - 1e-4, 1500)


@pytest.mark.parametrize(("cases", "hits"), [(100, 10), (100, 0), (50, 50), (30, 15), (1, 1)])
def test_bounds_are_those_of_a_grid(cases, hits):
    kept = GRID[log_evidence(cases, hits, GRID) < np.log(20)]
    bounds = share_bounds(cases, hits, 0.05)
    assert float(bounds.low) == pytest.approx(kept.min(), abs=1e-4)
    assert float(bounds.high) == pytest.approx(kept.max(), abs=1e-4)


@pytest.mark.parametrize(
    "counts", [(30, 12, 70, 4), (70, 4, 30, 12), (40, 0, 60, 60), (20, 3, 20, 3), (10, 10, 12, 11)]
)
def test_the_least_gap_is_that_of_a_grid(counts):
    one, has, two, had = counts
    evidence = log_evidence(one, has, COARSE)[:, None] + log_evidence(two, had, COARSE)[None, :]
    gaps = (COARSE[:, None] - COARSE[None, :]) * (1 if has / one >= had / two else -1)
    lowest = gaps[evidence < np.log(20)].min()
    assert float(least_gap(*counts, 0.05)) == pytest.approx(max(lowest, 0.0), abs=2e-3)


def test_evidence_of_a_difference_is_the_least_of_all_common_shares():
    found = log_evidence_of_difference(30, 12, 70, 4)
    assert float(found) == pytest.approx((log_evidence(30, 12, GRID) + log_evidence(70, 4, GRID)).min(), abs=1e-6)


def test_without_cases_nothing_is_known():
    bounds = share_bounds([0, 10], [0, 5], 0.05)
    assert (bounds.low[0], bounds.high[0]) == (0.0, 1.0)
    assert least_gap(0, 0, 50, 25, 0.05) == 0.0


@pytest.mark.parametrize("share", [0.02, 0.2, 0.6])
def test_the_true_share_is_rarely_ever_left_out(share):
    rng = np.random.default_rng(1)
    hits = (rng.random((2000, 500)) < share).cumsum(axis=1)
    evidence = log_evidence(np.arange(1, 501), hits, share)
    # Twenty looks more than it takes; of 2,000 runs 5 % are 100, and three standard errors 29.
    assert ((evidence >= np.log(20)).any(axis=1)).sum() <= 129


def test_alike_groups_are_rarely_ever_called_unlike():
    rng = np.random.default_rng(2)
    is_first = rng.random((1000, 400)) < 0.3
    hits = rng.random((1000, 400)) < 0.1
    one, two = is_first.cumsum(axis=1), (~is_first).cumsum(axis=1)
    has, had = (is_first & hits).cumsum(axis=1), (~is_first & hits).cumsum(axis=1)
    found = log_evidence_of_difference(one, has, two, had) >= np.log(20)
    assert found.any(axis=1).mean() <= 0.05


def test_a_true_gap_is_rarely_ever_overstated():
    rng = np.random.default_rng(3)
    is_first = rng.random((400, 300)) < 0.3
    hits = rng.random((400, 300)) < np.where(is_first, 0.25, 0.05)
    looks = np.arange(29, 300, 10)
    counts = [each.cumsum(axis=1)[:, looks] for each in (is_first, is_first & hits, ~is_first, ~is_first & hits)]
    assert (least_gap(*counts, 0.05) > 0.2).any(axis=1).mean() <= 0.05
