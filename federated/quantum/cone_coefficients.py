"""Coefficients of the expectation values of circuits that encode once, and their gradients by the weights.

They are a few hundred numbers, whatever the batch: numpy works them out in microseconds, in double precision, where
torch's own bookkeeping would take longer than the arithmetic. See heisenberg.py for what they stand with. Vectors of
Pauli matrices are in the order of light_cones.py: I, X, Z, Y.
"""

from functools import cache
from typing import Any, Final, NoReturn

import numpy as np
import torch

from federated.quantum.chunked import cases_of, with_signature
from federated.quantum.circuit import Axis, Circuit, Encoding
from federated.quantum.gates import Numbers
from federated.quantum.light_cones import light_cones

Tensor = torch.Tensor

_I, _X, _Z, _Y = np.eye(4)
_PLANES: Final[dict[Axis, tuple[Numbers, Numbers]]] = {"rx": (_Y, _Z), "ry": (_Z, _X), "rz": (_X, _Y)}
_ENCODED: Final[dict[Encoding, Numbers]] = {  # 1, cos x and sin x of an encoded qubit
    "rx": np.stack([_I, _Z, -_Y]),
    "ry": np.stack([_I, _Z, _X]),
    "rz": np.stack([_I, _X, _Y]),
}


def coefficients(circuit: Circuit, weights: Tensor) -> Tensor:
    """The expectation values' coefficients; differentiable once, also under torch.func.

    Args:
        circuit: That encodes once.
        weights: As the circuit states them, radian.

    Returns:
        (cones, observables a cone, 3^width), in the precision and on the device of the weights.
    """
    found: Tensor = _Coefficients.apply(circuit, [], weights)  # type: ignore[no-untyped-call]
    return found


class _Coefficients(torch.autograd.Function):
    # What forward worked out is put on a tape, a list, for backward; it stays empty where torch.func maps over cases.
    @staticmethod
    @with_signature
    def forward(circuit: Circuit, tape: list["_Backwards"], weights: Tensor) -> Tensor:
        tape.append(_Backwards(circuit, _numbers(weights)))
        return _like(weights, tape[0].coefficients)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.circuit, ctx.tape, weights = inputs
        ctx.save_for_backward(weights)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[None, None, Tensor]:
        (weights,) = ctx.saved_tensors
        found: Tensor = _Gradient.apply(ctx.circuit, ctx.tape, slope, weights)  # type: ignore[no-untyped-call]
        return None, None, found

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], circuit: Circuit, *tape_and_weights: Any
    ) -> tuple[Tensor, int]:
        cases = cases_of(info, in_dims[2:], tape_and_weights[1:])
        return torch.stack([coefficients(circuit, *case) for case in cases]), 0


