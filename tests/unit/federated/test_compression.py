from dataclasses import replace

import numpy as np
import pytest

from federated.compression import Compressor, kept_places, rounding
from federated.errors import AggregationError, UpdateError
from federated.rounds.terms import Aggregation
from federated.secure_aggregation.fixed_point import pack, reduce_to, unpack
from tests.fakes.round_terms import example_terms

SIZE = 500
RNG = np.random.default_rng(0)


def terms(compression="quantised", **changes):
    rule = {"threshold": 2, "value_range": 0.5, "kept": 0.1, "bits": 4, **changes}
    return example_terms(aggregation=Aggregation(compression=compression, **rule))


def update(seed=0, scale=0.1):
    return np.random.default_rng(seed).normal(0, scale, SIZE).astype(np.float32).clip(-0.45, 0.45)


def sent(compressor, vector, residual=None, weight=1.0, seed=0):
    return compressor.compress(vector, residual, weight, np.random.default_rng(seed))


@pytest.mark.parametrize("weight", [1.0, 0.37])
def test_quantised_numbers_are_right_in_expectation(weight):
    compressor, vector = Compressor.of(terms(bits=6), SIZE), update()
    found = np.stack([compressor.mean(sent(compressor, vector, None, weight, seed).ring) for seed in range(2000)])
    step = 0.5 / compressor.fixed.levels
    assert np.abs(found - vector).max() < 1.5 * step / weight
    # Of 500 means of 2000 that are at most half a step off on average, none is 5 standard errors off.
    assert np.abs(found.mean(axis=0) - vector).max() < 5 * (step / weight / 2) / np.sqrt(2000) + 2e-3 * step / weight


def test_quantised_numbers_have_so_many_values():
    compressor = Compressor.of(terms(bits=4), SIZE)
    found = compressor.mean(sent(compressor, update(scale=1.0)).ring)
    # At least so many as the bits have: the ring has room for the sum of three sites' numbers.
    assert 2**4 - 1 <= len(np.unique(found)) <= 2 * compressor.fixed.levels + 1 < 2**6


@pytest.mark.parametrize("compression", ["none", "quantised", "sparse"])
def test_what_sites_send_can_be_summed_in_the_ring(compression):
    compressor = Compressor.of(terms(compression), SIZE)
    weights = (1.0, 0.5, 0.75)
    parts = [sent(compressor, update(seed), None, weight, seed) for seed, weight in enumerate(weights)]
    total = reduce_to(np.sum([part.ring for part in parts], axis=0, dtype=np.uint32), compressor.fixed.bits)
    expected = np.average([compressor.mean(part.ring) for part in parts], axis=0, weights=weights)
    # The weight of each is known to 2^-24 only.
    np.testing.assert_allclose(compressor.mean(total), expected, atol=1e-6)


@pytest.mark.parametrize("compression", ["quantised", "sparse"])
def test_what_is_lost_comes_with_the_next_updates(compression):
    chosen = terms(compression)
    residual, arrived, wanted = None, np.zeros(SIZE), np.zeros(SIZE)
    for number in range(1, 200):
        compressor = Compressor.of(replace(chosen, round=number, rounds=200), SIZE)
        vector = update(number, scale=0.01)
        found = sent(compressor, vector, residual, seed=number)
        arrived += compressor.mean(found.ring)
        wanted += vector
        residual = found.residual
        np.testing.assert_allclose(arrived + residual, wanted, atol=1e-4)
    assert np.abs(wanted - arrived).max() < 0.35


@pytest.mark.parametrize("compression", ["quantised", "sparse"])
def test_error_feedback_leads_gradient_descent_to_the_optimum(compression):
    """f_i(w) = |w - b_i|^2 / 2 at three sites: the optimum is the mean of the b_i."""
    goals = [update(seed, scale=0.3) for seed in range(3)]
    place, residuals = np.zeros(SIZE, np.float32), [None] * 3
    for number in range(1, 400):
        compressor = Compressor.of(replace(terms(compression), round=number, rounds=400), SIZE)
        parts = [
            sent(compressor, (0.05 * (goal - place)).astype(np.float32), residuals[site], seed=1000 * site + number)
            for site, goal in enumerate(goals)
        ]
        residuals = [part.residual for part in parts]
        total = reduce_to(np.sum([part.ring for part in parts], axis=0, dtype=np.uint32), compressor.fixed.bits)
        place = place + compressor.mean(total)
    error = np.abs(place - np.mean(goals, axis=0))
    assert error.mean() < (0.05 if compression == "quantised" else 0.01)


