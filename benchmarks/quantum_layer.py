"""Time the quantum layer, forward and backward, against PennyLane, TensorCircuit-NG and the machine's matrix products.

    python -m benchmarks.quantum_layer --json docs/results/quantum-layer.json --plot docs/results/quantum-layer.png

All run in turns in one process with the same threads, in single precision where they can. A turn is one step untimed,
so that it finds its own data in the caches, as in a training, and not what its rival left there; then steps until they
took a tenth of a second, at least one, whose median counts. Figures are medians over the turns, ratios are medians of
each round's ratio. The circuits encode once by RX and have two layers of three rotations a wire: "cz" is the product's
default, "cnot" is PennyLane's StronglyEntanglingLayers. A contender is left out, and said to be, where it is not
installed, would take longer than --limit seconds a step, or more than --memory GB.
"""

import argparse
import importlib.util
import json
import math
import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import torch

from benchmarks.provenance import describe_origin
from benchmarks.quantum_contenders import CONTENDERS, Step, gemm, pennylane_bytes
from federated.quantum.circuit import Circuit, Entangler
from federated.quantum.layer import QuantumLayer

ENTANGLERS: Final[tuple[Entangler, ...]] = ("cz", "cnot")
GOAL_BATCH, GOAL_WIRES = 8192, (4, 6, 8)
SPEED_UP, GEMM_RATIO, HEAD_GB = 20.0, 3.0, 3.0
"""What is asked for at that batch: so many times TorchLayer's throughput, at most so many times the matrix products'
time; and a voxel-wise head on 128-cubed voxels within so much memory."""
TURN_S: Final = 0.1
TITLES: Final = {
    "fused": "ours",
    "torch_layer": "PennyLane TorchLayer, default.qubit",
    "lightning": "PennyLane TorchLayer, lightning.qubit",
    "tensorcircuit": "TensorCircuit-NG",
    "gemm": "matrix products alone",
}


@dataclass(frozen=True)
class Limits:
    """When a contender is left out."""

    step_s: float
    memory_gb: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code 1 when what is asked for is not reached."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parse(words)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    limits = Limits(options.limit, options.memory)
    rows: list[dict[str, Any]] = []
    for entangler in ENTANGLERS:
        for wires in options.wires:
            rows += _series(Circuit(wires, entangler=entangler), options.batches, options.rounds, limits)
    head = head_memory(options.voxels, options.threads)
    passed = goals(rows, head)
    results = {
        "what": "Seconds for forward and backward of one batch, by angles and weights; see the module's docstring",
        "circuit": "encoding rx, 2 layers of rot, 1 upload, Z on every wire; float32",
        "bound": " ".join((gemm.__doc__ or "").split()),
        "rounds": options.rounds,
        "limits": vars(limits),
        "goals": {"batch": GOAL_BATCH, "speed_up": SPEED_UP, "gemm_ratio": GEMM_RATIO, "head_gb": HEAD_GB},
        "passed": passed,
        "head": head,
        "rows": rows,
        **describe_origin("benchmarks.quantum_layer", words, threads=options.threads, commit=options.commit),
    }
    for path, write in ((options.json, _write_json), (options.plot, draw)):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(results, path)
    print(json.dumps({"passed": passed, "head": head}, indent=2))
    return 0 if all(passed.values()) else 1


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quantum_layer", description="Time the quantum layer.")
    parser.add_argument("--quick", action="store_true", help="fewer wires, batches, rounds and voxels")
    parser.add_argument("--wires", type=int, nargs="+", help="of the circuits; 4 6 8 10 unless given")
    parser.add_argument("--batches", type=int, nargs="+", help="64 256 1024 8192 32768 unless given")
    parser.add_argument("--rounds", type=int, help="7 unless given")
    parser.add_argument("--voxels", type=int, help="along an edge of the head's cube; 128 unless given")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=float, default=10.0, help="seconds a step may take")
    parser.add_argument("--memory", type=float, default=8.0, help="GB a step may take")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--plot", type=Path, help="PNG file for the drawing")
    parser.add_argument("--commit", default=None, help="commit of the code, where there is no git to ask")
    options = parser.parse_args(arguments)
    options.wires = options.wires or ([4, 6, 8] if options.quick else [4, 6, 8, 10])
    options.batches = sorted(options.batches or ([64, 8192] if options.quick else [64, 256, 1024, 8192, 32768]))
    options.rounds = options.rounds or (3 if options.quick else 7)
    options.voxels = options.voxels or (64 if options.quick else 128)
    return options


