"""Updates as whole numbers in a ring, so that masks cancel exactly, and rings of few bits as few bytes.

Overflow: of n sites, each writes numbers of at most L = floor((2^(bits-1) - 1) / n) in absolute value, so the sum over
all of them is at most n L <= 2^(bits-1) - 1: it cannot wrap, whatever the sites hold and whichever of them drop out. A
site's rounding error is at most value_range / (2 L) a number, a sum's at most n times that.

A mask of 32 bits modulo 2^bits is a mask of the smaller ring, because 2^bits divides 2^32. So masks and sums are always
uint32, and only what travels is cut to the ring's bits.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from federated.errors import AggregationError, MessageError, UpdateError
from federated.rounds.layout import Vector

Ring = npt.NDArray[np.uint32]
MAX_BITS: Final = 32
WEIGHT_STEPS: Final = 2**24 - 1
_LANES: Final = 8


@dataclass(frozen=True)
class FixedPoint:
    """How a weighted update is written.

    Attributes:
        value_range: Numbers are clipped to plus or minus this.
        sites: At most so many are summed.
        bits: Of the ring, 2 to 32.

    Raises:
        AggregationError: A number is out of range, or the ring has no room for so many sites.
    """

    value_range: float
    sites: int
    bits: int = MAX_BITS

    def __post_init__(self) -> None:
        """Check that there is a step to write."""
        if not (np.isfinite(self.value_range) and self.value_range > 0 and self.sites >= 1):
            raise AggregationError(
                f"Expected a positive range and at least 1 site, got {self.value_range} and {self.sites}."
            )
        if not 2 <= self.bits <= MAX_BITS or self.levels < 1:
            raise AggregationError(f"Expected room for {self.sites} sites in at most 32 bits, got {self.bits} bits.")

    @classmethod
    def quantised(cls, value_range: float, sites: int, bits: int = 8) -> "FixedPoint":
        """In the smallest ring where every site's numbers have so many bits."""
        return cls(value_range, sites, bits + (sites - 1).bit_length())

    @property
    def levels(self) -> int:
        """Steps from 0 to value_range."""
        return ((1 << (self.bits - 1)) - 1) // self.sites

    @cached_property
    def _digit_bits(self) -> int:
        """Bits of a weight's digit: `sites` such digits still fit into the ring."""
        return (((1 << self.bits) - 1) // self.sites + 1).bit_length() - 1

    @property
    def _digits(self) -> int:
        return -(-WEIGHT_STEPS.bit_length() // self._digit_bits)

    def length(self, numbers: int) -> int:
        """Elements of an encoded update of so many numbers: those, and the weight's digits."""
        return numbers + self._digits

    def encode(self, vector: Vector, weight: float = 1.0) -> Ring:
        """Write an update times its weight, and the weight itself.

        Args:
            vector: Finite, (n,).
            weight: 0 to 1, e.g. the site's examples over the federation's largest allowed number.

        Returns:
            uint32 (length(n),): two's complement in the ring.

        Raises:
            UpdateError: It is not one finite vector.
            AggregationError: The weight is out of range.
        """
        if vector.ndim != 1 or not np.isfinite(vector).all():
            raise UpdateError(f"Expected one finite vector, got shape {vector.shape} or numbers that are not finite.")
        if not 0 <= weight <= 1:
            raise AggregationError(f"Expected a weight from 0 to 1, got {weight}.")
        scaled = np.clip(vector.astype(np.float64), -self.value_range, self.value_range)
        scaled *= weight * self.levels / self.value_range
        numbers = np.rint(scaled, out=scaled).astype(np.int32).view(np.uint32)
        return reduce_to(np.concatenate([numbers, self._encode_weight(weight)]), self.bits)

    def decode(self, total: Ring) -> tuple[Vector, float]:
        """Read a sum of encoded updates.

        Returns:
            The weighted sum, float32 (n,); the sum of the weights.

        Raises:
            AggregationError: It is no such sum.
        """
        if total.ndim != 1 or total.dtype != np.uint32 or total.size < self._digits:
            raise AggregationError(f"Expected a sum as a uint32 vector, got {total.dtype} of shape {total.shape}.")
        numbers = total[: total.size - self._digits]
        unused = np.uint32(MAX_BITS - self.bits)
        signed = (numbers << unused).view(np.int32) >> unused.astype(np.int32)  # the shift back keeps the sign
        return (signed * (self.value_range / self.levels)).astype(np.float32), self._decode_weight(
            reduce_to(total[numbers.size :], self.bits)
        )

    def mean(self, total: Ring) -> Vector:
        """The weighted mean of the updates that were summed.

        Raises:
            AggregationError: It is no sum, or its weights are 0.
        """
        numbers, weight = self.decode(total)
        if weight <= 0:
            raise AggregationError("Expected updates with a positive weight, got none.")
        return (numbers / np.float32(weight)).astype(np.float32)

    def _encode_weight(self, weight: float) -> Ring:
        steps, base = round(weight * WEIGHT_STEPS), 1 << self._digit_bits
        return np.array([steps // base**place % base for place in range(self._digits)], np.uint32)

    def _decode_weight(self, digits: Ring) -> float:
        return sum(int(digit) << (self._digit_bits * place) for place, digit in enumerate(digits)) / WEIGHT_STEPS


def reduce_to(vector: Ring, bits: int) -> Ring:
    """A vector modulo 2^bits."""
    return vector if bits == MAX_BITS else vector & np.uint32((1 << bits) - 1)


def packed_bytes(count: int, bits: int) -> int:
    """Bytes of so many packed elements."""
    return 4 * count if bits == MAX_BITS else -(-count // _LANES) * bits


def pack(vector: Ring, bits: int) -> bytes:
    """Write each element's lowest bits, little-endian, without gaps.

    Args:
        vector: uint32 (n,).
        bits: 1 to 32.

    Returns:
        packed_bytes(n, bits) bytes: eight elements take `bits` bytes; the last group is filled with zeros.
    """
    if bits == MAX_BITS:
        return vector.astype("<u4").tobytes()
    lanes = np.zeros((-(-vector.size // _LANES), _LANES), np.uint64)
    lanes.reshape(-1)[: vector.size] = reduce_to(vector, bits)
    packed = np.zeros((len(lanes), bits), np.uint8)
    for lane in range(_LANES):
        for byte, shift in _bytes_of(lane, bits):
            value = lanes[:, lane]
            moved = value >> np.uint64(shift) if shift >= 0 else value << np.uint64(-shift)
            packed[:, byte] |= moved.astype(np.uint8)
    return packed.tobytes()


def unpack(data: bytes, bits: int, count: int) -> Ring:
    """Read what pack wrote.

    Args:
        data: Of whoever.
        bits: 1 to 32.
        count: Elements that are expected; no memory is taken before the length fits.

    Raises:
        MessageError: It has another length.
    """
    if len(data) != packed_bytes(count, bits):
        raise MessageError(f"Expected {packed_bytes(count, bits)} bytes of packed numbers, got {len(data)}.")
    if bits == MAX_BITS:
        return np.frombuffer(data, "<u4").astype(np.uint32)
    packed = np.frombuffer(data, np.uint8).reshape(-1, bits)
    lanes = np.zeros((len(packed), _LANES), np.uint64)
    for lane in range(_LANES):
        for byte, shift in _bytes_of(lane, bits):
            value = packed[:, byte].astype(np.uint64)
            lanes[:, lane] |= value << np.uint64(shift) if shift >= 0 else value >> np.uint64(-shift)
    return reduce_to(lanes.reshape(-1)[:count].astype(np.uint32), bits)


def _bytes_of(lane: int, bits: int) -> list[tuple[int, int]]:
    """Which bytes of its group an element touches, and how far its bits are shifted to the right there."""
    first, last = lane * bits // 8, ((lane + 1) * bits - 1) // 8
    return [(byte, 8 * byte - lane * bits) for byte in range(first, last + 1)]
