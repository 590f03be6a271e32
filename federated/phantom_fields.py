"""Random smooth fields in millimetres: the same generator state gives the same field on every voxel grid."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

EXTENT_MM = 288.0
"""Edge of the cube, about the head's centre, in which fields are defined."""
# Mean of a uniform cubic B-spline's sum of squared weights, 151/315, once for each of three axes.
_VARIANCE = (151 / 315) ** 3


@dataclass(frozen=True)
class FieldOfView:
    """A voxel grid about the head's centre, aligned with LPS: axes (slices, rows, columns) are (z, y, x).

    Attributes:
        shape: (slices, rows, columns).
        spacing_mm: Isotropic.
    """

    shape: tuple[int, int, int]
    spacing_mm: float

    @property
    def affine_lps(self) -> npt.NDArray[np.float64]:
        """Maps (slice, row, column, 1) to LPS, mm; the origin is the grid's centre."""
        affine = np.diag([self.spacing_mm] * 3 + [1.0])[[2, 1, 0, 3]]
        affine[:3, 3] = -(np.array(self.shape)[::-1] - 1) / 2 * self.spacing_mm
        return affine

    @cached_property
    def axes_mm(self) -> tuple[Floats, Floats, Floats]:
        """Where the voxels lie along (z, y, x), each shaped to broadcast against the volume."""
        lines = [(np.arange(size) - (size - 1) / 2) * self.spacing_mm for size in self.shape]
        z, y, x = (line.astype(np.float32) for line in lines)
        return z[:, None, None], y[None, :, None], x[None, None, :]

    def distance_mm(self, point_mm: npt.NDArray[np.float64]) -> Floats:
        """Distance of every voxel from a point (z, y, x)."""
        offsets = [axis - np.float32(at) for axis, at in zip(self.axes_mm, point_mm, strict=True)]
        distance: Floats = np.sqrt(offsets[0] ** 2 + offsets[1] ** 2 + offsets[2] ** 2)
        return distance

    def smooth_field(self, rng: np.random.Generator, scale_mm: float) -> Floats:
        """Draw a field of mean 0 and standard deviation 1 that varies over scale_mm: a cubic B-spline of normal knots.

        As many numbers are drawn whatever the grid is.
        """
        knots = int(np.ceil(EXTENT_MM / scale_mm)) + 3
        values = rng.standard_normal((knots, knots, knots), np.float32) / np.float32(np.sqrt(_VARIANCE))
        for axis, positions in enumerate(self.axes_mm):
            values = _interpolate(values, axis, positions.ravel() / np.float32(scale_mm) + np.float32((knots - 1) / 2))
        return values


def _interpolate(values: Floats, axis: int, places: Floats) -> Floats:
    """Cubic B-spline along one axis, at places in knots.

    Four weighted sums rather than a matrix product: BLAS would start threads, which wait on each other on a busy
    machine.
    """
    first = np.floor(places).astype(np.intp) - 1
    t = places - np.floor(places)
    weights = ((1 - t) ** 3 / 6, 2 / 3 - t**2 + t**3 / 2, 2 / 3 - (1 - t) ** 2 + (1 - t) ** 3 / 2, t**3 / 6)
    shape = [-1 if other == axis else 1 for other in range(3)]
    result = np.zeros([len(places) if other == axis else size for other, size in enumerate(values.shape)], np.float32)
    for tap, weight in enumerate(weights):
        taken = np.take(values, (first + tap).clip(0, values.shape[axis] - 1), axis)
        result += taken * weight.astype(np.float32).reshape(shape)
    return result
