"""A series' slices to one volume, or a named refusal."""

import struct
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, MRImageStorage

from dicom_ingest.attributes import number, required_count, required_numbers, text, texts
from dicom_ingest.errors import (
    BrokenInstanceError,
    DuplicateSliceError,
    IrregularSpacingError,
    MissingSliceError,
    MixedSeriesError,
    TooFewSlicesError,
    UnsupportedInstanceError,
)
from dicom_ingest.geometry import (
    DUPLICATE_TOLERANCE_MM,
    IN_PLANE_TOLERANCE,
    ORIENTATION_TOLERANCE,
    SPACING_TOLERANCE,
    Array,
    distances_mm,
    in_plane_shifts_mm,
    is_orientation,
    stack_affine_lps,
)
from dicom_ingest.model import Volume

MIN_SLICES = 3
MAX_VOXELS = 2**29
"""2 GiB as float32: more than any classic MR series, less than a worker's memory."""

_SAME_TEXT = ("SeriesInstanceUID", "FrameOfReferenceUID", "Rows", "Columns")
_SAME_NUMBERS = (("ImageOrientationPatient", 6), ("PixelSpacing", 2))

# What pydicom's decoders let out on malformed or unsupported pixel data.
DECODE_FAULTS = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


def assemble_volume(instances: Sequence[Dataset]) -> Volume:
    """Stack one series along its slice normal.

    Args:
        instances: One dataset per slice, in any order, as instances.parse_instance gives them.

    Returns:
        Voxels float32 (slices, rows, columns), rescaled; affine_lps (4, 4) maps (slice, row, column) to LPS, mm.

    Raises:
        GeometryError: The series is not one regular classic MR volume; a subclass names why.
        BrokenInstanceError: Pixel data cannot be decoded, or an attribute is malformed.

    References:
        DICOM PS3.3 C.7.6.2.1.1; C.11.1 (rescale).
    """
    ordered = order_slices(instances)
    first = ordered[0]
    rows, columns = required_count(first, "Rows"), required_count(first, "Columns")
    if len(ordered) * rows * columns > MAX_VOXELS:
        raise UnsupportedInstanceError(
            f"Series {first.SeriesInstanceUID} claims {len(ordered)} x {rows} x {columns} voxels, "
            f"more than {MAX_VOXELS}; send a series of usual size."
        )
    voxels = np.empty((len(ordered), rows, columns), np.float32)
    with warnings.catch_warnings():
        # Of padding, which is harmless, and of more pixels than claimed, which the shape tells.
        warnings.simplefilter("ignore")
        for index, instance in enumerate(ordered):
            _fill(voxels[index], instance)
    return Volume(
        voxels=voxels,
        affine_lps=stack_affine_lps(
            required_numbers(first, "ImageOrientationPatient", 6),
            required_numbers(first, "PixelSpacing", 2),
            _positions(ordered),
        ),
        series_instance_uid=first.SeriesInstanceUID,
        frame_of_reference_uid=first.FrameOfReferenceUID,
        sop_instance_uids=tuple(instance.SOPInstanceUID for instance in ordered),
    )


def order_slices(instances: Sequence[Dataset]) -> tuple[Dataset, ...]:
    """Order one series' slices along the slice normal, whatever their InstanceNumber says.

    Raises:
        UnsupportedInstanceError: An instance is not a classic single-frame greyscale MR image.
        TooFewSlicesError: Less than MIN_SLICES.
        MixedSeriesError: Size, orientation, pixel spacing or frame of reference differ.
        DuplicateSliceError: Two slices lie at one place.
        MissingSliceError: Whole slices are missing.
        IrregularSpacingError: Gaps differ otherwise, or the stack is sheared.
        BrokenInstanceError: An attribute is malformed.
    """
    for instance in instances:
        _check_classic_mr(instance)
    if len(instances) < MIN_SLICES:
        raise TooFewSlicesError(
            f"Expected at least {MIN_SLICES} slices, got {len(instances)}; check that the series is complete."
        )
    _check_alike(instances)
    orientation = required_numbers(instances[0], "ImageOrientationPatient", 6)
    if not is_orientation(orientation):
        raise BrokenInstanceError(
            f"ImageOrientationPatient of instance {instances[0].SOPInstanceUID} is not two perpendicular unit vectors; "
            "repair the series in the archive."
        )
    distances = distances_mm(orientation, _positions(instances))
    order = np.argsort(distances, kind="stable")
    ordered = tuple(instances[index] for index in order)
    _check_gaps(ordered, distances[order] - distances.min())
    _check_upright(ordered, orientation)
    return ordered


def _check_classic_mr(instance: Dataset) -> None:
    fault = _unsupported(instance)
    if fault:
        raise UnsupportedInstanceError(
            f"Expected classic single-frame greyscale MR images, instance {instance.SOPInstanceUID} {fault}; "
            "send the series as classic MR images."
        )


