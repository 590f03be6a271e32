"""All slices of all contrasts on one sheet each, for a slice viewer in the browser."""

import json
from collections.abc import Mapping
from math import ceil, sqrt
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from plugin.services.drawing import Grey, Labels, Rgb, colour_table, resize_labels, to_artefact, to_image, with_contours
from plugin.services.reading_grid import ReadingGrid
from plugin.services.values import Artefact

TILE_PX: Final = 256
"""The longest side of an atlas tile."""

COARSEST_MM: Final = 1.0
"""A tile's pixel is no larger where the tile's side allows it: a contour is one pixel wide and must hide little."""


def build_atlas(
    greys: Mapping[str, Grey], marked: Labels, colours: Mapping[int, Rgb], grid: ReadingGrid, *, first_slice: int
) -> list[Artefact]:
    """Lay all slices out as tiles, row by row from feet to head.

    Returns:
        atlas-<contrast>.png (8-bit grey), atlas-overlay.png (palette with alpha) and atlas.json: tile_width and
        tile_height in px, columns, count, mm_per_px, slice_spacing_mm, contrasts, first_slice (from 0), and
        tumour_area_mm2 of each slice.
    """
    slice_mm, row_mm, column_mm = grid.spacing_mm
    count, rows, columns = grid.shape
    height_mm, width_mm = rows * row_mm, columns * column_mm
    mm_per_px = max(min(row_mm, column_mm, COARSEST_MM), max(height_mm, width_mm) / TILE_PX)
    tile = (max(1, round(width_mm / mm_per_px)), max(1, round(height_mm / mm_per_px)))
    per_row = min(count, ceil(sqrt(count * tile[1] / tile[0])))
    facts = {
        "tile_width": tile[0],
        "tile_height": tile[1],
        "columns": per_row,
        "count": count,
        "mm_per_px": round(mm_per_px, 4),
        "slice_spacing_mm": round(slice_mm, 4),
        "contrasts": list(greys),
        "first_slice": first_slice,
        "tumour_area_mm2": [round(float(n) * row_mm * column_mm, 1) for n in np.count_nonzero(marked, axis=(1, 2))],
    }
    return [
        *(
            to_artefact(f"atlas-{name}", to_image(_tiles(_resized_grey(grey, tile), per_row)))
            for name, grey in greys.items()
        ),
        to_artefact(
            "atlas-overlay", _atlas_overlay(_tiles(with_contours(_resized(marked, tile), width=1), per_row), colours)
        ),
        Artefact("atlas.json", "application/json", json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()),
    ]


def _resized_grey(grey: Grey, tile: tuple[int, int]) -> Grey:
    if grey.shape[1:] == (tile[1], tile[0]):
        return grey
    return np.stack([np.asarray(to_image(cut).resize(tile, Image.Resampling.BILINEAR)) for cut in grey])


def _resized(marked: Labels, tile: tuple[int, int]) -> Labels:
    resized = np.zeros((len(marked), tile[1], tile[0]), np.uint8)
    for index in np.flatnonzero(marked.any(axis=(1, 2))):
        resized[index] = resize_labels(marked[index], tile)
    return resized


def _tiles(stack: npt.NDArray[np.uint8], per_row: int) -> npt.NDArray[np.uint8]:
    """Lay a stack (tiles, rows, columns) out as one picture."""
    count, height, width = stack.shape
    lines = ceil(count / per_row)
    sheet = np.zeros((lines * per_row, height, width), np.uint8)
    sheet[:count] = stack
    return sheet.reshape(lines, per_row, height, width).swapaxes(1, 2).reshape(lines * height, per_row * width)


def _atlas_overlay(indices: npt.NDArray[np.uint8], colours: Mapping[int, Rgb]) -> Image.Image:
    table = colour_table(colours)
    picture = to_image(indices).convert("L")
    picture.putpalette(table[:, :3].tobytes())
    picture.info["transparency"] = table[:, 3].tobytes()  # the tRNS chunk
    return picture
