"""How well two label maps agree."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from federated.decision import CORE, ENHANCING

Labels = npt.NDArray[np.uint8]
REGIONS = ("whole-tumour", "tumour-core", "enhancing")


def region_masks(labels: Labels) -> Mapping[str, npt.NDArray[np.bool_]]:
    """The three nested regions of a label map, by name."""
    enhancing = labels == ENHANCING
    return {"whole-tumour": labels > 0, "tumour-core": (labels == CORE) | enhancing, "enhancing": enhancing}


def dice(first: Labels, second: Labels) -> Mapping[str, float]:
    """Dice coefficient of each region, 0 to 1; 1 where both maps lack the region.

    Args:
        first, second: Labels 0 to 3 on one grid.
    """
    others = region_masks(second)
    return {region: dice_of_masks(mask, others[region]) for region, mask in region_masks(first).items()}


def dice_of_masks(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """Twice the overlap over the sum of the sizes; 1 when both masks are empty."""
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else 1.0
