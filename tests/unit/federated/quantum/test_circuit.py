"""The declaration of a circuit: what it refuses, and which gates it stands for."""

from collections import Counter

import pytest

from federated.errors import CircuitError
from federated.quantum.circuit import MAX_WIRES, Circuit, Gate, Input, Weight


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"wires": 0}, "1 to 10 wires, got 0", id="no wires"),
        pytest.param({"wires": MAX_WIRES + 1}, "1 to 10 wires, got 11", id="too many wires"),
        pytest.param({"wires": 2.0}, "1 to 10 wires, got 2.0", id="wires not whole"),
        pytest.param({"wires": 2, "layers": 0}, "1 to 16 layers, got 0", id="no layers"),
        pytest.param({"wires": 2, "uploads": 17}, "1 to 16 uploads, got 17", id="too many uploads"),
        pytest.param({"wires": 2, "encoding": "rxx"}, "encoding of a circuit is one of rx, ry, rz", id="encoding"),
        pytest.param({"wires": 2, "rotation": "u3"}, "rotation of a circuit is one of rot, ry, rx", id="rotation"),
        pytest.param(
            {"wires": 2, "entangler": "swap"}, "entangler of a circuit is one of cnot, cz, none", id="entangler"
        ),
        pytest.param({"wires": 2, "observables": ((2,),)}, r"0 to 1, got \(2,\)", id="observable off the wires"),
        pytest.param({"wires": 2, "observables": ((0, 0),)}, r"got \(0, 0\)", id="the same wire twice"),
        pytest.param({"wires": 2, "observables": ((),)}, r"got \(\)", id="observable of nothing"),
    ],
)
def test_refuses_what_cannot_be_built(arguments: dict, message: str) -> None:
    with pytest.raises(CircuitError, match=message):
        Circuit(**arguments)


def test_observes_z_on_every_wire_unless_told() -> None:
    assert Circuit(3).observables == ((0,), (1,), (2,))


@pytest.mark.parametrize(
    ("circuit", "shape"),
    [
        pytest.param(Circuit(4, 3, 2), (6, 4, 3), id="rot"),
        pytest.param(Circuit(5, 2, rotation="ry"), (2, 5, 1), id="ry"),
        pytest.param(Circuit(1, 1, 3, rotation="rx"), (3, 1, 1), id="rx"),
    ],
)
def test_states_the_shape_of_its_weights(circuit: Circuit, shape: tuple[int, int, int]) -> None:
    assert circuit.weight_shape == shape


@pytest.mark.parametrize("entangler", ["cnot", "cz", "none"])
@pytest.mark.parametrize("rotation", ["rot", "ry", "rx"])
def test_gates_use_each_weight_once_and_each_angle_once_an_upload(entangler: str, rotation: str) -> None:
    circuit = Circuit(3, 2, 2, rotation=rotation, entangler=entangler)
    uses = Counter(gate.parameter for gate in circuit.gates() if gate.parameter is not None)
    weights = {key: count for key, count in uses.items() if isinstance(key, Weight)}
    rows, wires, angles = circuit.weight_shape
    assert weights == {
        Weight((row, wire, angle)): 1 for row in range(rows) for wire in range(wires) for angle in range(angles)
    }
    assert {key: count for key, count in uses.items() if isinstance(key, Input)} == {
        Input(wire): 2 for wire in range(3)
    }


def test_a_ring_of_cz_joins_each_pair_once() -> None:
    # On two wires, and on four that reach two further, the ring passes each pair twice: the second CZ would undo it.
    assert Circuit(2).pairs(0) == ((0, 1),)
    assert Circuit(4).pairs(1) == ((0, 2), (1, 3))
    assert Circuit(4).pairs(0) == ((0, 1), (1, 2), (2, 3), (3, 0))


def test_a_ring_of_cnot_keeps_both_directions() -> None:
    assert Circuit(2, entangler="cnot").pairs(0) == ((0, 1), (1, 0))
    assert Circuit(4, entangler="cnot").pairs(1) == ((0, 2), (1, 3), (2, 0), (3, 1))


def test_the_reach_of_the_ring_starts_again_after_the_last_wire() -> None:
    circuit = Circuit(3, layers=4, entangler="cnot")
    assert [circuit.pairs(layer)[0] for layer in range(4)] == [(0, 1), (0, 2), (0, 1), (0, 2)]


def test_one_wire_has_no_entangler() -> None:
    assert Circuit(1).pairs(0) == ()


def test_gates_come_in_the_order_of_application() -> None:
    gates = list(Circuit(2, layers=1, encoding="rz", entangler="cnot").gates())
    assert gates == [
        Gate("h", (0,)),
        Gate("rz", (0,), Input(0)),
        Gate("h", (1,)),
        Gate("rz", (1,), Input(1)),
        *(Gate(axis, (0,), Weight((0, 0, place))) for place, axis in enumerate(("rz", "ry", "rz"))),
        *(Gate(axis, (1,), Weight((0, 1, place))) for place, axis in enumerate(("rz", "ry", "rz"))),
        Gate("cx", (0, 1)),
        Gate("cx", (1, 0)),
    ]
