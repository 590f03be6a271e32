"""Named tensors as one vector, and back: what an update is made of."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from federated.errors import UpdateError
from governance.canonical import digest

Vector = npt.NDArray[np.float32]
Weights = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Layout:
    """Which tensors a vector holds, in which order.

    Attributes:
        entries: Names and shapes, sorted by name.
    """

    entries: tuple[tuple[str, tuple[int, ...]], ...]

    @classmethod
    def of(cls, weights: Weights, names: Iterable[str] | None = None) -> "Layout":
        """Of these weights, or of some of them."""
        chosen = sorted(weights if names is None else names)
        return cls(tuple((name, tuple(weights[name].shape)) for name in chosen))

    @cached_property
    def size(self) -> int:
        """Numbers in the vector."""
        return sum(math.prod(shape) for _, shape in self.entries)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over names and shapes."""
        return digest([[name, list(shape)] for name, shape in self.entries])

    def flatten(self, weights: Weights) -> Vector:
        """The named tensors, one after the other, float32 (size,).

        Raises:
            UpdateError: A tensor is missing or has another shape.
        """
        parts = []
        for name, shape in self.entries:
            if name not in weights or tuple(weights[name].shape) != shape:
                raise UpdateError(f"Expected a tensor {name} of shape {shape}, got none of that shape.")
            parts.append(np.asarray(weights[name], np.float32).ravel())
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def split(self, vector: Vector) -> dict[str, npt.NDArray[np.float32]]:
        """The tensors of a vector.

        Raises:
            UpdateError: It has another length.
        """
        if vector.shape != (self.size,):
            raise UpdateError(f"Expected an update of {self.size} numbers, got {vector.shape}.")
        found, start = {}, 0
        for name, shape in self.entries:
            count = math.prod(shape)
            found[name] = vector[start : start + count].reshape(shape)
            start += count
        return found


def write_weights(weights: Weights) -> bytes:
    """Weights as safetensors, float32, sorted by name: the same weights give the same bytes."""
    return save({name: np.ascontiguousarray(weights[name], np.float32) for name in sorted(weights)})


def read_weights(data: bytes) -> dict[str, npt.NDArray[np.float32]]:
    """What write_weights wrote.

    Raises:
        UpdateError: It is damaged, not float32, or not finite.
    """
    try:
        weights = load(data)
    except (SafetensorError, ValueError, KeyError) as fault:
        raise UpdateError(f"Expected weights as safetensors, got something else ({type(fault).__name__}).") from fault
    for name, tensor in weights.items():
        if tensor.dtype != np.float32 or not np.isfinite(tensor).all():
            raise UpdateError(f"{name}: expected finite float32 numbers, got others.")
    return weights
