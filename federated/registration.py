"""Rigid co-registration of a study's sequences: the patient moves between them, a few millimetres, sometimes more.

Scanner coordinates are the start; mutual information says how well two contrasts fit. The answer is applied to the
image's affine, so that no voxel is interpolated twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import SimpleITK

from federated.ports import Image
from federated.resampling import Affine, Floats, Grid, Mask, block_mean, covered

LEAST_MM, LEAST_DEG = 0.5, 0.3
"""Less than both is no movement but the registration's own noise."""
MOST_MM, MOST_DEG = 30.0, 20.0
"""More is no movement of a head in a coil, but a registration gone astray."""
LEAST_GAIN = 0.01
"""Smallest relative gain in mutual information that is believed; at rest a registration gains up to 0.003."""
LEAST_OVERLAP = 0.25
"""Share of the region that the sequence must show."""
BINS = 32
SCHEDULES = (((4, 1.0, 2.0), (2, 0.5, 1.0)), ((2, 0.5, 0.0),))
"""Per level: voxels of the grid a step spans, share of those that is compared, blur in mm.

Either way loses itself in some images of low contrast, hardly ever both; the better fit counts."""
SEED = 1
ARM_MM = 60.0
"""How far from the middle a turn is felt: a radian counts as much as this shift."""


@dataclass(frozen=True, eq=False)
class Registration:
    """How one sequence lies against the reference.

    Attributes:
        contrast: Of the sequence.
        correction_lps: (4, 4), takes points where the sequence shows them to where the reference shows them, LPS, mm;
            the identity when the sequence stays as it is.
        shift_mm: How far the correction moves the region's middle.
        turn_deg: By which angle it turns.
        note: Why the sequence stays although it may not fit, for a radiologist; None when all is well.
    """

    contrast: str
    correction_lps: Affine
    shift_mm: float
    turn_deg: float
    note: str | None

    @property
    def is_applied(self) -> bool:
        """Whether the sequence moves."""
        return self.shift_mm > 0 or self.turn_deg > 0


def register(contrast: str, image: Image, reference: Floats, grid: Grid, region: Mask) -> Registration:
    """Find how the head moved between the reference and another sequence.

    The same images give the same answer on one machine: one thread, one fixed sample of voxels.

    Args:
        contrast: Names the sequence.
        image: The sequence on its own grid.
        reference: (slices, rows, columns).
        grid: Of the reference; isotropic.
        region: What must fit, on that grid: the brain and what is rigid around it.
    """
    overlap = float(covered(image, grid)[region].mean())
    if overlap < LEAST_OVERLAP:
        return _kept(contrast, f"shows only {overlap:.0%} of what the reference shows")
    middle = (np.argwhere(region) @ grid.affine_lps[:3, :3].T).mean(axis=0) + grid.affine_lps[:3, 3]
    try:
        to_image, gain = _fit(image, reference, grid, region, middle)
    except RuntimeError:
        # What ITK raises when the two lose each other on the way.
        return _kept(contrast, "could not be matched to the reference")
    correction: Affine = np.linalg.inv(to_image).astype(np.float64)
    shift_mm = float(np.linalg.norm(correction[:3, :3] @ middle + correction[:3, 3] - middle))
    turn_deg = float(np.degrees(np.arccos(np.clip((np.trace(correction[:3, :3]) - 1) / 2, -1, 1))))
    if gain < LEAST_GAIN or (shift_mm < LEAST_MM and turn_deg < LEAST_DEG):
        return _kept(contrast, None)
    if shift_mm > MOST_MM or turn_deg > MOST_DEG:
        return _kept(contrast, f"would have to move by {shift_mm:.0f} mm and {turn_deg:.0f} degrees to fit")
    return Registration(contrast, correction, shift_mm, turn_deg, None)


def apply_registration(image: Image, registration: Registration) -> Image:
    """The image where the reference has it; its voxels stay as they are."""
    if not registration.is_applied:
        return image
    return replace(image, affine_lps=registration.correction_lps @ image.affine_lps)


