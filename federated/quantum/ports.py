"""What executes a circuit, and what it may be given."""

from typing import Protocol

import torch

from federated.errors import CircuitInputError
from federated.quantum.circuit import Circuit


class Backend(Protocol):
    """Executes a circuit; all backends agree within their stated accuracy."""

    def expectations(self, circuit: Circuit, angles: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Expectation values of the circuit's observables.

        Args:
            circuit: What to execute.
            angles: float32 or float64 (batch, wires), radian.
            weights: (uploads * layers, wires, angles a rotation), radian, of the same dtype and device.

        Returns:
            (batch, observables), from -1 to 1, of the same dtype and device; differentiable where the backend can.

        Raises:
            CircuitInputError: A shape or a dtype does not fit.
        """


def check_input(circuit: Circuit, angles: torch.Tensor, weights: torch.Tensor) -> None:
    """Check that angles and weights fit a circuit and each other.

    Raises:
        CircuitInputError: A shape, a dtype or a device does not fit.
    """
    if angles.ndim != 2 or angles.shape[1] != circuit.wires:
        raise CircuitInputError(f"Expected angles of shape (batch, {circuit.wires}), got {tuple(angles.shape)}.")
    if tuple(weights.shape) != circuit.weight_shape:
        raise CircuitInputError(f"Expected weights of shape {circuit.weight_shape}, got {tuple(weights.shape)}.")
    if angles.dtype not in {torch.float32, torch.float64} or weights.dtype != angles.dtype:
        raise CircuitInputError(
            f"Expected angles and weights both float32 or both float64, got {angles.dtype} and {weights.dtype}."
        )
    if weights.device != angles.device:
        raise CircuitInputError(f"Expected angles and weights on one device, got {angles.device} and {weights.device}.")
