"""The brain in an image that still has its skull, without a network and without a download.

A template head is laid over the image; then a watershed runs from inside and from outside the template's brain edge and
meets in the dark skull. The template is the MNI152 brain that nilearn ships, with a skull and a scalp drawn around it:
mutual information matches tissues whatever their brightness, so that one template serves T1, T1ce, T2 and FLAIR.
"""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import SimpleITK
from scipy import ndimage

from federated.ports import Image
from federated.registration import ARM_MM, build_method, level, to_itk
from federated.resampling import Affine, Floats, Grid, Mask, resample, to_shape, translation

PLAUSIBLE_BRAIN_ML = (600.0, 2200.0)
WORKING_MM = 4.0
"""Spacing at which the template is laid over: this finds the brain, the watershed its edge."""
SKULL_MM, SCALP_MM, AIR_MM = 8.0, 15.0, 25.0
"""How far from the brain the drawn skull ends, the drawn scalp, and what is compared."""
SCALP = 1.2
"""Brightness of the drawn scalp, where the template's brightest tissue is 1."""
LIFTS_MM = (-15.0, 0.0, 15.0)
NODS_RAD = (-0.25, 0.0, 0.25)
SCALP_AND_SKULL_MM = 10.0
START_SCALE = 0.92
"""The MNI152 brain is larger than most."""
SURE_MM, REACH_MM = 9.0, 6.0
"""Deeper inside the template's edge all is brain; farther outside nothing is."""
EDGE_WEIGHT, EDGE_MM = 0.5, 4.0
"""How strongly, and how near to it, the watershed is drawn to the template's edge."""
TISSUE = 0.35
"""Between the skull's darkness, 0, and the brain's median, 1: darker is skull or the fluid next to it."""


@dataclass(frozen=True, eq=False)
class _Template:
    """A head whose brain's middle is the origin of LPS.

    Attributes:
        head: (slices, rows, columns).
        depth_mm: Distance to the brain's edge, positive inside.
        compared: Where the head is matched.
        brain_top_mm: Height of the brain's highest point.
    """

    head: Floats
    depth_mm: Floats
    compared: Mask
    grid: Grid
    brain_top_mm: float


def extract_brain(values: Floats, head: Mask, grid: Grid) -> Mask | None:
    """Find the brain of one image.

    Args:
        values: (slices, rows, columns), any contrast, with skull.
        head: Where the head is.
        grid: Of both; isotropic, array axes towards superior, posterior and left.

    Returns:
        The brain with the fluid between its folds; None when nothing of a brain's volume is found.
    """
    template = _template()
    image = Image(level(values), grid.affine_lps)
    try:
        placed = _place(template, image, head, grid)
    except RuntimeError:
        # What ITK raises when template and image lose each other on the way.
        return None
    depth = Image(template.depth_mm, placed @ template.grid.affine_lps)
    depth_mm = resample(depth, grid, fill=float(template.depth_mm.min()))
    box = ndimage.find_objects(((depth_mm > -REACH_MM - EDGE_MM) & head).astype(np.uint8))
    if not box or not (depth_mm > SURE_MM).any():
        return None
    brain = np.zeros_like(head)
    brain[box[0]] = _divide(image.voxels[box[0]], depth_mm[box[0]], head[box[0]])
    volume_ml = float(brain.sum() * np.prod(grid.spacing_mm)) / 1000
    return brain if PLAUSIBLE_BRAIN_ML[0] <= volume_ml <= PLAUSIBLE_BRAIN_ML[1] else None


@functools.lru_cache(maxsize=1)
def _template() -> _Template:
    # The import takes two seconds, which prepared studies do without.
    from nilearn.datasets import load_mni152_template

    mni = load_mni152_template(resolution=1)
    # NIfTI is RAS with array axes (i, j, k).
    affine_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ mni.affine @ np.eye(4)[:, [2, 1, 0, 3]]
    voxels = np.ascontiguousarray(mni.get_fdata(dtype=np.float32).T)
    inside = np.argwhere(voxels > 0) @ affine_lps[:3, :3].T + affine_lps[:3, 3]
    low, high = inside.min(axis=0), inside.max(axis=0)
    matrix = np.zeros((4, 4))
    # Array axes (slices, rows, columns) are LPS axes (z, y, x).
    matrix[[2, 1, 0], [0, 1, 2]] = WORKING_MM
    matrix[:3, 3], matrix[3, 3] = low - AIR_MM, 1
    grid = Grid(to_shape(np.ceil((high - low + 2 * AIR_MM) / WORKING_MM)[::-1] + 1), matrix)
    values = resample(Image(voxels, affine_lps), grid, fill=0.0)
    brain = ndimage.binary_fill_holes(ndimage.binary_closing(values > 0.2, iterations=2))
    depth_mm = ndimage.distance_transform_edt(brain) - ndimage.distance_transform_edt(~brain)
    depth_mm = (depth_mm * WORKING_MM).astype(np.float32)
    values[(depth_mm < -SKULL_MM) & (depth_mm >= -SCALP_MM)] = SCALP
    height = (matrix[2, 3] + WORKING_MM * np.arange(grid.shape[0]))[:, None, None]
    # Below the anterior commissure, MNI's origin, face and neck lie around the brain: only its edge is compared there.
    compared = depth_mm > np.where(height > 0, -AIR_MM, -WORKING_MM)
    middle = (low + high) / 2
    return _Template(
        head=values,
        depth_mm=depth_mm,
        compared=compared,
        grid=Grid(grid.shape, translation(-middle) @ matrix),
        brain_top_mm=float(high[2] - middle[2]),
    )


