"""Reading screenshots: where a slice of the subject lies on one, and which pixels the overlay changed.

Nothing here knows how the product lays its pictures out: a slice is registered to a screenshot by its anatomy.
"""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage, optimize

Pixels = npt.NDArray[np.int16]
Mask = npt.NDArray[np.bool_]

_BLACK = 12
"""Up to this brightness it is background; the subjects are skull-stripped, so all around the brain is 0."""
_CHANGED = 6
"""A channel that differs by more was painted over."""
_FITTED_PX = 300
"""So many pixels a side are enough to register by."""


def read_png(png: bytes) -> Pixels:
    """A screenshot as RGB (rows, columns, 3)."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.int16)


def changed_pixels(one: Pixels, other: Pixels) -> Mask:
    """Where two screenshots of one thing differ."""
    assert one.shape == other.shape
    return np.abs(one - other).max(axis=2) > _CHANGED


def dice(one: Mask, other: Mask) -> float:
    """Agreement of two masks, 0 to 1."""
    return 2 * int((one & other).sum()) / (int(one.sum()) + int(other.sum()))


def centroid(mask: Mask) -> npt.NDArray[np.float64]:
    """Mean (row, column)."""
    return np.argwhere(mask).mean(axis=0)


@dataclass(frozen=True)
class Placement:
    """Where a slice (rows, columns) lies on a screenshot.

    Attributes:
        origin: Pixel of the outer corner of voxel (0, 0), (row, column).
        scale: Pixels per voxel along rows and columns.
        shape: Rows and columns of the screenshot.
    """

    origin: tuple[float, float]
    scale: tuple[float, float]
    shape: tuple[int, int]

    def draw(self, voxels: npt.NDArray[Any], *, order: int = 0, every: int = 1) -> npt.NDArray[Any]:
        """Put a slice onto the screenshot's pixels, or onto every n-th of them.

        Args:
            order: 0 takes the voxel that a pixel lies in, 1 interpolates.
        """
        rows, columns = (
            (np.arange(0, length, every) + 0.5 - origin) / scale - 0.5
            for length, origin, scale in zip(self.shape, self.origin, self.scale, strict=True)
        )
        grid = np.meshgrid(rows, columns, indexing="ij")
        return ndimage.map_coordinates(voxels.astype(np.float32), grid, order=order, mode="constant")


@dataclass(frozen=True)
class Registration:
    """A slice found on a screenshot.

    Attributes:
        likeness: Correlation of the slice with the screenshot, up to 1.
    """

    placement: Placement
    likeness: float


def find_slice(voxels: npt.NDArray[Any], screenshot: Pixels) -> Registration:
    """Find a slice's anatomy on a screenshot without an overlay: first by the brain's box, then by likeness."""
    shape = screenshot.shape[:2]
    every = max(1, max(shape) // _FITTED_PX)
    grey = screenshot[::every, ::every].mean(axis=2)
    # As pictures are windowed: the brightest vessels are all the same white.
    windowed = np.clip(voxels, 0, np.percentile(voxels[voxels > 0], 99.5))

    def unlikeness(guess: npt.NDArray[np.float64]) -> float:
        drawn = _placement(guess, shape).draw(windowed, order=1, every=every)
        return 1 - float(np.corrcoef(drawn.ravel(), grey.ravel())[0, 1])

    start = _by_boxes(voxels > 0, screenshot)
    around = np.vstack([start, start + np.diag([4, 4, 0.2, 0.2])])
    options = {"initial_simplex": around, "xatol": 0.02, "fatol": 1e-6}
    found = optimize.minimize(unlikeness, start, method="Nelder-Mead", options=options)
    return Registration(_placement(found.x, shape), 1 - float(found.fun))


def _placement(guess: npt.NDArray[np.float64], shape: tuple[int, int]) -> Placement:
    top, left, rows, columns = (float(value) for value in guess)
    return Placement((top, left), (rows, columns), shape)


def _by_boxes(brain: Mask, screenshot: Pixels) -> npt.NDArray[np.float64]:
    """The placement that makes the brain's bounding boxes meet: (top, left, row scale, column scale)."""
    # Letters and the scale bar are small and lie beside it.
    found, _ = ndimage.label(screenshot.max(axis=2) > _BLACK)
    sizes = np.bincount(found.ravel())
    sizes[0] = 0
    shown, wanted = _box(found == sizes.argmax()), _box(brain)
    scale = [(s.stop - s.start) / (w.stop - w.start) for s, w in zip(shown, wanted, strict=True)]
    origin = [s.start - w.start * factor for s, w, factor in zip(shown, wanted, scale, strict=True)]
    return np.array([*origin, *scale])


def _box(mask: Mask) -> tuple[slice, slice]:
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    return box
