import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from federated.errors import AggregationError, MessageError, UpdateError
from federated.secure_aggregation.fixed_point import (
    WEIGHT_STEPS,
    FixedPoint,
    pack,
    packed_bytes,
    reduce_to,
    unpack,
)

BITS = st.integers(1, 32)


@settings(deadline=None)
@given(st.integers(1, 70), st.integers(2, 16), st.floats(1e-6, 1e6), st.data())
def test_sum_of_extreme_updates_of_all_sites_does_not_wrap(sites, bits, value_range, data):
    fixed = FixedPoint.quantised(value_range, sites, bits)
    extreme = np.array(data.draw(st.sampled_from([[1e30, -1e30], [value_range, -value_range]])), np.float32)
    total = reduce_to(sites * fixed.encode(extreme), fixed.bits)
    values, weight = fixed.decode(total)
    assert values == pytest.approx([sites * value_range, -sites * value_range], rel=1e-6)
    assert weight == pytest.approx(sites)


@settings(deadline=None)
@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(0, 20)), elements=st.floats(-5, 5, width=32)),
    st.sampled_from([8, 12, 20, 32]),
    st.data(),
)
def test_decoded_sum_is_the_weighted_sum_within_the_stated_rounding(updates, bits, data):
    weights = [data.draw(st.floats(0, 1)) for _ in updates]
    fixed = FixedPoint(4.0, len(updates), bits)
    total = sum(
        (fixed.encode(update, weight) for update, weight in zip(updates, weights, strict=True)),
        np.zeros(fixed.length(updates.shape[1]), np.uint32),
    )
    values, weight = fixed.decode(total)
    exact = sum(np.clip(update, -4, 4).astype(np.float64) * w for update, w in zip(updates, weights, strict=True))
    assert np.abs(values - exact).max(initial=0) <= len(updates) * 4.0 / (2 * fixed.levels) + 1e-5
    assert weight == pytest.approx(sum(weights), abs=len(updates) / WEIGHT_STEPS)


def test_numbers_are_read_back_with_their_sign():
    fixed = FixedPoint(1.0, 1, 8)
    assert fixed.levels == 127
    values, weight = fixed.decode(fixed.encode(np.array([1, -1, 0, 64 / 127, -3], np.float32)))
    assert values.tolist() == pytest.approx([1, -1, 0, 64 / 127, -1], abs=1e-7)
    assert weight == 1.0


def test_mean_is_weighted():
    fixed = FixedPoint(4.0, 2)
    total = fixed.encode(np.float32([1.0]), 0.25) + fixed.encode(np.float32([3.0]), 0.75)
    assert fixed.mean(total) == pytest.approx([2.5], rel=1e-6)


def test_mean_refuses_updates_without_weight():
    fixed = FixedPoint(4.0, 2)
    with pytest.raises(AggregationError, match="positive weight"):
        fixed.mean(fixed.encode(np.float32([1.0]), 0.0))


@pytest.mark.parametrize("sites", [2, 3, 10, 71])
@pytest.mark.parametrize("bits", [2, 8, 16])
def test_quantised_numbers_keep_their_bits_however_many_sites(sites, bits):
    fixed = FixedPoint.quantised(1.0, sites, bits)
    assert fixed.levels >= 2 ** (bits - 1) - 1
    assert fixed.bits == bits + int(np.ceil(np.log2(sites)))


@pytest.mark.parametrize(
    ("value_range", "sites", "bits"),
    [
        pytest.param(1.0, 10, 4, id="no room for ten sites in 4 bits"),
        pytest.param(0.0, 2, 32, id="no range"),
        pytest.param(float("nan"), 2, 32, id="range is not a number"),
        pytest.param(1.0, 0, 32, id="no sites"),
        pytest.param(1.0, 2, 33, id="too many bits"),
    ],
)
def test_refuses_impossible_numbers(value_range, sites, bits):
    with pytest.raises(AggregationError):
        FixedPoint(value_range, sites, bits)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_refuses_numbers_that_are_not_finite(value):
    with pytest.raises(UpdateError, match="finite"):
        FixedPoint(1.0, 2).encode(np.float32([0, value]))


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_refuses_weights_out_of_range(weight):
    with pytest.raises(AggregationError, match="weight"):
        FixedPoint(1.0, 2).encode(np.float32([0]), weight)


@settings(deadline=None)
@given(BITS, hnp.arrays(np.uint32, st.integers(0, 70)))
def test_unpacks_what_was_packed(bits, vector):
    data = pack(vector, bits)
    assert len(data) == packed_bytes(vector.size, bits)
    assert np.array_equal(unpack(data, bits, vector.size), reduce_to(vector, bits))


@settings(deadline=None)
@given(st.integers(1, 31), hnp.arrays(np.uint32, st.integers(1, 40)))
def test_packs_bits_in_little_endian_order(bits, vector):
    whole = sum((int(value) % (1 << bits)) << (bits * place) for place, value in enumerate(vector))
    assert int.from_bytes(pack(vector, bits), "little") == whole


@settings(deadline=None)
@given(BITS, hnp.arrays(np.uint32, (3, 20)))
def test_sums_of_packed_vectors_are_the_sums_modulo_the_ring(bits, vectors):
    arrived = [unpack(pack(vector, bits), bits, 20) for vector in vectors]
    with np.errstate(over="ignore"):
        assert np.array_equal(reduce_to(sum(arrived), bits), reduce_to(vectors.sum(0, dtype=np.uint32), bits))


@pytest.mark.parametrize("size", [0, 23, 25, 10**6])
def test_refuses_packed_numbers_of_another_length(size):
    with pytest.raises(MessageError, match="Expected 24 bytes"):
        unpack(bytes(size), 12, 16)


def test_refuses_a_sum_that_is_none():
    with pytest.raises(AggregationError, match="uint32"):
        FixedPoint(1.0, 2).decode(np.zeros(3, np.float32))