def _series(circuit: Circuit, batches: Sequence[int], rounds: int, limits: Limits) -> list[dict[str, Any]]:
    """One circuit over growing batches; a contender's first time tells what the next batch would take."""
    rows: list[dict[str, Any]] = []
    for batch in batches:
        angles, weights = math.pi * torch.rand(batch, circuit.wires), torch.randn(circuit.weight_shape)
        left_out: dict[str, str] = {}
        steps: dict[str, Callable[[], object]] = {"gemm": gemm(circuit, batch)}
        agreement: dict[str, float] = {}
        fused = CONTENDERS["fused"](circuit, angles, weights)
        for name, prepare in CONTENDERS.items():
            reason = _reason(name, circuit, batch, rows, limits)
            if reason:
                left_out[name] = reason
                continue
            steps[name] = step = prepare(circuit, angles, weights)
            agreement[name] = _difference(step, fused)
        seconds = _in_turns(steps, rounds)
        row = {
            "entangler": circuit.entangler,
            "wires": circuit.wires,
            "batch": batch,
            "median_s": {name: median(found) for name, found in seconds.items()},
            "least_s": {name: min(found) for name, found in seconds.items()},
            "fused_over_gemm": _ratio(seconds["fused"], seconds["gemm"]),
            "speed_up": {
                name: _ratio(found, seconds["fused"])
                for name, found in seconds.items()
                if name not in {"fused", "gemm"}
            },
            "left_out": left_out,
            "largest_difference": agreement,
        }
        rows.append(row)
        print(_line(row), flush=True)
    return rows


def _reason(name: str, circuit: Circuit, batch: int, rows: Sequence[Mapping[str, Any]], limits: Limits) -> str:
    """Why a contender is left out of a batch; empty if it is not."""
    if name == "fused":
        return ""
    if name == "tensorcircuit" and importlib.util.find_spec("tensorcircuit") is None:
        return "not installed"
    if name == "torch_layer" and pennylane_bytes(circuit, batch) > limits.memory_gb * 1e9:
        return f"needs more than {limits.memory_gb:g} GB"
    last = rows[-1] if rows else None
    if last is None:
        return ""
    if name not in last["median_s"]:
        return str(last["left_out"][name])
    if last["median_s"][name] * batch / last["batch"] > limits.step_s and name in {"lightning", "torch_layer"}:
        return f"takes longer than {limits.step_s:g} s"
    return ""


def _difference(one: Step, other: Step) -> float:
    """The largest difference between two answers, over the largest number in each part; also warms both up."""
    pairs = zip(one(), other(), strict=True)
    return max(float((first - second).abs().max() / second.abs().max()) for first, second in pairs)


