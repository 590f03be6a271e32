"""A synthetic head with a glioma, seeded; for tests, and as extra training cases.

It is no model of anatomy: ellipsoids with folded surfaces, four contrasts with plausible order of brightness.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from federated.ports import Image

Field = npt.NDArray[np.float64]

BRIGHTNESS: Mapping[str, tuple[float, ...]] = {
    # CSF, grey matter, white matter, necrosis, oedema, enhancing; scalp, skull last.
    "T1": (0.15, 0.55, 0.80, 0.30, 0.50, 0.55, 1.00, 0.05),
    "T1ce": (0.15, 0.55, 0.75, 0.30, 0.50, 1.20, 1.10, 0.05),
    "T2": (1.20, 0.65, 0.50, 1.00, 0.90, 0.75, 0.80, 0.05),
    "FLAIR": (0.15, 0.60, 0.50, 0.55, 1.00, 0.80, 0.75, 0.05),
}
CSF, GREY, WHITE, NECROSIS, OEDEMA, ENHANCING, SCALP, SKULL = range(8)


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic case.

    Attributes:
        images: By contrast, float32 (slices, rows, columns), LPS-aligned.
        labels: uint8, same grid: 1 necrotic and non-enhancing core, 2 oedema, 3 enhancing.
    """

    images: Mapping[str, Image]
    labels: npt.NDArray[np.uint8]


def build_phantom(
    rng: np.random.Generator,
    *,
    shape: tuple[int, int, int] = (72, 88, 72),
    spacing_mm: float = 2.0,
    tumour: bool = True,
    skull: bool = False,
    noise: float = 0.03,
) -> Phantom:
    """Build one head.

    Args:
        rng: The same state gives the same phantom.
        shape: (slices, rows, columns).
        spacing_mm: Isotropic.
        tumour: Whether there is one.
        skull: Whether skull and scalp are kept; else the background is exactly 0.
        noise: Standard deviation as a fraction of white matter's brightness.
    """
    points = np.indices(shape).astype(float) - (np.array(shape)[:, None, None, None] - 1) / 2
    head = np.array(shape) / 2 * (0.78 if skull else 0.92)
    radius = np.sqrt(((points / head[:, None, None, None]) ** 2).sum(axis=0))
    tissue = np.full(shape, -1)
    folds = _smooth_noise(rng, shape, 2.5)
    brain = radius < 1
    tissue[brain] = CSF
    tissue[radius + 0.05 * folds < 0.94] = GREY
    tissue[radius + 0.12 * folds < 0.80] = WHITE
    for side in (-1, 1):
        centre = np.array([0.05, 0.0, 0.12 * side]) * head
        tissue[_ellipsoid(points, centre, np.array([0.22, 0.38, 0.08]) * head) < 1] = CSF
    labels = np.zeros(shape, np.uint8)
    if tumour:
        labels = _tumour(rng, points, head, brain)
        tissue[labels == 1], tissue[labels == 2], tissue[labels == 3] = NECROSIS, OEDEMA, ENHANCING
    if skull:
        tissue[(radius >= 1) & (radius < 1.1)] = SKULL
        tissue[(radius >= 1.1) & (radius < 1.22)] = SCALP
    affine = np.diag([spacing_mm] * 3 + [1.0])[[2, 1, 0, 3]]
    affine[:3, 3] = -(np.array(shape)[::-1] - 1) / 2 * spacing_mm
    images = {
        contrast: Image(_image(rng, tissue, values, noise, skull), affine) for contrast, values in BRIGHTNESS.items()
    }
    return Phantom(images, labels)


def _tumour(
    rng: np.random.Generator, points: Field, head: Field, brain: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint8]:
    direction = rng.normal(size=3)
    centre = direction / np.linalg.norm(direction) * rng.uniform(0.35, 0.6) * head
    size = float(head.min())
    lobes = 0.35 * _smooth_noise(rng, brain.shape, 4.0)
    core = rng.uniform(0.14, 0.34) * size * rng.uniform(0.8, 1.25, 3)
    distance = _ellipsoid(points, centre, core) * (1 + lobes)
    oedema = _ellipsoid(points, centre + rng.uniform(-0.08, 0.08, 3) * size, core * rng.uniform(1.3, 2.2)) * (1 - lobes)
    rim = rng.uniform(0.4, 0.85)
    labels = np.zeros(brain.shape, np.uint8)
    labels[oedema < 1] = 2
    labels[distance < 1] = 3 if rng.random() < 0.8 else 1
    labels[distance < rim] = 1
    labels[~brain] = 0
    return labels


def _image(
    rng: np.random.Generator, tissue: npt.NDArray[np.int_], values: tuple[float, ...], noise: float, skull: bool
) -> npt.NDArray[np.float32]:
    jitter = np.array(values) * rng.uniform(0.9, 1.1, len(values))
    # Air is class -1, so it takes the last entry.
    image = np.append(jitter, 0.0)[tissue]
    image = ndimage.gaussian_filter(image, 0.5)
    image *= np.exp(0.1 * _smooth_noise(rng, tissue.shape, 14.0))
    scanner = rng.uniform(200, 3000)
    deviation = noise * values[WHITE]
    image = np.hypot(image + rng.normal(0, deviation, tissue.shape), rng.normal(0, deviation, tissue.shape))
    if not skull:
        image[tissue < 0] = 0
    scaled: npt.NDArray[np.float32] = (image * scanner).astype(np.float32)
    return scaled


def _ellipsoid(points: Field, centre: Field, radii: Field) -> Field:
    distance: Field = np.sqrt((((points - centre[:, None, None, None]) / radii[:, None, None, None]) ** 2).sum(axis=0))
    return distance


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> Field:
    """Mean 0, standard deviation 1."""
    field = ndimage.gaussian_filter(rng.normal(size=shape), sigma)
    smooth: Field = (field - field.mean()) / field.std()
    return smooth
