"""One picture of an explanation: what speaks for tumour and what against it, over the images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

from plugin.services.drawing import Grey, Labels, to_image, to_png
from plugin.services.head_views import (
    LETTERS,
    PICTURE_PX,
    Layout,
    Plane,
    Voxel,
    cut_plane,
    draw_base,
    draw_overlay,
    layout_of,
    point_to_show,
    to_grid,
)
from plugin.services.prediction_overlay import PANEL_PX, outlined_panel, write_text
from plugin.services.reading_grid import ReadingGrid, Voxels, build_reading_grid, to_grey
from plugin.services.report_facts import CONVENTION, RESEARCH_USE

Floats = npt.NDArray[np.float32]

LOCAL, ATTRIBUTION = "Local explanation", "Attribution"
FOR, AGAINST = (255, 150, 40), (70, 140, 255)
"""Orange and blue: told apart by everybody who sees colours at all, and in the picture's legend by words."""
_TUMOUR: Final = {1: (255, 255, 255)}
_GAP_PX, _MARGIN_PX, _TITLE_PX, _HEADING_PX, _LINE_PX = 4, 20, 48, 30, 27
_BACKGROUND, _FAINT = (16, 18, 22), (165, 172, 182)
_STRONGEST: Final = 0.75
"""How far the strongest colour covers the anatomy."""


@dataclass(frozen=True, eq=False)
class Maps:
    """What is laid over the images; all on one grid.

    Attributes:
        pieces: Supervoxels: 0 for none, else a number below 256.
        weights: float32, one value for each voxel: its supervoxel's weight.
        attribution: float32, one value for each voxel.
        affine_lps: (4, 4) of that grid.
    """

    pieces: Labels
    weights: Floats
    attribution: Floats
    affine_lps: npt.NDArray[np.float64]


