"""Volumes in the order a radiologist reads them, cropped to the head, in 8-bit grey."""

from dataclasses import dataclass
from itertools import permutations
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage

FOREGROUND_FRACTION = 0.1
"""A voxel is head, not air, above this part of the way from the darkest to the brightest."""

MARGIN_MM = 4.0
"""What is left around the head."""


class Voxels(Protocol):
    """A volume of any origin: what is drawn needs no more than its voxels and where they are."""

    @property
    def voxels(self) -> npt.NDArray[np.float32]:
        """(slices, rows, columns)."""

    @property
    def affine_lps(self) -> npt.NDArray[np.float64]:
        """(4, 4), maps (slice, row, column, 1) to LPS, mm."""


@dataclass(frozen=True, eq=False)
class ReadingGrid:
    """The reference's voxels along the patient axes they are nearest to.

    Slices run from feet to head, rows from anterior to posterior, columns from the patient's right to left: each index
    grows with its LPS coordinate, whatever the acquisition was. No voxel is interpolated.

    Attributes:
        order: The reference's array axes that become (slices, rows, columns).
        reversed_axes: Those of the new axes that run against the reference's.
        crop: The part that is shown, along the new axes.
        shape: Number of (slices, rows, columns) in that part.
        affine_lps: float64 (4, 4), maps (slice, row, column, 1) of that part to LPS, mm.
        head: Where the head and the labels lie in that part, per axis.
    """

    order: tuple[int, int, int]
    reversed_axes: tuple[int, ...]
    crop: tuple[slice, slice, slice]
    shape: tuple[int, int, int]
    affine_lps: npt.NDArray[np.float64]
    head: tuple[slice, slice, slice]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbours along (slices, rows, columns), mm."""
        lengths = np.linalg.norm(self.affine_lps[:3, :3], axis=0)
        return (float(lengths[0]), float(lengths[1]), float(lengths[2]))

    def arrange(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Bring an array of the reference's shape (slices, rows, columns) onto this grid, without copying."""
        return np.flip(array.transpose(self.order), self.reversed_axes)[self.crop]

    def sample(self, volume: Voxels) -> npt.NDArray[np.float32]:
        """Interpolate a volume of any geometry trilinearly at this grid's voxel centres; 0 outside it.

        Returns:
            float32 of this grid's shape.
        """
        to_index = np.linalg.inv(volume.affine_lps) @ self.affine_lps
        # grid-constant fades out at the border; constant would blank a slice that rounding puts 1e-13 outside.
        sampled: npt.NDArray[np.float32] = ndimage.affine_transform(
            volume.voxels,
            to_index[:3, :3],
            offset=to_index[:3, 3],
            output_shape=self.shape,
            output=np.float32,
            order=1,
            mode="grid-constant",
            prefilter=False,
        )
        return sampled


def build_reading_grid(reference: Voxels, labels: npt.NDArray[np.uint8]) -> ReadingGrid:
    """Find the reading order of a volume, and the part of each slice that holds the head and every label.

    All slices are kept; rows and columns are cropped.

    Args:
        reference: Acquired in any orientation.
        labels: (slices, rows, columns) on the reference's grid; 0 is background.
    """
    order, reversed_axes = _reading_order(reference.affine_lps[:3, :3])
    whole = ReadingGrid(
        order=order,
        reversed_axes=reversed_axes,
        crop=(slice(None), slice(None), slice(None)),
        shape=(reference.voxels.shape[order[0]], reference.voxels.shape[order[1]], reference.voxels.shape[order[2]]),
        affine_lps=_rearranged_affine(reference, order, reversed_axes),
        head=(slice(None), slice(None), slice(None)),
    )
    head, marked = _head_mask(whole.arrange(reference.voxels)), whole.arrange(labels) > 0
    slices, rows, columns = (
        _extent(_profile(head, axis), _profile(marked, axis), round(MARGIN_MM / spacing_mm))
        for axis, spacing_mm in enumerate(whole.spacing_mm)
    )
    affine_lps = whole.affine_lps.copy()
    affine_lps[:3, 3] = (whole.affine_lps @ [0, rows.start, columns.start, 1])[:3]
    height, width = rows.stop - rows.start, columns.stop - columns.start
    return ReadingGrid(
        order=order,
        reversed_axes=reversed_axes,
        crop=(slice(0, whole.shape[0]), rows, columns),
        shape=(whole.shape[0], height, width),
        affine_lps=affine_lps,
        head=(slices, slice(0, height), slice(0, width)),
    )


def to_grey(voxels: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Map the head's intensities from percentile 1 to 99.5 to the greys 0 to 255.

    Args:
        voxels: (slices, rows, columns); a head of one intensity only becomes black.
    """
    sparse = voxels[::2, ::2, ::2]  # a grid this dense gives the same percentiles in an eighth of the time
    head = sparse[_head_mask(sparse)]
    low, high = (float(value) for value in np.percentile(head, (1.0, 99.5))) if head.size else (0.0, 0.0)
    if high <= low:
        return np.zeros(voxels.shape, np.uint8)
    greys: npt.NDArray[np.uint8] = np.clip((voxels - low) * (255.0 / (high - low)), 0, 255).astype(np.uint8)
    return greys


def _reading_order(axes_lps: npt.NDArray[np.float64]) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """Which array axis lies nearest to S, P and L, one each, and which of them run the other way."""
    cosines = axes_lps / np.linalg.norm(axes_lps, axis=0)
    superior, posterior, left = max(
        permutations(range(3)), key=lambda axes: sum(abs(cosines[2 - i, axis]) for i, axis in enumerate(axes))
    )
    order = (superior, posterior, left)
    return order, tuple(i for i, axis in enumerate(order) if cosines[2 - i, axis] < 0)


def _rearranged_affine(
    reference: Voxels, order: tuple[int, int, int], reversed_axes: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    to_reference = np.zeros((4, 4))
    to_reference[3, 3] = 1
    for new, old in enumerate(order):
        backwards = new in reversed_axes
        to_reference[old, new] = -1 if backwards else 1
        to_reference[old, 3] = reference.voxels.shape[old] - 1 if backwards else 0
    return reference.affine_lps @ to_reference


def _head_mask(voxels: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    low, high = (float(value) for value in np.percentile(voxels[::2, ::2, ::2], (0.5, 99.5)))
    return voxels > low + FOREGROUND_FRACTION * (high - low)


def _profile(mask: npt.NDArray[np.bool_], axis: int) -> npt.NDArray[np.int64]:
    """How many voxels of the mask each index along an axis holds."""
    counts: npt.NDArray[np.int64] = np.count_nonzero(mask, axis=tuple(other for other in range(3) if other != axis))
    return counts


def _extent(head: npt.NDArray[np.int64], marked: npt.NDArray[np.int64], margin: int) -> slice:
    """The part of an axis that holds all labels, and the head but for strays, with a margin.

    Args:
        head, marked: Voxels at each index; of the head, less than 1 in 100 of the fullest index is noise in air.
        margin: In voxels.
    """
    filled = np.flatnonzero((head > head.max() / 100) | (marked > 0))
    if filled.size == 0:
        return slice(0, len(head))
    return slice(max(0, int(filled[0]) - margin), min(len(head), int(filled[-1]) + 1 + margin))
