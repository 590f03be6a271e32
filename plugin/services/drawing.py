"""What every picture is made with: arrays as images, regions as colours, images as PNG files."""

import io
import zlib
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from plugin.services.values import Artefact

FILL_ALPHA: Final = 60
CONTOUR_ALPHA: Final = 255

Rgb = tuple[int, int, int]
Labels = npt.NDArray[np.uint8]
Grey = npt.NDArray[np.uint8]


def resize_labels(cut: Labels, size: tuple[int, int], box: tuple[int, int, int, int] | None = None) -> Labels:
    """Bring labels (rows, columns) to a size (width, height), with smooth outlines.

    Each region is interpolated for itself and the strongest wins: no gaps, no mixed labels.

    Args:
        box: The part that is taken: left, top, right, bottom, in pixels of the cut; all of it by default.
    """
    shown = np.array(sorted({0, *np.unique(cut).tolist()}), np.uint8)
    weights = [
        np.asarray(to_image((cut == label) * np.uint8(255)).resize(size, Image.Resampling.BILINEAR, box=box))
        for label in shown
    ]
    resized: Labels = shown[np.argmax(weights, axis=0)]
    return resized


def with_contours(labels: Labels, *, width: int) -> Labels:
    """Double the labels, and add one within width px of another label, in the last two axes."""
    neighbours = (*[1] * (labels.ndim - 2), 2 * width + 1, 2 * width + 1)
    inside = ndimage.minimum_filter(labels, neighbours) == ndimage.maximum_filter(labels, neighbours)
    contoured: Labels = np.where(labels == 0, 0, 2 * labels + ~inside).astype(np.uint8)
    return contoured


def colour_table(colours: Mapping[int, Rgb], fill_alpha: int = FILL_ALPHA) -> npt.NDArray[np.uint8]:
    """RGBA of the values of with_contours; (256, 4)."""
    table = np.zeros((256, 4), np.uint8)
    for label, rgb in colours.items():
        table[2 * label] = (*rgb, fill_alpha)
        table[2 * label + 1] = (*rgb, CONTOUR_ALPHA)
    return table


def to_image(array: npt.NDArray[np.uint8]) -> Image.Image:
    """An array (rows, columns) as a grey image, or (rows, columns, 4) as RGBA."""
    return Image.fromarray(np.ascontiguousarray(array))


def to_artefact(name: str, image: Image.Image) -> Artefact:
    """An image as the file name.png."""
    return Artefact(f"{name}.png", "image/png", to_png(image))


def to_jpeg(png: bytes) -> bytes:
    """A picture for a document that must stay small: EHRs refuse attachments above about a megabyte."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(buffer, "JPEG", quality=90, subsampling=0, optimize=True)
    return buffer.getvalue()


def to_png(image: Image.Image) -> bytes:
    """The same image gives the same bytes."""
    buffer = io.BytesIO()
    # Neighbouring pixels of an MR picture are all that compresses: run lengths are as small, in half the time.
    strategy = zlib.Z_RLE if image.mode == "L" else zlib.Z_DEFAULT_STRATEGY
    image.save(buffer, "PNG", compress_type=strategy, transparency=image.info.get("transparency"))
    return buffer.getvalue()
