"""Time a full-size study, 4 x 155 x 240 x 240 voxels of 1 mm: the product's segmenter against MONAI's SegResNet.

    python -m benchmarks.study_speed

Ours is everything from images to labels, as the product calls it; the network's own share is timed apart. SegResNet (16
filters) slides its 128-cubed window with an overlap of a half over channels that are ready; its weights are random,
which does not change its time. Both run in turns in one process with the same threads, and the medians are compared.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference
from monai.networks.nets.segresnet import SegResNet
from scipy import ndimage
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from benchmarks.provenance import describe_origin
from federated.cases import REFERENCE, list_cases, read_case
from federated.decision import Decision
from federated.inference import TorchSegmenter, load_segmenter
from federated.model_file import Model, save_model
from federated.models import ARMS, build_network
from federated.ports import Image
from federated.preprocessing import Preprocessing

SHAPE: Final = (155, 240, 240)
TOTAL_S: Final = 30.0
MODEL_SHARE: Final = 1 / 5
"""What is asked for: the whole study in so many seconds; the model's part at most so much of SegResNet's time."""


@dataclass(frozen=True)
class Turn:
    """One round of both, in seconds of the clock; in CPU seconds too, which a busy machine stretches less."""

    ours_s: float
    ours_model_s: float
    segresnet_s: float
    ours_cpu_s: float = 0.0
    segresnet_cpu_s: float = 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code 1 when what is asked for is not reached."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parse(words)
    torch.set_num_threads(options.threads)
    shape, window = ((32, 48, 48), 32) if options.quick else (SHAPE, 128)
    images = full_size_study(options.data, shape)
    with tempfile.TemporaryDirectory() as scratch:
        segmenter = load_segmenter(options.model or _fresh_model(Path(scratch), options.arm))
    turns = [_turn(segmenter, images, window) for _ in range(options.repeats)]
    found = summarise(turns)
    results = {
        "what": "Seconds for one study; model_share is the network's own time over that of MONAI's SegResNet",
        "shape": [len(images), *shape],
        "spacing_mm": 1.0,
        "model": segmenter.identity.version if options.model else f"{options.arm}, fresh weights",
        "segresnet": {"init_filters": 16, "window": window, "overlap": 0.5, "precision": "float32"},
        **found,
        "turns": [vars(turn) for turn in turns],
        **describe_origin("benchmarks.study_speed", words, threads=options.threads, commit=options.commit),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    draw(found, options.out.with_suffix(".png"), options.threads)
    print(json.dumps(found, indent=2))
    return 0 if all(found["passed"].values()) else 1


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study_speed", description="Time a full-size study.")
    parser.add_argument("--data", type=Path, default=Path("sandbox/data/brats_tcga_2mm"))
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--model", type=Path, help="folder of a trained model")
    model.add_argument("--arm", choices=sorted(ARMS), default="hybrid", help="or one with fresh weights")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a small volume, to see that it works")
    parser.add_argument("--out", type=Path, default=Path("docs/results/study-speed.json"))
    parser.add_argument("--commit", default=None, help="commit of the code, where there is no git to ask")
    return parser.parse_args(arguments)


def full_size_study(data: Path, shape: tuple[int, int, int]) -> dict[str, Image]:
    """A real subject, interpolated to 1 mm in the middle of a grid of this shape.

    Returns:
        By contrast; 0 outside the brain, as BraTS has it.
    """
    case = read_case(data, list_cases(data)[0])
    affine_lps = np.diag([1.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]]
    affine_lps[:3, 3] = -(np.array(shape)[::-1] - 1) / 2
    return {
        contrast: Image(_on_grid(ndimage.zoom(image.voxels, 2, order=1), shape), affine_lps)
        for contrast, image in case.images.items()
    }


def _on_grid(voxels: np.ndarray[Any, np.dtype[np.float32]], shape: tuple[int, int, int]) -> Any:
    grid = np.zeros(shape, np.float32)
    source, target = [], []
    for length, room in zip(voxels.shape, shape, strict=True):
        kept = min(length, room)
        source.append(slice((length - kept) // 2, (length - kept) // 2 + kept))
        target.append(slice((room - kept) // 2, (room - kept) // 2 + kept))
    grid[tuple(target)] = voxels[tuple(source)]
    return grid


def _fresh_model(folder: Path, arm: str) -> Path:
    torch.manual_seed(0)
    network = build_network(ARMS[arm])
    save_model(folder, Model(arm, ARMS[arm], Preprocessing(), Decision(), network.state_dict(), {}))
    return folder


def _turn(segmenter: TorchSegmenter, images: Mapping[str, Image], window: int) -> Turn:
    with network_clock() as network_seconds:
        ours = _seconds(lambda: segmenter.segment(images, REFERENCE, lambda _: None))
    segresnet = _seconds(_segresnet(images, window))
    turn = Turn(ours[0], round(network_seconds(), 3), segresnet[0], ours[1], segresnet[1])
    print(f"ours {turn.ours_s} s, of it the network {turn.ours_model_s} s; SegResNet {turn.segresnet_s} s", flush=True)
    return turn


@contextmanager
def network_clock() -> Iterator[Callable[[], float]]:
    """Count the seconds inside torch modules, outermost calls only."""
    depth, started, total = 0, 0.0, 0.0

    def enter(*_: Any) -> None:
        nonlocal depth, started
        if not depth:
            started = time.perf_counter()
        depth += 1

    def leave(*_: Any) -> None:
        nonlocal depth, total
        depth -= 1
        if not depth:
            total += time.perf_counter() - started

    handles = (register_module_forward_pre_hook(enter), register_module_forward_hook(leave))
    try:
        yield lambda: total
    finally:
        for handle in handles:
            handle.remove()


def _seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Of the clock, and of the CPU."""
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    return round(time.perf_counter() - clock, 3), round(time.process_time() - cpu, 3)


