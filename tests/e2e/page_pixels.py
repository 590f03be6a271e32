"""Reading screenshots: where the brain is, and which pixels the overlay changed.

Nothing here knows how the product lays its pictures out: a slice of the subject is put onto a screenshot by the
bounding boxes of the brain, in the voxels on one side and in the pixels on the other.
"""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

Pixels = npt.NDArray[np.int16]
Mask = npt.NDArray[np.bool_]

_BLACK = 12
"""Up to this brightness it is background; the subjects are skull-stripped, so all around the brain is 0."""
_CHANGED = 6
"""A channel that differs by more was painted over."""


def read_png(png: bytes) -> Pixels:
    """A screenshot as RGB (rows, columns, 3)."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.int16)


def changed_pixels(one: Pixels, other: Pixels) -> Mask:
    """Where two screenshots of one thing differ."""
    assert one.shape == other.shape
    return np.abs(one - other).max(axis=2) > _CHANGED


@dataclass(frozen=True)
class Placement:
    """Where a slice (rows, columns) lies on a screenshot.

    Attributes:
        scale: Pixels per voxel along rows and columns.
        origin: Pixel of the outer corner of voxel (0, 0).
    """

    scale: tuple[float, float]
    origin: tuple[float, float]
    shape: tuple[int, int]

    def draw(self, voxels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Put a slice onto a picture of the screenshot's shape, each pixel taking the voxel it lies in."""
        indices = [
            np.floor((np.arange(length) + 0.5 - origin) / scale).astype(int)
            for length, origin, scale in zip(self.shape, self.origin, self.scale, strict=True)
        ]
        inside = [(index >= 0) & (index < length) for index, length in zip(indices, voxels.shape, strict=True)]
        rows, columns = (np.clip(index, 0, length - 1) for index, length in zip(indices, voxels.shape, strict=True))
        return np.where(inside[0][:, None] & inside[1][None, :], voxels[rows[:, None], columns[None, :]], 0)


def place_slice(brain: Mask, screenshot: Pixels) -> Placement:
    """Find a slice's brain on a screenshot without an overlay."""
    # Letters and the scale bar are small and lie beside it.
    found, _ = ndimage.label(screenshot.max(axis=2) > _BLACK)
    sizes = np.bincount(found.ravel())
    sizes[0] = 0
    shown = _box(found == sizes.argmax())
    wanted = _box(brain)
    scale = tuple((s.stop - s.start) / (w.stop - w.start) for s, w in zip(shown, wanted, strict=True))
    origin = tuple(s.start - w.start * factor for s, w, factor in zip(shown, wanted, scale, strict=True))
    return Placement((scale[0], scale[1]), (origin[0], origin[1]), screenshot.shape[:2])


def dice(one: Mask, other: Mask) -> float:
    """Agreement of two masks, 0 to 1."""
    return 2 * int((one & other).sum()) / (int(one.sum()) + int(other.sum()))


def centroid(mask: Mask) -> npt.NDArray[np.float64]:
    """Mean (row, column)."""
    return np.argwhere(mask).mean(axis=0)


def _box(mask: Mask) -> tuple[slice, slice]:
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    return box
