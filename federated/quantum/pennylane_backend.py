"""The same circuits on PennyLane's simulators: the fused backend's oracle; shots, noise, mitigation and drawings."""

import math
from functools import reduce
from operator import matmul
from pathlib import Path
from typing import Any, Final

import pennylane as qml
import torch

from federated.errors import CircuitError, CircuitInputError, ShotsError
from federated.quantum.circuit import Circuit, Gate, Input
from federated.quantum.ports import check_input

Tensor = torch.Tensor

DEVICES: Final = ("default.qubit", "default.mixed", "lightning.qubit")

_OPERATIONS: Final = {
    "h": qml.Hadamard,
    "rx": qml.RX,
    "ry": qml.RY,
    "rz": qml.RZ,
    "cx": qml.CNOT,
    "cz": qml.CZ,
}


class PennyLaneBackend:
    """Executes a circuit gate by gate: in double precision on "default.qubit", else to about 1e-7.

    Without shots it is differentiable by angles and weights, as often as one likes on the default devices (backprop)
    and once on "lightning.qubit" (adjoint). "lightning.qubit" goes through the batch row by row.
    """

    def __init__(
        self,
        device: str = "default.qubit",
        shots: int | None = None,
        noise: qml.NoiseModel | None = None,
        zne_scales: tuple[float, ...] = (),
        seed: int | None = None,
    ) -> None:
        """Make a backend.

        Args:
            device: "default.qubit", "default.mixed" or "lightning.qubit".
            shots: Executions that expectation values are estimated from; None for exact values.
            noise: What goes wrong on the device; only "default.mixed" can simulate it.
            zne_scales: How many times as many gates zero-noise extrapolation runs, e.g. (1, 3, 5); it folds the circuit
                as a whole and extrapolates the polynomial through the results to none. Empty for no extrapolation.
            seed: Of the shots; every call draws the same. Drawn anew at each call if None.

        Raises:
            CircuitError: The device is not known, or cannot simulate noise.
            ShotsError: Shots are below 1, or the scales cannot be extrapolated from.
        """
        if device not in DEVICES:
            raise CircuitError(f"The device is one of {', '.join(DEVICES)}, got {device!r}.")
        if noise is not None and device != "default.mixed":
            raise CircuitError(f'Noise needs the device "default.mixed", got {device!r}.')
        if shots is not None and (isinstance(shots, bool) or not isinstance(shots, int) or shots < 1):
            raise ShotsError(f"Expected at least 1 shot, or None for exact values, got {shots!r}.")
        if zne_scales and (
            len(set(zne_scales)) < 2 or not all(math.isfinite(scale) and scale >= 1 for scale in zne_scales)
        ):
            raise ShotsError(f"Expected two or more different scales from 1 on, got {zne_scales!r}.")
        self._device, self._shots, self._noise, self._seed = device, shots, noise, seed
        self._zne_scales = tuple(zne_scales)

    def expectations(self, circuit: Circuit, angles: Tensor, weights: Tensor) -> Tensor:
        """See federated.quantum.ports.Backend.

        Raises:
            CircuitInputError: A shape or a dtype does not fit, or a gradient is wanted of values from finite shots.
        """
        check_input(circuit, angles, weights)
        if self._shots and torch.is_grad_enabled() and (angles.requires_grad or weights.requires_grad):
            raise CircuitInputError(
                "Expected angles and weights that need no gradient, got some that do: values from finite shots are not "
                "differentiable here. Call under torch.no_grad(), or train on an exact backend."
            )
        if not len(angles):
            return angles.new_zeros(0, len(circuit.observables))
        values = self._execute(circuit)(angles.double(), weights.double())
        # Extrapolation gives a single observable without a sequence around it.
        return torch.stack(tuple(values), -1).reshape(len(angles), -1).to(angles)

    def _execute(self, circuit: Circuit) -> Any:
        """A function from angles and weights to a sequence of expectation values."""
        device = qml.device(self._device, wires=circuit.wires, seed="global" if self._seed is None else self._seed)
        if self._noise is not None:
            # On the device: a node with noise in it could not be folded.
            device = qml.noise.add_noise(device, self._noise)
        exact = "adjoint" if self._device == "lightning.qubit" else "backprop"
        node = qml.QNode(
            _function(circuit),
            device,
            interface="torch",
            diff_method=None if self._shots else exact,
            shots=self._shots,
        )
        if not self._zne_scales:
            return node
        return qml.noise.mitigate_with_zne(
            node,
            self._zne_scales,
            qml.noise.fold_global,
            qml.noise.poly_extrapolate,
            extrapolate_kwargs={"order": len(set(self._zne_scales)) - 1},
        )


def draw_circuit(circuit: Circuit, path: Path | None = None) -> str:
    """Draw a circuit.

    Args:
        circuit: What to draw.
        path: Where to write the drawing as a PNG picture, too.

    Returns:
        The drawing as text, a line a wire.
    """
    tape = qml.tape.make_qscript(_function(circuit))(torch.zeros(circuit.wires), torch.zeros(circuit.weight_shape))
    if path is not None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure()
        FigureCanvasAgg(figure)
        qml.drawer.tape_mpl(tape, wire_order=range(circuit.wires), show_all_wires=True, style="black_white", fig=figure)
        figure.savefig(path, format="png", bbox_inches="tight")
    text: str = qml.drawer.tape_text(tape, wire_order=range(circuit.wires), show_all_wires=True)
    return text


def _function(circuit: Circuit) -> Any:
    """The circuit as PennyLane takes it: a function of angles (..., wires) and weights."""

    def execute(angles: Tensor, weights: Tensor) -> list[Any]:
        for gate in circuit.gates():
            _apply(gate, angles, weights)
        return [qml.expval(reduce(matmul, map(qml.Z, wires))) for wires in circuit.observables]

    return execute


def _apply(gate: Gate, angles: Tensor, weights: Tensor) -> None:
    operation = _OPERATIONS[gate.name]
    if gate.parameter is None:
        operation(wires=gate.wires)
    elif isinstance(gate.parameter, Input):
        operation(angles[..., gate.parameter.wire], wires=gate.wires)
    else:
        operation(weights[gate.parameter.index], wires=gate.wires)