class _Gradient(torch.autograd.Function):
    @staticmethod
    @with_signature
    def forward(circuit: Circuit, tape: list["_Backwards"], slope: Tensor, weights: Tensor) -> Tensor:
        backwards = tape[0] if tape else _Backwards(circuit, _numbers(weights))
        return _like(weights, backwards.gradient(_numbers(slope)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing is kept."""

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> NoReturn:
        raise NotImplementedError("FusedBackend has first derivatives only; PennyLaneBackend has second ones.")

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        circuit: Circuit,
        tape: list["_Backwards"],
        slope: Tensor,
        weights: Tensor,
    ) -> tuple[Tensor, int]:
        # Weights that are mapped over have no tape; slopes that are may share that of one set of weights.
        cases = cases_of(info, in_dims[2:], (slope, weights))
        return torch.stack([_Gradient.apply(circuit, tape, *case) for case in cases]), 0  # type: ignore[no-untyped-call]


class _Backwards:
    """The observables, carried backwards through the layers; each step is kept for the gradient.

    Attributes:
        coefficients: (cones, observables a cone, 3^width).
    """

    def __init__(self, circuit: Circuit, weights: Numbers) -> None:
        """Carry them.

        Args:
            circuit: That encodes once.
            weights: (layers, wires, angles a rotation).
        """
        self._circuit, self._cones = circuit, light_cones(circuit)
        self._maps = _Maps(circuit, weights)
        observables, width = self._cones.observed.shape
        self._wires = np.broadcast_to(self._cones.wires, (observables, width))
        # The last layer's maps turn a single Pauli matrix on each wire into a sum of them.
        last = self._maps.of_layer(circuit.layers - 1)
        self._factors = last[self._wires, :, self._cones.observed]
        self._products = [self._factors[:, 0]]
        for place in range(1, width):
            product = self._products[-1][:, :, None] * self._factors[:, place, None]
            self._products.append(product.reshape(observables, -1))
        strings = self._products[-1]
        self._steps: list[tuple[Numbers, Numbers]] = []
        for layer in range(circuit.layers - 2, -1, -1):
            source, sign = self._cones.entanglers[layer]
            strings = np.take_along_axis(strings, np.broadcast_to(source, strings.shape), 1) * sign
            on_cones = self._maps.of_layer(layer)[self._wires]
            for place in range(width):  # each wire is taken from the front, mapped and put to the end
                entering = strings.reshape(observables, 4, -1).swapaxes(1, 2)
                self._steps.append((entering, on_cones[:, place]))
                strings = (entering @ on_cones[:, place].swapaxes(1, 2)).reshape(observables, -1)
        self.coefficients: Numbers = strings.reshape(len(self._cones.wires), -1, 3**width)

    def gradient(self, slope: Numbers) -> Numbers:
        """The gradient of sum(slope * coefficients) by the weights."""
        observables, width = self._cones.observed.shape
        # Rows of zeros and ones add up what belongs to a wire.
        to_wires = 1.0 * (self._wires.T[:, None] == np.arange(self._circuit.wires)[:, None])
        by_maps, by_strings = self._maps.zeros(), slope.reshape(observables, -1)
        steps = iter(reversed(self._steps))
        for layer in range(self._circuit.layers - 1):
            for place in range(width - 1, -1, -1):
                entering, on_wire = next(steps)
                by_leaving = by_strings.reshape(observables, -1, on_wire.shape[1])
                by_maps[layer] += to_wires[place] @ (by_leaving.swapaxes(1, 2) @ entering).reshape(observables, -1)
                by_strings = (by_leaving @ on_wire).swapaxes(1, 2).reshape(observables, -1)
            source, sign = self._cones.entanglers[layer]
            before = np.empty_like(by_strings)
            np.put_along_axis(before, np.broadcast_to(source, before.shape), by_strings * sign, 1)
            by_strings = before
        by_factors = np.empty_like(self._factors)
        for place in range(width - 1, 0, -1):
            by_product = by_strings.reshape(observables, -1, self._factors.shape[2])
            by_factors[:, place] = (self._products[place - 1][:, None] @ by_product)[:, 0]
            by_strings = (by_product @ self._factors[:, place, :, None])[..., 0]
        by_factors[:, 0] = by_strings
        digits = by_factors[..., None] * np.eye(4)[self._cones.observed][:, :, None]
        for place in range(width):
            by_maps[-1] += to_wires[place] @ digits[:, place].reshape(observables, -1)
        return self._maps.gradient(by_maps)


class _Maps:
    """How a layer's rotations R map Pauli matrices on each wire, P to R* P R; the first layer's also encode."""

    def __init__(self, circuit: Circuit, weights: Numbers) -> None:
        self._weights, self._turns = weights, _turns(circuit.axes)
        self._encoded = _ENCODED[circuit.encoding]
        waves = np.stack([np.ones_like(weights), np.cos(weights), np.sin(weights)], -1)
        single = (waves[..., None, :] @ self._turns).reshape(*weights.shape, 4, 4)
        self._single = np.moveaxis(single, 2, 0)
        self._products = [self._single[0]]
        for turn in self._single[1:]:
            self._products.append(self._products[-1] @ turn)

    def of_layer(self, layer: int) -> Numbers:
        """(wires, 4, 4), or (wires, 3, 4) of the first layer."""
        found: Numbers = self._products[-1][layer]
        return found if layer else self._encoded @ found

    def zeros(self) -> list[Numbers]:
        """Where the gradients by each layer's maps are added up; (wires, 16), or (wires, 12) of the first layer."""
        layers, wires, _ = self._weights.shape
        return [np.zeros((wires, 16 if layer else 12)) for layer in range(layers)]

    def gradient(self, by_maps: list[Numbers]) -> Numbers:
        """The gradient by the weights, from that by each layer's maps."""
        encoding, *others = (each.reshape(len(each), -1, 4) for each in by_maps)
        by_product = np.stack([self._encoded.T @ encoding, *others])
        by_single = np.empty_like(self._single)
        for place in range(len(self._single) - 1, 0, -1):
            by_single[place] = self._products[place - 1].swapaxes(-1, -2) @ by_product
            by_product = by_product @ self._single[place].swapaxes(-1, -2)
        by_single[0] = by_product
        by_turns = np.moveaxis(by_single, 0, 2).reshape(*self._weights.shape, 1, 16)
        by_waves = (by_turns @ self._turns.swapaxes(1, 2))[..., 0, :]
        return by_waves[..., 2] * np.cos(self._weights) - by_waves[..., 1] * np.sin(self._weights)


@cache
def _turns(axes: tuple[Axis, ...]) -> Numbers:
    """What stands with 1, cos w and sin w in a rotation's map of Pauli matrices; (axes, 3, 16)."""
    turns = []
    for first, second in (_PLANES[axis] for axis in axes):
        plane = np.outer(first, first) + np.outer(second, second)
        turns.append([np.eye(4) - plane, plane, np.outer(first, second) - np.outer(second, first)])
    return np.array(turns).reshape(len(axes), 3, 16)


def _numbers(tensor: Tensor) -> Numbers:
    found: Numbers = tensor.detach().cpu().double().numpy()
    return found


def _like(tensor: Tensor, numbers: Numbers) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(numbers)).to(tensor)
