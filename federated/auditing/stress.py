"""Cases made worse, step by step: what a scanner, a protocol or a missing sequence does to a study's images.

Background that is one exact value stays so: a study without a skull is still known as one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from federated.cases import REFERENCE
from federated.phantom_fields import FieldOfView
from federated.phantom_scanner import CONTRASTS
from federated.ports import Image
from federated.preprocessing import background_value
from federated.resampling import interpolate, to_shape

Floats = npt.NDArray[np.float32]
Images = Mapping[str, Image]
FIELD_MM: Final = 70.0
"""Over which a receive field varies, as in federated.phantom_scanner."""


@dataclass(frozen=True)
class Stress:
    """One way to make a case worse.

    Attributes:
        name: For machines.
        title: For people.
        refusal: When a model must not be used, with {severity:g} where the number goes.
        unit: Of the severities; empty for none.
        severities: From mild to severe.
        apply: Takes images, a severity and randomness; gives the worse images, or None where they cannot be made so.
    """

    name: str
    title: str
    refusal: str
    unit: str
    severities: tuple[float, ...]
    apply: Callable[[Images, float, np.random.Generator], Images | None]


def without(*contrasts: str) -> Callable[[Images, float, np.random.Generator], Images | None]:
    """Leave sequences out; None where one is missing already."""

    def apply(images: Images, _severity: float, _rng: np.random.Generator) -> Images | None:
        if not set(contrasts) <= set(images):
            return None
        return {name: image for name, image in images.items() if name not in contrasts}

    return apply


def thick_slices(images: Images, thickness_mm: float, _rng: np.random.Generator) -> Images | None:
    """Average along the slice axis and keep slices a thickness apart; None where they are that thick already."""
    thick = {name: _thick(image, thickness_mm) for name, image in images.items()}
    found = {name: image for name, image in thick.items() if image is not None}
    return found if len(found) == len(images) else None


def noisy(images: Images, level: float, rng: np.random.Generator) -> Images:
    """Rician noise; the level is its standard deviation in units of the median brightness."""

    def change(brightness: Floats, median: float) -> Floats:
        deviation = np.float32(level * median)
        real, imaginary = (deviation * rng.standard_normal(brightness.shape, np.float32) for _ in range(2))
        found: Floats = np.hypot(brightness + real, imaginary)
        return found

    return {name: _changed(image, change) for name, image in images.items()}


def shaded(images: Images, deviation: float, rng: np.random.Generator) -> Images:
    """A smooth receive field, each sequence its own; the number is the standard deviation of its logarithm."""

    def change(brightness: Floats, _median: float) -> Floats:
        view = FieldOfView(to_shape(brightness.shape), spacing_mm)
        found: Floats = brightness * np.exp(np.float32(deviation) * view.smooth_field(rng, FIELD_MM))
        return found

    answer = {}
    for name, image in images.items():
        # Exact on isotropic grids; on others the field varies a little faster along the longer voxels.
        spacing_mm = float(_spacing_mm(image).mean())
        answer[name] = _changed(image, change)
    return answer


def other_contrast(images: Images, gamma: float, _rng: np.random.Generator) -> Images:
    """Another scanner's grey scale: brightness to the power of gamma, the brightest staying where it is."""

    def change(brightness: Floats, _median: float) -> Floats:
        top = np.float32(max(float(np.percentile(brightness, 99.5)), 1e-6))
        found: Floats = top * np.power(brightness.clip(0) / top, np.float32(gamma))
        return found

    return {name: _changed(image, change) for name, image in images.items()}


def _missing(contrast: str) -> Stress:
    return Stress(f"missing-{contrast}", f"{contrast} missing", f"{contrast} is missing", "", (1.0,), without(contrast))


OPTIONAL: Final = tuple(contrast for contrast in CONTRASTS if contrast != REFERENCE)
STRESSES: Final = (
    *(_missing(contrast) for contrast in OPTIONAL),
    Stress(
        "only-reference",
        f"all sequences but {REFERENCE} missing",
        f"{REFERENCE} comes alone",
        "",
        (1.0,),
        without(*OPTIONAL),
    ),
    Stress(
        "slice-thickness", "thick slices", "slices are {severity:g} mm or thicker", "mm", (3.0, 5.0, 7.0), thick_slices
    ),
    Stress(
        "noise",
        "noise, standard deviation over median brightness",
        "noise is {severity:g} of the median brightness or more",
        "of the median brightness",
        (0.05, 0.1, 0.2),
        noisy,
    ),
    Stress(
        "shading",
        "receive field, standard deviation of its logarithm",
        "the receive field varies by {severity:g} (standard deviation of its logarithm) or more",
        "log",
        (0.15, 0.3, 0.5),
        shaded,
    ),
    Stress(
        "dark-contrast",
        "scanner's grey scale, gamma above 1",
        "the scanner's gamma is {severity:g} or more",
        "gamma",
        (1.3, 1.8),
        other_contrast,
    ),
    Stress(
        "bright-contrast",
        "scanner's grey scale, gamma below 1",
        "the scanner's gamma is {severity:g} or less",
        "gamma",
        (0.75, 0.5),
        other_contrast,
    ),
)


def _changed(image: Image, change: Callable[[Floats, float], Floats]) -> Image:
    """Change brightness, measured from the background; what is exactly background stays."""
    background = background_value(image.voxels)
    floor = np.float32(image.voxels.min() if background is None else background)
    brightness = image.voxels - floor
    seen = brightness > (brightness.mean() if background is None else 0)
    median = float(np.median(brightness[seen])) if seen.any() else 0.0
    changed = change(brightness, median) + floor
    if background is not None:
        changed = np.where(image.voxels == floor, floor, changed)
    return Image(changed.astype(np.float32), image.affine_lps)


def _thick(image: Image, thickness_mm: float) -> Image | None:
    spacing_mm = float(_spacing_mm(image)[0])
    step = thickness_mm / spacing_mm
    count = int(len(image.voxels) / step)
    if step < 1.05 or count < 2:
        return None
    to_index = np.diag([step, 1.0, 1.0, 1.0])
    to_index[0, 3] = (step - 1) / 2
    shape = to_shape((count, *image.voxels.shape[1:]))
    # What a slice of the target's thickness averages over beyond its own: a Gaussian of the same second moment.
    deviation = np.sqrt((step**2 - 1) / 12)

    def averaged(values: Floats) -> Floats:
        blurred = ndimage.gaussian_filter1d(values, deviation, axis=0, mode="nearest")
        return interpolate(blurred, to_index, shape, mode="nearest")

    background = background_value(image.voxels)
    if background is None:
        return Image(averaged(image.voxels), image.affine_lps @ to_index)
    # The skull is taken out after the scan: tissue is averaged with tissue, not with the background.
    signal = image.voxels != np.float32(background)
    share = averaged(signal.astype(np.float32))
    mean = averaged(np.where(signal, image.voxels, np.float32(0))) / share.clip(1e-3)
    voxels = np.where(share >= 0.5, mean, np.float32(background)).astype(np.float32)
    return Image(voxels, image.affine_lps @ to_index)


def _spacing_mm(image: Image) -> npt.NDArray[np.float64]:
    spacing: npt.NDArray[np.float64] = np.linalg.norm(image.affine_lps[:3, :3], axis=0)
    return spacing
