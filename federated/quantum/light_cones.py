"""Which wires can reach an observable, and how entanglers map Pauli strings.

A string of Pauli matrices is a number of two bits a wire, x + 2 z: I, X, Z, Y. The first wire is the most significant.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

from federated.quantum.circuit import Circuit
from federated.quantum.gates import Indices


@dataclass(frozen=True, eq=False)
class LightCones:
    """The light cones of a circuit's observables, made equally wide by wires that do not matter.

    Attributes:
        wires: Of each observable's cone, ascending, (observables, width); or (1, width) where that is every wire.
        observed: The observables' Pauli strings before the last entangler, a digit a wire of the cone;
            (observables, width).
        entanglers: For each layer but the last, and each string Q: the string that the layer's entangler E maps to it,
            E* P E = sign Q, and the sign; both (cones, 4^width).
    """

    wires: Indices
    observed: Indices
    entanglers: tuple[tuple[Indices, Indices], ...]


@cache
def light_cones(circuit: Circuit) -> LightCones:
    """The light cones of a circuit that encodes once."""
    strings = [_before_last_entangler(circuit, observable) for observable in circuit.observables]
    reached = [_reached(circuit, {wire for wire, digit in enumerate(string) if digit}) for string in strings]
    width = max(map(len, reached))
    others = [[wire for wire in range(circuit.wires) if wire not in cone] for cone in reached]
    cones = [sorted([*cone, *rest[: width - len(cone)]]) for cone, rest in zip(reached, others, strict=True)]
    shared = cones[:1] if width == circuit.wires else cones
    return LightCones(
        np.array(shared),
        np.array([[string[wire] for wire in cone] for string, cone in zip(strings, cones, strict=True)]),
        tuple(_entangler(circuit, layer, shared) for layer in range(circuit.layers - 1)),
    )


def _before_last_entangler(circuit: Circuit, observable: tuple[int, ...]) -> list[int]:
    """Carry an observable back through the entangler that follows the last rotations; a digit a wire."""
    places = [2 * (circuit.wires - 1 - wire) for wire in range(circuit.wires)]
    string = np.array(sum(2 << places[wire] for wire in observable))
    string, _ = _conjugate(circuit, reversed(circuit.pairs(circuit.layers - 1)), circuit.wires, string)
    return [int(string) >> place & 3 for place in places]


def _reached(circuit: Circuit, seen: set[int]) -> set[int]:
    for layer in range(circuit.layers - 2, -1, -1):
        before = set(seen)
        for pair in reversed(circuit.pairs(layer)):
            # CZ gates commute, so that one never passes on what another of its layer brought.
            if set(pair) & (before if circuit.entangler == "cz" else seen):
                seen = seen.union(pair)
    return seen


def _entangler(circuit: Circuit, layer: int, cones: list[list[int]]) -> tuple[Indices, Indices]:
    sources, signs = [], []
    for wires in cones:
        # A gate that leads out of a light cone does nothing to what the cone holds.
        inside = [(wires.index(a), wires.index(b)) for a, b in circuit.pairs(layer) if {a, b} <= set(wires)]
        source, sign = _conjugate(circuit, inside, len(wires), np.arange(4 ** len(wires)))
        sources.append(source)
        signs.append(sign)
    return np.stack(sources), np.stack(signs)


def _conjugate(
    circuit: Circuit, pairs: Iterable[tuple[int, int]], width: int, strings: Indices
) -> tuple[Indices, Indices]:
    """Conjugate Pauli strings by CNOT or CZ gates, one after the other (Aaronson and Gottesman, quant-ph/0406196)."""
    signs = np.ones_like(strings)
    for control, target in pairs:
        first, second = 2 * (width - 1 - control), 2 * (width - 1 - target)
        x1, z1, x2, z2 = (strings >> bit & 1 for bit in (first, first + 1, second, second + 1))
        if circuit.entangler == "cnot":
            signs = signs * (1 - 2 * (x1 & z2 & (x2 ^ z1 ^ 1)))
            strings = strings ^ x1 << second ^ z2 << first + 1
        else:
            signs = signs * (1 - 2 * (x1 & x2 & (z1 ^ z2)))
            strings = strings ^ x2 << first + 1 ^ x1 << second + 1
    return strings, signs
