"""A head defined at every point of space, with landmarks: any grid, any sequence, turned and shifted exactly.

An image of a moved head is computed, not interpolated, so that what a registration finds can be held against the truth.
"""

from collections.abc import Mapping

import numpy as np
from scipy.spatial.transform import Rotation

from federated.ports import Image

LANDMARKS_LPS = np.array(
    [(28.0, -36.0, 30.0), (-38.0, 22.0, 22.0), (34.0, 30.0, -14.0), (-22.0, -44.0, -8.0), (-12.0, 48.0, 34.0)]
)
"""Off centre, no two mirror images of each other; mm."""
BRAIN_RADII_MM = np.array([66.0, 84.0, 60.0])
# CSF, grey matter, white matter, skull, scalp, what a landmark adds.
BRIGHTNESS: Mapping[str, tuple[float, ...]] = {
    "T1": (0.20, 0.60, 0.85, 0.06, 1.10, -0.50),
    "T1ce": (0.20, 0.60, 0.80, 0.06, 1.20, 1.60),
    "T2": (1.30, 0.75, 0.55, 0.06, 0.80, 1.20),
    "FLAIR": (0.15, 0.75, 0.60, 0.06, 0.75, 1.60),
}
L, P, S = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
ISOTROPIC = ((80, 104, 88), (2.2, 2.2, 2.2), (S, P, L))
"""Shape, spacing and directions of the array axes."""
THICK_AXIAL = ((34, 116, 100), (5.0, 1.9, 1.9), (S, P, L))
THICK_SAGITTAL = ((38, 84, 116), (5.0, 2.1, 1.9), (L, S, P))


def motion(turn_deg=(0.0, 0.0, 0.0), shift_mm=(0.0, 0.0, 0.0)):
    """A rigid motion (4, 4) of the head about its middle: turns about L, P and S, then a shift."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix()
    matrix[:3, 3] = shift_mm
    return matrix


def head_image(contrast, grid=ISOTROPIC, moved=None, *, stripped=False, noise=0.02, seed=0):
    """One sequence of the head, after a motion; slices are averaged over their thickness."""
    shape, spacing, directions = grid
    affine = _affine(shape, spacing, directions)
    to_head = np.linalg.inv(np.eye(4) if moved is None else moved) @ affine
    thick = int(np.argmax(spacing))
    parts = max(1, round(max(spacing) / 1.5)) if max(spacing) > 3 else 1
    voxels = np.zeros(shape)
    for part in range(parts):
        offset = np.zeros(3)
        offset[thick] = (part + 0.5) / parts - 0.5
        voxels += _brightness(contrast, _points(shape, to_head, offset), stripped) / parts
    rng = np.random.default_rng(seed)
    noisy = np.hypot(voxels + rng.normal(0, noise, shape), rng.normal(0, noise, shape))
    if stripped:
        noisy[voxels == 0] = 0
    return Image((700 * noisy).astype(np.float32), affine)


def brain_mask(grid=ISOTROPIC, moved=None):
    """Where the brain with its fluid is."""
    shape, spacing, directions = grid
    to_head = np.linalg.inv(np.eye(4) if moved is None else moved) @ _affine(shape, spacing, directions)
    return _radius(_points(shape, to_head, np.zeros(3))) < 1


def transform(matrix, points):
    """Points (n, 3) through a matrix (4, 4)."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _affine(shape, spacing, directions):
    affine = np.eye(4)
    affine[:3, :3] = np.array(directions).T * spacing
    affine[:3, 3] = np.array([1.0, 4.0, -12.0]) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def _points(shape, to_head, offset):
    """Head coordinates (3, slices, rows, columns)."""
    index = np.indices(shape, np.float32) + offset[:, None, None, None].astype(np.float32)
    matrix = to_head.astype(np.float32)
    return np.tensordot(matrix[:3, :3], index, 1) + matrix[:3, 3][:, None, None, None]


def _radius(points):
    return np.sqrt(((points / BRAIN_RADII_MM[:, None, None, None]) ** 2).sum(axis=0))


def _inside(distance_mm):
    """1 inside, 0 outside, with an edge of 2 mm."""
    return np.clip(0.5 - distance_mm / 2, 0, 1)


def _brightness(contrast, points, stripped):
    csf, grey, white, skull, scalp, landmark = BRIGHTNESS[contrast]
    left, posterior, superior = points
    depth = (_radius(points) - 1) * 68
    folds = np.sin(left / 5.5 + 1) * np.sin(posterior / 6.5) * np.sin(superior / 6 + 2)
    values = np.zeros(left.shape)
    if not stripped:
        neck = np.maximum(np.hypot(left / 58, (posterior - 8) / 66) * 60 - 60, superior + 35)
        eyes = np.minimum(*(_ball(points, (side * 32.0, -82.0, -34.0)) for side in (-1, 1))) - 13
        nose = _ball(points, (0.0, -104.0, -42.0)) - 14
        muscle = 0.55 * scalp * (1 + 0.4 * np.sin(left / 9) * np.sin(posterior / 8 + 1) * np.sin(superior / 7))
        for distance, value in ((neck, muscle), (nose, scalp), (depth - 14, scalp), (depth - 7, skull), (eyes, csf)):
            values = values + _inside(distance) * (value - values)
    for distance, value in ((depth, csf), (depth + 3 + 2 * folds, grey), (depth + 9 + 6 * folds, white)):
        values = values + _inside(distance) * (value - values)
    for side in (-1, 1):
        axis = np.array([11.0, 26.0, 11.0])[:, None, None, None]
        middle = np.array([side * 14.0, 6.0, 8.0])[:, None, None, None]
        ventricle = (np.sqrt((((points - middle) / axis) ** 2).sum(axis=0)) - 1) * 14
        values = values + _inside(ventricle) * (csf - values)
    for place in LANDMARKS_LPS:
        values = values + landmark * np.exp(-0.5 * (_ball(points, place) / 4) ** 2) * (depth < 0)
    return np.clip(values, 0, None) * (depth < 1 if stripped else 1)


def _ball(points, middle):
    return np.sqrt(((points - np.array(middle)[:, None, None, None]) ** 2).sum(axis=0))
