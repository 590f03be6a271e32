"""Images and probabilities from one grid to another; grids may be turned against each other in any way."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from federated.ports import Image

Floats = npt.NDArray[np.float32]
Affine = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Grid:
    """Where an array's voxels are.

    Attributes:
        shape: (slices, rows, columns).
        affine_lps: (4, 4), maps (slice, row, column, 1) to LPS, mm.
    """

    shape: tuple[int, int, int]
    affine_lps: Affine

    @property
    def spacing_mm(self) -> npt.NDArray[np.float64]:
        """Distance between neighbours along each array axis, mm."""
        spacing: npt.NDArray[np.float64] = np.linalg.norm(self.affine_lps[:3, :3], axis=0)
        return spacing


def resample(image: Image, grid: Grid, *, fill: float) -> Floats:
    """Interpolate an image linearly on a grid; fill where the image has no voxels.

    Axes that are sampled finer than the grid are averaged in blocks first, so that nothing aliases.
    """
    source = block_mean(image, float(grid.spacing_mm.min()))
    to_index = np.linalg.inv(source.affine_lps) @ grid.affine_lps
    values = interpolate(source.voxels, to_index, grid.shape, mode="nearest")
    values[~_covered(source.voxels.shape, to_index, grid.shape)] = fill
    return values


def block_mean(image: Image, spacing_mm: float) -> Image:
    """Average blocks of neighbours along each axis so that their spacing comes near the given one, mm."""
    voxels, affine = image.voxels, image.affine_lps.copy()
    for axis in range(3):
        factor = min(int(spacing_mm / np.linalg.norm(image.affine_lps[:3, axis]) + 0.25), voxels.shape[axis])
        if factor < 2:
            continue
        # Repeating the last slice keeps the edge; it moves the last block's centre by less than the grid's spacing.
        surplus = -voxels.shape[axis] % factor
        padding = [(0, surplus if other == axis else 0) for other in range(3)]
        padded = np.pad(voxels, padding, mode="edge") if surplus else voxels
        blocks = padded.reshape(*padded.shape[:axis], -1, factor, *padded.shape[axis + 1 :])
        voxels = blocks.mean(axis=axis + 1, dtype=np.float32)
        step = np.ones(4)
        step[axis] = factor
        affine = affine @ translation(np.eye(3)[axis] * (factor - 1) / 2) @ np.diag(step)
    return Image(np.ascontiguousarray(voxels, np.float32), affine)


def covered(image: Image, grid: Grid) -> Mask:
    """Where the grid's voxel centres lie inside the image's voxels, edges included."""
    return _covered(image.voxels.shape, np.linalg.inv(image.affine_lps) @ grid.affine_lps, grid.shape)


def resample_labels(labels: npt.NDArray[np.uint8], affine_lps: Affine, grid: Grid) -> npt.NDArray[np.uint8]:
    """Take the nearest label at each of the grid's voxels, 0 outside."""
    to_index = np.linalg.inv(affine_lps) @ grid.affine_lps
    nearest: npt.NDArray[np.uint8] = ndimage.affine_transform(
        labels, to_index[:3, :3], to_index[:3, 3], output_shape=grid.shape, order=0, mode="nearest"
    )
    nearest[~_covered(labels.shape, to_index, grid.shape)] = 0
    return nearest


def interpolate(voxels: Floats, to_index: Affine, shape: tuple[int, int, int], *, mode: str) -> Floats:
    """Interpolate linearly.

    Args:
        voxels: Of the source.
        to_index: (4, 4), maps an index of the answer to one of the source.
        shape: Of the answer.
        mode: What lies beyond the source, in the words of scipy.ndimage.
    """
    matrix, offset = to_index[:3, :3].copy(), to_index[:3, 3].copy()
    # Between aligned grids the inverse leaves noise of 1e-16 off the diagonal, which would cost the faster way.
    matrix[np.abs(matrix) < 1e-9] = 0
    steps = np.diag(matrix) if np.array_equal(matrix, np.diag(np.diag(matrix))) else matrix
    values: Floats = ndimage.affine_transform(
        voxels, steps, offset, output_shape=shape, order=1, mode=mode, output=np.float32, prefilter=False
    )
    return values


def box_corners(affine: Affine, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Where an affine puts the eight corners of an index box; (8, 3)."""
    corners = np.array(list(itertools.product(*zip(low, high, strict=True))))
    moved: npt.NDArray[np.float64] = corners @ affine[:3, :3].T + affine[:3, 3]
    return moved


def translation(by: npt.ArrayLike) -> Affine:
    """The affine (4, 4) that adds a vector."""
    affine = np.eye(4)
    affine[:3, 3] = by
    return affine


def to_shape(counts: Iterable[int]) -> tuple[int, int, int]:
    """Three counts as a shape."""
    slices, rows, columns = (int(count) for count in counts)
    return slices, rows, columns


def _covered(source_shape: tuple[int, ...], to_index: Affine, shape: tuple[int, int, int]) -> Mask:
    """Where the grid's voxel centres lie inside the source's voxels, edges included."""
    inside = np.ones(shape, bool)
    slices, rows, columns = np.ogrid[: shape[0], : shape[1], : shape[2]]
    for axis, length in enumerate(source_shape):
        weights = to_index[axis]
        index = weights[0] * slices + weights[1] * rows + weights[2] * columns + weights[3]
        inside &= (index >= -0.5 - 1e-6) & (index <= length - 0.5 + 1e-6)
    return inside