def render_explanation(
    images: Mapping[str, Voxels],
    reference: str,
    second: str,
    labels: Labels,
    maps: Maps,
    lines: Sequence[str],
) -> bytes:
    """Draw the picture: three planes of two sequences with the outlines, and of both maps.

    Args:
        images: By sequence.
        reference: Whose grid the labels are on; the maps are drawn over it.
        second: The other sequence that is shown; without it the reference is shown once.
        labels: As the model outlined them.
        maps: To lay over.
        lines: A title, then what else is to be told, a line each.

    Returns:
        A PNG; the same input gives the same bytes.
    """
    grid = build_reading_grid(images[reference], labels)
    marked = grid.arrange(labels)
    pieces = _sampled(grid, maps.pieces, maps.affine_lps, order=0).astype(np.uint8)
    point = point_to_show(grid, marked if marked.any() else (pieces > 0).astype(np.uint8))
    names = [name for name in dict.fromkeys((reference, second)) if name in images]
    greys = {name: to_grey(to_grid(grid, images[name], images[reference])) for name in names}
    columns = (*names, LOCAL, ATTRIBUTION)
    top = _TITLE_PX + _HEADING_PX
    foot = top + len(Plane) * PANEL_PX
    height = foot + _LINE_PX * (len(lines) + 4)
    picture = Image.new("RGB", (max(len(columns), 4) * PANEL_PX + 2 * _MARGIN_PX, height), _BACKGROUND)
    draw = ImageDraw.Draw(picture)
    write_text(draw, (_MARGIN_PX, _TITLE_PX // 2 + 4), lines[0], size_px=22, bold=True)
    layers = {
        LOCAL: _scaled(_sampled(grid, maps.weights, maps.affine_lps, order=0)),
        ATTRIBUTION: _scaled(_sampled(grid, maps.attribution, maps.affine_lps, order=1)),
    }
    for number, column in enumerate(columns):
        left = _MARGIN_PX + number * PANEL_PX
        write_text(draw, (left + 4, top - _HEADING_PX // 2), column, bold=True)
        for row, plane in enumerate(Plane):
            if column in greys:
                panel = outlined_panel(greys[column], marked, grid, plane, point)
            else:
                shown = pieces if column == LOCAL else None
                panel = _map_panel(greys[reference], layers[column], shown, marked, grid, plane, point)
            size = (PANEL_PX - _GAP_PX, PANEL_PX - _GAP_PX)
            picture.paste(panel.resize(size, Image.Resampling.LANCZOS), (left, top + row * PANEL_PX))
    _draw_foot(picture, draw, foot, lines[1:])
    return to_png(picture)


def _map_panel(
    grey: Grey,
    values: Floats,
    pieces: Labels | None,
    marked: Labels,
    grid: ReadingGrid,
    plane: Plane,
    point: Voxel,
) -> Image.Image:
    layout = layout_of(grid, plane)
    base = draw_base(cut_plane(grey, plane, point), layout, LETTERS[plane]).convert("RGBA")
    strength = np.clip(np.round(values * 127) + 128, 1, 255).astype(np.uint8)
    veil = Image.new("RGBA", (PICTURE_PX, PICTURE_PX))
    smoothly = Image.Resampling.NEAREST if pieces is not None else Image.Resampling.BILINEAR
    veil.paste(_coloured(_placed(cut_plane(strength, plane, point), layout, smoothly)), layout.corner)
    panel = Image.alpha_composite(base, veil)
    if pieces is not None:
        panel = Image.alpha_composite(panel, _borders(cut_plane(pieces, plane, point), layout))
    tumour = cut_plane((marked > 0).astype(np.uint8), plane, point)
    return Image.alpha_composite(panel, draw_overlay(tumour, _TUMOUR, layout, fill_alpha=0)).convert("RGB")


def _placed(cut: npt.NDArray[np.uint8], layout: Layout, resampling: Image.Resampling) -> npt.NDArray[np.uint8]:
    return np.asarray(to_image(cut).resize(layout.size, resampling, box=layout.box))


def _coloured(strength: npt.NDArray[np.uint8]) -> Image.Image:
    """128 is clear; above it speaks for tumour, below it against."""
    signed = (strength.astype(np.float64) - 128) / 127
    rgb = np.where(signed[..., None] > 0, FOR, AGAINST)
    alpha = np.clip(np.abs(signed), 0, 1) * _STRONGEST * 255
    return to_image(np.dstack([rgb, alpha]).astype(np.uint8))


def _borders(cut: Labels, layout: Layout) -> Image.Image:
    """Thin lines between supervoxels."""
    labels = _placed(cut, layout, Image.Resampling.NEAREST)
    differs = ndimage.maximum_filter(labels, 2) != ndimage.minimum_filter(labels, 2)
    lines = np.zeros((*labels.shape, 4), np.uint8)
    lines[differs] = (0, 0, 0, 150)
    veil = Image.new("RGBA", (PICTURE_PX, PICTURE_PX))
    veil.paste(to_image(lines), layout.corner)
    return veil


def _sampled(
    grid: ReadingGrid, values: npt.NDArray[np.uint8] | Floats, affine_lps: npt.NDArray[np.float64], *, order: int
) -> npt.NDArray[np.uint8] | Floats:
    """Values of another grid on the reading grid, the nearest (order 0) or interpolated; 0 outside."""
    to_index = np.linalg.inv(affine_lps) @ grid.affine_lps
    found: npt.NDArray[np.uint8] | Floats = ndimage.affine_transform(
        values, to_index[:3, :3], to_index[:3, 3], output_shape=grid.shape, order=order, mode="grid-constant"
    )
    return found


def _scaled(values: npt.NDArray[np.uint8] | Floats) -> Floats:
    """-1 to 1; the 99.5th percentile of what is not 0 is full strength."""
    sizes = np.abs(values[values != 0])
    largest = float(np.percentile(sizes, 99.5)) if sizes.size else 1.0
    return np.clip(values / max(largest, 1e-12), -1, 1).astype(np.float32)


def _draw_foot(picture: Image.Image, draw: ImageDraw.ImageDraw, top: int, lines: Sequence[str]) -> None:
    y = top + _LINE_PX
    bar = np.linspace(1, 255, PANEL_PX).round().astype(np.uint8)[None].repeat(12, 0)
    ground = Image.new("RGBA", (PANEL_PX, 12), (90, 90, 90, 255))
    picture.paste(Image.alpha_composite(ground, _coloured(bar)).convert("RGB"), (_MARGIN_PX + 190, y - 6))
    write_text(draw, (_MARGIN_PX, y), "speaks against tumour", colour=_FAINT, size_px=16)
    legend = "speaks for tumour. White: the outlined tumour. Black: borders of supervoxels."
    write_text(draw, (_MARGIN_PX + 200 + PANEL_PX, y), legend, colour=_FAINT, size_px=16)
    for number, text in enumerate((*lines, CONVENTION), start=2):
        write_text(draw, (_MARGIN_PX, top + _LINE_PX * number), text, size_px=17)
    write_text(draw, (_MARGIN_PX, top + _LINE_PX * (len(lines) + 3)), RESEARCH_USE, bold=True)
