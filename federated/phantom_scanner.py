"""What a scanner makes of tissue: four contrasts of a phantom's head."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from federated.phantom_fields import FieldOfView, Floats

CONTRASTS = ("T1", "T1ce", "T2", "FLAIR")

TISSUES = ("csf", "grey", "white", "necrosis", "oedema", "enhancing", "lesion", "vessel", "bone", "fat", "muscle")
BRIGHTNESS: Mapping[str, tuple[float, ...]] = {
    # In the order of TISSUES, white matter on T1 being 1; set so that after a robust z-score the means lie where those
    # of six TCGA gliomas do (tests/unit/federated/test_phantom.py holds the figures).
    "T1": (0.30, 0.78, 1.00, 0.73, 0.87, 0.79, 0.88, 0.80, 0.12, 1.35, 0.70),
    "T1ce": (0.36, 0.82, 1.00, 0.74, 0.89, 1.40, 0.89, 1.80, 0.14, 1.40, 0.80),
    "T2": (1.40, 0.67, 0.56, 1.02, 0.83, 0.86, 0.82, 0.45, 0.08, 0.80, 0.35),
    "FLAIR": (0.28, 0.59, 0.55, 0.75, 0.81, 0.79, 0.79, 0.50, 0.16, 0.70, 0.38),
}
SPREAD: Mapping[str, tuple[float, ...]] = {
    # Standard deviation from case to case, as a fraction.
    "T1": (0.10, 0.03, 0.02, 0.10, 0.05, 0.08, 0.04, 0.10, 0.2, 0.10, 0.08),
    "T1ce": (0.10, 0.03, 0.02, 0.10, 0.05, 0.16, 0.04, 0.16, 0.2, 0.10, 0.08),
    "T2": (0.12, 0.04, 0.04, 0.18, 0.15, 0.14, 0.12, 0.10, 0.2, 0.15, 0.10),
    "FLAIR": (0.15, 0.03, 0.03, 0.20, 0.14, 0.14, 0.12, 0.10, 0.2, 0.15, 0.10),
}
MOTTLE: Mapping[str, float] = {"T1": 0.05, "T1ce": 0.07, "T2": 0.10, "FLAIR": 0.11}
"""Standard deviation of a tumour's brightness from place to place, as a fraction."""


@dataclass(frozen=True)
class Scanner:
    """How one scanner differs from another.

    Attributes:
        gain: Brightness of its images.
        gamma: Exponent on brightness, per case within a few percent.
        contrast: Between grey and white matter, 1 being usual.
        bias: Standard deviation of its receive field's logarithm.
        noise: Standard deviation as a fraction of white matter's brightness on T1.
        blur_mm: Standard deviation of its point spread, in plane.
        slice_mm: Thickness of its slices; 0 is as thin as the grid.
    """

    gain: float = 900.0
    gamma: float = 1.0
    contrast: float = 1.0
    bias: float = 0.06
    noise: float = 0.025
    blur_mm: float = 0.9
    slice_mm: float = 0.0


def draw_brightness(rng: np.random.Generator, scanner: Scanner) -> dict[str, npt.NDArray[np.float32]]:
    """Draw how bright each of TISSUES is on each contrast for one case."""
    drawn = {}
    for contrast in CONTRASTS:
        usual, spread = np.array(BRIGHTNESS[contrast]), np.array(SPREAD[contrast])
        values = usual * np.exp(spread * rng.standard_normal(len(TISSUES)).clip(-2, 2))
        middle = values[1:3].mean()
        values[1:3] = middle + (values[1:3] - middle) * scanner.contrast
        drawn[contrast] = values.astype(np.float32)
    return drawn


def acquire(
    rng: np.random.Generator, ideal: Floats, view: FieldOfView, scanner: Scanner, visible: npt.NDArray[np.bool_] | None
) -> Floats:
    """Image ideal brightness: point spread, receive field, gamma, Rician noise, gain.

    Args:
        visible: Outside it the image is exactly 0; None shows everything.
    """
    in_plane = scanner.blur_mm / view.spacing_mm
    # A slice averages over its thickness: a Gaussian of the same second moment.
    through = np.hypot(scanner.blur_mm, scanner.slice_mm / np.sqrt(12)) / view.spacing_mm
    image = ndimage.gaussian_filter(ideal, (through, in_plane, in_plane), truncate=3)
    image *= np.exp(np.float32(scanner.bias) * view.smooth_field(rng, 70.0))
    gamma = scanner.gamma * float(np.exp(rng.normal(0, 0.03)))
    np.power(image.clip(0, out=image), np.float32(gamma), out=image)
    voxels = np.random.default_rng(rng.integers(2**63))
    deviation = np.float32(scanner.noise)
    image += deviation * voxels.standard_normal(image.shape, np.float32)
    image = np.hypot(image, deviation * voxels.standard_normal(image.shape, np.float32))
    image *= np.float32(scanner.gain * np.exp(rng.normal(0, 0.15)))
    if visible is not None:
        image *= visible
    scanned: Floats = image
    return scanned
