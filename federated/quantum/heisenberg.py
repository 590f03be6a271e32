"""Expectation values in Heisenberg's picture, for circuits that encode once.

An observable, carried backwards through the layers, is a sum of Pauli strings on its light cone. On the encoded product
state, a Pauli string is a product of 1, cos x and sin x of its wires' angles. So

    expectation(angles) = sum over f of coefficient[f] * product over the cone's wires of (1, cos x, sin x)[f_wire]

with 3^width real coefficients that the batch shares. This is exact and needs less work than state vectors: two layers
with CZ see 3 wires (27 coefficients), however many there are, and 3^wires is below 4^wires in any case.

cone_coefficients.py works them out.
"""

import torch

from federated.quantum.chunked import Scratch, chunks

Tensor = torch.Tensor


def expectations(angles: Tensor, coefficients: Tensor, wires: Tensor) -> Tensor:
    """Expectation values of a batch, a chunk at a time.

    Args:
        angles: (wires, batch), radian.
        coefficients: (cones, observables a cone, 3^width).
        wires: Of each cone; (cones, width).

    Returns:
        (observables, batch).
    """
    matrix = _matrix(coefficients, wires)
    answer = angles.new_empty(coefficients.shape[:2] + angles.shape[1:])
    for chunk in _chunks(angles, coefficients, wires):
        scratch = Scratch(angles)
        first, second = _features(angles[:, chunk], wires, scratch)
        answer[..., chunk] = _mixed(matrix, first, second, scratch).mul_(first.unsqueeze(1)).sum(2)
    return answer.flatten(0, 1)


def gradients(upstream: Tensor, angles: Tensor, coefficients: Tensor, wires: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of sum(upstream * expectations) by angles and coefficients; the features are computed again."""
    matrix = _matrix(coefficients, wires)
    by_angles, by_matrix = torch.empty_like(angles), torch.zeros_like(matrix)
    upstream = upstream.reshape(*coefficients.shape[:2], 1, angles.shape[1])
    # Rows of zeros and ones: adding up by a matrix product is faster than index_add.
    to_wires = (torch.arange(len(angles), device=wires.device)[:, None] == wires.flatten()).to(angles)
    for chunk in _chunks(angles, coefficients, wires):
        scratch = Scratch(angles)
        first, second = _features(angles[:, chunk], wires, scratch)
        cones, size, width = first.shape
        slope = scratch(*upstream.shape[:3], width).copy_(upstream[..., chunk])
        weighted = _mixed(matrix, first, second, scratch).mul_(slope)
        by_first = torch.sum(weighted, 1, out=scratch(cones, size, width))
        by_mixed = torch.mul(first.unsqueeze(1), slope, out=scratch(*slope.shape[:2], size, width)).flatten(1, 2)
        by_matrix += by_mixed @ second.mT
        by_second = torch.bmm(matrix.mT, by_mixed, out=scratch(*second.shape))
        found = [*_by_angles(by_first, first, scratch), *_by_angles(by_second, second, scratch)]
        by_angles[:, chunk] = to_wires @ torch.stack(found, 1).flatten(0, 1)
    return by_angles, by_matrix.reshape(coefficients.shape)


def _matrix(coefficients: Tensor, wires: Tensor) -> Tensor:
    """A matrix a cone: (observables and features of its first half of wires) by (features of the others)."""
    return coefficients.reshape(len(coefficients), -1, 3 ** -(-wires.shape[1] // 2))


def _features(angles: Tensor, wires: Tensor, scratch: Scratch) -> tuple[Tensor, Tensor]:
    """Products of 1, cos x, sin x over the first half of each cone's wires, and over the others; (cones, .., batch)."""
    count, width = angles.shape
    factors = scratch(count, 3, width)
    factors[:, 0], factors[:, 1] = 1, angles
    torch.sin(factors[:, 1], out=factors[:, 2])
    factors[:, 1].cos_()
    if wires.shape[1] < count:
        factors = torch.index_select(factors, 0, wires.flatten(), out=scratch(wires.numel(), 3, width))
    on_cones = factors.view(*wires.shape, 3, width)
    middle = wires.shape[1] // 2
    return _products(on_cones[:, :middle], scratch), _products(on_cones[:, middle:], scratch)


def _products(factors: Tensor, scratch: Scratch) -> Tensor:
    """Products of one choice from each factor: (cones, factors, 3, batch) to (cones, 3^factors, batch)."""
    cones, count, _, width = factors.shape
    if not count:
        return factors.new_ones((cones, 1, width))
    product, *others = factors.unbind(1)
    for factor in others:
        place = scratch(cones, product.shape[1], 3, width)
        product = torch.mul(product.unsqueeze(2), factor.unsqueeze(1), out=place).flatten(1, 2)
    return product


def _mixed(matrix: Tensor, first: Tensor, second: Tensor, scratch: Scratch) -> Tensor:
    """What stands with each feature of the first half; (cones, observables a cone, .., batch)."""
    place = scratch(len(matrix), matrix.shape[1], second.shape[2])
    return torch.bmm(matrix, second, out=place).view(len(matrix), -1, first.shape[1], second.shape[2])


def _by_angles(by_features: Tensor, features: Tensor, scratch: Scratch) -> list[Tensor]:
    """Gradients by the angle of each wire, (cones, batch): cos x changes by -sin x, sin x by cos x."""
    found, below, (cones, count, width) = [], features.shape[1], features.shape
    while below > 1:
        below //= 3
        shape = (cones, -1, 3, below, width)
        slope, value = by_features.reshape(shape), features.reshape(shape)
        change = scratch(cones, count // (3 * below), below, width)
        torch.mul(slope[:, :, 2], value[:, :, 1], out=change)
        change.addcmul_(slope[:, :, 1], value[:, :, 2], value=-1)
        found.append(change.flatten(1, 2).sum(1))
    return found


def _chunks(angles: Tensor, coefficients: Tensor, wires: Tensor) -> list[slice]:
    cones, observables, features = coefficients.shape
    return chunks(angles, cones * (3 * wires.shape[1] + (observables + 3) * round(features**0.5)))