def to_itk(voxels: Floats | Mask, affine_lps: Affine) -> SimpleITK.Image:
    """An ITK image, float32 or, of a mask, uint8; ITK is LPS too, and counts array axes from the last."""
    image = SimpleITK.GetImageFromArray(voxels.astype(np.uint8 if voxels.dtype == np.bool_ else np.float32))
    spacing = np.linalg.norm(affine_lps[:3, :3], axis=0)
    image.SetSpacing([float(step) for step in spacing[::-1]])
    image.SetOrigin([float(place) for place in affine_lps[:3, 3]])
    image.SetDirection((affine_lps[:3, :3] / spacing)[:, ::-1].ravel().tolist())
    return image


def build_method(compared: Mask, grid: Grid) -> SimpleITK.ImageRegistrationMethod:
    """ITK's registration by mutual information inside a mask, on one thread."""
    method = SimpleITK.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricFixedMask(to_itk(compared, grid.affine_lps))
    method.SetInterpolator(SimpleITK.sitkLinear)
    # Whole gradient images would be computed even where no derivative is asked for.
    method.SetMetricUseFixedImageGradientFilter(False)
    method.SetMetricUseMovingImageGradientFilter(False)
    return method


def level(values: Floats) -> Floats:
    """Without the few extreme voxels that would take most of a histogram's bins."""
    low, high = np.percentile(values, [0.5, 99.5])
    return values.clip(np.float32(low), np.float32(high))


def _kept(contrast: str, fault: str | None) -> Registration:
    note = None if fault is None else f"{contrast} {fault}: it stays where the scanner placed it, check that it fits."
    return Registration(contrast, np.eye(4), 0.0, 0.0, note)


def _fit(
    image: Image, reference: Floats, grid: Grid, region: Mask, middle: npt.NDArray[np.float64]
) -> tuple[Affine, float]:
    """The rigid motion (4, 4) from the reference's points to the image's, and the relative gain it brings."""
    fixed = to_itk(level(reference), grid.affine_lps)
    shown = block_mean(image, float(grid.spacing_mm.min()))
    moving = to_itk(level(shown.voxels), shown.affine_lps)
    start = SimpleITK.Euler3DTransform()
    start.SetCenter([float(place) for place in middle])
    before = _fitness(fixed, moving, region, grid, start)
    candidates = []
    for schedule in SCHEDULES:
        transform = SimpleITK.Euler3DTransform(start)
        _climb(build_method(region, grid), transform, schedule, fixed, moving)
        candidates.append((_fitness(fixed, moving, region, grid, transform), transform))
    after, best = max(candidates, key=lambda candidate: candidate[0])
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(best.GetMatrix(), (3, 3))
    affine[:3, 3] = best.TransformPoint((0.0, 0.0, 0.0))
    return affine, after / before - 1


def _climb(
    method: SimpleITK.ImageRegistrationMethod,
    transform: SimpleITK.Transform,
    schedule: Sequence[tuple[int, float, float]],
    fixed: SimpleITK.Image,
    moving: SimpleITK.Image,
) -> None:
    """Better a transform in place."""
    shrinks, shares, blurs_mm = zip(*schedule, strict=True)
    method.SetInitialTransform(transform, inPlace=True)
    # Powell's method needs no derivatives, whose zigzag along a head's near symmetries ends gradient descent too soon.
    method.SetOptimizerAsPowell(
        numberOfIterations=30, maximumLineIterations=30, stepLength=2.0, stepTolerance=0.02, valueTolerance=1e-5
    )
    method.SetOptimizerScales([ARM_MM] * 3 + [1.0] * 3)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentagePerLevel(shares, SEED)
    method.SetShrinkFactorsPerLevel(shrinks)
    method.SetSmoothingSigmasPerLevel(blurs_mm)
    method.Execute(fixed, moving)


def _fitness(
    fixed: SimpleITK.Image, moving: SimpleITK.Image, region: Mask, grid: Grid, transform: SimpleITK.Transform
) -> float:
    """Mutual information over every voxel of the region."""
    method = build_method(region, grid)
    method.SetInitialTransform(transform, inPlace=False)
    return -float(method.MetricEvaluate(fixed, moving))
