"""A segmenter without a model: it calls bright voxels of the reference image tumour."""

from collections.abc import Mapping

import numpy as np

from federated.errors import ModelInputError
from federated.ports import Image, ModelIdentity, Prediction, Progress

CONTRASTS = ("T1", "T1ce", "T2", "FLAIR")
LABEL_MAP = {1: "necrotic and non-enhancing core", 2: "oedema", 3: "enhancing"}


class ThresholdSegmenter:
    """Labels the reference by fixed fractions of its maximum; probabilities are certain.

    With the defaults a reference that holds 0.6, 0.8 and 1.0 times its maximum gets labels 2, 1 and 3 there. A constant
    reference is refused, as by the real model; with healthy=True nothing is found in any image.
    """

    def __init__(
        self, oedema_above: float = 0.5, core_above: float = 0.7, enhancing_above: float = 0.9, *, healthy: bool = False
    ) -> None:
        self._fractions = (oedema_above, core_above, enhancing_above)
        self._healthy = healthy
        self.segmented: list[tuple[str, ...]] = []

    @property
    def identity(self) -> ModelIdentity:
        """A fixed identity."""
        return ModelIdentity(
            name="Threshold segmenter",
            version=f"{0:064x}",
            contrasts=("T1", "T1ce", "T2", "FLAIR"),
            label_map=LABEL_MAP,
        )

    def segment(self, images: Mapping[str, Image], reference: str, progress: Progress) -> Prediction:
        """Label images[reference]; the other contrasts are only checked to be there."""
        if reference not in images:
            raise ModelInputError(f"The reference {reference} is missing; got {sorted(images)}.")
        self.segmented.append(tuple(sorted(images)))
        voxels = images[reference].voxels
        if voxels.size == 0 or not np.isfinite(voxels).all() or voxels.min() == voxels.max():
            raise ModelInputError(f"{reference} is empty, constant or not finite; nothing to segment.")
        progress(0.0)
        relative = voxels / voxels.max()
        if self._healthy:
            relative = np.zeros_like(relative)
        oedema, core, enhancing = self._fractions
        labels = np.zeros(voxels.shape, np.uint8)
        labels[relative > oedema] = 2
        labels[relative > core] = 1
        labels[relative > enhancing] = 3
        regions = (labels > 0, (labels == 1) | (labels == 3), labels == 3)
        progress(1.0)
        return Prediction(
            labels=labels,
            probabilities=np.stack(regions).astype(np.float32),
            uncertainty=np.zeros(voxels.shape, np.float32),
            confidence=1.0,
            warnings=self._warnings(images),
        )

    def _warnings(self, images: Mapping[str, Image]) -> tuple[str, ...]:
        missing = [contrast for contrast in CONTRASTS if contrast not in images]
        return tuple(f"{contrast} missing: the result is less reliable." for contrast in missing)
