"""How sure a calibrated answer is: voxel by voxel, and as a whole."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import entr

from federated.resampling import Floats, Mask


def predictive_entropy(probabilities: Floats) -> Floats:
    """Entropy of the four labels at each voxel, as a share of the largest possible one, two bits.

    0 where the model is sure of its label, 0.5 where two labels are equally likely, 1 where all four are. It counts
    doubt about the tumour's border as well as about the parts within it, and is as well calibrated as the probabilities
    are. Given the mean over mirrored inputs, it holds the doubt that shows as disagreement between them too.

    Args:
        probabilities: (3, slices, rows, columns): whole tumour, tumour core, enhancing tumour; calibrated.

    Returns:
        float32 (slices, rows, columns), 0 to 1.

    References:
        Wang et al. 2019, arXiv:1807.07356: predictive entropy over test-time augmentation.
    """
    uncertainty = np.zeros(probabilities.shape[1:], np.float32)
    # The rest of the head is certain: logarithms of all its zeros would take most of the time.
    for window in ndimage.find_objects((probabilities > 0).any(axis=0).view(np.uint8)):
        whole, core, enhancing = nested(probabilities[(slice(None), *window)])
        for share in (1 - whole, whole - core, core - enhancing, enhancing):
            uncertainty[window] += entr(np.maximum(share, 0)) / (2 * np.log(2))
    return np.clip(uncertainty, 0, 1)


def expected_dice(probabilities: Floats, mask: Mask, smallest_voxels: float) -> float:
    """The Dice coefficient that a mask can expect to reach against the truth, 0 to 1.

    The smallest piece that would count as a tumour is added to the overlap and to both sizes, so that an empty mask is
    judged by how much tumour is still expected.

    Args:
        probabilities: That each voxel belongs to the region; (slices, rows, columns), calibrated.
        mask: What is said to be the region.
        smallest_voxels: Size of the smallest piece that counts, above 0.

    References:
        Borges et al. 2024, arXiv:2402.10665: soft Dice confidence, near the expected Dice of independent voxels.
    """
    overlap = float(probabilities[mask].sum(dtype=np.float64))
    sizes = float(mask.sum()) + float(probabilities.sum(dtype=np.float64))
    return (2 * overlap + smallest_voxels) / (sizes + smallest_voxels)


def nested(probabilities: Floats) -> Floats:
    """The same probabilities, none of an outer region below that of an inner one: who is inside is in both."""
    outward: npt.NDArray[np.float32] = np.maximum.accumulate(probabilities[::-1], axis=0)
    return outward[::-1]