def _place(template: _Template, image: Image, head: Mask, grid: Grid) -> Affine:
    """The affine (4, 4) that takes the template's points to the image's, LPS.

    Raises:
        RuntimeError: The two do not meet.
    """
    coarse = _coarser(grid)
    fixed = to_itk(template.head, template.grid.affine_lps)
    moving = to_itk(resample(image, coarse, fill=float(image.voxels.min())), coarse.affine_lps)
    method = build_method(template.compared, template.grid)
    trials = []
    for start in _starts(template, head, grid):
        method.SetInitialTransform(start, inPlace=False)
        trials.append(method.MetricEvaluate(fixed, moving))
    similar = list(_starts(template, head, grid))[int(np.argmin(trials))]
    _descend(
        method, similar, [ARM_MM**2 * 4] * 3 + [1.0] * 3 + [ARM_MM**2], shrink=2, blur_mm=6.0, images=(fixed, moving)
    )
    affine = SimpleITK.AffineTransform(3)
    affine.SetMatrix(similar.GetMatrix())
    affine.SetTranslation(similar.GetTranslation())
    _descend(method, affine, [ARM_MM**2] * 9 + [1.0] * 3, shrink=1, blur_mm=2.0, images=(fixed, moving))
    placed = np.eye(4)
    placed[:3, :3] = np.reshape(affine.GetMatrix(), (3, 3))
    placed[:3, 3] = affine.GetTranslation()
    return placed


def _descend(
    method: SimpleITK.ImageRegistrationMethod,
    transform: SimpleITK.Transform,
    scales: list[float],
    *,
    shrink: int,
    blur_mm: float,
    images: tuple[SimpleITK.Image, SimpleITK.Image],
) -> None:
    """Better a transform in place."""
    method.SetInitialTransform(transform, inPlace=True)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=0.02, numberOfIterations=100, relaxationFactor=0.7, gradientMagnitudeTolerance=1e-7
    )
    method.SetOptimizerScales(scales)
    method.SetShrinkFactorsPerLevel([shrink])
    method.SetSmoothingSigmasPerLevel([blur_mm])
    method.Execute(*images)


def _coarser(grid: Grid) -> Grid:
    """The same field of view at the working spacing."""
    factor = WORKING_MM / grid.spacing_mm
    shape = to_shape(np.maximum(np.ceil(np.array(grid.shape) / factor), 1))
    return Grid(shape, grid.affine_lps @ translation((factor - 1) / 2) @ np.diag([*factor, 1.0]))


def _starts(template: _Template, head: Mask, grid: Grid) -> Iterator[SimpleITK.Similarity3DTransform]:
    """Where the template may lie at first: under the vertex, nodding, shifted along the body."""
    points = np.argwhere(head) @ grid.affine_lps[:3, :3].T + grid.affine_lps[:3, 3]
    vertex_mm = np.percentile(points[:, 2], 99.9)
    # The neck and the jaw would pull the middle forwards or backwards.
    crown = points[points[:, 2] > vertex_mm - 120]
    left, posterior, _ = np.percentile(crown, [1, 99], axis=0).mean(axis=0)
    height_mm = vertex_mm - SCALP_AND_SKULL_MM - template.brain_top_mm
    for lift_mm, nod_rad in itertools.product(LIFTS_MM, NODS_RAD):
        start = SimpleITK.Similarity3DTransform()
        start.SetRotation((1.0, 0.0, 0.0), nod_rad)
        start.SetScale(START_SCALE)
        start.SetTranslation([float(left), float(posterior), float(height_mm + lift_mm)])
        yield start


def _divide(values: Floats, depth_mm: Floats, head: Mask) -> Mask:
    """Brain and the rest, by image and by the place of the template's edge."""
    sure = depth_mm > SURE_MM
    markers = sure + np.uint8(2) * ((depth_mm < -REACH_MM) | ~head)
    dark = float(np.percentile(values[head & ~sure], 10))
    bright = float(np.median(values[sure]))
    relative = ((values - dark) / max(bright - dark, 1e-6)).astype(np.float32)
    # Bright basins, dark ridges: the skull parts brain and scalp. Hahn and Peitgen, MICCAI 2000.
    relief = EDGE_WEIGHT * np.exp(-np.abs(depth_mm) / EDGE_MM) - ndimage.gaussian_filter(relative, 1.0)
    basins = SimpleITK.MorphologicalWatershedFromMarkers(
        SimpleITK.GetImageFromArray(relief.astype(np.float32)),
        SimpleITK.GetImageFromArray(markers.astype(np.uint8)),
        markWatershedLine=False,
    )
    basin = SimpleITK.GetArrayFromImage(basins) == 1
    tissue = ndimage.binary_opening(basin & (relative > TISSUE), _ball(2)) | sure
    pieces, _ = ndimage.label(tissue)
    largest = pieces == np.argmax(np.bincount(pieces.ravel())[1:]) + 1
    closed = ndimage.binary_closing(np.pad(largest, 4), _ball(3))[4:-4, 4:-4, 4:-4] & basin
    # One voxel more: a rim of fluid costs nothing, a tumour's edge does.
    grown = ndimage.binary_dilation(ndimage.binary_fill_holes(closed)) & basin
    smooth: Mask = ndimage.gaussian_filter(grown.astype(np.float32), 1.0) > 0.5
    return smooth


def _ball(radius: int) -> Mask:
    index = np.indices((2 * radius + 1,) * 3) - radius
    inside: Mask = (index**2).sum(axis=0) <= radius**2
    return inside
