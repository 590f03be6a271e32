"""Circuits on a quantum computer, or on a simulator that samples like one."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from federated.errors import CircuitInputError
from federated.quantum.circuit import Circuit
from federated.quantum.policy import check_shots
from federated.quantum.qasm import expectations, to_openqasm
from federated.quantum.sampler import Sampler

Tensor = torch.Tensor
WeightIndex = tuple[int, int, int]


class HardwareBackend:
    """A Backend that estimates from counts, with a standard error of sqrt((1 - value ** 2) / shots).

    Forward only. A quantum computer gives no gradients, so a call that would need them is refused before anything is
    run: evaluate under torch.no_grad(), train on an exact backend, and spot-check with parameter_shift_gradient().
    """

    def __init__(self, sampler: Sampler, shots: int) -> None:
        """Make a backend.

        Args:
            sampler: Where circuits run.
            shots: Of each circuit.

        Raises:
            ShotsError: Fewer than one shot.
        """
        check_shots(shots)
        self._sampler = sampler
        self._shots = shots

    def expectations(self, circuit: Circuit, angles: Tensor, weights: Tensor) -> Tensor:
        """See federated.quantum.ports.Backend; one program for each row of angles.

        Raises:
            CircuitInputError: A shape does not fit, a number is not finite, or a gradient is wanted.
            QuantumError: What the sampler says.
        """
        if torch.is_grad_enabled() and (angles.requires_grad or weights.requires_grad):
            raise CircuitInputError(
                "Expected angles and weights that need no gradient, got some that do: circuits on a quantum computer "
                "are not differentiable here. Call under torch.no_grad(), or train on an exact backend."
            )
        _check_batch(circuit, angles)
        programs = [to_openqasm(circuit, row, _float64(weights)) for row in _float64(angles)]
        values = _sampled(self._sampler, self._shots, circuit, programs)
        return torch.as_tensor(values, dtype=angles.dtype, device=angles.device)


def parameter_shift_gradient(
    sampler: Sampler,
    shots: int,
    circuit: Circuit,
    angles: Tensor,
    weights: Tensor,
    parameters: Sequence[WeightIndex] | None = None,
) -> Tensor:
    """Derivatives of the expectation values by weights, from counts: a spot check, not a way to train.

    Two programs for each parameter and row of angles, the weight shifted by plus and minus pi/2: exact for rotations,
    each of which holds a weight of its own. All go to the sampler in one batch.

    Args:
        sampler: Where circuits run.
        shots: Of each program.
        circuit: What to differentiate.
        angles: (batch, wires), radian.
        weights: circuit.weight_shape, radian.
        parameters: Which weights, by index; all unless given.

    Returns:
        (batch, observables, parameters), with a standard error of at most sqrt(1 / (2 shots)); of the dtype and device
        of the angles.

    Raises:
        ShotsError: Fewer than one shot.
        CircuitInputError: A shape or an index does not fit, or a number is not finite.
        QuantumError: What the sampler says.

    References:
        Schuld et al. (2019), arXiv:1811.11184.
    """
    check_shots(shots)
    _check_batch(circuit, angles)
    indices = list(np.ndindex(circuit.weight_shape)) if parameters is None else list(parameters)
    if not set(indices) <= set(np.ndindex(circuit.weight_shape)):
        raise CircuitInputError(f"Expected indices into weights {circuit.weight_shape}, got others among {indices}.")
    rows, base = _float64(angles), _float64(weights)
    programs = []
    for index in indices:
        for shift in (np.pi / 2, -np.pi / 2):
            shifted = base.copy()
            if shifted.shape == circuit.weight_shape:  # else to_openqasm says what was expected
                shifted[index] += shift
            programs += [to_openqasm(circuit, row, shifted) for row in rows]
    values = _sampled(sampler, shots, circuit, programs)
    plus, minus = values.reshape(len(indices), 2, len(rows), -1).swapaxes(0, 1)
    gradient = np.moveaxis(plus - minus, 0, -1) / 2
    return torch.as_tensor(np.ascontiguousarray(gradient), dtype=angles.dtype, device=angles.device)


def _sampled(sampler: Sampler, shots: int, circuit: Circuit, programs: Sequence[str]) -> npt.NDArray[np.float64]:
    counts = sampler.counts(programs, shots) if programs else []
    values = [expectations(circuit, one) for one in counts]
    return np.array(values, np.float64).reshape(len(programs), len(circuit.observables))


def _check_batch(circuit: Circuit, angles: Tensor) -> None:
    if angles.ndim != 2 or angles.shape[1] != circuit.wires:
        raise CircuitInputError(f"Expected angles (batch, {circuit.wires}), got {tuple(angles.shape)}.")


def _float64(tensor: Tensor) -> npt.NDArray[np.float64]:
    return tensor.detach().double().cpu().numpy()
