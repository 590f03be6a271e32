from datetime import datetime

import highdicom as hd
import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_ingest.instances import encode_instance, parse_instance
from dicom_ingest.model import Algorithm
from dicom_ingest.segmentation import build_segmentation
from dicom_ingest.volume import order_slices
from tests.fakes.mr_series import make_series
from tests.fakes.results import ALGORITHM, NOW, SEGMENTS, make_mask

SHAPE = (8, 24, 20)


def build(
    sources: list[Dataset] | None = None,
    mask: np.ndarray | None = None,
    *,
    algorithm: Algorithm = ALGORITHM,
    key: str = "key",
    now: datetime = NOW,
) -> Dataset:
    return build_segmentation(
        order_slices(sources or make_series(shape=SHAPE)),
        make_mask(SHAPE) if mask is None else mask,
        SEGMENTS,
        algorithm,
        key=key,
        series_number=900,
        now=now,
    )


def read_labels(segmentation: Dataset, sources: list[Dataset]) -> np.ndarray:
    """The mask as highdicom's reader sees it, by the sources that the frames refer to."""
    read = hd.seg.Segmentation.from_dataset(parse_instance(encode_instance(segmentation)))
    return read.get_pixels_by_source_instance(
        [source.SOPInstanceUID for source in order_slices(sources)],
        combine_segments=True,
        assert_missing_frames_are_empty=True,
    )


@pytest.mark.parametrize("reverse", [False, True], ids=["ascending", "descending"])
def test_the_mask_can_be_read_back(reverse: bool) -> None:
    sources = make_series(shape=SHAPE, reverse=reverse)
    assert np.array_equal(read_labels(build(sources), sources), make_mask(SHAPE))


@pytest.mark.parametrize("labels", [(), (3,), (1, 3)], ids=str)
def test_segments_without_voxels_are_declared(labels: tuple[int, ...]) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    for label in labels:
        mask[label, 4, 5] = label
    sources = make_series(shape=SHAPE)
    segmentation = build(sources, mask)
    assert [item.SegmentNumber for item in segmentation.SegmentSequence] == [1, 2, 3]
    assert np.array_equal(read_labels(segmentation, sources), mask)


def test_two_runs_give_the_same_bytes() -> None:
    assert encode_instance(build()) == encode_instance(build())


def test_another_key_gives_other_uids() -> None:
    one, other = build(key="one"), build(key="other")
    assert one.SOPInstanceUID != other.SOPInstanceUID
    assert one.SeriesInstanceUID != other.SeriesInstanceUID
    assert one.SegmentSequence[0].TrackingUID != other.SegmentSequence[0].TrackingUID


def test_building_leaves_the_sources_alone() -> None:
    sources = make_series(shape=SHAPE, SpacingBetweenSlices="7", SliceThickness=None)
    before = [encode_instance(source) for source in sources]
    build(sources)
    assert [encode_instance(source) for source in sources] == before


IDENTITY = {
    "PatientName": "Müller^Jürgen",
    "PatientID": "0815",
    "IssuerOfPatientID": "ELSEWHERE",
    "AccessionNumber": "A-1",
    "SpecificCharacterSet": "ISO_IR 100",
    "PatientAge": "055Y",
    "StudyDescription": "Schädel",
    "PatientComments": "allergic",
}


def test_patient_and_study_are_those_of_the_sources() -> None:
    sources = make_series(shape=SHAPE, **IDENTITY)
    segmentation = parse_instance(encode_instance(build(sources)))
    for keyword in (*IDENTITY, "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID", "StudyDate"):
        assert segmentation[keyword] == sources[0][keyword]
    assert segmentation.FrameOfReferenceUID == sources[0].FrameOfReferenceUID


def test_identity_that_breaks_its_value_representation_is_copied_as_it_is() -> None:
    sources = [parse_instance(malformed(encode_instance(source))) for source in make_series(shape=SHAPE)]
    segmentation = parse_instance(encode_instance(build(sources)))
    assert segmentation.PatientSex == "f?"
    assert segmentation.PatientBirthDate == "19701399"


def malformed(data: bytes) -> bytes:
    return data.replace(b"CS\x02\x00F ", b"CS\x02\x00f?").replace(b"19700101", b"19701399")


def test_sources_without_patient_attributes_give_empty_ones() -> None:
    sources = make_series(shape=SHAPE, PatientName=None, PatientSex=None, AccessionNumber=None, StudyID=None)
    segmentation = build(sources)
    assert segmentation["AccessionNumber"].is_empty
    assert segmentation["PatientName"].is_empty


def test_says_what_made_it() -> None:
    segmentation = build()
    (item, *_) = segmentation.SegmentSequence
    algorithm = item.SegmentationAlgorithmIdentificationSequence[0]
    assert item.SegmentAlgorithmType == "AUTOMATIC"
    assert algorithm.AlgorithmVersion == ALGORITHM.version
    assert ALGORITHM.version in algorithm.AlgorithmParameters
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeValue == "123110"
    (equipment,) = [
        each for each in segmentation.ContributingEquipmentSequence if each.Manufacturer == ALGORITHM.manufacturer
    ]
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert equipment.DeviceUID == ALGORITHM.device_uid
    assert ALGORITHM.version in equipment.ContributionDescription
    assert "Research use only" in segmentation.ContentDescription
    assert "Research use only" in segmentation.SeriesDescription


@pytest.mark.parametrize(
    ("offset", "date", "time"),
    [
        pytest.param(None, "20261122", "101112.345678", id="as given"),
        pytest.param("+0130", "20261122", "114112.345678", id="east"),
        pytest.param("-1100", "20261121", "231112.345678", id="west, the day before"),
        pytest.param("noise", "20261122", "101112.345678", id="malformed"),
    ],
)
def test_dates_are_in_the_time_zone_of_the_source(offset: str | None, date: str, time: str) -> None:
    segmentation = build(make_series(shape=SHAPE, TimezoneOffsetFromUTC=offset))
    for name in ("InstanceCreation", "Content", "Series"):
        assert str(segmentation[f"{name}Date"].value) == date
        assert str(segmentation[f"{name}Time"].value) == time


@pytest.mark.parametrize("written", ["7", None], ids=["the gap", "nothing"])
def test_spacing_is_the_real_one_whatever_the_scanner_wrote(written: str | None) -> None:
    segmentation = build(make_series(shape=SHAPE, SpacingBetweenSlices=written, spacing_mm=(2.5, 1, 1)))
    measures = segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SpacingBetweenSlices) == 2.5


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(np.zeros((7, 24, 20), np.uint8), id="a slice less"),
        pytest.param(np.zeros(SHAPE, np.int16), id="other type"),
        pytest.param(np.full(SHAPE, 4, np.uint8), id="unknown label"),
    ],
)
def test_refuses_a_mask_that_does_not_fit(mask: np.ndarray) -> None:
    with pytest.raises(ValueError, match="Expected"):
        build(mask=mask)


def test_refuses_segments_with_gaps() -> None:
    with pytest.raises(ValueError, match="numbered from 1"):
        build_segmentation(
            make_series(shape=SHAPE), make_mask(SHAPE), SEGMENTS[1:], ALGORITHM, key="key", series_number=9, now=NOW
        )


def test_refuses_a_version_that_does_not_fit_its_attribute() -> None:
    with pytest.raises(ValueError, match="64 characters"):
        build(algorithm=Algorithm("name", "v" * 65, "maker", "1", "2.25.1"))
