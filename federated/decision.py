"""Probabilities of nested regions to one label per voxel."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

LABEL_MAP = {1: "necrotic and non-enhancing core", 2: "oedema", 3: "enhancing"}
CORE, OEDEMA, ENHANCING = 1, 2, 3


@dataclass(frozen=True)
class Decision:
    """How probabilities become labels; part of the model version.

    Attributes:
        thresholds: Above which a voxel belongs to the whole tumour, the tumour core, the enhancing tumour.
        temperatures: Each region's logits are divided by its temperature before the sigmoid, so that probabilities are
            calibrated (Guo et al. 2017, arXiv:1706.04599); fixed on validation data.
        min_component_ml: A connected piece of tumour smaller than this is dropped.
    """

    thresholds: tuple[float, float, float] = (0.5, 0.5, 0.5)
    temperatures: tuple[float, float, float] = (1.0, 1.0, 1.0)
    min_component_ml: float = 0.5


def decide(probabilities: npt.NDArray[np.float32], voxel_ml: float, decision: Decision) -> npt.NDArray[np.uint8]:
    """Label each voxel.

    A voxel of an inner region belongs to the outer ones too, whatever their probability.

    Args:
        probabilities: (3, slices, rows, columns): whole tumour, tumour core, enhancing tumour.
        voxel_ml: Volume of one voxel.
        decision: Thresholds and the smallest piece to keep.

    Returns:
        uint8 (slices, rows, columns): 0 background, 1 necrotic and non-enhancing core, 2 oedema, 3 enhancing.
    """
    labels = np.zeros(probabilities.shape[1:], np.uint8)
    for region, threshold, label in zip(probabilities, decision.thresholds, (OEDEMA, CORE, ENHANCING), strict=True):
        labels[region > threshold] = label
    return _drop_small(labels, decision.min_component_ml / voxel_ml)


def _drop_small(labels: npt.NDArray[np.uint8], min_voxels: float) -> npt.NDArray[np.uint8]:
    window = ndimage.find_objects((labels > 0).view(np.uint8))
    if not window:
        return labels
    # A view on the tumour's box: labelling the pieces of a whole head would take longer than the rest.
    box = labels[window[0]]
    pieces, _ = ndimage.label(box, structure=np.ones((3, 3, 3)))
    small = np.bincount(pieces.ravel()) < min_voxels
    small[0] = False
    box[small[pieces]] = 0
    return labels
