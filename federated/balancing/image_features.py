"""A few numbers about a case's images and tumour: what a simple classifier could tell its group from."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from federated.cases import Example
from federated.metrics import region_masks

Floats = npt.NDArray[np.float64]

QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
PER_CONTRAST: Final = ("q05", "q25", "q50", "q75", "q95", "noise", "sharpness")
SHAPE: Final = ("head", "slices", "rows", "columns", "whole tumour", "tumour core", "enhancing")


def feature_names(contrasts: Sequence[str]) -> tuple[str, ...]:
    """Names of the columns of image_features."""
    return (*(f"{contrast} {name}" for contrast in contrasts for name in PER_CONTRAST), *SHAPE)


def image_features(example: Example) -> Floats:
    """Intensity, noise and sharpness of each contrast inside the head; sizes of the head, the brain box and the tumour.

    Returns:
        (features,): for each contrast quantiles of brightness, the median absolute voxel after a Laplacian (noise) and
        the mean gradient (sharpness), all 0 where it is missing; then shares of the grid and logarithms of sizes.
    """
    channels, head = example.model_input.channels, example.model_input.head
    contrasts = len(channels) // 2
    found: list[float] = []
    for image, flag in zip(channels[:contrasts], channels[contrasts:], strict=True):
        is_there = bool(flag.flat[0]) and bool(head.any())
        found += _of_contrast(image.astype(np.float64), head) if is_there else [0.0] * len(PER_CONTRAST)
    box = ndimage.find_objects(head.astype(np.uint8))
    lengths = [each.stop - each.start for each in box[0]] if box else [0, 0, 0]
    tumour = [float(np.log1p(mask.sum())) for mask in region_masks(example.labels).values()]
    return np.array([*found, float(head.mean()), *map(float, lengths), *tumour])


def _of_contrast(image: Floats, head: npt.NDArray[np.bool_]) -> list[float]:
    inside = image[head]
    laplacian = np.abs(ndimage.laplace(image))[head]
    gradient = np.sqrt(sum(np.square(each) for each in np.gradient(image)))[head]
    return [
        *(float(each) for each in np.quantile(inside, QUANTILES)),
        float(np.median(laplacian)),
        float(gradient.mean()),
    ]
