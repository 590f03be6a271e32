import highdicom as hd
import pytest
from pydicom.dataset import Dataset

from dicom_ingest.instances import encode_instance, parse_instance
from dicom_ingest.model import RegionMeasurement
from dicom_ingest.segmentation import build_segmentation
from dicom_ingest.structured_report import build_measurement_report
from tests.fakes.mr_series import make_series
from tests.fakes.results import ALGORITHM, NEOPLASM, NOW, REGIONS, SEGMENTS, make_mask

SHAPE = (8, 24, 20)
SOURCES = make_series(shape=SHAPE)
SEGMENTATION = build_segmentation(SOURCES, make_mask(SHAPE), SEGMENTS, ALGORITHM, key="key", series_number=900, now=NOW)


def build(regions: tuple[RegionMeasurement, ...] = REGIONS) -> Dataset:
    return build_measurement_report(SOURCES, SEGMENTATION, regions, ALGORITHM, key="key", series_number=901, now=NOW)


def read(report: Dataset) -> hd.sr.MeasurementReport:
    return hd.sr.Comprehensive3DSR.from_dataset(parse_instance(encode_instance(report))).content


def measured(group: hd.sr.MeasurementsAndQualitativeEvaluations) -> dict[str, tuple[float, str]]:
    return {item.name.meaning: (float(item.value), item.unit.value) for item in group.get_measurements()}


def test_measurements_can_be_read_back() -> None:
    groups = read(build()).get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == ["Necrotic core", "Oedema", "Enhancing tumour"]
    assert measured(groups[0]) == {
        "Volume": (1.25, "ml"),
        "Long axis": (12.5, "mm"),
        "Short axis": (7.25, "mm"),
        "Certainty of Finding": (93.0, "%"),
    }


def test_an_empty_region_has_a_volume_and_nothing_else() -> None:
    groups = read(build()).get_volumetric_roi_measurement_groups()
    assert measured(groups[1]) == {"Volume": (0.0, "ml")}


def test_regions_of_a_segment_refer_to_it_and_share_its_tracking_uid() -> None:
    for number, group in enumerate(read(build()).get_volumetric_roi_measurement_groups(), start=1):
        assert group.reference_type.meaning == "Referenced Segment"
        assert group.referenced_segment.referenced_sop_instance_uid == SEGMENTATION.SOPInstanceUID
        assert group.referenced_segment.referenced_segment_numbers == [number]
        assert group.tracking_uid == SEGMENTATION.SegmentSequence[number - 1].TrackingUID


def test_unions_of_segments_are_groups_of_measurements_without_a_reference() -> None:
    groups = read(build()).get_image_measurement_groups()
    assert [group.tracking_identifier for group in groups] == ["Whole tumour", "Tumour core"]
    assert measured(groups[0])["Volume"] == (4.75, "ml")


def test_is_complete_but_not_verified_and_preliminary() -> None:
    report = build()
    assert report.CompletionFlag == "COMPLETE"
    assert report.VerificationFlag == "UNVERIFIED"
    assert report.PreliminaryFlag == "PRELIMINARY"
    assert "Research use only" in report.SeriesDescription


def test_names_the_whole_model_version() -> None:
    assert ALGORITHM.version in str(build())


def test_lists_all_sources_and_the_segmentation_as_evidence() -> None:
    listed = {
        instance.ReferencedSOPInstanceUID
        for study in build().CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    assert listed == {SEGMENTATION.SOPInstanceUID, *(source.SOPInstanceUID for source in SOURCES)}


def test_patient_and_study_are_those_of_the_sources() -> None:
    report = parse_instance(encode_instance(build()))
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber", "SpecificCharacterSet"):
        assert report[keyword] == SOURCES[0][keyword]


def test_two_runs_give_the_same_bytes() -> None:
    assert encode_instance(build()) == encode_instance(build())


def test_refuses_a_region_of_an_unknown_segment() -> None:
    with pytest.raises(ValueError, match="no segment 9"):
        build((RegionMeasurement("x", 9, NEOPLASM, 1.0, None, None, None),))


def test_refuses_a_segmentation_of_another_study() -> None:
    with pytest.raises(ValueError, match="one study"):
        build_measurement_report(
            make_series(key="other"), SEGMENTATION, REGIONS, ALGORITHM, key="key", series_number=901, now=NOW
        )
