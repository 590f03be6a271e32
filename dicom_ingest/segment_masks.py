"""A DICOM Segmentation, ours or another's, to masks."""

import warnings
from dataclasses import dataclass

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from dicom_ingest.attributes import text
from dicom_ingest.errors import BrokenInstanceError, UnsupportedInstanceError
from dicom_ingest.geometry import Array
from dicom_ingest.model import Code
from dicom_ingest.volume import DECODE_FAULTS, MAX_VOXELS


@dataclass(frozen=True, eq=False)
class SegmentMask:
    """One segment.

    Attributes:
        finding: Segmented property type.
        voxels: bool (slices, rows, columns); of the slices between the first and the last that the SEG holds.
        affine_lps: (4, 4), maps (slice, row, column, 1) to LPS, mm.
    """

    number: int
    label: str
    finding: Code
    voxels: npt.NDArray[np.bool_]
    affine_lps: Array


def read_segments(instance: Dataset) -> tuple[SegmentMask, ...]:
    """Read every segment of a BINARY segmentation; segments may overlap.

    Args:
        instance: As instances.parse_instance gives it.

    Raises:
        UnsupportedInstanceError: Another SOP class or type, or its frames are not one regular volume.
        BrokenInstanceError: Pixel data or a segment's description is malformed.

    References:
        DICOM PS3.3 A.51, C.8.20.
    """
    uid = instance.SOPInstanceUID
    if instance.SOPClassUID != SegmentationStorage or text(instance, "SegmentationType") != "BINARY":
        raise UnsupportedInstanceError(
            f"Expected a BINARY Segmentation, instance {uid} is of type "
            f"{text(instance, 'SegmentationType') or 'none'}; export the segmentation as BINARY."
        )
    try:
        frames = int(instance.NumberOfFrames)
        if frames * instance.Rows * instance.Columns > MAX_VOXELS:
            raise UnsupportedInstanceError(f"Segmentation {uid} claims {frames} frames, more than can be read.")
        # highdicom warns of attributes that it repairs.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            document = hd.seg.Segmentation.from_dataset(instance, copy=False)
            volume = document.get_volume(combine_segments=False)
            described = {number: document.get_segment_description(number) for number in document.segment_numbers}
            numbers = [int(number) for number in document.segment_numbers]
            return tuple(
                SegmentMask(
                    number=number,
                    label=str(described[number].segment_label),
                    finding=Code(
                        described[number].segmented_property_type.value,
                        described[number].segmented_property_type.scheme_designator,
                        described[number].segmented_property_type.meaning,
                    ),
                    voxels=volume.array[..., index] > 0,
                    affine_lps=np.asarray(volume.affine, np.float64),
                )
                for index, number in enumerate(numbers)
            )
    except DECODE_FAULTS as fault:
        raise BrokenInstanceError(
            f"Segmentation {uid} cannot be read as one regular volume ({type(fault).__name__}); export it again."
        ) from fault
