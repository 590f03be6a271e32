"""Circuits as OpenQASM 3 and as QIR, and what their measurements say.

A bitstring's first character is wire 0: bit c[i] is wire i, and QIR records c[0] first.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from federated.errors import CircuitInputError
from federated.quantum.circuit import Circuit, Gate, Input
from federated.quantum.policy import GateCounts

_NOT_A_GATE = re.compile(r"OPENQASM|include|qubit|qreg|bit|creg|barrier|reset|//")
_GATE = re.compile(r"[a-z]\w*\s*(?:\([^()]*\))?\s*(?P<operands>\w+\[\d+\](?:\s*,\s*\w+\[\d+\])*)\s*;")
_MEASURE_ALL = re.compile(r"c = measure q;")


def to_openqasm(circuit: Circuit, angles: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> str:
    """Write one execution of a circuit down; the same numbers give the same text.

    Args:
        circuit: What to execute.
        angles: (wires,), radian.
        weights: circuit.weight_shape, radian.

    Returns:
        OpenQASM 3 that measures all wires at the end, wire i into c[i]. Every number is its shortest decimal form that
        reads back as the same float64.

    Raises:
        CircuitInputError: A shape does not fit, or a number is not finite.
    """
    if angles.shape != (circuit.wires,) or weights.shape != circuit.weight_shape:
        raise CircuitInputError(
            f"Expected angles ({circuit.wires},) and weights {circuit.weight_shape}, "
            f"got {angles.shape} and {weights.shape}."
        )
    if not (np.isfinite(angles).all() and np.isfinite(weights).all()):
        raise CircuitInputError("Expected finite angles and weights, got NaN or infinity among them.")

    def line(gate: Gate) -> str:
        operands = ", ".join(f"q[{wire}]" for wire in gate.wires)
        if gate.parameter is None:
            return f"{gate.name} {operands};"
        source = gate.parameter
        angle = angles[source.wire] if isinstance(source, Input) else weights[source.index]
        return f"{gate.name}({float(angle)!r}) {operands};"

    return measured_program(circuit.wires, [line(gate) for gate in circuit.gates()])


def measured_program(wires: int, statements: Sequence[str]) -> str:
    """OpenQASM 3 that applies statements to q[0], q[1], ... and then measures wire i into c[i].

    Args:
        wires: How many.
        statements: Gates of stdgates.inc, each with its semicolon, e.g. "rx(0.5) q[0];".
    """
    head = ("OPENQASM 3.0;", 'include "stdgates.inc";', f"bit[{wires}] c;", f"qubit[{wires}] q;")
    return "\n".join((*head, *statements, "c = measure q;", ""))


def compile_qir(program: str) -> Any:
    """OpenQASM as QIR of the base profile, which every target takes; str() of it is its text.

    Raises:
        CircuitInputError: It is not a program that qdk can compile.
    """
    from qdk import TargetProfile, openqasm

    try:
        return openqasm.compile(program, target_profile=TargetProfile.Base)
    except openqasm.QasmError:
        # Neither the cause nor its text: they quote the program, whose angles derive from a patient's images.
        raise CircuitInputError("Expected an OpenQASM 3 program of standard gates, got one that qdk refuses.") from None


def gate_counts(program: str) -> GateCounts:
    """How many operations a program has.

    Args:
        program: As measured_program() writes it: one statement a line, one measurement of all wires.

    Raises:
        CircuitInputError: A line is neither a gate nor a declaration nor the measurement.
    """
    operands = [0, 0, 0]
    wires = _wires(program)
    for number, text in enumerate(program.splitlines(), 1):
        line = text.strip()
        if match := _GATE.fullmatch(line):
            operands[min(match["operands"].count("["), 2)] += 1
        elif _MEASURE_ALL.fullmatch(line):
            operands[0] += wires
        elif line and not _NOT_A_GATE.match(line):
            raise CircuitInputError(
                f"Expected a gate, a declaration or 'c = measure q;' in line {number} of the program, got another text."
            )
    return GateCounts(operands[1], operands[2], operands[0])


def expectations(circuit: Circuit, counts: Mapping[str, int]) -> npt.NDArray[np.float64]:
    """Estimate the expectation values of a circuit's observables.

    Args:
        circuit: Whose observables.
        counts: Bitstring, wire 0 first, to how often it was measured.

    Returns:
        (observables,), from -1 to 1; the standard error of each value v is sqrt((1 - v * v) / shots).

    Raises:
        CircuitInputError: A bitstring has another length than the circuit has wires, or nothing was measured.
    """
    total = sum(counts.values())
    for bits in counts:
        if len(bits) != circuit.wires or not set(bits) <= {"0", "1"}:
            raise CircuitInputError(f"Expected bitstrings of {circuit.wires} characters 0 and 1, got {bits!r}.")
    if total < 1:
        raise CircuitInputError("Expected the counts of at least one shot, got none.")
    measured = np.array([[int(bit) for bit in bits] for bits in counts])
    shares = np.array(list(counts.values())) / total
    signs = np.stack([1 - 2 * (measured[:, list(wires)].sum(1) % 2) for wires in circuit.observables], 1)
    return np.asarray(shares @ signs, np.float64)


def standard_errors(values: npt.NDArray[np.float64], shots: int) -> npt.NDArray[np.float64]:
    """The standard error of expectation values of products of Pauli Z, which measure as +1 or -1."""
    return np.sqrt(np.clip(1 - values**2, 0, None) / shots)


def _wires(program: str) -> int:
    found = re.search(r"^qubit\[(\d+)\] q;$", program, re.MULTILINE)
    if not found:
        raise CircuitInputError("Expected a line 'qubit[n] q;' in the program, got none.")
    return int(found[1])
