"""Expectation values in Heisenberg's picture, for circuits that encode once.

An observable, carried backwards through the layers, is a sum of Pauli strings on its light cone. On the encoded product
state, a Pauli string is a product of 1, cos x and sin x of its wires' angles. So

    expectation(angles) = sum over f of coefficient[f] * product over the cone's wires of (1, cos x, sin x)[f_wire]

with 3^width real coefficients that the batch shares. This is exact and needs less work than state vectors: two layers
with CZ see 3 wires (27 coefficients), however many there are, and 3^wires is below 4^wires in any case.
"""

import torch

from federated.quantum.chunked import chunks
from federated.quantum.circuit import Circuit
from federated.quantum.gates import kronecker, outer, rotations
from federated.quantum.light_cones import PAULIS, LightCones

Tensor = torch.Tensor

ENCODED = {  # 1, cos x and sin x of an encoded qubit, as sums of I, X, Z, Y
    "rx": [[1.0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, -1]],
    "ry": [[1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]],
    "rz": [[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]],
}


def coefficients(circuit: Circuit, cones: LightCones, weights: Tensor) -> Tensor:
    """The expectation values' coefficients; (cones, observables a cone, 3^width)."""
    observables, width = cones.observed.shape
    wires = torch.from_numpy(cones.wires).to(weights.device).expand(observables, width)
    maps = _pauli_maps(circuit, weights)
    digits = torch.from_numpy(cones.observed).to(weights.device)
    strings = outer(maps[-1][wires, :, digits].permute(1, 2, 0)).T
    for layer in range(circuit.layers - 2, -1, -1):
        source, sign = (torch.from_numpy(each).to(weights.device) for each in cones.entanglers[layer])
        strings = strings.gather(1, source.expand(observables, -1)) * sign.to(strings.dtype)
        for place in range(0, width, 2):  # two wires at a time are taken from the front, mapped and put to the end
            pair = kronecker(maps[layer][wires[:, place : place + 2]])
            strings = (strings.reshape(observables, pair.shape[-1], -1).mT @ pair.mT).flatten(1)
    return strings.reshape(len(cones.wires), -1, 3**width)


def _pauli_maps(circuit: Circuit, weights: Tensor) -> list[Tensor]:
    """How rotations R map Pauli matrices, P to R* P R: (wires, 4, 4) a layer; the first also encodes, (wires, 3, 4)."""
    gates = rotations(circuit, weights)
    paulis = torch.from_numpy(PAULIS).to(gates)
    turned = gates.mH.unsqueeze(-3) @ paulis @ gates.unsqueeze(-3)
    maps = (turned.flatten(-2) @ paulis.mT.flatten(-2).T).real.mT / 2
    return [maps.new_tensor(ENCODED[circuit.encoding]) @ maps[0], *maps[1:]]


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
    for chunk in _chunks(angles, coefficients):
        first, second = _features(angles[:, chunk], wires)
        mixed = (matrix @ second).reshape(*coefficients.shape[:2], first.shape[1], -1)
        answer[..., chunk] = (mixed * first.unsqueeze(1)).sum(2)
    return answer.flatten(0, 1)


def gradients(upstream: Tensor, angles: Tensor, coefficients: Tensor, wires: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of sum(upstream * expectations) by angles and coefficients; the features are computed again."""
    matrix = _matrix(coefficients, wires)
    by_angles, by_matrix = torch.zeros_like(angles), torch.zeros_like(matrix)
    upstream = upstream.reshape(*coefficients.shape[:2], -1)
    for chunk in _chunks(angles, coefficients):
        first, second = _features(angles[:, chunk], wires)
        slope = upstream[..., chunk].unsqueeze(2)
        mixed = (matrix @ second).reshape(*coefficients.shape[:2], first.shape[1], -1)
        by_first = (mixed * slope).sum(1)
        by_mixed = (first.unsqueeze(1) * slope).flatten(1, 2)
        by_matrix += by_mixed @ second.mT
        found = torch.cat([*_by_angles(by_first, first), *_by_angles(matrix.mT @ by_mixed, second)], 1)
        by_angles[:, chunk].index_add_(0, wires.flatten(), found.flatten(0, 1))
    return by_angles, by_matrix.reshape(coefficients.shape)


def _matrix(coefficients: Tensor, wires: Tensor) -> Tensor:
    """A matrix a cone: (observables and features of its first half of wires) by (features of the others)."""
    return coefficients.reshape(len(coefficients), -1, 3 ** -(-wires.shape[1] // 2))


def _features(angles: Tensor, wires: Tensor) -> tuple[Tensor, Tensor]:
    """Products of 1, cos x, sin x over the first half of each cone's wires, and over the others; (cones, .., batch)."""
    factors = torch.stack([torch.ones_like(angles), angles.cos(), angles.sin()], 1)[wires]
    middle = wires.shape[1] // 2
    return outer(factors[:, :middle]), outer(factors[:, middle:])


def _by_angles(by_features: Tensor, features: Tensor) -> list[Tensor]:
    """Gradients by the angle of each wire, (cones, 1, batch): cos x changes by -sin x, sin x by cos x."""
    found, below = [], features.shape[1]
    while below > 1:
        shape = (len(features), -1, 3, below // 3, features.shape[2])
        slope, value = by_features.reshape(shape), features.reshape(shape)
        change = slope[:, :, 2] * value[:, :, 1] - slope[:, :, 1] * value[:, :, 2]
        found.append(change.sum((1, 2)).unsqueeze(1))
        below //= 3
    return found


def _chunks(angles: Tensor, coefficients: Tensor) -> list[slice]:
    cones, observables, features = coefficients.shape
    return chunks(angles, 2 * cones * observables * round(features**0.5))
