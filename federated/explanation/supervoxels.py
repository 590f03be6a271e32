"""Supervoxels: pieces of tissue of about one size that look alike, for explanations that people can point at."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from federated.explanation.window import Window

COUNT: Final = 40
"""Wanted; SLIC gives about as many."""
AROUND_MM: Final = 12.0
"""Tissue so far around the lesion is cut up too; what lies further away stays as it is."""
COMPACTNESS: Final = 0.3
"""SLIC's balance of place against brightness, which is in standard deviations of the brain's here."""

Labels = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Supervoxels:
    """A cut of a window.

    Attributes:
        labels: int32 (slices, rows, columns): 0 for what is not cut up, else 1 to count.
        count: How many there are.
    """

    labels: Labels
    count: int


def cut_supervoxels(window: Window, *, count: int = COUNT, around_mm: float = AROUND_MM) -> Supervoxels:
    """Cut the lesion and the tissue around it into supervoxels by SLIC over all contrasts.

    The same window gives the same cut.

    References:
        Achanta et al. (2012), doi:10.1109/TPAMI.2012.120.
    """
    from skimage.segmentation import slic

    region = window.region.numpy()
    distance_mm = ndimage.distance_transform_edt(~region, sampling=window.grid.spacing_mm)
    mask = (window.head & (distance_mm <= around_mm)) | region
    images = np.moveaxis(window.images.numpy(), 0, -1)
    found = slic(
        images,
        n_segments=min(count, int(mask.sum())),
        compactness=COMPACTNESS,
        mask=mask,
        start_label=1,
        channel_axis=-1,
        spacing=tuple(window.grid.spacing_mm / window.grid.spacing_mm.min()),
        convert2lab=False,
    )
    # SLIC may leave numbers out, and leaves crumbs of a mask without one: those join their nearest neighbour.
    nearest = ndimage.distance_transform_edt(found == 0, return_distances=False, return_indices=True)
    filled = np.where(mask, found[tuple(nearest)], 0)
    numbers, packed = np.unique(filled, return_inverse=True)
    labels = packed.reshape(mask.shape).astype(np.int32)
    if numbers[0] != 0:
        labels += 1
    return Supervoxels(labels, int(labels.max()))
