"""The quantum layer: a torch module over any backend."""

import math

import torch

from federated.quantum.circuit import Circuit
from federated.quantum.fused import FusedBackend
from federated.quantum.ports import Backend

NEAR_IDENTITY = 0.1
"""Standard deviation of fresh weights, radian: small angles keep the gradients alive (arXiv:1903.05076)."""


class QuantumLayer(torch.nn.Module):
    """Maps angles (..., wires) to expectation values (..., observables).

    The weights are a parameter that is read at each call, so that torch.func and Opacus see it.
    """

    def __init__(self, circuit: Circuit, backend: Backend | None = None, *, uniform: bool = False) -> None:
        """Make a layer with fresh weights.

        Args:
            circuit: What it executes.
            backend: Exact simulation in torch unless given.
            uniform: Draw the weights from 0 to 2 pi instead of near the identity.
        """
        super().__init__()
        self.circuit = circuit
        self.backend = backend or FusedBackend()
        fresh = (
            2 * math.pi * torch.rand(circuit.weight_shape)
            if uniform
            else NEAR_IDENTITY * torch.randn(circuit.weight_shape)
        )
        self.weights = torch.nn.Parameter(fresh)

    def forward(self, angles: torch.Tensor) -> torch.Tensor:
        """Execute the circuit for each row of angles."""
        flat = self.backend.expectations(self.circuit, angles.reshape(-1, angles.shape[-1]), self.weights)
        return flat.reshape(*angles.shape[:-1], flat.shape[-1])