def _segresnet(images: Mapping[str, Image], window: int) -> Callable[[], object]:
    """One answer of SegResNet, ready to be timed."""
    torch.manual_seed(0)
    network = SegResNet(3, init_filters=16, in_channels=len(images), out_channels=3).eval()
    channels = torch.from_numpy(np.stack([_scaled(image.voxels) for image in images.values()]))[None]

    @torch.inference_mode()
    def answer() -> object:
        return sliding_window_inference(channels, window, 1, network, overlap=0.5)

    return answer


def _scaled(voxels: Any) -> Any:
    brain = voxels > 0
    return np.where(brain, (voxels - voxels[brain].mean()) / voxels[brain].std(), 0).astype(np.float32)


def summarise(turns: Sequence[Turn]) -> dict[str, Any]:
    """Medians, the ratio, and what of the goals is reached."""
    ours = median(turn.ours_s for turn in turns)
    model = median(turn.ours_model_s for turn in turns)
    segresnet = median(turn.segresnet_s for turn in turns)
    share = median(turn.ours_model_s / turn.segresnet_s for turn in turns)
    return {
        "median_s": {"ours": ours, "ours_model": model, "segresnet": segresnet},
        "model_share": round(share, 4),
        "goals": {"ours_s": TOTAL_S, "model_share": MODEL_SHARE},
        "passed": {"ours_s": ours < TOTAL_S, "model_share": share <= MODEL_SHARE},
    }


def draw(found: Mapping[str, Any], path: Path, threads: int) -> None:
    """Bars of the medians, with the goals as lines."""
    from matplotlib.figure import Figure

    seconds = found["median_s"]
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    axes = figure.add_subplot()
    rest = seconds["ours"] - seconds["ours_model"]
    names = ("Ours, whole study", "MONAI SegResNet,\nnetwork only")
    axes.barh(names[0], seconds["ours_model"], color="#3b6fb6", label="network")
    axes.barh(names[0], rest, left=seconds["ours_model"], color="#a9c3e6", label="before and after the network")
    axes.barh(names[1], seconds["segresnet"], color="#3b6fb6")
    axes.axvline(TOTAL_S, color="#b03a2e", linestyle="--", linewidth=1, label=f"goal, whole study: {TOTAL_S:g} s")
    axes.axvline(
        seconds["segresnet"] * MODEL_SHARE, color="#b07d2e", linestyle=":", linewidth=1.5, label="goal, network: 1/5"
    )
    axes.invert_yaxis()
    axes.set_xlabel(f"seconds, median ({threads} threads)")
    figure.suptitle(
        f"One full-size study: the network takes {found['model_share']:.1%} of SegResNet's time", fontsize=11
    )
    figure.legend(fontsize=8, loc="outside lower center", ncols=4, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
