"""Circuits as OpenQASM and QIR: the text, the order of bits, and what counts say."""

import subprocess
import sys
import traceback

import numpy as np
import pytest

from federated.errors import CircuitInputError
from federated.quantum.circuit import Circuit
from federated.quantum.policy import GateCounts
from federated.quantum.qasm import (
    compile_qir,
    expectations,
    gate_counts,
    measured_program,
    standard_errors,
    to_openqasm,
)

PAIR = Circuit(2, layers=1, rotation="ry", entangler="cnot")


def test_the_text_is_the_circuit_gate_by_gate() -> None:
    text = to_openqasm(PAIR, np.array([0.1, -1.5e-7]), np.array([[[0.25], [np.float64(1) / 3]]]))
    assert text == (
        "OPENQASM 3.0;\n"
        'include "stdgates.inc";\n'
        "bit[2] c;\n"
        "qubit[2] q;\n"
        "rx(0.1) q[0];\n"
        "rx(-1.5e-07) q[1];\n"
        "ry(0.25) q[0];\n"
        "ry(0.3333333333333333) q[1];\n"
        "cx q[0], q[1];\n"
        "cx q[1], q[0];\n"
        "c = measure q;\n"
    )


@pytest.mark.parametrize(
    ("angles", "weights"),
    [
        pytest.param(np.zeros(3), np.zeros((1, 2, 1)), id="too-many-angles"),
        pytest.param(np.zeros(2), np.zeros((1, 2, 3)), id="weights-of-another-circuit"),
        pytest.param(np.array([0, np.nan]), np.zeros((1, 2, 1)), id="nan-angle"),
        pytest.param(np.zeros(2), np.full((1, 2, 1), np.inf), id="infinite-weight"),
    ],
)
def test_refuses_numbers_that_do_not_fit(angles: np.ndarray, weights: np.ndarray) -> None:
    with pytest.raises(CircuitInputError, match="Expected"):
        to_openqasm(PAIR, angles, weights)


def test_qir_measures_each_wire_into_its_own_bit_of_the_base_profile() -> None:
    qir = str(compile_qir(measured_program(3, ["x q[1];"])))
    assert '"qir_profiles"="base_profile"' in qir
    for wire in range(3):
        bit = f"i64 {wire} to %"
        assert f"__quantum__qis__m__body(%Qubit* inttoptr ({bit}Qubit*), %Result* inttoptr ({bit}Result*))" in qir


def test_a_program_that_does_not_compile_is_named_without_its_angles() -> None:
    angle = 1 / 8
    with pytest.raises(CircuitInputError, match="OpenQASM 3") as caught:
        compile_qir(measured_program(1, [f"turn({angle}) q[0];"]))
    assert "0.125" not in "".join(traceback.format_exception(caught.value))


def test_operations_are_counted_as_prices_need_them() -> None:
    circuit = Circuit(3, layers=2, encoding="rz", entangler="cz")
    program = to_openqasm(circuit, np.zeros(3), np.zeros(circuit.weight_shape))
    assert gate_counts(program) == GateCounts(one_qubit=3 + 3 + 2 * 9, two_qubit=2 * 3, measurements=3)


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(measured_program(1, ["for int i in [0:9] { x q[0]; }"]), id="loop"),
        pytest.param("x q[0];", id="no-register"),
    ],
)
def test_refuses_to_count_what_it_does_not_read(program: str) -> None:
    with pytest.raises(CircuitInputError, match="Expected"):
        gate_counts(program)


def test_expectations_read_wire_0_first() -> None:
    circuit = Circuit(3, observables=((0,), (1,), (2,), (0, 2)))
    values = expectations(circuit, {"100": 30, "001": 10})
    np.testing.assert_allclose(values, [-0.5, 1.0, 0.5, -1.0])
    np.testing.assert_allclose(standard_errors(values, 40), [np.sqrt(0.75 / 40), 0, np.sqrt(0.75 / 40), 0])


@pytest.mark.parametrize(
    "counts", [pytest.param({}, id="none"), pytest.param({"10": 1}, id="short"), pytest.param({"1-0": 1}, id="lost")]
)
def test_refuses_counts_of_another_circuit(counts: dict[str, int]) -> None:
    with pytest.raises(CircuitInputError):
        expectations(Circuit(3), counts)


def test_the_quantum_kit_sends_no_telemetry() -> None:
    script = "import federated.quantum.qasm; from qdk import telemetry; print(telemetry.TELEMETRY_ENABLED)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
