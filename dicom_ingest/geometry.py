"""Where voxels lie: LPS, millimetres, array indices (slice, row, column).

References:
    DICOM PS3.3 C.7.6.2.1.1 (plane position and orientation), equation C.7.6.2.1-1.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

ORIENTATION_TOLERANCE = 1e-3
"""By how much direction cosines may miss unit length and a right angle, or differ between slices."""
SPACING_TOLERANCE = 0.05
"""By which fraction of the slice spacing one gap may differ from it."""
IN_PLANE_TOLERANCE = 0.1
"""By which fraction of a pixel a slice may be shifted within its plane."""
DUPLICATE_TOLERANCE_MM = 0.01
"""Slices closer than this are at one place."""


def is_orientation(orientation: Sequence[float]) -> bool:
    """Whether six direction cosines are two perpendicular unit vectors."""
    row, column = _directions(orientation)
    return bool(
        abs(np.linalg.norm(row) - 1) <= ORIENTATION_TOLERANCE
        and abs(np.linalg.norm(column) - 1) <= ORIENTATION_TOLERANCE
        and abs(row @ column) <= ORIENTATION_TOLERANCE
    )


def slice_normal(orientation: Sequence[float]) -> Array:
    """The unit vector perpendicular to the slices: direction along a row x direction along a column, LPS.

    Args:
        orientation: ImageOrientationPatient.
    """
    row, column = _directions(orientation)
    normal = np.cross(row, column)
    return np.asarray(normal / np.linalg.norm(normal), np.float64)


def distances_mm(orientation: Sequence[float], positions: Array) -> Array:
    """How far along the slice normal each position lies, mm.

    Args:
        positions: ImagePositionPatient (slices, 3), LPS, mm.
    """
    return np.asarray(positions @ slice_normal(orientation), np.float64)


def in_plane_shifts_mm(orientation: Sequence[float], positions: Array) -> Array:
    """How far each position lies from the line along the normal through the first one, mm (slices,)."""
    offsets = positions - positions[0]
    along = np.outer(offsets @ slice_normal(orientation), slice_normal(orientation))
    return np.asarray(np.linalg.norm(offsets - along, axis=1), np.float64)


def stack_affine_lps(orientation: Sequence[float], pixel_spacing_mm: Sequence[float], positions: Array) -> Array:
    """The map of (slice, row, column, 1) to LPS, mm, for evenly spaced slices.

    Args:
        orientation: ImageOrientationPatient.
        pixel_spacing_mm: PixelSpacing: between rows, then between columns.
        positions: ImagePositionPatient (slices, 3) in the order of the slices; two or more.

    Returns:
        float64 (4, 4). Its slice column is exact at the first and at the last slice.
    """
    along_row, along_column = _directions(orientation)
    affine = np.eye(4)
    affine[:3, 0] = (positions[-1] - positions[0]) / (len(positions) - 1)
    # The row index counts down a column and vice versa: PS3.3 equation C.7.6.2.1-1.
    affine[:3, 1] = along_column / np.linalg.norm(along_column) * pixel_spacing_mm[0]
    affine[:3, 2] = along_row / np.linalg.norm(along_row) * pixel_spacing_mm[1]
    affine[:3, 3] = positions[0]
    return affine


def _directions(orientation: Sequence[float]) -> tuple[Array, Array]:
    return np.asarray(orientation[:3], np.float64), np.asarray(orientation[3:], np.float64)
