import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.errors import SecureAggregationError
from federated.secure_aggregation.shamir import PRIME, SECRET_BYTES, SHARE_BYTES, combine_shares, split_secret

SECRET = st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES)


def _is_probably_prime(number: int) -> bool:
    """Lucas-Lehmer, for Mersenne numbers: another way than the definition."""
    exponent, value = number.bit_length(), 4
    for _ in range(exponent - 2):
        value = (value * value - 2) % number
    return value == 0


def _through(points: dict[int, int], where: int) -> int:
    """Newton's divided differences, an oracle that shares no code with Lagrange's weights."""
    known, value, product = sorted(points), 0, 1
    table = [points[point] for point in known]
    for order in range(len(known)):
        value = (value + table[0] * product) % PRIME
        product = product * (where - known[order]) % PRIME
        table = [
            (table[i + 1] - table[i]) * pow(known[i + order + 1] - known[i], -1, PRIME) % PRIME
            for i in range(len(table) - 1)
        ]
    return value


def test_field_is_one():
    assert _is_probably_prime(PRIME)


@settings(deadline=None)
@given(SECRET, st.data())
def test_any_threshold_of_shares_gives_the_secret(secret, data):
    holders = data.draw(st.integers(1, 12))
    threshold = data.draw(st.integers(1, holders))
    shares = split_secret(secret, threshold, range(1, holders + 1))
    chosen = data.draw(st.lists(st.sampled_from(sorted(shares)), min_size=threshold, unique=True))
    assert combine_shares({point: shares[point] for point in chosen}, threshold) == secret
    assert {len(share) for share in shares.values()} == {SHARE_BYTES}


@settings(deadline=None, max_examples=30)
@given(SECRET, SECRET)
def test_fewer_shares_are_those_of_any_other_secret_as_well(secret, other):
    threshold = 4
    shares = split_secret(secret, threshold, range(1, 7))
    seen = {point: int.from_bytes(shares[point]) for point in (2, 3, 5)}
    alternative = {0: int.from_bytes(other), **seen}
    made_up = {**{point: shares[point] for point in seen}, 6: _through(alternative, 6).to_bytes(SHARE_BYTES)}
    assert combine_shares(made_up, threshold) == other


def test_shares_of_one_secret_differ_each_time():
    secret = secrets.token_bytes(SECRET_BYTES)
    assert split_secret(secret, 2, [1, 2]) != split_secret(secret, 2, [1, 2])


@pytest.mark.parametrize(
    ("secret", "threshold", "points"),
    [
        pytest.param(b"short", 2, [1, 2], id="short secret"),
        pytest.param(bytes(32), 3, [1, 2], id="fewer holders than the threshold"),
        pytest.param(bytes(32), 0, [1, 2], id="no threshold"),
        pytest.param(bytes(32), 2, [1, 1], id="a point twice"),
        pytest.param(bytes(32), 2, [0, 1], id="the point of the secret itself"),
    ],
)
def test_refuses_to_split(secret, threshold, points):
    with pytest.raises(SecureAggregationError):
        split_secret(secret, threshold, points)


def test_refuses_too_few_shares():
    shares = split_secret(bytes(32), 3, range(1, 5))
    with pytest.raises(SecureAggregationError, match="Expected 3 shares"):
        combine_shares({1: shares[1], 2: shares[2]}, 3)


@pytest.mark.parametrize(
    "share", [pytest.param(b"\xff" * SHARE_BYTES, id="above the prime"), pytest.param(b"\1", id="another length")]
)
def test_refuses_what_is_no_share(share):
    with pytest.raises(SecureAggregationError, match="share of 66 bytes"):
        combine_shares({1: share, 2: bytes(SHARE_BYTES)}, 2)


def test_notices_shares_of_different_secrets():
    first, second = (split_secret(secrets.token_bytes(32), 2, [1, 2]) for _ in range(2))
    with pytest.raises(SecureAggregationError, match="do not belong together"):
        combine_shares({1: first[1], 2: second[2]}, 2)
