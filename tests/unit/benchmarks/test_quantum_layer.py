"""The quantum layer's benchmark: that it runs, that its contenders compute the same, and what it makes of times."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import quantum_layer
from benchmarks.quantum_contenders import CONTENDERS, gemm, pennylane_bytes
from benchmarks.quantum_layer import goals, head_memory, main
from federated.quantum.circuit import Circuit


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times mean nothing here, and the head's own process is tested by itself."""
    monkeypatch.setattr(quantum_layer, "TURN_S", 1e-6)
    monkeypatch.setattr(quantum_layer, "head_memory", lambda *_: {"voxels": 4096, "peak_gb": 0.4, "before_gb": 0.3})


@pytest.mark.usefixtures("hasty")
def test_writes_what_it_measured_and_where(tmp_path: Path) -> None:
    words = ["--quick", "--wires", "4", "--batches", "4", "--rounds", "1", "--voxels", "16", "--threads", "1"]
    results, plot = tmp_path / "new" / "results.json", tmp_path / "plot.png"
    assert main([*words, "--json", str(results), "--plot", str(plot), "--limit", "0.001", "--commit", "0" * 40]) in {
        0,
        1,
    }
    found = json.loads(results.read_text())
    assert [(row["entangler"], row["wires"], row["batch"]) for row in found["rows"]] == [("cz", 4, 4), ("cnot", 4, 4)]
    for row in found["rows"]:
        assert row["speed_up"]["torch_layer"] > 1
        assert row["largest_difference"]["torch_layer"] < 1e-5
        assert row["largest_difference"]["lightning"] < 1e-5
    assert found["commit"] == "0" * 40
    assert found["command"].startswith("python -m benchmarks.quantum_layer --quick")
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("hasty")
def test_says_why_a_contender_is_left_out(tmp_path: Path) -> None:
    words = ["--quick", "--wires", "4", "--batches", "4", "8", "--rounds", "1", "--voxels", "16", "--threads", "1"]
    results = tmp_path / "results.json"
    main([*words, "--json", str(results), "--limit", "1e-9", "--memory", "1e-9"])
    first, second, *_ = json.loads(results.read_text())["rows"]
    assert first["left_out"]["torch_layer"] == "needs more than 1e-09 GB"
    assert second["left_out"]["lightning"] == "takes longer than 1e-09 s"
    assert "fused" in second["median_s"]


@pytest.mark.parametrize("entangler", ["cz", "cnot"])
@pytest.mark.parametrize("uploads", [1, 2])
@pytest.mark.parametrize("name", ["torch_layer", "lightning"])
def test_contenders_compute_the_same(name: str, uploads: int, entangler: str) -> None:
    circuit = Circuit(3, 2, uploads, entangler=entangler)
    angles, weights = torch.randn(4, 3), torch.randn(circuit.weight_shape)
    for found, wanted in zip(
        CONTENDERS[name](circuit, angles, weights)(), CONTENDERS["fused"](circuit, angles, weights)(), strict=True
    ):
        torch.testing.assert_close(found.to(wanted), wanted, rtol=1e-4, atol=1e-5)


def test_the_bound_grows_with_the_batch_and_the_uploads() -> None:
    gemm(Circuit(3), 10)()
    gemm(Circuit(3, uploads=2), 5000)()


def test_memory_of_pennylane_is_a_state_a_gate() -> None:
    assert pennylane_bytes(Circuit(2, 1), 10) == 16 * 6 * 10 * 4


def test_the_head_is_measured_in_its_own_process() -> None:
    head = head_memory(16, 1)
    assert head["voxels"] == 4096
    assert 0 < head["before_gb"] <= head["peak_gb"] < 1


def test_judges_only_what_it_was_asked_to_reach() -> None:
    def row(wires: int, batch: int, speed_up: float, ratio: float) -> dict:
        return {
            "entangler": "cz",
            "wires": wires,
            "batch": batch,
            "speed_up": {"torch_layer": speed_up},
            "fused_over_gemm": ratio,
        }

    found = goals(
        [row(4, 8192, 19.0, 2.0), row(8, 8192, 21.0, 4.0), row(10, 8192, 1.0, 9.0), row(4, 64, 1.0, 9.0)],
        {"peak_gb": 1},
    )
    assert found == {
        "head within 3 GB": True,
        "cz, 4 wires: 3 times the matrix products": True,
        "cz, 4 wires: 20 times TorchLayer": False,
        "cz, 8 wires: 3 times the matrix products": False,
        "cz, 8 wires: 20 times TorchLayer": True,
    }
