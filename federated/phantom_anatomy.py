"""A healthy head of its own shape, from the MNI152 tissue templates.

The templates (ICBM 2009a, nonlinear, symmetric; copyright 1993-2009 Louis Collins, McConnell Brain Imaging Centre,
Montreal Neurological Institute, McGill University) come with nilearn, inside its package: nothing is downloaded.

References:
    Fonov V et al. Unbiased average age-appropriate atlases for pediatric studies. NeuroImage 54:313-327 (2011).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from federated.phantom_fields import FieldOfView, Floats

TEMPLATE_CENTRE = np.array([8.0, 17.0, 0.0])
"""Middle of the template's brain, (z, y, x) in LPS, mm; a little above, so that the stem is cut before the crown."""
BRAIN_MM = np.array([144.0, 176.0, 140.0])
"""Room that a brain of usual size needs along (z, y, x), mm."""
HEAD_MM = np.array([192.0, 224.0, 184.0])
_USUAL_SCALE = 0.93
# The template's brain holds 1.88 l, more than an adult's: the average of many brains is larger than each.
_VENTRICLES_DEEPER_MM = 18.0


@dataclass(frozen=True, eq=False)
class Template:
    """Tissue of the average head on a grid (z, y, x), LPS.

    Attributes:
        channels: float32 (5, slices, rows, columns): grey and white matter (0 to 1), brain (0 to 1), depth below the
            brain's surface (mm, negative outside), distance from the lateral and third ventricles (mm).
    """

    channels: Floats
    origin_mm: npt.NDArray[np.float64]
    spacing_mm: float


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One head on its voxel grid; every volume is (slices, rows, columns).

    Attributes:
        csf, grey, white: Fractions, together 1 in the brain and 0 outside it.
        brain: bool.
        depth_mm: Below the brain's surface; negative outside.
        ventricle_mm: Distance from the ventricles.
        template_mm: float32 (3, ...): where in the template each voxel comes from, (z, y, x).
    """

    view: FieldOfView
    csf: Floats
    grey: Floats
    white: Floats
    brain: npt.NDArray[np.bool_]
    depth_mm: Floats
    ventricle_mm: Floats
    template_mm: Floats


@dataclass(frozen=True, eq=False)
class Pose:
    """How one head differs from the template: where each voxel of a grid comes from.

    Attributes:
        template_mm: float32 (3, slices, rows, columns), (z, y, x) in the template.
        scale: Size of this head, as a fraction of the template's.
    """

    view: FieldOfView
    template_mm: Floats
    scale: float


@lru_cache(maxsize=3)
def load_template(factor: int) -> Template:
    """Read the tissue templates, averaged over blocks of factor mm; the first call imports nilearn."""
    from nilearn import datasets

    loaders = (datasets.load_mni152_template, datasets.load_mni152_gm_template, datasets.load_mni152_wm_template)
    head, grey, white = (loader(resolution=1) for loader in loaders)
    # NIfTI is RAS with axes (x, y, z): turned to (z, y, x) with y and x flipped it is LPS.
    volumes = [np.asarray(image.dataobj, np.float32).T[:, ::-1, ::-1] for image in (head, grey, white)]
    last = head.affine[:3, :3] @ (np.array(head.shape) - 1) + head.affine[:3, 3]
    origin = np.array([head.affine[2, 3], -last[1], -last[0]])
    brain, grey, white = (_average(volume, factor) for volume in (volumes[0] > 0, *volumes[1:]))
    depth = _depth_mm(brain > 0.5, factor)
    z = origin[0] + np.arange(brain.shape[0])[:, None, None] * factor
    csf = (brain > 0.5) & (grey + white < 0.5)
    ventricles = csf & (depth > _VENTRICLES_DEEPER_MM) & (z > -25) & (z < 40)
    away = ndimage.distance_transform_edt(~ventricles, sampling=factor)
    channels = np.stack([grey, white, brain, depth, away]).astype(np.float32)
    return Template(channels, origin + (factor - 1) / 2, float(factor))


def draw_pose(rng: np.random.Generator, view: FieldOfView, *, room_mm: npt.NDArray[np.float64]) -> Pose:
    """Draw size, attitude and shape of a head.

    Args:
        room_mm: What a usual head needs along (z, y, x); where the view has less, the head is shrunk to fit.
    """
    fit = min(1.0, float((np.array(view.shape) * view.spacing_mm / room_mm).min()))
    scale = _USUAL_SCALE * fit * np.exp(rng.normal(0, 0.025)) * np.exp(rng.normal(0, 0.02, 3))
    matrix = _rotation(rng.uniform(-0.12, 0.12, 3)) / scale[:, None]
    shift = rng.uniform(-2, 2, 3)
    warp = [1.6 * view.smooth_field(rng, 50.0) + 0.8 * view.smooth_field(rng, 20.0) for _ in range(3)]
    places = np.empty((3, *view.shape), np.float32)
    for row in range(3):
        places[row] = np.float32(TEMPLATE_CENTRE[row] + shift[row]) + warp[row]
        for column, axis in enumerate(view.axes_mm):
            places[row] += np.float32(matrix[row, column]) * axis
    return Pose(view, places, float(scale.mean()))


def build_anatomy(rng: np.random.Generator, pose: Pose, age_years: float) -> Anatomy:
    """Sample the template's tissues where the pose says, each with folds of its own; age widens what holds fluid."""
    view = pose.view
    template = load_template(template_factor(view.spacing_mm))
    grey, white, brain, depth, away = sample(template, pose.template_mm, range(5))
    depth, away = depth * np.float32(pose.scale), away * np.float32(pose.scale)
    inside = brain > 0.5
    atrophy = 0.012 * (age_years - 50) + rng.normal(0.1, 0.2)
    weights = []
    for fraction, gain in (((1 - grey - white).clip(0), atrophy), (grey, 0.0), (white, 0.0)):
        # The average of many brains is blurred: a power sharpens it, a random field folds it differently each time.
        sharpened = fraction**1.6
        sharpened *= np.exp(0.35 * view.smooth_field(rng, 9.0) + np.float32(gain))
        weights.append(sharpened)
    share = inside / np.maximum(weights[0] + weights[1] + weights[2], np.float32(1e-6))
    csf, grey, white = (weight * share for weight in weights)
    return Anatomy(view, csf, grey, white, inside, depth, away, pose.template_mm)


