"""How well two label maps agree, region by region."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from federated.decision import CORE, ENHANCING
from federated.errors import EvaluationError

Labels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

REGIONS: Final = ("whole-tumour", "tumour-core", "enhancing")
FAR_MM: Final = math.sqrt(240**2 + 240**2 + 155**2)
"""Distance to a region that only one map has: the diagonal of the BraTS grid, 373.13 mm.

As the BraTS evaluation has it: Isensee et al. (2020), arXiv:2011.00848. No case is dropped from a mean this way, but
one such case dominates it: read the median beside it.
"""
_ROUNDING_MM: Final = 1e-9


@dataclass(frozen=True)
class Agreement:
    """How a found region agrees with the drawn one; both empty is full agreement, one empty is none.

    Attributes:
        dice: 0 to 1.
        hausdorff_95_mm: 0 to FAR_MM.
        sensitivity: Share of the drawn voxels that are found, 0 to 1.
        precision: Share of the found voxels that are drawn, 0 to 1.
    """

    dice: float
    hausdorff_95_mm: float
    sensitivity: float
    precision: float


def region_masks(labels: Labels) -> Mapping[str, Mask]:
    """The three nested regions of a label map, by name."""
    enhancing = labels == ENHANCING
    return {"whole-tumour": labels > 0, "tumour-core": (labels == CORE) | enhancing, "enhancing": enhancing}


def agreement(found: Labels, drawn: Labels, spacing_mm: Sequence[float]) -> Mapping[str, Agreement]:
    """Every figure of each region.

    Args:
        found, drawn: Labels 0 to 3 on one grid.
        spacing_mm: Between slices, rows and columns.

    Raises:
        EvaluationError: The grids differ, or a spacing is not above 0.
    """
    others = region_masks(drawn)
    return {region: mask_agreement(mask, others[region], spacing_mm) for region, mask in region_masks(found).items()}


def mask_agreement(found: Mask, drawn: Mask, spacing_mm: Sequence[float]) -> Agreement:
    """Every figure of one region.

    Raises:
        EvaluationError: The grids differ, or a spacing is not above 0.
    """
    return Agreement(
        dice_of_masks(found, drawn),
        hausdorff_95_of_masks(found, drawn, spacing_mm),
        _share_inside(drawn, found),
        _share_inside(found, drawn),
    )


def dice(first: Labels, second: Labels) -> Mapping[str, float]:
    """Dice coefficient of each region, 0 to 1; 1 where both maps lack the region.

    Args:
        first, second: Labels 0 to 3 on one grid.
    """
    others = region_masks(second)
    return {region: dice_of_masks(mask, others[region]) for region, mask in region_masks(first).items()}


def dice_of_masks(first: Mask, second: Mask) -> float:
    """Twice the overlap over the sum of the sizes; 1 when both masks are empty."""
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else 1.0


def hausdorff_95_of_masks(first: Mask, second: Mask, spacing_mm: Sequence[float]) -> float:
    """95th-percentile Hausdorff distance, mm: the larger of both directions, between the masks' border voxels.

    Args:
        first, second: (slices, rows, columns) on one grid.
        spacing_mm: Between slices, rows and columns.

    Returns:
        0 when both masks are empty; FAR_MM when one is.

    Raises:
        EvaluationError: The grids differ, or a spacing is not above 0.

    References:
        Huttenlocher et al. (1993), doi:10.1109/34.232073; with the percentile as in BraTS, arXiv:1811.02629.
    """
    _check_grids(first, second, spacing_mm)
    if not first.any() or not second.any():
        return FAR_MM if first.any() or second.any() else 0.0
    window = _window(first | second)
    borders = [mask[window] & ~ndimage.binary_erosion(mask[window]) for mask in (first, second)]
    directed = [
        np.percentile(ndimage.distance_transform_edt(~to, sampling=spacing_mm)[start], 95)
        for start, to in (borders, borders[::-1])
    ]
    return min(float(max(directed)), FAR_MM)


def surface_dice_of_masks(found: Mask, drawn: Mask, spacing_mm: Sequence[float], tolerance_mm: float) -> float:
    """Share of both masks' border voxels that lie within a tolerance of the other's border, 0 to 1.

    A border that is drawn a little off costs a small region no more than a large one, as it does with Dice.

    Args:
        found, drawn: (slices, rows, columns) on one grid.
        spacing_mm: Between slices, rows and columns.
        tolerance_mm: How far off a border may be.

    Returns:
        1 when both masks are empty; 0 when one is.

    Raises:
        EvaluationError: The grids differ, or a spacing or the tolerance is not above 0.

    References:
        Nikolov et al. (2018), arXiv:1809.04430: the surface Dice coefficient, or normalised surface distance; over
        border voxels instead of surface elements.
    """
    _check_grids(found, drawn, spacing_mm)
    if not 0 < tolerance_mm < math.inf:
        raise EvaluationError(f"Expected a tolerance above 0 mm, got {tolerance_mm} mm.")
    if not found.any() or not drawn.any():
        return 0.0 if found.any() or drawn.any() else 1.0
    window = _window(found | drawn)
    borders = [mask[window] & ~ndimage.binary_erosion(mask[window]) for mask in (found, drawn)]
    near = [
        # Distances are sums of squares: a border exactly at the tolerance must not fall off by rounding.
        int((ndimage.distance_transform_edt(~to, sampling=spacing_mm)[start] <= tolerance_mm + _ROUNDING_MM).sum())
        for start, to in (borders, borders[::-1])
    ]
    return sum(near) / sum(int(border.sum()) for border in borders)


def _share_inside(part: Mask, whole: Mask) -> float:
    """Share of a mask that lies inside another; 1 when both are empty, 0 when one is."""
    if not part.any():
        return 0.0 if whole.any() else 1.0
    return int((part & whole).sum()) / int(part.sum())


def _check_grids(first: Mask, second: Mask, spacing_mm: Sequence[float]) -> None:
    if first.shape != second.shape or first.ndim != len(spacing_mm):
        raise EvaluationError(
            f"Expected two masks on one grid and a spacing for each axis, got {first.shape}, {second.shape} and "
            f"{len(spacing_mm)} spacings."
        )
    if not all(0 < length < math.inf for length in spacing_mm):
        raise EvaluationError(f"Expected spacings above 0 mm, got {list(spacing_mm)} mm.")


def _window(mask: Mask) -> tuple[slice, ...]:
    """The smallest box that holds the mask: distances inside it are those of the whole grid."""
    found = np.nonzero(mask)
    return tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in found)
