"""One picture of a prediction: three planes of each sequence with the regions outlined, and how uncertain they are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

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
from plugin.services.reading_grid import ReadingGrid, Voxels, build_reading_grid, to_grey
from plugin.services.regions import COLOURS
from plugin.services.report_facts import CONVENTION, RESEARCH_USE, TIMES, measurement_rows
from plugin.services.values import Measurement

PANEL_PX: Final = 360
_GAP_PX = 4
_MARGIN_PX, _TITLE_PX, _HEADING_PX, _FOOT_PX = 20, 48, 30, 210
_LINE_PX, _TEXT_PX = 27, 18
_BACKGROUND, _INK, _FAINT = (16, 18, 22), (235, 238, 242), (165, 172, 182)
_UNCERTAINTY = "Uncertainty"

_COLOUR_STOPS: Final = ((0.0, (40, 10, 70)), (0.25, (140, 40, 120)), (0.5, (240, 100, 60)), (1.0, (255, 245, 160)))
"""From sure to not knowing; brightness grows all the way, so it reads without colour too."""
_CLEAR, _SOLID = 0.02, 0.2
"""Where the uncertainty begins to cover the anatomy, and where it covers it fully."""

_FONTS = Path(__file__).parent / "fonts"


def render_overlay(
    images: Mapping[str, Voxels],
    sequences: Sequence[str],
    reference: str,
    labels: Labels,
    uncertainty: npt.NDArray[np.float32],
    measurements: Sequence[Measurement],
    lines: Sequence[str],
) -> bytes:
    """Draw the picture.

    The planes cut the slice with the largest tumour area and the centre of the largest lesion; without a tumour, the
    middle of the head.

    Args:
        images: By sequence, in any geometry; one that is missing leaves its column empty.
        sequences: The columns, in order; the uncertainty comes behind them.
        reference: Whose grid labels and uncertainty are on.
        labels: 0 background, 1 necrotic and non-enhancing core, 2 oedema, 3 enhancing.
        uncertainty: float32, 0 to 1.
        measurements: For the table below.
        lines: A title, then what else is to be told, a line each.

    Returns:
        A PNG; the same input gives the same bytes.
    """
    grid = build_reading_grid(images[reference], labels)
    marked = grid.arrange(labels)
    point = point_to_show(grid, marked)
    greys = {name: to_grey(to_grid(grid, images[name], images[reference])) for name in sequences if name in images}
    columns = (*sequences, _UNCERTAINTY)
    width = len(columns) * PANEL_PX + 2 * _MARGIN_PX
    top = _TITLE_PX + _HEADING_PX
    picture = Image.new("RGB", (width, top + len(Plane) * PANEL_PX + _FOOT_PX), _BACKGROUND)
    draw = ImageDraw.Draw(picture)
    write_text(draw, (_MARGIN_PX, _TITLE_PX // 2 + 4), lines[0], size_px=22, bold=True)
    doubt = np.clip(grid.arrange(uncertainty) * 255, 0, 255).astype(np.uint8)
    for number, column in enumerate(columns):
        left = _MARGIN_PX + number * PANEL_PX
        write_text(draw, (left + 4, top - _HEADING_PX // 2), column, bold=True)
        for row, plane in enumerate(Plane):
            place = (left, top + row * PANEL_PX)
            if column == _UNCERTAINTY:
                panel = _doubt_panel(greys[reference], doubt, grid, plane, point)
            elif column in greys:
                panel = outlined_panel(greys[column], marked, grid, plane, point)
            else:
                write_text(draw, (left + 4, place[1] + PANEL_PX // 2), f"{column} is missing", colour=_FAINT)
                continue
            size = (PANEL_PX - _GAP_PX, PANEL_PX - _GAP_PX)
            picture.paste(panel.resize(size, Image.Resampling.LANCZOS), place)
    _draw_foot(draw, picture, top + len(Plane) * PANEL_PX, measurements, lines[1:])
    return to_png(picture)


def outlined_panel(grey: Grey, marked: Labels, grid: ReadingGrid, plane: Plane, point: Voxel) -> Image.Image:
    """One plane with the regions outlined; a fill would hide the texture that they are to be compared with."""
    layout = layout_of(grid, plane)
    base = draw_base(cut_plane(grey, plane, point), layout, LETTERS[plane])
    outlines = draw_overlay(cut_plane(marked, plane, point), COLOURS, layout, fill_alpha=0)
    return Image.alpha_composite(base.convert("RGBA"), outlines).convert("RGB")


def _doubt_panel(grey: Grey, doubt: Grey, grid: ReadingGrid, plane: Plane, point: Voxel) -> Image.Image:
    layout = layout_of(grid, plane)
    dimmed = cut_plane(grey, plane, point) // 2
    base = draw_base(dimmed, layout, LETTERS[plane]).convert("RGBA")
    veil = Image.new("RGBA", (PICTURE_PX, PICTURE_PX))
    veil.paste(_coloured(cut_plane(doubt, plane, point), layout), layout.corner)
    return Image.alpha_composite(base, veil).convert("RGB")


def _coloured(cut: Grey, layout: Layout) -> Image.Image:
    """The uncertainty (0 to 255) in colour, clear where there is none."""
    resized = np.asarray(to_image(cut).resize(layout.size, Image.Resampling.BILINEAR, box=layout.box)) / 255
    alpha = np.clip((resized - _CLEAR) / (_SOLID - _CLEAR), 0, 1) * 255
    return to_image(np.dstack([_colours(resized), alpha.astype(np.uint8)]))


def _colours(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """(..., 3) for values from 0 to 1."""
    at = [stop for stop, _ in _COLOUR_STOPS]
    channels = [np.interp(values, at, [rgb[channel] for _, rgb in _COLOUR_STOPS]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def _draw_foot(
    draw: ImageDraw.ImageDraw,
    picture: Image.Image,
    top: int,
    measurements: Sequence[Measurement],
    lines: Sequence[str],
) -> None:
    y, places = top + _LINE_PX, (_MARGIN_PX, _MARGIN_PX + 360, _MARGIN_PX + 470)
    for text, x in zip(("Region", "ml", f"Diameters (mm {TIMES} mm)"), places, strict=True):
        write_text(draw, (x, y), text, colour=_FAINT)
    for row in measurement_rows(measurements):
        y += _LINE_PX
        if row.swatch:
            draw.rectangle((places[0], y - 7, places[0] + 14, y + 7), outline=row.swatch, width=3)
        for text, x in zip((row.label, row.volume, row.diameters), (places[0] + 24, *places[1:]), strict=True):
            write_text(draw, (x, y), text)
    _draw_scale(picture, draw, (picture.width - _MARGIN_PX - PANEL_PX, top + _LINE_PX))
    right = _MARGIN_PX + 2 * PANEL_PX
    for number, text in enumerate((*lines, CONVENTION)):
        write_text(draw, (right, top + _LINE_PX * (number + 1)), text, colour=_INK if number == 0 else _FAINT)
    write_text(draw, (right, top + _FOOT_PX - _LINE_PX), RESEARCH_USE, bold=True)


def _draw_scale(picture: Image.Image, draw: ImageDraw.ImageDraw, place: tuple[int, int]) -> None:
    left, y = place
    bar = np.tile(_colours(np.linspace(0, 1, PANEL_PX)), (12, 1, 1))
    picture.paste(Image.fromarray(bar), (left, y - 6))
    for text, x, anchor in (("0 sure", left, "lm"), ("1 all labels equally likely", left + PANEL_PX, "rm")):
        write_text(draw, (x, y + _LINE_PX), text, colour=_FAINT, anchor=anchor)


def write_text(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    *,
    size_px: int = _TEXT_PX,
    bold: bool = False,
    colour: tuple[int, int, int] = _INK,
    anchor: str = "lm",
) -> None:
    """Write a line in DejaVu Sans, which every machine draws alike."""
    font = ImageFont.truetype(_FONTS / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"), size_px)
    draw.text(place, text, fill=colour, font=font, anchor=anchor)
