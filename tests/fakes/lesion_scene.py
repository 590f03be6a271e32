"""A stripped brain with one bright lesion at a known place, on any grid: for tests of where a mask comes to lie."""

import numpy as np
import numpy.typing as npt

LESION_RAS = np.array([24.0, -28.0, 16.0])
LESION_RADIUS_MM = 12.0
BRAIN_RADII_MM = np.array([62.0, 76.0, 56.0])


def paint_scene(shape: tuple[int, int, int], affine_ras: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Paint it on a grid, 0 outside the brain.

    Args:
        shape: Of the array.
        affine_ras: (4, 4), maps the array's index to RAS, mm.
    """
    index = np.stack(np.meshgrid(*(np.arange(length) for length in shape), indexing="ij"), axis=-1)
    points = index @ affine_ras[:3, :3].T + affine_ras[:3, 3]
    inside = ((points / BRAIN_RADII_MM) ** 2).sum(axis=-1) <= 1
    texture = 100 + 10 * np.sin(points / 17.0).sum(axis=-1)
    lesion = np.linalg.norm(points - LESION_RAS, axis=-1) <= LESION_RADIUS_MM
    return np.where(inside, np.where(lesion, 400.0, texture), 0.0).astype(np.float32)


def lesion_ml() -> float:
    """The lesion's volume."""
    return float(4 / 3 * np.pi * LESION_RADIUS_MM**3 / 1000)
