"""Shamir's secret sharing: any `threshold` shares give the secret, fewer say nothing about it (CACM 22(11), 1979).

A share is the value of a random polynomial over a prime field, whose constant term is the secret. The prime is the
Mersenne prime 2^521 - 1: the smallest that is easy to recognise and holds 32 bytes. Python's integers do not compute in
constant time; secrets and shares are random numbers of one round, so there is no second measurement to average over.
"""

import secrets
from collections.abc import Iterable, Mapping
from typing import Final

from federated.errors import SecureAggregationError

PRIME: Final = 2**521 - 1
SECRET_BYTES: Final = 32
SHARE_BYTES: Final = 66


def split_secret(secret: bytes, threshold: int, points: Iterable[int]) -> dict[int, bytes]:
    """Shares of a secret.

    Args:
        secret: 32 bytes.
        threshold: Shares that give it back, at least 1.
        points: Where the polynomial is evaluated, one a holder: positive, each once.

    Returns:
        66 bytes for each point.

    Raises:
        SecureAggregationError: The secret has another length, or there are fewer points than the threshold.
    """
    where = list(points)
    if len(secret) != SECRET_BYTES or not 1 <= threshold <= len(where):
        raise SecureAggregationError(
            f"Expected {SECRET_BYTES} bytes and at least {threshold} holders, got {len(secret)} and {len(where)}."
        )
    if len(set(where)) != len(where) or not all(0 < point < PRIME for point in where):
        raise SecureAggregationError("Expected positive points, each once.")
    polynomial = [int.from_bytes(secret), *(secrets.randbelow(PRIME) for _ in range(threshold - 1))]
    return {point: _evaluate(polynomial, point).to_bytes(SHARE_BYTES) for point in where}


def combine_shares(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """The secret of which these are shares.

    Args:
        shares: By point, at least `threshold`; no more than that are looked at.
        threshold: As it was split.

    Returns:
        32 bytes. Shares of different secrets, or wrong ones, give other bytes or the error below: whoever needs to
        know compares the result with a commitment.

    Raises:
        SecureAggregationError: There are too few shares, one is no share, or together they are of no secret.
    """
    if len(shares) < threshold:
        raise SecureAggregationError(f"Expected {threshold} shares of a secret, got {len(shares)}.")
    chosen = {point: _read_share(shares[point]) for point in sorted(shares)[:threshold]}
    secret = sum(value * _at_zero(point, chosen) for point, value in chosen.items()) % PRIME
    if secret >= 1 << (8 * SECRET_BYTES):
        raise SecureAggregationError("Expected shares of one secret, got shares that do not belong together.")
    return secret.to_bytes(SECRET_BYTES)


def _evaluate(polynomial: Iterable[int], point: int) -> int:
    value = 0
    for coefficient in reversed(list(polynomial)):
        value = (value * point + coefficient) % PRIME
    return value


def _at_zero(point: int, points: Iterable[int]) -> int:
    """Lagrange's weight of a point, for the value at 0."""
    above, below = 1, 1
    for other in points:
        if other != point:
            above = above * other % PRIME
            below = below * (other - point) % PRIME
    return above * pow(below, -1, PRIME) % PRIME


def _read_share(share: bytes) -> int:
    value = int.from_bytes(share)
    if len(share) != SHARE_BYTES or value >= PRIME:
        raise SecureAggregationError(f"Expected a share of {SHARE_BYTES} bytes below the prime, got another.")
    return value
