"""What executes the quantum layer's circuits in the benchmark: one step is forward and backward of a batch.

Each contender executes the same circuit on the same numbers, and gets gradients by angles and weights.
"""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from functools import reduce
from operator import matmul
from typing import Any, Final

import numpy as np
import pennylane as qml
import torch

from federated.quantum.circuit import Circuit, Input
from federated.quantum.fused import FusedBackend

Tensor = torch.Tensor
Answer = tuple[Tensor, Tensor, Tensor]
"""Expectation values, and the gradients of the sum of their squares by angles and weights."""
Step = Callable[[], Answer]

GEMM_ENTRIES: Final = 1 << 18
"""Numbers of the matrix that a product writes at once; as measured, larger ones leave the cache and take longer."""


def fused(circuit: Circuit, angles: Tensor, weights: Tensor) -> Step:
    """Our backend, as training uses it."""
    return _torch_step(lambda x, w: FusedBackend().expectations(circuit, x, w), angles, weights)


def torch_layer(circuit: Circuit, angles: Tensor, weights: Tensor) -> Step:
    """PennyLane's TorchLayer on default.qubit, which broadcasts the batch; backpropagation."""
    return _torch_layer_step("default.qubit", "backprop", circuit, angles, weights)


def lightning(circuit: Circuit, angles: Tensor, weights: Tensor) -> Step:
    """PennyLane's TorchLayer on lightning.qubit, which goes through the batch row by row; adjoint gradients."""
    return _torch_layer_step("lightning.qubit", "adjoint", circuit, angles, weights)


def tensorcircuit(circuit: Circuit, angles: Tensor, weights: Tensor) -> Step:
    """TensorCircuit-NG, vmapped; on JAX and compiled, where that is installed, else on torch."""
    tc: Any = importlib.import_module("tensorcircuit")
    is_jax = importlib.util.find_spec("jax") is not None
    backend = tc.set_backend("jax" if is_jax else "pytorch")
    tc.set_dtype("complex64")

    def one(x: Any, w: Any) -> Any:
        built = tc.Circuit(circuit.wires)
        for gate in circuit.gates():
            parameter = gate.parameter
            if parameter is None:
                getattr(built, gate.name)(*gate.wires)
            else:
                angle = x[parameter.wire] if isinstance(parameter, Input) else w[parameter.index]
                getattr(built, gate.name)(*gate.wires, theta=angle)
        return backend.stack([backend.real(built.expectation_ps(z=list(wires))) for wires in circuit.observables])

    batched = backend.vmap(one, vectorized_argnums=0)
    if not is_jax:
        return _torch_step(batched, angles, weights)
    jax: Any = importlib.import_module("jax")

    def loss(x: Any, w: Any) -> tuple[Any, Any]:
        values = batched(x, w)
        return (values**2).sum(), values

    compiled = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    inputs = tuple(jax.numpy.asarray(each.detach().numpy()) for each in (angles, weights))

    def step() -> Answer:
        (by_angles, by_weights), values = jax.block_until_ready(compiled(*inputs))
        values, by_angles, by_weights = (torch.from_numpy(np.array(each)) for each in (values, by_angles, by_weights))
        return values, by_angles, by_weights

    return step


CONTENDERS: Final[dict[str, Callable[[Circuit, Tensor, Tensor], Step]]] = {
    "fused": fused,
    "torch_layer": torch_layer,
    "lightning": lightning,
    "tensorcircuit": tensorcircuit,
}


def gemm(circuit: Circuit, batch: int) -> Callable[[], object]:
    """Nothing but the complex matrix products that simulating state vectors needs, for the bound.

    For each upload, forward, the (2^wires, 2^wires) unitary times the (2^wires, batch) states; backward, its adjoint
    times the adjoint states, and the adjoint states times the states: 24 * 4^wires floating-point operations a sample
    in complex64. In chunks that stay in the cache, so that the machine is at its best.
    """
    size = 2**circuit.wires
    width = min(batch, max(256, GEMM_ENTRIES // size))
    unitary = torch.randn(size, size, dtype=torch.complex64)
    states, adjoint = (torch.randn(size, width, dtype=torch.complex64) for _ in range(2))
    out = torch.empty_like(states), torch.empty_like(unitary)

    def step() -> None:
        for _ in range(circuit.uploads * -(-batch // width)):
            torch.mm(unitary, states, out=out[0])
            torch.mm(unitary.mH, adjoint, out=out[0])
            torch.mm(adjoint, states.mH, out=out[1])

    return step


def pennylane_bytes(circuit: Circuit, batch: int) -> int:
    """About what TorchLayer on default.qubit keeps for backward: a complex128 state after each gate."""
    gates = circuit.uploads * circuit.wires * (1 + 2 * circuit.layers)
    return 16 * gates * batch * int(2**circuit.wires)


def _torch_step(values_of: Callable[[Tensor, Tensor], Tensor], angles: Tensor, weights: Tensor) -> Step:
    inputs = [each.detach().clone().requires_grad_() for each in (angles, weights)]

    def step() -> Answer:
        values = values_of(*inputs)
        by_angles, by_weights = torch.autograd.grad(values.square().sum(), inputs)
        return values.detach(), by_angles, by_weights

    return step


def _torch_layer_step(device: str, method: str, circuit: Circuit, angles: Tensor, weights: Tensor) -> Step:
    node = qml.QNode(_node(circuit), qml.device(device, wires=circuit.wires), interface="torch", diff_method=method)
    layer = qml.qnn.TorchLayer(node, {"weights": circuit.weight_shape})
    layer.weights.data.copy_(weights)
    rows = angles.detach().clone().requires_grad_()

    def step() -> Answer:
        values = layer(rows)
        by_angles, by_weights = torch.autograd.grad(values.square().sum(), [rows, layer.weights])
        return values.detach(), by_angles, by_weights

    return step


def _node(circuit: Circuit) -> Callable[[Tensor, Tensor], Sequence[Any]]:
    """As a PennyLane user would write it: a rotation about three axes is one gate there, not three."""

    def node(inputs: Tensor, weights: Tensor) -> Sequence[Any]:
        for row in range(len(weights)):
            layer = row % circuit.layers
            if layer == 0:
                qml.AngleEmbedding(inputs, wires=range(circuit.wires), rotation="X")
            for wire in range(circuit.wires):
                qml.Rot(*weights[row, wire], wires=wire)
            for pair in circuit.pairs(layer):
                (qml.CNOT if circuit.entangler == "cnot" else qml.CZ)(wires=pair)
        return [qml.expval(reduce(matmul, map(qml.Z, wires))) for wires in circuit.observables]

    return node