def _unsupported(instance: Dataset) -> str | None:
    if instance.SOPClassUID != MRImageStorage:
        return f"is of SOP class {UID(instance.SOPClassUID).name}"
    if (number(instance, "NumberOfFrames") or 1) > 1:
        return "has several frames"
    if "MOSAIC" in texts(instance, "ImageType"):
        return "is a mosaic of several slices"
    if "PixelData" not in instance:
        return "has no PixelData"
    if (number(instance, "SamplesPerPixel") or 1) != 1 or text(instance, "PhotometricInterpretation") != "MONOCHROME2":
        return f"has PhotometricInterpretation {text(instance, 'PhotometricInterpretation') or 'missing'}"
    if number(instance, "BitsAllocated") not in (8, 16):
        return f"has BitsAllocated {text(instance, 'BitsAllocated') or 'missing'}"
    if not text(instance, "FrameOfReferenceUID"):
        return "has no FrameOfReferenceUID"
    return None


def _check_alike(instances: Sequence[Dataset]) -> None:
    first = instances[0]
    numbers = {keyword: np.array(required_numbers(first, keyword, count)) for keyword, count in _SAME_NUMBERS}
    for instance in instances[1:]:
        differing = [keyword for keyword in _SAME_TEXT if instance.get(keyword) != first.get(keyword)]
        differing += [
            keyword
            for keyword, count in _SAME_NUMBERS
            if np.abs(required_numbers(instance, keyword, count) - numbers[keyword]).max() > ORIENTATION_TOLERANCE
        ]
        if differing:
            raise MixedSeriesError(
                f"Expected slices alike, instances {first.SOPInstanceUID} and {instance.SOPInstanceUID} "
                f"differ in {', '.join(differing)}; split the series."
            )


def _positions(instances: Sequence[Dataset]) -> Array:
    return np.array([required_numbers(instance, "ImagePositionPatient", 3) for instance in instances])


def _check_gaps(ordered: Sequence[Dataset], distances: Array) -> None:
    gaps = np.diff(distances)
    closest = int(np.argmin(gaps))
    if gaps[closest] < DUPLICATE_TOLERANCE_MM:
        raise DuplicateSliceError(
            f"{_between(ordered, closest)} lie at one place, {distances[closest]:.2f} mm from the first "
            "slice: the series holds more than one acquisition; split it."
        )
    steps = np.rint(gaps / gaps.min())
    spacing = gaps.sum() / steps.sum()
    uneven = np.abs(gaps - steps * spacing) > SPACING_TOLERANCE * spacing
    if uneven.any():
        worst = int(np.argmax(np.abs(gaps - steps * spacing)))
        raise IrregularSpacingError(
            f"Expected slices {spacing:.2f} mm apart, {_between(ordered, worst)} are {gaps[worst]:.2f} mm apart "
            f"(series {ordered[0].SeriesInstanceUID}); resample the series."
        )
    missing = int(steps.sum()) - len(gaps)
    if missing:
        places = "; ".join(
            f"{int(step) - 1} between {_between(ordered, index)}, "
            f"{distances[index]:.2f} to {distances[index + 1]:.2f} mm from the first slice"
            for index, step in enumerate(steps)
            if step > 1
        )
        raise MissingSliceError(
            f"{missing} of {len(ordered) + missing} slices are missing in series {ordered[0].SeriesInstanceUID}: "
            f"{places}; send the missing instances."
        )


def _check_upright(ordered: Sequence[Dataset], orientation: Sequence[float]) -> None:
    pixel_mm = min(required_numbers(ordered[0], "PixelSpacing", 2))
    if pixel_mm <= 0:
        raise BrokenInstanceError(
            f"Expected a positive PixelSpacing in series {ordered[0].SeriesInstanceUID}, got {pixel_mm:g}; "
            "repair the series in the archive."
        )
    shift_mm = in_plane_shifts_mm(orientation, _positions(ordered)).max()
    if shift_mm > IN_PLANE_TOLERANCE * pixel_mm:
        raise IrregularSpacingError(
            f"Expected slices stacked along their normal, they are shifted sideways by up to {shift_mm:.2f} mm "
            f"(series {ordered[0].SeriesInstanceUID} is sheared); resample the series."
        )


def _between(ordered: Sequence[Dataset], index: int) -> str:
    names = [text(instance, "InstanceNumber") or "(none)" for instance in ordered[index : index + 2]]
    return f"InstanceNumber {names[0]} and {names[1]}"


def _fill(voxels: npt.NDArray[np.float32], instance: Dataset) -> None:
    try:
        pixels = pixel_array(instance)
    except DECODE_FAULTS as error:
        raise BrokenInstanceError(
            f"Pixel data of instance {instance.SOPInstanceUID} cannot be decoded ({_syntax_name(instance)}); "
            "have the archive send it uncompressed."
        ) from error
    if pixels.shape != voxels.shape:
        raise BrokenInstanceError(
            f"Expected {voxels.shape} pixels in instance {instance.SOPInstanceUID}, got {pixels.shape}; "
            "retrieve it again from its source."
        )
    np.multiply(pixels, _rescale(instance, "RescaleSlope", 1.0), out=voxels, casting="unsafe")
    voxels += np.float32(_rescale(instance, "RescaleIntercept", 0.0))


def _rescale(instance: Dataset, keyword: str, default: float) -> float:
    return required_numbers(instance, keyword, 1)[0] if text(instance, keyword) else default


def _syntax_name(instance: Dataset) -> str:
    syntax = getattr(instance, "file_meta", Dataset()).get("TransferSyntaxUID")
    return UID(syntax).name if isinstance(syntax, str) else "no transfer syntax"
