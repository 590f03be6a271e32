"""A mask to a DICOM Segmentation."""

from collections.abc import Sequence
from datetime import datetime

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.valuerep import format_number_as_ds

from dicom_ingest.attributes import required_numbers, text
from dicom_ingest.geometry import distances_mm
from dicom_ingest.model import Algorithm, Segment
from dicom_ingest.results import (
    RESEARCH_USE,
    check_one_study,
    concept,
    contributing_equipment,
    finish,
    long_string,
    model_version,
    software_versions,
    without_identity,
)
from dicom_ingest.uids import derive_uid


def build_segmentation(
    sources: Sequence[Dataset],
    mask: npt.NDArray[np.uint8],
    segments: Sequence[Segment],
    algorithm: Algorithm,
    *,
    key: str,
    series_number: int,
    now: datetime,
) -> Dataset:
    """Build a BINARY segmentation of one series, in the study of that series.

    Frames without a voxel are left out; a mask without any voxel keeps them all, because a SEG has at least one frame.
    BINARY rather than LABELMAP: an older PACS cannot hand out a study that holds a LABELMAP.

    Args:
        sources: The segmented series, ordered by volume.order_slices.
        mask: uint8 (slices, rows, columns) on the grid of the sources; 0 is background.
        segments: Every label that the mask may hold, numbered from 1 without gaps.
        key: What the result is derived from; the same key and now give the same bytes.
        now: When the result was made.

    Raises:
        ValueError: Mask, sources and segments do not fit each other.

    References:
        DICOM PS3.3 A.51, C.8.20; PS3.16 CID 7150, 7159, 7162.
    """
    _check_fit(sources, mask, segments)
    document = hd.seg.Segmentation(
        source_images=_stand_ins(sources),
        pixel_array=mask,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_describe(segment, algorithm, key) for segment in segments],
        series_instance_uid=derive_uid(key, "SEG", "series"),
        series_number=series_number,
        sop_instance_uid=derive_uid(key, "SEG", "instance"),
        instance_number=1,
        manufacturer=long_string(algorithm.manufacturer),
        manufacturer_model_name=long_string(algorithm.name),
        software_versions=software_versions(algorithm),  # type: ignore[arg-type]  # pydicom takes lists only
        device_serial_number=algorithm.device_uid,
        content_label="BRAIN_TUMOUR",
        content_description=f"Brain tumour, automatic. {RESEARCH_USE}",
        series_description=f"AI brain tumour segmentation. {RESEARCH_USE}",
        omit_empty_frames=bool(mask.any()),
        contributing_equipment=[contributing_equipment(algorithm, now)],
    )
    document.DeviceUID = algorithm.device_uid
    _replace_dimension_organization_uid(document, derive_uid(key, "SEG", "dimensions"))
    finish(document, sources[0], now)
    return document


def _check_fit(sources: Sequence[Dataset], mask: npt.NDArray[np.uint8], segments: Sequence[Segment]) -> None:
    check_one_study(sources)
    expected = (len(sources), sources[0].Rows, sources[0].Columns)
    if mask.shape != expected or mask.dtype != np.uint8:
        raise ValueError(f"Expected a uint8 mask of shape {expected}, got {mask.dtype} {mask.shape}.")
    if [segment.number for segment in segments] != list(range(1, len(segments) + 1)):
        raise ValueError("Expected segments numbered from 1 without gaps, in that order.")
    if mask.max(initial=0) > len(segments):
        raise ValueError(f"Expected mask values up to {len(segments)}, got {mask.max()}.")


def _stand_ins(sources: Sequence[Dataset]) -> list[Dataset]:
    """The sources as highdicom shall see them: without identity, and with the spacing that they really have."""
    orientation = required_numbers(sources[0], "ImageOrientationPatient", 6)
    positions = np.array([required_numbers(source, "ImagePositionPatient", 3) for source in sources])
    distances = distances_mm(orientation, positions)
    spacing = format_number_as_ds(float(distances[-1] - distances[0]) / (len(sources) - 1))
    stand_ins = [without_identity(source) for source in sources]
    for each in stand_ins:
        # Scanners write the gap, or nothing, where the distance between centres belongs.
        each.SpacingBetweenSlices = spacing
        each.SliceThickness = text(each, "SliceThickness") or spacing
    return stand_ins


def _describe(segment: Segment, algorithm: Algorithm, key: str) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=long_string(segment.label),
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=concept(segment.finding),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=long_string(algorithm.name),
            family=codes.cid7162.ArtificialIntelligence,
            version=model_version(algorithm),
            source=long_string(algorithm.manufacturer),
            parameters={"model_version": algorithm.version},
        ),
        tracking_id=segment.label,
        tracking_uid=derive_uid(key, "region", segment.label),
        anatomic_regions=[codes.SCT.Brain],
        display_color=hd.color.CIELabColor.from_rgb(*segment.display_rgb),
    )


def _replace_dimension_organization_uid(document: Dataset, uid: str) -> None:
    # highdicom draws it at random.
    document.DimensionOrganizationSequence[0].DimensionOrganizationUID = uid
    for index in document.DimensionIndexSequence:
        index.DimensionOrganizationUID = uid
