"""The trained model behind the Segmenter port."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from federated.decision import decide
from federated.errors import ModelFileError
from federated.model_file import Model, load_model
from federated.models import build_network
from federated.ports import Image, ModelIdentity, Prediction, Progress
from federated.preprocessing import ModelInput, to_model_input, to_reference_grid

MIRRORS: tuple[tuple[int, ...], ...] = ((), (2,), (1,), (1, 2))
"""The answers for these mirrored inputs are averaged; axes are (slices, rows, columns)."""
THICK_SLICE_MM = 3.0
LOW_CONFIDENCE = 0.6


def load_segmenter(folder: Path) -> "TorchSegmenter":
    """Load a model from its folder.

    Raises:
        ModelFileError: A file is missing or unreadable, is not what its version says, or does not fit its network.
    """
    model, identity = load_model(folder)
    return TorchSegmenter(model, identity)


class TorchSegmenter:
    """A segmentation network on the CPU. The same images give the same answer on one machine."""

    def __init__(self, model: Model, identity: ModelIdentity) -> None:
        self._model = model
        self._identity = identity
        self._network = build_network(model.network)
        try:
            self._network.load_state_dict({name: tensor.float() for name, tensor in model.weights.items()})
        except RuntimeError as fault:
            raise ModelFileError(
                f"{identity.version}: its weights do not fit its network; install the model again."
            ) from fault
        self._network.eval()

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""
        return self._identity

    def segment(self, images: Mapping[str, Image], reference: str, progress: Progress) -> Prediction:
        """Segment one case on the grid of images[reference]; see federated.ports.Segmenter.

        Raises:
            ModelInputError: The reference is missing; an image is empty, constant, not finite, or of absurd extent.
        """
        progress(0.0)
        model_input = to_model_input(images, reference, self._model.preprocessing)
        progress(0.2)
        on_model_grid = self._probabilities(model_input, progress)
        probabilities = to_reference_grid(on_model_grid, model_input.grid, images[reference])
        progress(0.95)
        voxel_ml = abs(float(np.linalg.det(images[reference].affine_lps))) / 1000
        labels = decide(probabilities, voxel_ml, self._model.decision)
        warnings = (
            *_missing(self._identity.contrasts, images),
            *_image_warnings(images, model_input),
            *_result_warnings(labels, probabilities),
        )
        progress(1.0)
        return Prediction(labels, probabilities, warnings)

    def _probabilities(self, model_input: ModelInput, progress: Progress) -> npt.NDArray[np.float32]:
        """Mean over the mirrored inputs; 0 outside the head."""
        channels = torch.from_numpy(model_input.channels)
        total = torch.zeros((self._model.network.regions, *channels.shape[1:]))
        with torch.inference_mode():
            for done, axes in enumerate(MIRRORS, start=1):
                # Axis 0 of the channels is the channel itself.
                mirrored = channels.flip([axis + 1 for axis in axes])
                total += self._network(mirrored[None])[0].sigmoid().flip([axis + 1 for axis in axes])
                progress(0.2 + 0.6 * done / len(MIRRORS))
        mean: npt.NDArray[np.float32] = (total / len(MIRRORS)).numpy()
        return mean * model_input.head


def _missing(contrasts: tuple[str, ...], images: Mapping[str, Image]) -> list[str]:
    return [
        f"{contrast} missing: the result is less reliable than with all of {', '.join(contrasts)}."
        for contrast in contrasts
        if contrast not in images
    ]


def _image_warnings(images: Mapping[str, Image], model_input: ModelInput) -> list[str]:
    warnings = []
    if not model_input.skull_stripped:
        warnings.append(
            "Images are not skull-stripped, as the model's training images were: check the result with care."
        )
    thickness_mm = {
        contrast: float(np.linalg.norm(images[contrast].affine_lps[:3, :3], axis=0).max())
        for contrast in model_input.present
    }
    thick = [f"{contrast} {found:.1f} mm" for contrast, found in thickness_mm.items() if found > THICK_SLICE_MM]
    if thick:
        warnings.append(
            f"Thick slices ({', '.join(thick)}): volumes and diameters are coarse, small findings may be missed."
        )
    return warnings


def _result_warnings(labels: npt.NDArray[np.uint8], probabilities: npt.NDArray[np.float32]) -> list[str]:
    tumour = labels > 0
    if not tumour.any():
        return []
    warnings = []
    faces = (tumour[0], tumour[-1], tumour[:, 0], tumour[:, -1], tumour[:, :, 0], tumour[:, :, -1])
    if any(face.any() for face in faces):
        warnings.append("The tumour touches the border of the field of view: it may be larger than what is measured.")
    confidence = float(probabilities[0][tumour].mean())
    if confidence < LOW_CONFIDENCE:
        warnings.append(f"Low confidence: the model's mean tumour probability is {confidence:.0%}.")
    return warnings
