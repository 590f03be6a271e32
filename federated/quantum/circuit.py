"""A variational quantum circuit, declared once; every backend executes this declaration.

The circuit starts in |0...0>. Each of `uploads` blocks encodes the angles and then applies `layers` variational layers:

    encoding    one rotation a wire by that wire's angle (for "rz" after a Hadamard gate, else it would do nothing)
    rotation    on each wire: "rot" = RZ(w0), RY(w1), RZ(w2) in this order; "ry" and "rx" = one rotation by w0
    entangler   a ring; layer l joins wire i with wire (i + l mod (wires - 1) + 1) mod wires, for i = 0, 1, ...;
                "cnot" with control i, "cz" each pair once (a second CZ on the same pair would undo the first), "none"

This is StronglyEntanglingLayers of Schuld et al. (2020), arXiv:1804.00633, for "rot" and "cnot". Re-uploads after
Perez-Salinas et al. (2020), arXiv:1907.02085. Wire 0 is the most significant bit of a basis state's index.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, get_args

from federated.errors import CircuitError

Encoding = Literal["rx", "ry", "rz"]
Rotation = Literal["rot", "ry", "rx"]
Entangler = Literal["cnot", "cz", "none"]
Axis = Literal["rx", "ry", "rz"]

MAX_WIRES: Final = 10


@dataclass(frozen=True)
class Input:
    """The angle of a wire, by its index."""

    wire: int


@dataclass(frozen=True)
class Weight:
    """An entry of the weights (uploads * layers, wires, angles a rotation)."""

    index: tuple[int, int, int]


@dataclass(frozen=True)
class Gate:
    """One gate.

    Attributes:
        name: "h", "rx", "ry", "rz", "cx" or "cz", as OpenQASM spells them.
        wires: One, or control and target.
        parameter: Where the angle of a rotation comes from; None for the others.
    """

    name: Literal["h", "rx", "ry", "rz", "cx", "cz"]
    wires: tuple[int, ...]
    parameter: Input | Weight | None = None


@dataclass(frozen=True)
class Circuit:
    """A circuit from angles (batch, wires) and weights to expectation values (batch, observables).

    Attributes:
        wires: 1 to 10.
        observables: Products of Pauli Z, each as the tuple of its wires; empty stands for Z on every wire.

    Raises:
        CircuitError: A number is out of range or a name unknown.
    """

    wires: int
    layers: int = 2
    uploads: int = 1
    encoding: Encoding = "rx"
    rotation: Rotation = "rot"
    entangler: Entangler = "cz"
    observables: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        """Check each number and name, and fill the observables in."""
        for name, found, limit in (
            ("wires", self.wires, MAX_WIRES),
            ("layers", self.layers, 16),
            ("uploads", self.uploads, 16),
        ):
            if not isinstance(found, int) or not 1 <= found <= limit:
                raise CircuitError(f"A circuit needs 1 to {limit} {name}, got {found!r}.")
        for name, chosen, known in (
            ("encoding", self.encoding, get_args(Encoding)),
            ("rotation", self.rotation, get_args(Rotation)),
            ("entangler", self.entangler, get_args(Entangler)),
        ):
            if chosen not in known:
                raise CircuitError(f"The {name} of a circuit is one of {', '.join(known)}, got {chosen!r}.")
        observables = self.observables or tuple((wire,) for wire in range(self.wires))
        for wires in observables:
            if not wires or len(set(wires)) != len(wires) or not set(wires) <= set(range(self.wires)):
                raise CircuitError(
                    f"An observable is a product of Pauli Z on different wires, 0 to {self.wires - 1}, got {wires!r}."
                )
        object.__setattr__(self, "observables", observables)

    @property
    def weight_shape(self) -> tuple[int, int, int]:
        """(uploads * layers, wires, angles a rotation)."""
        return self.uploads * self.layers, self.wires, len(self.axes)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """What a layer's rotation of a wire consists of, in the order of application."""
        return ("rz", "ry", "rz") if self.rotation == "rot" else (self.rotation,)

    def pairs(self, layer: int) -> tuple[tuple[int, int], ...]:
        """Which wires the entangler of a layer joins, in order; control first."""
        if self.wires == 1 or self.entangler == "none":
            return ()
        reach = layer % (self.wires - 1) + 1
        ring = tuple((wire, (wire + reach) % self.wires) for wire in range(self.wires))
        if self.entangler == "cnot":
            return ring
        return tuple(pair for place, pair in enumerate(ring) if pair[::-1] not in ring[:place])

    def gates(self) -> Iterator[Gate]:
        """The whole circuit, gate by gate, in the order of application."""
        for upload in range(self.uploads):
            yield from self._encoding_gates()
            for layer in range(self.layers):
                yield from self._rotation_gates(upload, layer)
                for pair in self.pairs(layer):
                    yield Gate("cx" if self.entangler == "cnot" else "cz", pair)

    def _encoding_gates(self) -> Iterator[Gate]:
        for wire in range(self.wires):
            if self.encoding == "rz":
                yield Gate("h", (wire,))
            yield Gate(self.encoding, (wire,), Input(wire))

    def _rotation_gates(self, upload: int, layer: int) -> Iterator[Gate]:
        for wire in range(self.wires):
            for angle, axis in enumerate(self.axes):
                yield Gate(axis, (wire,), Weight((upload * self.layers + layer, wire, angle)))