def _in_turns(steps: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds a step, for each round."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            seconds[name].append(_turn(step))
    return seconds


def _turn(step: Callable[[], object]) -> float:
    step()
    found: list[float] = []
    while sum(found) < TURN_S:
        started = time.perf_counter()
        step()
        found.append(time.perf_counter() - started)
    return median(found)


def _ratio(over: Sequence[float], under: Sequence[float]) -> float:
    return median(first / second for first, second in zip(over, under, strict=True))


def _line(row: Mapping[str, Any]) -> str:
    times = ", ".join(f"{name} {seconds / row['batch'] * 1e6:.3g}" for name, seconds in row["median_s"].items())
    out = "; ".join(f"{name}: {reason}" for name, reason in row["left_out"].items())
    return f"{row['entangler']} n={row['wires']} batch={row['batch']}: us a sample: {times}" + (
        f" ({out})" if out else ""
    )


def head_memory(voxels: int, threads: int) -> dict[str, float]:
    """Forward and backward of a voxel-wise head on a cube of voxels, 4 wires, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_head, voxels, threads).result()


def _head(voxels: int, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    layer = QuantumLayer(Circuit(4))
    features = torch.rand(1, 4, voxels, voxels, voxels, requires_grad=True)
    before = _peak_gb()
    started = time.perf_counter()
    layer(features.movedim(1, -1)).square().sum().backward()
    return {"voxels": voxels**3, "seconds": time.perf_counter() - started, "peak_gb": _peak_gb(), "before_gb": before}


def _peak_gb() -> float:
    """The most memory that this process had resident so far."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e9


def goals(rows: Sequence[Mapping[str, Any]], head: Mapping[str, float]) -> dict[str, bool]:
    """Which of what is asked for is reached, by circuit; only what was measured."""
    found = {f"head within {HEAD_GB:g} GB": head["peak_gb"] < HEAD_GB}
    for row in rows:
        if row["batch"] != GOAL_BATCH or row["wires"] not in GOAL_WIRES:
            continue
        name = f"{row['entangler']}, {row['wires']} wires"
        found[f"{name}: {GEMM_RATIO:g} times the matrix products"] = row["fused_over_gemm"] <= GEMM_RATIO
        if "torch_layer" in row["speed_up"]:
            found[f"{name}: {SPEED_UP:g} times TorchLayer"] = row["speed_up"]["torch_layer"] >= SPEED_UP
    return found


def _write_json(results: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Time a sample over the batch, a panel for each circuit."""
    from matplotlib.figure import Figure

    rows = results["rows"]
    wires = sorted({row["wires"] for row in rows})
    figure = Figure(figsize=(3.2 * len(wires) + 0.6, 6.2), layout="constrained")
    panels = figure.subplots(len(ENTANGLERS), len(wires), sharex=True, sharey=True, squeeze=False)
    colours = {"fused": "#b03a2e", "torch_layer": "#3b6fb6", "lightning": "#7fa7d9", "tensorcircuit": "#5a9e6f"}
    for panel, entangler in zip(panels, ENTANGLERS, strict=True):
        for axes, count in zip(panel, wires, strict=True):
            chosen = [row for row in rows if (row["entangler"], row["wires"]) == (entangler, count)]
            for name, title in TITLES.items():
                points = [(row["batch"], row["median_s"][name]) for row in chosen if name in row["median_s"]]
                axes.plot(
                    [batch for batch, _ in points],
                    [1e6 * seconds / batch for batch, seconds in points],
                    marker="o",
                    markersize=3,
                    linestyle="--" if name == "gemm" else "-",
                    color=colours.get(name, "#888888"),
                    label=title if points else None,
                )
            axes.set(xscale="log", yscale="log", title=f"{count} wires, {entangler}")
            axes.set_xscale("log", base=2)
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[-1]:
        axes.set_xlabel("batch")
    figure.supylabel("µs a sample, forward and backward", fontsize=10)
    figure.suptitle(_conclusion(rows), fontsize=11)
    handles = {line.get_label(): line for panel in panels.flat for line in panel.get_lines()}
    shown = [(name, line) for name, line in handles.items() if not str(name).startswith("_")]
    figure.legend(
        [line for _, line in shown], [name for name, _ in shown], loc="outside lower center", ncols=3, frameon=False
    )
    figure.savefig(path, dpi=120)


def _conclusion(rows: Sequence[Mapping[str, Any]]) -> str:
    found = [
        row["speed_up"]["torch_layer"]
        for row in rows
        if row["batch"] == GOAL_BATCH and "torch_layer" in row["speed_up"]
    ]
    if not found:
        return "The quantum layer's time"
    times = f"{min(found):.0f} to {max(found):.0f} times"
    return f"At a batch of {GOAL_BATCH} the quantum layer is {times} as fast as PennyLane's TorchLayer"


if __name__ == "__main__":
    sys.exit(main())
