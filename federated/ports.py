"""The model port: any segmentation model, classical or hybrid quantum, stands behind it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Progress = Callable[[float], None]
"""Takes the finished fraction, 0 to 1."""


@dataclass(frozen=True, eq=False)
class Image:
    """One contrast of a case.

    Attributes:
        voxels: float32 (slices, rows, columns).
        affine_lps: float64 (4, 4), maps (slice, row, column, 1) to LPS, mm.
    """

    voxels: npt.NDArray[np.float32]
    affine_lps: npt.NDArray[np.float64]


@dataclass(frozen=True)
class ModelIdentity:
    """Which model it is.

    Attributes:
        version: SHA-256 over weights + preprocessing + label map, 64 hexadecimal digits (as many as a DICOM LO holds);
            the same string everywhere.
        contrasts: The channels it reads, in order, e.g. ("T1", "T1ce", "T2", "FLAIR").
        label_map: Mask value to BraTS region name, e.g. {1: "necrotic and non-enhancing core", ...}.
    """

    name: str
    version: str
    contrasts: tuple[str, ...]
    label_map: Mapping[int, str]


@dataclass(frozen=True, eq=False)
class Prediction:
    """A model's answer on the reference image's grid.

    Attributes:
        labels: uint8 (slices, rows, columns); 0 background, 1 necrotic and non-enhancing core, 2 oedema, 3 enhancing.
        probabilities: float32 (3, slices, rows, columns); whole tumour, tumour core, enhancing tumour; calibrated.
        uncertainty: float32 (slices, rows, columns), 0 (sure) to 1; see federated.uncertainty.predictive_entropy.
        confidence: The Dice coefficient that the whole tumour's mask can expect to reach, 0 to 1; see
            federated.uncertainty.expected_dice.
        warnings: What a reader must know, in words for a radiologist.
    """

    labels: npt.NDArray[np.uint8]
    probabilities: npt.NDArray[np.float32]
    uncertainty: npt.NDArray[np.float32]
    confidence: float
    warnings: tuple[str, ...]


class Segmenter(Protocol):
    """A segmentation model, ready to use."""

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""

    def segment(self, images: Mapping[str, Image], reference: str, progress: Progress) -> Prediction:
        """Segment one case on the grid of images[reference].

        Args:
            images: By contrast name; contrasts may be missing, the reference may not. Grids may differ; all are in one
                frame of reference.
            progress: Called as the work goes on.

        Raises:
            ModelInputError: The reference is missing, an image is empty, constant or not finite.
        """
