from collections.abc import Callable

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, RLELossless

from dicom_ingest.comparison import check_stored
from dicom_ingest.errors import StoredDifferentlyError
from dicom_ingest.instances import encode_instance, parse_instance
from dicom_ingest.segmentation import build_segmentation
from dicom_ingest.structured_report import build_measurement_report
from tests.fakes.mr_series import make_series
from tests.fakes.results import ALGORITHM, NOW, REGIONS, SEGMENTS, make_mask

SHAPE = (8, 24, 20)
SOURCES = make_series(shape=SHAPE)
SEG = build_segmentation(SOURCES, make_mask(SHAPE), SEGMENTS, ALGORITHM, key="key", series_number=900, now=NOW)
SR = build_measurement_report(SOURCES, SEG, REGIONS, ALGORITHM, key="key", series_number=901, now=NOW)

Change = Callable[[Dataset], object]


def received(sent: Dataset) -> Dataset:
    return parse_instance(encode_instance(sent))


@pytest.mark.parametrize("sent", [SOURCES[0], SEG, SR], ids=["MR", "SEG", "SR"])
def test_what_was_sent_is_what_was_sent(sent: Dataset) -> None:
    check_stored(sent, received(sent))


def set_transfer_syntax(stored: Dataset) -> None:
    stored.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(set_transfer_syntax, id="transfer syntax"),
        pytest.param(lambda ds: setattr(ds, "RetrieveURL", "https://pacs.example"), id="retrieve URL"),
        pytest.param(lambda ds: setattr(ds, "RetrieveAETitle", "PACS"), id="retrieve AE title"),
        pytest.param(lambda ds: setattr(ds, "InstanceAvailability", "ONLINE"), id="availability"),
        pytest.param(lambda ds: setattr(ds, "InstitutionName", "Hospital"), id="attribute added at the top"),
        pytest.param(lambda ds: setattr(ds, "PatientID", "P0001 "), id="padding"),
        pytest.param(lambda ds: setattr(ds, "StudyID", "1\0"), id="null padding"),
        pytest.param(lambda ds: ds.add_new(0x00091001, "LO", "private"), id="private attribute"),
        pytest.param(lambda ds: delattr(ds, "ReferringPhysicianName"), id="empty attribute dropped"),
        pytest.param(lambda ds: setattr(ds, "SpecificCharacterSet", "ISO_IR 192"), id="character set"),
        pytest.param(lambda ds: setattr(ds, "SeriesNumber", "0900"), id="a number written otherwise"),
    ],
)
def test_tolerates_what_archives_change(change: Change) -> None:
    stored = received(SEG)
    change(stored)
    check_stored(SEG, received(stored))


def test_tolerates_compressed_pixels_that_are_the_same() -> None:
    stored = received(SOURCES[0])
    stored.compress(RLELossless, generate_instance_uid=False)
    check_stored(SOURCES[0], received(stored))


def test_finds_compressed_pixels_that_differ() -> None:
    stored = received(SOURCES[1])
    stored.compress(RLELossless, generate_instance_uid=False)
    stored.SOPInstanceUID, stored.InstanceNumber = SOURCES[0].SOPInstanceUID, 1
    stored.ImagePositionPatient = SOURCES[0].ImagePositionPatient
    with pytest.raises(StoredDifferentlyError, match="another PixelData"):
        check_stored(SOURCES[0], received(stored))


def flip_pixel(stored: Dataset) -> None:
    stored.PixelData = bytes([stored.PixelData[0] ^ 1]) + stored.PixelData[1:]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        pytest.param(flip_pixel, "PixelData", id="one bit"),
        pytest.param(lambda ds: setattr(ds, "PixelData", ds.PixelData[:-64]), "PixelData", id="pixels cut off"),
        pytest.param(lambda ds: setattr(ds, "PatientID", "P0002"), "PatientID", id="patient"),
        pytest.param(lambda ds: setattr(ds, "SOPInstanceUID", "1.2"), "SOPInstanceUID", id="instance"),
        pytest.param(lambda ds: delattr(ds, "FrameOfReferenceUID"), "FrameOfReferenceUID", id="attribute lost"),
        pytest.param(
            lambda ds: setattr(ds.SegmentSequence[1], "SegmentLabel", "x"),
            r"SegmentSequence\[2\].SegmentLabel",
            id="label",
        ),
        pytest.param(lambda ds: ds.SegmentSequence.pop(), "SegmentSequence", id="segment lost"),
        pytest.param(
            lambda ds: setattr(ds.SegmentSequence[0], "SegmentDescription", "x"),
            r"SegmentSequence\[1\].SegmentDescription",
            id="nested attribute added",
        ),
        pytest.param(
            lambda ds: setattr(
                ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0], "SpacingBetweenSlices", "3.1"
            ),
            "SpacingBetweenSlices",
            id="number",
        ),
        pytest.param(
            lambda ds: setattr(ds.SegmentSequence[0], "RecommendedDisplayCIELabValue", [1, 2, 3]),
            "RecommendedDisplayCIELabValue",
            id="colour",
        ),
    ],
)
def test_finds_what_differs_in_a_segmentation(change: Change, name: str) -> None:
    stored = received(SEG)
    change(stored)
    with pytest.raises(StoredDifferentlyError, match=name):
        check_stored(SEG, stored)


def test_finds_what_differs_in_a_report_and_quotes_no_value() -> None:
    stored = received(SR)
    stored.ContentSequence[0].ConceptCodeSequence[0].CodeMeaning = "Secret^Name"
    with pytest.raises(StoredDifferentlyError, match="CodeMeaning") as caught:
        check_stored(SR, stored)
    assert "Secret" not in str(caught.value)


def test_finds_an_added_finding() -> None:
    stored = received(SR)
    stored.ContentSequence.append(stored.ContentSequence[0])
    with pytest.raises(StoredDifferentlyError, match="ContentSequence"):
        check_stored(SR, stored)
