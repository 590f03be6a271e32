"""`qfl quantum`: the report as tables and as JSON, the picture, the way to an Azure target, and what is refused."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import federated.quantum.readiness
import plugin.bootstrap.quantum
from federated.quantum.noise_rates import SUPERCONDUCTING
from plugin.cli import main
from plugin.settings import Quantum
from tests.fakes.quantum_readiness import readiness_report

TARGET = "quantinuum.sim.h2-1e"
RESOURCE_ID = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Quantum/Workspaces/qfl"
)


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ("quantum", *arguments))
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the report was asked for; it is made without the work."""
    calls: list[tuple[Any, ...]] = []

    def assess(name: str, device: Any, *arguments: Any, stop_at_failure: bool) -> Any:
        calls.append((name, device, *arguments[:-1], stop_at_failure))
        arguments[-1]("Quantum volume")(0.5)
        return readiness_report()

    monkeypatch.setattr(federated.quantum.readiness, "assess", assess)
    return calls


def test_prints_tables_and_a_verdict_for_each_question(asked: list[tuple[Any, ...]]) -> None:
    code, output, progress = run("readiness")
    assert code == 0
    for words in ("Expectation values, 4 wires", "Quantum volume", "logical errors a round", "Yes, as it is"):
        assert words in output
    assert "reach the paper's 64?" in output
    assert "Quantum volume" in progress
    assert [(call[0], call[2], call[4:]) for call in asked] == [("noise model", SUPERCONDUCTING, (6, 100, 0, False))]


def test_options_reach_the_assessment(asked: list[tuple[Any, ...]]) -> None:
    options = "--depolarizing 0.01 --depolarizing2 0.02 --amplitude-damping 0.03 --readout 0.04 --trials 120"
    assert (
        run("readiness", *options.split(), *["--max-wires", "3", "--seed", "7", "--wires", "2", "--layers", "1"])[0]
        == 0
    )
    _, _, rates, circuit, *rest = asked[0]
    assert (rates.depolarizing, rates.depolarizing2, rates.amplitude_damping, rates.readout) == (0.01, 0.02, 0.03, 0.04)
    assert (circuit.wires, circuit.layers) == (2, 1)
    assert rest == [3, 120, 7, False]


