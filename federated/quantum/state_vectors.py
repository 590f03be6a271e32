"""Expectation values by state vectors: a batch is a complex (2^wires, batch) matrix that the circuit's blocks multiply.

What the batch shares is built once: the unitary of each block of layers. What differs is elementwise: the first
encoding gives a product state that is real up to a basis change B a wire, a later one is a diagonal D between two:

    first block     B r(angles),  r = (cos x/2, sin x/2) on each wire
    later blocks    F D(angles) F',  D = diag(exp(-ix/2), exp(ix/2)) on each wire

The basis changes are shared, so they join the unitaries. The work is then matrix products and little else.
"""

import torch

from federated.quantum.chunked import chunks
from federated.quantum.circuit import Circuit
from federated.quantum.gates import bases, bit_signs, entangle, kronecker, outer, rotations, signs

Tensor = torch.Tensor


def evolve(circuit: Circuit, angles: Tensor, weights: Tensor) -> Tensor:
    """Expectation values of a small batch, gate by gate: no unitary is built, every step is kept for backward.

    Args:
        circuit: What to execute.
        angles: (wires, batch), radian.
        weights: As the circuit states them, radian.

    Returns:
        (observables, batch).
    """
    real, before, after = bases(circuit.encoding, angles)
    states = outer(real @ _cosine_and_sine(angles).to(real.dtype))
    for upload in range(circuit.uploads):
        if upload:
            states = _on_each_wire(after.expand(circuit.wires, 2, 2), phases(angles) * states)
        states = _layers(circuit, upload, states, weights)
        if upload < circuit.uploads - 1:
            states = _on_each_wire(before.expand(circuit.wires, 2, 2), states)
    return observed(circuit, angles) @ _probabilities(states)


def block_unitaries(circuit: Circuit, weights: Tensor) -> Tensor:
    """The matrices that act between the elementwise parts; complex (uploads, 2^wires, 2^wires)."""
    real, before, after = (basis.expand(circuit.wires, 2, 2) for basis in bases(circuit.encoding, weights))
    matrices = [
        _layers(circuit, upload, kronecker(after if upload else real), weights) for upload in range(circuit.uploads)
    ]
    return torch.stack([*(_on_each_wire(before, matrix) for matrix in matrices[:-1]), matrices[-1]])


def observed(circuit: Circuit, like: Tensor) -> Tensor:
    """The observables' eigenvalues, (observables, 2^wires), in the precision and on the device of another tensor."""
    return torch.from_numpy(signs(circuit)).to(like)


def expectations(angles: Tensor, unitaries: Tensor, observed: Tensor) -> Tensor:
    """Expectation values of a batch, a chunk at a time.

    Args:
        angles: (wires, batch), radian.
        unitaries: What block_unitaries gives.
        observed: The observables' eigenvalues, (observables, 2^wires).

    Returns:
        (observables, batch).
    """
    answer = angles.new_empty(len(observed), angles.shape[1])
    for chunk in _chunks(angles, unitaries):
        *_, last = _states(angles[:, chunk], unitaries)
        answer[:, chunk] = observed @ _probabilities(last)
    return answer


def gradients(upstream: Tensor, angles: Tensor, unitaries: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of sum(upstream * expectations) by angles and unitaries; the states are computed again."""
    by_angles, by_unitaries = torch.zeros_like(angles), torch.zeros_like(unitaries)
    to_wires = torch.from_numpy(bit_signs(len(angles))).to(angles)
    for chunk in _chunks(angles, unitaries):
        product, *entering, last = _states(angles[:, chunk], unitaries)
        adjoint = observed.T @ (2 * upstream[:, chunk]) * last
        for block in range(len(unitaries) - 1, 0, -1):
            states = entering[block - 1]
            by_unitaries[block] += adjoint @ states.mH
            adjoint = unitaries[block].mH @ adjoint
            # The derivative of exp(-ix/2) brings -i/2 down, with the sign of the entry's bit.
            by_angles[:, chunk] += to_wires @ (adjoint.conj() * states).imag / 2
            adjoint = phases(angles[:, chunk]).conj() * adjoint
        real, imaginary = adjoint.real.contiguous(), adjoint.imag.contiguous()
        by_unitaries[0] += torch.complex(real @ product.T, imaginary @ product.T)
        by_product = unitaries[0].real.T @ real + unitaries[0].imag.T @ imaginary
        by_angles[:, chunk] += _by_product_angles(by_product, product)
    return by_angles, by_unitaries


def phases(angles: Tensor) -> Tensor:
    """The diagonal D; complex (2^wires, batch) from angles (wires, batch)."""
    cosine, sine = (angles / 2).cos(), (angles / 2).sin()
    return outer(torch.complex(torch.stack([cosine, cosine], 1), torch.stack([-sine, sine], 1)))


def _states(angles: Tensor, unitaries: Tensor) -> list[Tensor]:
    """What enters each unitary, the real product state first, and what leaves the last one."""
    product = outer(_cosine_and_sine(angles))
    states = torch.complex(unitaries[0].real @ product, unitaries[0].imag @ product)
    found = [product]
    for unitary in unitaries[1:]:
        found.append(phases(angles) * states)
        states = unitary @ found[-1]
    return [*found, states]


def _cosine_and_sine(angles: Tensor) -> Tensor:
    return torch.stack([(angles / 2).cos(), (angles / 2).sin()], 1)


def _by_product_angles(by_product: Tensor, product: Tensor) -> Tensor:
    """Carry gradients by the product state, (2^wires, batch), on to the angles, (wires, batch)."""
    found = []
    for wire in range(len(product).bit_length() - 1):
        shape = (2**wire, 2, -1, product.shape[1])
        slope, value = by_product.reshape(shape), product.reshape(shape)
        found.append((slope[:, 1] * value[:, 0] - slope[:, 0] * value[:, 1]).sum((0, 1)) / 2)
    return torch.stack(found)


def _layers(circuit: Circuit, upload: int, states: Tensor, weights: Tensor) -> Tensor:
    """A block's layers, applied to states in columns."""
    gates = rotations(circuit, weights[upload * circuit.layers : (upload + 1) * circuit.layers])
    for layer in range(circuit.layers):
        states = entangle(circuit, layer, _on_each_wire(gates[layer], states))
    return states


def _on_each_wire(gates: Tensor, states: Tensor) -> Tensor:
    """One gate a wire, (wires, 2, 2), applied to states in columns: half of the wires at a time."""
    middle, columns = len(gates) // 2, states.shape[-1]
    first, second = kronecker(gates[:middle]), kronecker(gates[middle:])
    turned = first @ states.reshape(len(first), len(second) * columns)
    return (second @ turned.reshape(len(first), len(second), columns)).flatten(0, 1)


def _probabilities(states: Tensor) -> Tensor:
    return states.real.square() + states.imag.square()


def _chunks(angles: Tensor, unitaries: Tensor) -> list[slice]:
    return chunks(angles, 8 * unitaries.shape[-1])