def template_factor(spacing_mm: float) -> int:
    """The averaging that suits a voxel size."""
    return int(np.clip(spacing_mm, 1, 4))


def sample(template: Template, places_mm: Floats, channels: range) -> list[Floats]:
    """Interpolate channels of the template at (3, ...) places in mm, linearly; outside it is air, far away."""
    index = (places_mm - template.origin_mm.astype(np.float32)[:, None, None, None]) / np.float32(template.spacing_mm)
    found = []
    for channel in channels:
        mode = "constant" if channel < 3 else "nearest"
        found.append(ndimage.map_coordinates(template.channels[channel], index, order=1, mode=mode, prefilter=False))
    return found


def _average(volume: npt.NDArray[np.generic], factor: int) -> Floats:
    slices, rows, columns = (size // factor for size in volume.shape)
    cut = volume[: slices * factor, : rows * factor, : columns * factor].astype(np.float32)
    blocks: Floats = cut.reshape(slices, factor, rows, factor, columns, factor).mean(axis=(1, 3, 5))
    return blocks


def _depth_mm(brain: npt.NDArray[np.bool_], spacing_mm: float) -> Floats:
    inner = ndimage.distance_transform_edt(brain, sampling=spacing_mm)
    outer = ndimage.distance_transform_edt(~brain, sampling=spacing_mm)
    depth: Floats = (inner - outer).astype(np.float32)
    return depth


def _rotation(angles: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[[first, second], [first, second]] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix
