"""The slot where a circuit, or one of its controls, sits in a network.

All kinds take the same features and give as many: only what stands between them differs, so a difference in Dice is
the circuit's own.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from federated.errors import NetworkConfigError
from federated.quantum.circuit import Circuit, Encoding, Entangler, Rotation
from federated.quantum.layer import QuantumLayer

Kind = Literal["quantum", "no-entangler", "frozen", "mlp", "wide-mlp", "identity"]
WIDE = 64
"""Hidden units of the wide control."""


@dataclass(frozen=True)
class SlotConfig:
    """What sits in a slot; part of the model version.

    Attributes:
        kind: "quantum"; its controls: "no-entangler" (the same circuit without entangling gates), "frozen" (the same
            circuit with random weights that do not learn), "mlp" (as many weights, as near as whole numbers allow),
            "wide-mlp", "identity" (nothing between the two projections but the squashing).
        wires: Features of the slot, for every kind.
    """

    kind: Kind = "quantum"
    wires: int = 8
    layers: int = 2
    uploads: int = 1
    encoding: Encoding = "rx"
    rotation: Rotation = "rot"
    entangler: Entangler = "cz"

    def __post_init__(self) -> None:
        """Check the kind, and the circuit by building it."""
        if self.kind not in get_args(Kind):
            raise NetworkConfigError(f"A slot holds one of {', '.join(get_args(Kind))}, got {self.kind!r}.")
        _ = self.circuit

    @property
    def circuit(self) -> Circuit:
        """The circuit that is in the slot, or that the control stands for."""
        entangler: Entangler = "none" if self.kind == "no-entangler" else self.entangler
        return Circuit(self.wires, self.layers, self.uploads, self.encoding, self.rotation, entangler)


class Slot(torch.nn.Module):
    """Maps features (..., wires) to features (..., wires): squash to angles, execute, scale by a learned gain.

    Angles are pi/2 (1 + tanh): centred on pi/2, where a near-identity circuit answers steeply and monotonously.
    """

    def __init__(self, config: SlotConfig) -> None:
        super().__init__()
        self.body = _body(config)
        self.is_circuit = isinstance(self.body, QuantumLayer)
        self.gain = torch.nn.Parameter(torch.ones(config.wires))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Apply; float32 whatever the precision around it."""
        with torch.autocast(features.device.type, enabled=False):
            squashed = features.float().tanh()
            answer: torch.Tensor = self.body(math.pi / 2 * (1 + squashed) if self.is_circuit else squashed)
            return self.gain * answer


def _body(config: SlotConfig) -> torch.nn.Module:
    circuit = config.circuit
    if config.kind == "identity":
        return torch.nn.Identity()
    if config.kind in {"mlp", "wide-mlp"}:
        matched = max(1, round((math.prod(circuit.weight_shape) - config.wires) / (2 * config.wires + 1)))
        hidden = matched if config.kind == "mlp" else WIDE
        return torch.nn.Sequential(
            torch.nn.Linear(config.wires, hidden),
            torch.nn.Tanh(),
            torch.nn.Linear(hidden, config.wires),
            torch.nn.Tanh(),
        )
    layer = QuantumLayer(circuit, uniform=config.kind == "frozen")
    layer.weights.requires_grad_(config.kind != "frozen")
    return layer
