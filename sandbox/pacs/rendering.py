"""Pictures of stored images, for the pages and for rendered retrieval."""

import io
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset


class NoPictureError(Exception):
    """The instance holds no picture that this server can draw."""


def _window(dataset: Dataset, pixels: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The lower and upper value to show: the stored window (PS3.3 C.11.2.1.2), or the image's own range."""
    centre, width = dataset.get("WindowCenter"), dataset.get("WindowWidth")
    if centre is None or width is None:
        return float(pixels.min()), float(pixels.max())
    first = [float(value[0] if not isinstance(value, float | int | str) else value) for value in (centre, width)]
    return first[0] - first[1] / 2, first[0] + first[1] / 2


def render_png(content: IO[bytes]) -> bytes:
    """Draw an instance's (middle) frame as PNG.

    Raises:
        NoPictureError: No monochrome pixels that can be decoded here.
    """
    dataset = dcmread(content)
    if "PixelData" not in dataset or dataset.get("PhotometricInterpretation") not in {"MONOCHROME1", "MONOCHROME2"}:
        raise NoPictureError("no monochrome picture")
    try:
        pixels = dataset.pixel_array.astype(np.float64)
    except (RuntimeError, NotImplementedError, ValueError) as error:
        raise NoPictureError("this transfer syntax is not decoded here") from error
    if pixels.ndim == 3:
        pixels = pixels[len(pixels) // 2]
    pixels = pixels * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
    low, high = _window(dataset, pixels)
    grey = np.clip((pixels - low) / max(high - low, 1e-6), 0, 1) * 255
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    picture = io.BytesIO()
    Image.fromarray(grey.astype(np.uint8)).save(picture, "PNG")
    return picture.getvalue()
