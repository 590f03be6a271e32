"""One plane of a head as a radiologist sees it: where to cut, how large to draw, what is written on it.

Radiological convention: the patient's right is on the left of axial and coronal views; anterior is at the top of axial
and on the left of sagittal ones; the head is at the top of the other two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from plugin.services.drawing import FILL_ALPHA, Grey, Labels, Rgb, colour_table, resize_labels, to_image, with_contours
from plugin.services.reading_grid import ReadingGrid, Voxels

PICTURE_PX: Final = 512
"""Width and height of every view."""

EDGE_PX: Final = 22
"""Left free around the anatomy, for the orientation letters."""

Voxel = tuple[int, int, int]
"""(slice, row, column) on the reading grid."""


class Plane(StrEnum):
    """How a view cuts the head."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


LETTERS: Final[Mapping[Plane, str]] = {Plane.AXIAL: "RLAP", Plane.CORONAL: "RLHF", Plane.SAGITTAL: "APHF"}
"""What lies left, right, at the top and at the bottom; PS3.3 C.7.6.1.1.1."""


@dataclass(frozen=True)
class Layout:
    """Where a cut goes on the square picture.

    Attributes:
        box: The part of the cut that is shown: left, top, right, bottom, in its pixels.
        size: Width and height that this part gets, px.
        corner: Where its upper left corner comes, px.
        px_per_mm: The same for all planes, so that they can be compared.
    """

    box: tuple[int, int, int, int]
    size: tuple[int, int]
    corner: tuple[int, int]
    px_per_mm: float


def to_grid(grid: ReadingGrid, volume: Voxels, reference: Voxels) -> npt.NDArray[np.float32]:
    """A volume on the reading grid; one that shares the reference's voxels needs no interpolation."""
    if volume.voxels.shape == reference.voxels.shape and np.allclose(
        volume.affine_lps, reference.affine_lps, rtol=0, atol=1e-3
    ):
        return grid.arrange(volume.voxels)
    return grid.sample(volume)


def point_to_show(grid: ReadingGrid, marked: Labels) -> Voxel:
    """Where the views cut: the slice of the largest tumour area, and the centre of the largest lesion.

    A connected lesion reaches every plane through its centre of mass, a scattered one need not. Without a tumour it
    is the middle of the head.
    """
    areas = np.count_nonzero(marked, axis=(1, 2))
    if not areas.any():
        middle = tuple((part.start + part.stop) // 2 for part in grid.head)
        return (middle[0], middle[1], middle[2])
    lesions, _ = ndimage.label(marked)
    largest = int(np.argmax(np.bincount(lesions.ravel())[1:])) + 1
    part = ndimage.find_objects(lesions)[largest - 1]
    _, row, column = ndimage.center_of_mass(lesions[part] == largest)
    return (int(np.argmax(areas)), part[1].start + round(row), part[2].start + round(column))


def cut_plane(volume: npt.NDArray[np.uint8], plane: Plane, point: Voxel) -> npt.NDArray[np.uint8]:
    """One plane of an array on the reading grid, as it is to be seen."""
    slice_index, row, column = point
    cuts: Mapping[Plane, npt.NDArray[np.uint8]] = {
        Plane.AXIAL: volume[slice_index],
        Plane.CORONAL: volume[::-1, row, :],
        Plane.SAGITTAL: volume[::-1, :, column],
    }
    return cuts[plane]


def layout_of(grid: ReadingGrid, plane: Plane) -> Layout:
    """Where a plane goes on its picture: the head in the middle, as large as fits."""
    lengths_mm = [spacing * (part.stop - part.start) for spacing, part in zip(grid.spacing_mm, grid.head, strict=True)]
    px_per_mm = (PICTURE_PX - 2 * EDGE_PX) / max(lengths_mm)
    slices, rows, columns = grid.head
    top, bottom = grid.shape[0] - slices.stop, grid.shape[0] - slices.start  # the head is at the top
    box, height_mm, width_mm = {
        Plane.AXIAL: ((columns.start, rows.start, columns.stop, rows.stop), lengths_mm[1], lengths_mm[2]),
        Plane.CORONAL: ((columns.start, top, columns.stop, bottom), lengths_mm[0], lengths_mm[2]),
        Plane.SAGITTAL: ((rows.start, top, rows.stop, bottom), lengths_mm[0], lengths_mm[1]),
    }[plane]
    size = (max(1, round(width_mm * px_per_mm)), max(1, round(height_mm * px_per_mm)))
    return Layout(box, size, ((PICTURE_PX - size[0]) // 2, (PICTURE_PX - size[1]) // 2), px_per_mm)


def draw_base(cut: Grey, layout: Layout, letters: str) -> Image.Image:
    """The anatomy in grey, with what lies at each side and a scale bar.

    Args:
        letters: Of the left, right, upper and lower side; see LETTERS.
    """
    picture = Image.new("L", (PICTURE_PX, PICTURE_PX))
    picture.paste(to_image(cut).resize(layout.size, Image.Resampling.BICUBIC, box=layout.box), layout.corner)
    draw = ImageDraw.Draw(picture)
    middle, edge = PICTURE_PX // 2, PICTURE_PX - 5
    for letter, place, anchor in zip(
        letters, ((5, middle), (edge, middle), (middle, 4), (middle, edge)), ("lm", "rm", "mt", "mb"), strict=True
    ):
        _write(draw, letter, place, anchor, size_px=20)
    _draw_scale_bar(draw, layout.px_per_mm)
    return picture


def _draw_scale_bar(draw: ImageDraw.ImageDraw, px_per_mm: float) -> None:
    """A bar of a round length, less than a third of the picture, in the lower right corner."""
    length_mm = max((mm for mm in (1, 2, 5, 10, 20, 50, 100) if mm * px_per_mm <= PICTURE_PX * 0.3), default=1)
    right, y = PICTURE_PX - 10, PICTURE_PX - 12
    left = right - round(length_mm * px_per_mm)
    for width, grey in ((6, 0), (2, 235)):
        draw.line(((left, y), (right, y)), fill=grey, width=width)
        for x in (left, right):
            draw.line(((x, y - 5), (x, y + 5)), fill=grey, width=width)
    _write(draw, f"{length_mm} mm", ((left + right) // 2, y - 8), "mb", size_px=15)


def _write(draw: ImageDraw.ImageDraw, text: str, place: tuple[int, int], anchor: str, *, size_px: int) -> None:
    font = ImageFont.load_default(size=size_px)
    draw.text(place, text, fill=235, font=font, anchor=anchor, stroke_width=2, stroke_fill=0)


def draw_overlay(
    cut: Labels, colours: Mapping[int, Rgb], layout: Layout, *, fill_alpha: int = FILL_ALPHA
) -> Image.Image:
    """Half-transparent regions with a solid contour, drawn at twice the size for smooth edges."""
    size = (2 * layout.size[0], 2 * layout.size[1])
    enlarged = resize_labels(cut, size, layout.box)
    picture = Image.new("RGBA", (2 * PICTURE_PX, 2 * PICTURE_PX))
    picture.paste(
        to_image(colour_table(colours, fill_alpha)[with_contours(enlarged, width=3)]),
        (2 * layout.corner[0], 2 * layout.corner[1]),
    )
    return picture.reduce(2)
