"""Commands of the quantum service that contact nothing: estimates, the list of jobs, and what is missing."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from plugin.cli.hardware import estimate, jobs, targets


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {
        "QFL_DATA_DIR": str(tmp_path),
        "QFL_QUANTUM_PRICES": "quantinuum.qpu.h2-1=job:5,one_qubit:0.0002,two_qubit:0.002,measurement:0.001",
        "QFL_QUANTUM_MAX_COST": "100",
        "QFL_QUANTUM_CURRENCY": "HQC",
    }


def run(command: click.Command, environ: dict[str, str], *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(command, arguments, env=environ)
    return result.exit_code, result.output


def test_an_estimate_counts_gates_and_names_the_price(environ: dict[str, str]) -> None:
    code, output = run(
        estimate, environ, "--wires", "4", "--layers", "2", "--samples", "3", "--target", "quantinuum.qpu.h2-1"
    )
    assert code == 0
    # 4 encoding gates and 2 layers of 3 rotations a wire; CZ on 4 pairs in the first layer, on 2 in the second.
    assert "Each circuit: 28 gates on one qubit, 6 on two, 4 measurements" in output
    # 3 * (5 + 1000 * (28 * 0.0002 + 6 * 0.002 + 4 * 0.001)) = 3 * 26.6
    assert "3000 new shots for 79.8" in output
    assert "left 100000 shots and 100 HQC" in output
    assert "fits" in output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(
            ("--target", "quantinuum.qpu.h2-1", "--samples", "9"), 77, "would pass the site's budget", id="money"
        ),
        pytest.param(("--target", "ionq.qpu.forte-1"), 77, "QFL_QUANTUM_PRICES", id="target"),
        pytest.param((), 78, "QFL_AZURE_QUANTUM_TARGET", id="no-target"),
        pytest.param(("--target", "quantinuum.qpu.h2-1", "--wires", "11"), 64, "1 to 10 wires", id="wires"),
        pytest.param(("--target", "quantinuum.qpu.h2-1", "--shots", "0"), 64, "at least 1 shot", id="shots"),
    ],
)
def test_an_estimate_that_cannot_be_is_explained(
    environ: dict[str, str], arguments: tuple[str, ...], code: int, message: str
) -> None:
    found, output = run(estimate, environ, *arguments)
    assert (found, message in output) == (code, True)


def test_no_jobs_leave_the_whole_budget(environ: dict[str, str]) -> None:
    assert run(jobs, environ) == (0, "0 jobs. Left: 100000 of 100000 shots, 100 of 100 HQC\n")


def test_a_damaged_record_is_one_line(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "quantum" / "jobs").mkdir(parents=True)
    (tmp_path / "quantum" / "jobs" / f"{'ab' * 32}.json").write_text("{")
    code, output = run(jobs, environ)
    assert code == 69
    assert output.startswith("qfl: Expected the record of a quantum job in ")


def test_targets_need_a_workspace(environ: dict[str, str]) -> None:
    code, output = run(targets, environ)
    assert code == 78
    assert "QFL_AZURE_QUANTUM_RESOURCE_ID" in output
