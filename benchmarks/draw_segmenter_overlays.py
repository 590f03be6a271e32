"""Draw what the leave-one-out models found over what experts drew, as one picture.

    python -m benchmarks.draw_segmenter_overlays --work build/segmenter --out docs/results/model-real-subjects.png

One row a subject, on the slice with the most drawn tumour: T1ce, FLAIR, the drawn labels, the found ones. Core is red,
oedema green, enhancing tumour blue.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from federated.cases import REFERENCE, Case, read_case
from federated.inference import load_segmenter

COLOURS = np.array([[0, 0, 0], [230, 70, 70], [80, 200, 90], [70, 130, 250]], float)
ZOOM, TILE = 3, (92, 80)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.draw_segmenter_overlays", description="Draw overlays.")
    parser.add_argument("--data", type=Path, default=Path("sandbox/data/brats_tcga_2mm"))
    parser.add_argument("--work", type=Path, default=Path("build/segmenter"))
    parser.add_argument("--arm", default="hybrid")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/results/model-real-subjects.png"))
    options = parser.parse_args(arguments)
    runs = sorted((options.work / "runs").glob(f"{options.arm}-seed{options.seed}-*.json"))
    if not runs:
        raise SystemExit(f"{options.work}: no finished run of {options.arm}, seed {options.seed}; train first.")
    rows = [_row(options.data, options.work, run) for run in runs]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.vstack(rows)).save(options.out, optimize=True)
    return 0


def _row(data: Path, work: Path, run: Path) -> npt.NDArray[np.uint8]:
    report = json.loads(run.read_text(encoding="utf-8"))
    case = read_case(data, report["held_out"])
    found = load_segmenter(work / run.stem).segment(case.images, REFERENCE, lambda _: None).labels
    index = int((case.labels > 0).sum(axis=(1, 2)).argmax())
    t1ce, flair = _grey(case, "T1ce", index), _grey(case, "FLAIR", index)
    tiles = [t1ce, flair, _overlay(flair, case.labels[index]), _overlay(flair, found[index])]
    picture = Image.fromarray(np.hstack([_fit(tile) for tile in tiles]).repeat(ZOOM, 0).repeat(ZOOM, 1))
    scores = ", ".join(f"{region} {figures['dice']:.2f}" for region, figures in report["scores"][0]["regions"].items())
    ImageDraw.Draw(picture).text((4, 2), f"{case.name}: T1ce, FLAIR, drawn, found. Dice {scores}", fill="white")
    return np.asarray(picture)


def _grey(case: Case, contrast: str, index: int) -> npt.NDArray[np.float64]:
    voxels = case.images[contrast].voxels
    low, high = np.percentile(voxels[voxels > 0], [1, 99.5])
    grey = np.clip((voxels[index] - low) / (high - low), 0, 1) * 255
    return np.repeat(grey[..., None], 3, axis=-1)


def _overlay(grey: npt.NDArray[np.float64], labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    mixed = 0.5 * grey + 0.5 * COLOURS[labels]
    return np.where(labels[..., None] > 0, mixed, grey)


def _fit(tile: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Pad at the bottom and the right so that rows align, and above for the caption."""
    rows, columns = (min(length, limit) for length, limit in zip(tile.shape, TILE, strict=False))
    fitted = np.zeros((TILE[0] + 6, TILE[1], 3), np.uint8)
    fitted[6 : 6 + rows, :columns] = tile[:rows, :columns].astype(np.uint8)
    return fitted


if __name__ == "__main__":
    sys.exit(main())
