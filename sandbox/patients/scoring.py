"""How well a DICOM SEG agrees with a subject's own label, read without the code that wrote it."""

import io

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset

from sandbox.patients.subjects import Subject

Mask = npt.NDArray[np.bool_]

ENHANCING = frozenset({("NCIt", "C113842")})
CORE = ENHANCING | {("NCIt", "C81175"), ("SCT", "6574001")}
WHOLE = CORE | {("SCT", "79654002")}
"""Segmented property types (CID 7159) of each region: enhancing lesion; with non-enhancing lesion and necrosis it is
the core; with oedema the whole tumour."""

_TOLERANCE_VOXELS = 0.01


def dice_against_label(seg_bytes: bytes, subject: Subject) -> dict[str, float]:
    """Score a SEG against a subject's label.

    Args:
        seg_bytes: A Part 10 BINARY segmentation whose frames lie on the subject's voxel grid.
        subject: With its label.

    Returns:
        Dice (0 to 1; two empty regions agree: 1) of whole_tumour, tumour_core and enhancing, the BraTS regions.

    Raises:
        ValueError: Another kind of SEG, an unknown property type, or frames off the grid.
    """
    masks = read_segments(seg_bytes, subject)
    label = subject.label
    truths = {"whole_tumour": label > 0, "tumour_core": (label == 1) | (label == 4), "enhancing": label == 4}
    regions = {"whole_tumour": WHOLE, "tumour_core": CORE, "enhancing": ENHANCING}
    return {name: _dice(_union(masks, regions[name], label.shape), truth) for name, truth in truths.items()}


def read_segments(seg_bytes: bytes, subject: Subject) -> dict[tuple[str, str], Mask]:
    """Put every segment onto the subject's grid, by its property type (scheme, code).

    Raises:
        ValueError: As dice_against_label.
    """
    dataset = dcmread(io.BytesIO(seg_bytes))
    if dataset.get("SegmentationType") != "BINARY":
        raise ValueError(f"expected a BINARY segmentation, got {dataset.get('SegmentationType')}")
    types = {int(item.SegmentNumber): _property_type(item) for item in dataset.SegmentSequence}
    unknown = sorted(set(types.values()) - WHOLE)
    if unknown:
        raise ValueError(f"unknown segmented property types: {unknown}")
    masks: dict[tuple[str, str], Mask] = {kind: np.zeros(subject.label.shape, bool) for kind in types.values()}
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    for pixels, groups in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        number = int(_group(dataset, groups, "SegmentIdentificationSequence").ReferencedSegmentNumber)
        columns, rows, slices = _indices(dataset, groups, np.argwhere(pixels != 0), subject)
        masks[types[number]][columns, rows, slices] = True
    return masks


def _property_type(segment: Dataset) -> tuple[str, str]:
    code = segment.SegmentedPropertyTypeCodeSequence[0]
    scheme = str(code.CodingSchemeDesignator)
    return ("NCIt" if scheme.upper() == "NCIT" else scheme, str(code.CodeValue))


def _group(dataset: Dataset, groups: Dataset, name: str) -> Dataset:
    """A functional group of a frame, its own or shared (PS3.3 C.7.6.16)."""
    holder = groups if name in groups else dataset.SharedFunctionalGroupsSequence[0]
    item: Dataset = holder[name].value[0]
    return item


def _indices(
    dataset: Dataset, groups: Dataset, pixels: npt.NDArray[np.intp], subject: Subject
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where (row, column) pixels of a frame lie in the subject's volume (PS3.3 C.7.6.2.1.1, equation 1)."""
    position = np.array(_group(dataset, groups, "PlanePositionSequence").ImagePositionPatient, float)
    orientation = np.array(_group(dataset, groups, "PlaneOrientationSequence").ImageOrientationPatient, float)
    row_mm, column_mm = (float(value) for value in _group(dataset, groups, "PixelMeasuresSequence").PixelSpacing)
    points = position + np.outer(pixels[:, 1] * column_mm, orientation[:3])
    points += np.outer(pixels[:, 0] * row_mm, orientation[3:])
    homogeneous = np.column_stack([points, np.ones(len(points))])
    exact = (homogeneous @ np.linalg.inv(subject.affine_lps).T)[:, :3]
    found = np.rint(exact).astype(np.intp)
    inside = (found >= 0) & (found < np.array(subject.label.shape))
    if not inside.all() or (np.abs(exact - found) > _TOLERANCE_VOXELS).any():
        raise ValueError(f"the SEG's frames do not lie on the voxel grid of subject {subject.id}")
    return found[:, 0], found[:, 1], found[:, 2]


def _union(masks: dict[tuple[str, str], Mask], kinds: frozenset[tuple[str, str]], shape: tuple[int, ...]) -> Mask:
    union = np.zeros(shape, bool)
    for kind, mask in masks.items():
        if kind in kinds:
            union |= mask
    return union


def _dice(mask: Mask, truth: Mask) -> float:
    total = int(mask.sum()) + int(truth.sum())
    return 1.0 if total == 0 else 2.0 * int((mask & truth).sum()) / total