def test_sparse_places_are_those_of_the_round_for_every_site():
    chosen = terms("sparse")
    places = kept_places(chosen, SIZE)
    assert len(places) == 50
    assert (np.diff(places) > 0).all()
    assert np.array_equal(places, kept_places(replace(chosen, deadline=chosen.deadline.replace(year=2027)), SIZE))
    following = kept_places(replace(chosen, round=2), SIZE)
    assert 0 < len(np.intersect1d(places, following)) < 25
    assert len(kept_places(terms("sparse", kept=1e-6), SIZE)) == 1


def test_every_place_has_its_turn():
    chosen = terms("sparse")
    seen = np.zeros(SIZE)
    for number in range(1, 401):
        seen[kept_places(replace(chosen, round=number, rounds=1000), SIZE)] += 1
    assert abs(seen.mean() - 40) < 1e-9
    # 500 binomial counts of 400 draws at a tenth: standard deviation 6.
    assert seen.min() > 40 - 5 * 6
    assert seen.max() < 40 + 5 * 6


def test_says_how_many_bytes_it_takes():
    sizes = {name: Compressor.of(terms(name, bits=8), 100_000) for name in ("none", "quantised", "sparse")}
    assert sizes["none"].bytes == pytest.approx(400_000, abs=16)
    # Three sites need two more bits, so that the sum of their numbers fits in.
    assert sizes["quantised"].bytes == pytest.approx(125_000, abs=60)
    assert sizes["sparse"].bytes == pytest.approx(40_000, abs=16)
    for name, compressor in sizes.items():
        found = compressor.compress(np.zeros(100_000, np.float32), None, 1.0, rounding(terms(name), "north"))
        packed = pack(found.ring, compressor.fixed.bits)
        assert len(packed) == compressor.bytes
        assert np.array_equal(unpack(packed, compressor.fixed.bits, compressor.length), found.ring)


def test_numbers_beyond_the_range_are_counted_and_kept_for_later():
    vector = np.zeros(SIZE, np.float32)
    vector[:3] = 0.9
    found = sent(Compressor.of(terms("quantised"), SIZE), vector)
    assert found.clipped == 3
    np.testing.assert_allclose(found.residual[:3], 0.4, atol=1e-6)
    plain = sent(Compressor.of(terms("none"), SIZE), vector)
    assert (plain.clipped, np.abs(plain.residual).max()) == (3, 0)


def test_a_round_that_is_done_again_gives_the_same_bytes():
    compressor = Compressor.of(terms(), SIZE)
    again = [compressor.compress(update(), None, 0.5, rounding(terms(), "north")).ring for _ in range(2)]
    assert np.array_equal(*again)
    other = compressor.compress(update(), None, 0.5, rounding(terms(), "south")).ring
    assert not np.array_equal(again[0], other)


@pytest.mark.parametrize(
    ("vector", "residual"),
    [
        pytest.param(np.zeros(SIZE - 1, np.float32), None, id="too short"),
        pytest.param(np.full(SIZE, np.nan, np.float32), None, id="NaN"),
        pytest.param(np.zeros(SIZE, np.float32), np.zeros(3, np.float32), id="residual of another model"),
        pytest.param(np.zeros(SIZE, np.float32), np.full(SIZE, np.inf, np.float32), id="infinite residual"),
    ],
)
def test_refuses_what_does_not_fit(vector, residual):
    with pytest.raises(UpdateError, match="update of 500 finite numbers"):
        sent(Compressor.of(terms(), SIZE), vector, residual)


def test_refuses_a_weight_that_would_leave_nothing():
    with pytest.raises(AggregationError, match="leave nothing"):
        sent(Compressor.of(terms(bits=3), SIZE), update(), weight=0.1)