def test_really_assesses_a_noisy_device(tmp_path: Path) -> None:
    """The smallest real run: nothing is faked, the noise is strong so that few shots of each experiment are enough."""
    picture = tmp_path / "readiness.png"
    rates = "--depolarizing 0.02 --depolarizing2 0.05 --readout 0.05 --amplitude-damping 0.01"
    small = "--max-wires 2 --wires 1 --layers 1"
    code, output, _ = run("readiness", *rates.split(), *small.split(), "--plot", str(picture), "--json")
    assert code == 0
    document = json.loads(output)
    assert document["quantum_volume"]["largest_passed"] == 1
    assert [verdict["is_met"] for verdict in document["verdicts"][1:]] == [False, False]
    assert document["rates"]["depolarizing2"] == 0.05
    assert document["software"]["pennylane"]
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(("--depolarizing", "1.5"), 64, "from 0 to 1, got 1.5", id="rate above one"),
        pytest.param(("--readout", "-0.1"), 64, "noise rate readout", id="negative rate"),
        pytest.param(("--trials", "99"), 64, "at least 100 trials", id="too few trials"),
        pytest.param(("--max-wires", "11"), 64, "2 to 10 wires", id="too wide"),
        pytest.param(("--wires", "0"), 64, "1 to 10 wires", id="no wires"),
        pytest.param(("--plot", "no/such/folder/x.png"), 73, "x.png", id="no folder"),
        pytest.param(("--backend", "azure"), 78, "No quantum service is configured", id="no workspace"),
    ],
)
def test_a_fault_is_one_line_and_an_exit_code(
    arguments: tuple[str, ...], code: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QFL_AZURE_QUANTUM_RESOURCE_ID", raising=False)
    got, output, errors = run("readiness", *arguments)
    assert (got, output, len(errors.splitlines())) == (code, "", 1), errors
    assert message in errors


def test_draws_a_circuit_as_text_and_as_a_picture(tmp_path: Path) -> None:
    picture = tmp_path / "circuit.png"
    options = "--wires 3 --layers 1 --encoding ry --rotation rx --entangler cnot"
    code, output, _ = run("draw", *options.split(), "--plot", str(picture))
    assert code == 0
    assert [line[0] for line in output.strip().splitlines()] == ["0", "1", "2"]
    assert (output.count("RY"), output.count("RX"), output.count("\u251c") or output.count("X")) != (0, 0, 0)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_circuit_that_cannot_be_drawn_is_explained(tmp_path: Path) -> None:
    code, _, errors = run("draw", "--wires", "11")
    assert (code, "1 to 10 wires" in errors) == (64, True)
    code, _, errors = run("draw", "--plot", str(tmp_path / "none" / "x.png"))
    assert (code, "make it" in errors) == (73, True)


class AlwaysZero:
    """A sampler that measures zeros only: it fails each width, and says what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def counts(self, programs: Sequence[str], shots: int) -> Sequence[Mapping[str, int]]:
        self.asked.append((len(programs), shots))
        return [{"00": shots}] * len(programs)


@pytest.fixture
def workspace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "QFL_DATA_DIR": str(tmp_path),
        "QFL_AZURE_QUANTUM_RESOURCE_ID": RESOURCE_ID,
        "QFL_AZURE_QUANTUM_LOCATION": "eastus",
        "QFL_AZURE_QUANTUM_TARGET": TARGET,
        "QFL_QUANTUM_PRICES": f"{TARGET}=free",
        "QFL_QUANTUM_ALLOW_FALLBACK": "yes",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("workspace")
def test_an_azure_target_is_tested_width_by_width_until_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, built = AlwaysZero(), []

    def build_sampler(settings: Quantum, *, purpose: str, announce: Any) -> AlwaysZero:
        built.append((settings, purpose, announce))
        return sampler

    monkeypatch.setattr(plugin.bootstrap.quantum, "build_sampler", build_sampler)
    small = "--wires 1 --layers 1 --depolarizing2 0.05 --readout 0.05 --shots 20"
    code, output, _ = run("readiness", "--backend", "azure", "--target", "other", *small.split(), "--json")
    assert code == 0
    document = json.loads(output)
    assert document["device"] == "other"
    assert [test["wires"] for test in document["quantum_volume"]["tests"]] == [2]
    assert sampler.asked == [(100, 20)]
    ((settings, purpose, _),) = built
    assert settings.workspace is not None
    assert settings.workspace.target == "other"
    assert "random circuits" in purpose
    # Random circuits need no permission for patients' angles; a stand-in simulator would not be the target.
    assert (settings.policy.egress_allowed, settings.policy.fallback_allowed) == (True, False)


@pytest.mark.usefixtures("workspace")
def test_the_budget_holds_for_random_circuits_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QFL_QUANTUM_MAX_SHOTS", "9999")
    monkeypatch.setenv("QFL_AZURE_QUANTUM_KEY", "k")
    code, _, errors = run("readiness", "--backend", "azure")
    assert code == 77
    assert "100 circuits on quantinuum.sim.h2-1e" in errors  # the estimate, first
    assert "would pass the site's budget" in errors


@pytest.mark.usefixtures("workspace")
def test_only_a_priced_target_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QFL_AZURE_QUANTUM_KEY", "k")
    code, _, errors = run("readiness", "--backend", "azure", "--target", "rigetti.sim.qvm")
    assert code == 77
    assert "rigetti.sim.qvm" in errors


def test_help_is_quick() -> None:
    heavy = "('torch', 'pennylane', 'matplotlib', 'stim', 'numpy', 'azure')"
    script = f"import sys, plugin.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
    for command in ("readiness", "targets", "estimate", "jobs"):
        code, output, _ = run(command, "--help")
        assert (code, "Usage:" in output) == (0, True)
