"""A circuit's gates as matrices, and as permutations and signs of a state vector's entries.

Wire 0 is the most significant bit of an entry's index. What does not depend on angles or weights is kept as numpy
arrays: a tensor kept from inside torch.func or inference mode would carry their marks into later calls.
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from federated.quantum.circuit import Circuit, Encoding

Tensor = torch.Tensor
Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


class Bases(NamedTuple):
    """An encoding's shared parts, complex (2, 2) for one wire.

    Attributes:
        real: B, where the encoding of |0> is B (cos x/2, sin x/2).
        before, after: F' and F, where the encoding is F diag(exp(-ix/2), exp(ix/2)) F'.
    """

    real: Tensor
    before: Tensor
    after: Tensor


def bases(encoding: Encoding, like: Tensor) -> Bases:
    """An encoding's basis changes, in the precision and on the device of a real tensor."""
    half = math.sqrt(0.5)
    one, hadamard, phase = np.eye(2), np.array([[half, half], [half, -half]]), np.diag([1, 1j])
    real, before, after = {
        "rx": (phase.conj(), hadamard, hadamard),  # X = H Z H
        "ry": (one, hadamard @ phase.conj(), phase @ hadamard),  # Y = S X S*
        "rz": (half * np.array([[1, -1j], [1, 1j]]), hadamard, one),  # a Hadamard gate comes first
    }[encoding]
    dtype = like.dtype.to_complex()
    return Bases(*(torch.from_numpy(basis).to(like.device, dtype) for basis in (real, before, after)))


def rotations(circuit: Circuit, angles: Tensor) -> Tensor:
    """The rotations' matrices, complex (..., wires, 2, 2), from weights (..., wires, angles a rotation)."""
    if circuit.rotation == "rot":
        first, middle, last = angles.unbind(-1)
        cosine, sine = (middle / 2).cos(), (middle / 2).sin()
        mean, half = (first + last) / 2, (first - last) / 2
        real = [mean.cos() * cosine, -half.cos() * sine, half.cos() * sine, mean.cos() * cosine]
        imaginary = [-mean.sin() * cosine, -half.sin() * sine, -half.sin() * sine, mean.sin() * cosine]
    else:
        half = angles.squeeze(-1) / 2
        cosine, sine, nought = half.cos(), half.sin(), torch.zeros_like(half)
        is_x = circuit.rotation == "rx"
        real = [cosine, nought, nought, cosine] if is_x else [cosine, -sine, sine, cosine]
        imaginary = [nought, -sine, -sine, nought] if is_x else [nought] * 4
    return torch.complex(torch.stack(real, -1), torch.stack(imaginary, -1)).reshape(*half.shape, 2, 2)


def kronecker(factors: Tensor) -> Tensor:
    """The Kronecker product of (..., factors, rows, columns); the first is the most significant."""
    product = factors.new_ones((*factors.shape[:-3], 1, 1))
    for factor in factors.unbind(-3):
        product = (product[..., :, None, :, None] * factor[..., None, :, None, :]).flatten(-2).flatten(-3, -2)
    return product


def outer(factors: Tensor) -> Tensor:
    """Products of one choice from each factor: (..., factors, choices, batch) to (..., choices^factors, batch)."""
    if not factors.shape[-3]:
        return factors.new_ones((*factors.shape[:-3], 1, factors.shape[-1]))
    product, *others = factors.unbind(-3)
    for factor in others:
        product = (product.unsqueeze(-2) * factor.unsqueeze(-3)).flatten(-3, -2)
    return product


def entangle(circuit: Circuit, layer: int, states: Tensor) -> Tensor:
    """A layer's entangler, applied to states in columns."""
    if circuit.entangler == "cz":
        return states * torch.from_numpy(_flips(circuit, layer)).to(states.device, states.dtype)
    if circuit.entangler == "cnot":
        return states.index_select(0, torch.from_numpy(_sources(circuit, layer)).to(states.device))
    return states


@cache
def signs(circuit: Circuit) -> Numbers:
    """The observables' eigenvalues, (observables, 2^wires)."""
    bits = _bits(circuit.wires)
    return np.stack([1.0 - 2 * (bits[:, list(wires)].sum(1) % 2) for wires in circuit.observables])


@cache
def bit_signs(wires: int) -> Numbers:
    """1 where a wire's bit is 0, else -1; (wires, 2^wires)."""
    return np.ascontiguousarray(1.0 - 2 * _bits(wires).T)


@cache
def _flips(circuit: Circuit, layer: int) -> Numbers:
    """The diagonal of a layer's CZ gates, in a column."""
    bits = _bits(circuit.wires)
    ones = sum(bits[:, first] * bits[:, second] for first, second in circuit.pairs(layer))
    return np.broadcast_to(1.0 - 2 * (np.array(ones) % 2), len(bits))[:, None].copy()


@cache
def _sources(circuit: Circuit, layer: int) -> Indices:
    """The entry that a layer's CNOT gates move to each place."""
    places = np.arange(2**circuit.wires)
    for control, target in reversed(circuit.pairs(layer)):
        places = places ^ (places >> circuit.wires - 1 - control & 1) << circuit.wires - 1 - target
    return places


def _bits(wires: int) -> Indices:
    return np.arange(2**wires)[:, None] >> np.arange(wires - 1, -1, -1) & 1
