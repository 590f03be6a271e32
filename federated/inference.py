"""The trained model behind the Segmenter port."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from federated.decision import Decision, decide
from federated.errors import ModelFileError
from federated.model_file import Model, load_model
from federated.models import build_network
from federated.ports import Image, ModelIdentity, Prediction, Progress
from federated.preprocessing import ModelInput, to_model_input, to_reference_grid
from federated.resampling import Floats
from federated.uncertainty import expected_dice, nested, predictive_entropy

MIRRORS: tuple[tuple[int, ...], ...] = ((), (2,), (1,), (1, 2))
"""The answers for these mirrored inputs are averaged; axes are (slices, rows, columns)."""
AT_ONCE = 128**3
"""Voxels that are answered at once; larger inputs are answered window by window. At 2 mm a head is smaller.

It bounds the memory: a feature map of 16 float32 channels at full resolution takes 128 MB.
"""
WINDOW = 128
"""Edge of a window, voxels; MONAI blends the windows' answers by Gaussian weights, which are small at their edges."""
THICK_SLICE_MM = 3.0
LOW_CONFIDENCE = 0.7
"""An expected Dice below it is warned of: above 0.7 overlap is called good (Zijdenbos 1994, doi:10.1109/42.363096)."""


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
        # The layout that convolutions on a CPU are fastest with. Half precision was hardly faster and moved labels.
        self._network.eval().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

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
        progress(0.9)
        voxel_ml = abs(float(np.linalg.det(images[reference].affine_lps))) / 1000
        decision = self._model.decision
        labels = decide(probabilities, voxel_ml, decision)
        confidence = _confidence(labels, probabilities, voxel_ml, decision)
        warnings = (
            *_missing(self._identity.contrasts, images),
            *model_input.notes,
            *_image_warnings(images, model_input),
            *_result_warnings(labels, confidence),
        )
        uncertainty = predictive_entropy(probabilities)
        progress(1.0)
        return Prediction(labels, probabilities, uncertainty, confidence, warnings)

    def _probabilities(self, model_input: ModelInput, progress: Progress) -> Floats:
        """Calibrated, mean over the mirrored inputs; 0 outside the head."""
        channels = torch.from_numpy(model_input.channels)
        temperatures = torch.tensor(self._model.decision.temperatures)[:, None, None, None]
        total = torch.zeros((len(temperatures), *channels.shape[1:]))
        with torch.inference_mode():
            for done, axes in enumerate(MIRRORS, start=1):
                # Axis 0 of the channels is the channel itself.
                spatial = [axis + 1 for axis in axes]
                logits = run_network(self._network, channels.flip(spatial), self._model.network.stride)
                total += (logits.flip(spatial) / temperatures).sigmoid()
                progress(0.2 + 0.6 * done / len(MIRRORS))
        mean: Floats = (total / len(MIRRORS)).numpy()
        return mean * model_input.head


def run_network(
    network: torch.nn.Module, channels: torch.Tensor, stride: int, *, at_once: int = AT_ONCE, window: int = WINDOW
) -> torch.Tensor:
    """Logits of one case, whole when it is small enough, else window by window.

    Networks with instance norm see a window's statistics instead of the head's: windows are for what memory forbids.

    Args:
        network: Maps (1, channels, slices, rows, columns) to (1, regions, ...).
        channels: (channels, slices, rows, columns), of any size.
        stride: The network's input sizes are multiples of it.
        at_once: Largest number of voxels that are answered at once.
        window: Edge of a window, voxels; a multiple of the stride.

    Returns:
        float32 (regions, slices, rows, columns).
    """
    sizes = channels.shape[1:]
    # functional.pad counts the axes from the last one.
    surplus = [pad for size in reversed(sizes) for pad in (0, -size % stride)]
    padded = functional.pad(channels[None], surplus, mode="replicate") if any(surplus) else channels[None]
    padded = padded.contiguous(memory_format=torch.channels_last_3d)
    if math.prod(padded.shape[2:]) <= at_once:
        logits = network(padded)
    else:
        from monai.inferers.inferer import SlidingWindowInferer  # small images, and training, do without MONAI

        edges = [min(window, size) for size in padded.shape[2:]]
        logits = SlidingWindowInferer(edges, overlap=0.25, mode="gaussian")(padded, network)
    slices, rows, columns = sizes
    answer: torch.Tensor = logits[0, :, :slices, :rows, :columns].float()
    return answer


def _confidence(labels: npt.NDArray[np.uint8], probabilities: Floats, voxel_ml: float, decision: Decision) -> float:
    return expected_dice(nested(probabilities)[0], labels > 0, max(decision.min_component_ml / voxel_ml, 1.0))


def _missing(contrasts: tuple[str, ...], images: Mapping[str, Image]) -> list[str]:
    return [
        f"{contrast} missing: the result is less reliable than with all of {', '.join(contrasts)}."
        for contrast in contrasts
        if contrast not in images
    ]


def _image_warnings(images: Mapping[str, Image], model_input: ModelInput) -> list[str]:
    warnings = []
    if model_input.brain_extracted:
        warnings.append(
            "The skull was removed here; the model was measured on images that came without it: "
            "check the result with care."
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


def _result_warnings(labels: npt.NDArray[np.uint8], confidence: float) -> list[str]:
    tumour = labels > 0
    warnings = []
    faces = (tumour[0], tumour[-1], tumour[:, 0], tumour[:, -1], tumour[:, :, 0], tumour[:, :, -1])
    if any(face.any() for face in faces):
        warnings.append("The tumour touches the border of the field of view: it may be larger than what is measured.")
    if confidence < LOW_CONFIDENCE:
        warnings.append(
            f"Low confidence: the outline's expected overlap with a reader's (Dice) is {confidence:.0%}."
            if tumour.any()
            else "Low confidence: nothing was outlined, but the model does not rule a tumour out."
        )
    return warnings
