"""The default backend: exact simulation in torch, batched.

Three ways give the same numbers; which one is fastest depends on the circuit and the batch:

- Heisenberg's picture (heisenberg.py; narrow_cones.py where few wires matter to each observable): for a circuit that
  encodes once, and a batch that pays for carrying the observables back through the layers;
- state vectors times unitaries that the batch shares (state_vectors.py): else, for large batches;
- state vectors gate by gate (state_vectors.py): for small batches, and so for per-sample gradients.
"""

from collections.abc import Callable

import torch

from federated.quantum import chunked, heisenberg, narrow_cones, state_vectors
from federated.quantum.circuit import Circuit
from federated.quantum.cone_coefficients import coefficients
from federated.quantum.light_cones import light_cones
from federated.quantum.ports import check_input

Tensor = torch.Tensor

SMALL_BATCH = 16
"""Samples that are not worth preparing anything for."""


class FusedBackend:
    """Exact, on CPU or an accelerator, in float32 or float64; the batch is split to bound the memory.

    Differentiable once by angles and weights, also under torch.func (vmap, grad, functional_call) and so by Opacus.
    A model that is compiled by torch.compile runs this part as it stands: inductor has no code generation for complex
    numbers, and would unroll the loop over chunks. Angles that are not finite give expectations that are not, in their
    own row only; they are not looked for, since that would cost a pass over the batch.
    """

    def expectations(self, circuit: Circuit, angles: Tensor, weights: Tensor) -> Tensor:
        """See federated.quantum.ports.Backend."""
        check_input(circuit, angles, weights)
        with torch.autocast(angles.device.type, enabled=False):
            return _uncompiled(circuit, angles.T, weights).T


def _expectations(circuit: Circuit, angles: Tensor, weights: Tensor) -> Tensor:
    batch = angles.shape[1]
    if circuit.uploads == 1 and batch > SMALL_BATCH:
        cones = light_cones(circuit)
        if (circuit.layers - 1) * 4 ** cones.wires.shape[1] <= 64 * batch:
            wires = torch.from_numpy(cones.wires).to(angles.device)
            way: chunked.Way = narrow_cones if narrow_cones.fits(angles, wires.shape[1]) else heisenberg
            return chunked.expectations(way, angles, coefficients(circuit, weights), wires)
    if batch > max(SMALL_BATCH, 2**circuit.wires // 4):
        unitaries = state_vectors.block_unitaries(circuit, weights)
        return chunked.expectations(state_vectors, angles, unitaries, state_vectors.observed(circuit, angles))
    return state_vectors.evolve(circuit, angles, weights)


_uncompiled: Callable[[Circuit, Tensor, Tensor], Tensor] = torch.compiler.disable(  # type: ignore[no-untyped-call]
    _expectations
)
