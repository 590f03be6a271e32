"""Measurements to a DICOM SR, TID 1500."""

from collections.abc import Sequence
from datetime import datetime

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicom_ingest.model import Algorithm, Code, RegionMeasurement
from dicom_ingest.results import (
    RESEARCH_USE,
    check_one_study,
    concept,
    contributing_equipment,
    finish,
    long_string,
    software_versions,
    without_identity,
)
from dicom_ingest.uids import derive_uid

MRI_UNSPECIFIED_BODY_REGION = Code("25056-3", "LN", "MRI unspecified body region")
"""The MRI of CID 100: validators refuse the LOINC codes of brain MRI as Procedure Reported."""

_MILLILITRE = hd.sr.CodedConcept("ml", "UCUM", "milliliter")
_PERCENT = hd.sr.CodedConcept("%", "UCUM", "percent")


def build_measurement_report(
    sources: Sequence[Dataset],
    segmentation: Dataset,
    regions: Sequence[RegionMeasurement],
    algorithm: Algorithm,
    *,
    key: str,
    series_number: int,
    now: datetime,
    procedure_reported: Code = MRI_UNSPECIFIED_BODY_REGION,
) -> Dataset:
    """Build a measurement report: complete, unverified, preliminary, until a radiologist has reviewed it.

    A region with a segment is a volumetric ROI that refers to it (TID 1411); a union of segments has no segment to
    refer to and is a group of measurements (TID 1501). Referring to several segments at once would be valid too, but
    readers take the first one and show the union's volume as that segment's.

    Args:
        sources: The segmented series.
        segmentation: As segmentation.build_segmentation made it, of the same key.
        key: What the result is derived from; the same key and now give the same bytes.
        now: When the result was made.
        procedure_reported: From CID 100.

    Raises:
        ValueError: The sources are not of one study, or a region's segment is not in the segmentation.

    References:
        DICOM PS3.16 TID 1500, 1411, 1419, 1501; CID 100, 7469.
    """
    check_one_study([*sources, segmentation])
    report = hd.sr.MeasurementReport(
        observation_context=_observer(algorithm),
        procedure_reported=concept(procedure_reported),
        imaging_measurements=[_group(region, sources, segmentation, algorithm, key) for region in regions],
        title=codes.DCM.ImagingMeasurementReport,
    )
    document = hd.sr.Comprehensive3DSR(
        evidence=[without_identity(each) for each in (*sources, segmentation)],
        content=report,
        series_instance_uid=derive_uid(key, "SR", "series"),
        series_number=series_number,
        sop_instance_uid=derive_uid(key, "SR", "instance"),
        instance_number=1,
        manufacturer=long_string(algorithm.manufacturer),
        manufacturer_model_name=long_string(algorithm.name),
        software_versions=software_versions(algorithm),
        device_serial_number=algorithm.device_uid,
        series_description=f"AI brain tumour measurements. {RESEARCH_USE}",
        is_complete=True,
        is_final=False,
        is_verified=False,
        contributing_equipment=[contributing_equipment(algorithm, now)],
    )
    document.DeviceUID = algorithm.device_uid
    finish(document, sources[0], now)
    return document


def _observer(algorithm: Algorithm) -> hd.sr.ObservationContext:
    return hd.sr.ObservationContext(
        observer_device_context=hd.sr.ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
                uid=algorithm.device_uid,
                name=algorithm.name,
                manufacturer_name=algorithm.manufacturer,
                model_name=algorithm.name,
            ),
        )
    )


def _group(
    region: RegionMeasurement, sources: Sequence[Dataset], segmentation: Dataset, algorithm: Algorithm, key: str
) -> hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations | hd.sr.MeasurementsAndQualitativeEvaluations:
    common = {
        "finding_category": codes.SCT.MorphologicallyAbnormalStructure,
        "finding_type": concept(region.finding),
        "finding_sites": [hd.sr.FindingSite(codes.SCT.Brain)],
        "measurements": _measurements(region),
        # The version is a digest; here, as text, it has room for its prefix.
        "algorithm_id": hd.sr.AlgorithmIdentification(
            name=algorithm.name, version=algorithm.version, parameters=[RESEARCH_USE]
        ),
    }
    if region.segment_number is None:
        return hd.sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=hd.sr.TrackingIdentifier(
                uid=derive_uid(key, "region", region.label), identifier=region.label
            ),
            **common,
        )
    segment = _segment(segmentation, region.segment_number)
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=segment.TrackingUID, identifier=segment.TrackingID),
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=region.segment_number,
            source_series=hd.sr.SourceSeriesForSegmentation(sources[0].SeriesInstanceUID),
        ),
        **common,
    )


def _segment(segmentation: Dataset, number: int) -> Dataset:
    segments: Sequence[Dataset] = segmentation.SegmentSequence
    for segment in segments:
        if segment.SegmentNumber == number:
            return segment
    raise ValueError(f"Expected a region of the segmentation, it has no segment {number}.")


def _measurements(region: RegionMeasurement) -> list[hd.sr.Measurement]:
    measured = [
        hd.sr.Measurement(
            name=codes.SCT.Volume,
            value=round(region.volume_ml, 4),
            unit=_MILLILITRE,
            method=codes.DCM.SumOfSegmentedVoxelMethodForVolume,
        )
    ]
    for name, length_mm in ((codes.SCT.LongAxis, region.long_axis_mm), (codes.SCT.ShortAxis, region.short_axis_mm)):
        if length_mm is not None:
            measured.append(hd.sr.Measurement(name=name, value=round(length_mm, 2), unit=codes.UCUM.Millimeter))
    if region.confidence is not None:
        measured.append(
            hd.sr.Measurement(name=codes.DCM.CertaintyOfFinding, value=round(100 * region.confidence, 2), unit=_PERCENT)
        )
    return measured
