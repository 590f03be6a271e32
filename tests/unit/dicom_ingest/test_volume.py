from collections.abc import Callable

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from dicom_ingest.errors import (
    BrokenInstanceError,
    DicomIngestError,
    DuplicateSliceError,
    IrregularSpacingError,
    MissingSliceError,
    MixedSeriesError,
    TooFewSlicesError,
    UnsupportedInstanceError,
)
from dicom_ingest.instances import encode_instance, parse_instance
from dicom_ingest.volume import assemble_volume, order_slices
from tests.fakes.mr_series import ORIENTATIONS, make_series

SHAPE = (6, 9, 7)


def voxels(dtype: str = "uint16") -> np.ndarray:
    info = np.iinfo(dtype)
    return np.random.default_rng(3).integers(info.min, info.max, SHAPE, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=list(ORIENTATIONS))
@pytest.mark.parametrize("reverse", [False, True], ids=["ascending", "descending"])
def test_stacks_slices_along_the_normal_whatever_their_numbers(orientation: tuple[float, ...], reverse: bool) -> None:
    expected = voxels()
    series = make_series(expected, orientation=orientation, reverse=reverse)
    np.random.default_rng(5).shuffle(series)
    volume = assemble_volume(series)
    assert volume.voxels.dtype == np.float32
    assert np.array_equal(volume.voxels, expected)
    assert volume.series_instance_uid == series[0].SeriesInstanceUID
    assert volume.frame_of_reference_uid == series[0].FrameOfReferenceUID
    assert volume.sop_instance_uids == tuple(each.SOPInstanceUID for each in order_slices(series))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_reads_all_depths_and_signs(dtype: str) -> None:
    expected = voxels(dtype)
    assert np.array_equal(assemble_volume(make_series(expected)).voxels, expected)


def test_applies_each_slices_own_rescale() -> None:
    series = make_series(voxels())
    for index, instance in enumerate(series):
        instance.RescaleSlope, instance.RescaleIntercept = "0.5", str(-index)
    expected = voxels() * 0.5 - np.arange(SHAPE[0]).reshape(-1, 1, 1)
    assert np.allclose(assemble_volume(series).voxels, expected)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, RLELossless, JPEGLSLossless], ids=lambda uid: uid.name)
def test_reads_transfer_syntaxes(syntax: str) -> None:
    series = make_series(voxels())
    for instance in series:
        if syntax == ImplicitVRLittleEndian:
            instance.file_meta.TransferSyntaxUID = syntax
        else:
            instance.compress(syntax, generate_instance_uid=False)
    received = [parse_instance(encode_instance(instance)) for instance in series]
    assert np.array_equal(assemble_volume(received).voxels, voxels())


def test_assembling_leaves_the_instances_alone() -> None:
    series = make_series(voxels())
    before = [encode_instance(instance) for instance in series]
    assemble_volume(series)
    assert [encode_instance(instance) for instance in series] == before


def test_tolerates_positions_rounded_by_the_scanner() -> None:
    series = make_series(voxels(), spacing_mm=(1.1111, 0.9375, 0.9375), orientation=ORIENTATIONS["oblique"])
    for instance in series:
        instance.ImagePositionPatient = [round(float(value), 2) for value in instance.ImagePositionPatient]
        instance.ImageOrientationPatient = [round(float(value), 4) for value in instance.ImageOrientationPatient]
    assert assemble_volume(series).spacing_mm == pytest.approx((1.1111, 0.9375, 0.9375), rel=0.01)


Change = Callable[[list[Dataset]], object]


def on(index: int, **attributes: object) -> Change:
    def change(series: list[Dataset]) -> None:
        for keyword, value in attributes.items():
            if value is None:
                delattr(series[index], keyword)
            else:
                setattr(series[index], keyword, value)

    return change


def on_all(**attributes: object) -> Change:
    return lambda series: [on(index, **attributes)(series) for index in range(len(series))]


def shear(series: list[Dataset]) -> None:
    for index, instance in enumerate(series):
        x, y, z = (float(value) for value in instance.ImagePositionPatient)
        instance.ImagePositionPatient = [x, y + 0.2 * index, z]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        pytest.param(lambda s: s.clear(), TooFewSlicesError, "got 0", id="no slice"),
        pytest.param(lambda s: s.__delitem__(slice(1, None)), TooFewSlicesError, "got 1", id="one slice"),
        pytest.param(lambda s: s.__delitem__(slice(2, None)), TooFewSlicesError, "got 2", id="two slices"),
        pytest.param(on(2, Rows=8), MixedSeriesError, "Rows", id="rows differ"),
        pytest.param(on(2, Columns=6), MixedSeriesError, "Columns", id="columns differ"),
        pytest.param(
            on(2, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]),
            MixedSeriesError,
            "ImageOrientationPatient",
            id="orientation differs",
        ),
        pytest.param(on(2, PixelSpacing=[2, 2]), MixedSeriesError, "PixelSpacing", id="pixel spacing differs"),
        pytest.param(on(2, FrameOfReferenceUID="1.2"), MixedSeriesError, "FrameOfReference", id="frame differs"),
        pytest.param(on(2, SeriesInstanceUID="1.2"), MixedSeriesError, "SeriesInstanceUID", id="series differs"),
        pytest.param(
            lambda s: s.append(s[2]), DuplicateSliceError, "InstanceNumber 3 and 3.* 6.00 mm", id="duplicate slice"
        ),
        pytest.param(
            lambda s: s.__delitem__(2),
            MissingSliceError,
            "1 of 6 slices.*1 between InstanceNumber 2 and 4, 3.00 to 9.00 mm",
            id="one slice missing",
        ),
        pytest.param(
            lambda s: s.__delitem__(slice(2, 4)),
            MissingSliceError,
            "2 between InstanceNumber 2 and 5",
            id="two missing",
        ),
        pytest.param(
            on(3, ImagePositionPatient=[-32, -28, 21.7]),
            IrregularSpacingError,
            "InstanceNumber [34] and [45]",
            id="uneven",
        ),
        pytest.param(shear, IrregularSpacingError, "sideways by up to 1.00 mm", id="sheared"),
        pytest.param(on(0, SOPClassUID=EnhancedMRImageStorage), UnsupportedInstanceError, "Enhanced", id="enhanced"),
        pytest.param(on(0, SOPClassUID=CTImageStorage), UnsupportedInstanceError, "CT Image", id="CT"),
        pytest.param(on(0, NumberOfFrames=3), UnsupportedInstanceError, "several frames", id="multi-frame"),
        pytest.param(on(0, PixelData=None), UnsupportedInstanceError, "no PixelData", id="no pixels"),
        pytest.param(on(0, SamplesPerPixel=3), UnsupportedInstanceError, "Photometric", id="samples"),
        pytest.param(on(0, PhotometricInterpretation="RGB"), UnsupportedInstanceError, "RGB", id="colour"),
        pytest.param(
            on(0, ImageType=["ORIGINAL", "PRIMARY", "MOSAIC"]), UnsupportedInstanceError, "mosaic", id="mosaic"
        ),
        pytest.param(on(0, BitsAllocated=32), UnsupportedInstanceError, "BitsAllocated 32", id="32 bits"),
        pytest.param(on_all(FrameOfReferenceUID=None), UnsupportedInstanceError, "FrameOfReference", id="no frame"),
        pytest.param(on(1, ImagePositionPatient=None), UnsupportedInstanceError, "ImagePosition", id="no position"),
        pytest.param(on_all(PixelSpacing=None), UnsupportedInstanceError, "PixelSpacing", id="no pixel spacing"),
        pytest.param(on_all(PixelSpacing=[0, 1]), BrokenInstanceError, "PixelSpacing", id="pixel spacing zero"),
        pytest.param(on(1, ImagePositionPatient=[1, 2]), BrokenInstanceError, "3 finite", id="position of two numbers"),
        pytest.param(
            on_all(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), BrokenInstanceError, "perpendicular", id="parallel axes"
        ),
        pytest.param(on(1, PixelData=b"\0" * 20), BrokenInstanceError, "cannot be decoded", id="short pixels"),
        pytest.param(on(1, RescaleSlope=[1, 2]), BrokenInstanceError, "RescaleSlope", id="two slopes"),
        pytest.param(
            on_all(Rows=65535, Columns=65535), UnsupportedInstanceError, "more than", id="claims gigabytes of voxels"
        ),
    ],
)
def test_refuses_by_name(change: Change, error: type[DicomIngestError], message: str) -> None:
    series = make_series(voxels())
    change(series)
    with pytest.raises(error, match=message):
        assemble_volume(series)


def test_refuses_pixels_that_no_decoder_reads() -> None:
    series = make_series(voxels())
    series[2].compress(RLELossless, generate_instance_uid=False)
    series[2].file_meta.TransferSyntaxUID = JPEG2000Lossless
    with pytest.raises(BrokenInstanceError, match="JPEG 2000"):
        assemble_volume(series)


def test_refuses_compressed_pixels_of_another_size() -> None:
    series, other = make_series(voxels()), make_series(np.zeros((6, 4, 7), np.uint16))
    other[2].compress(JPEGLSLossless, generate_instance_uid=False)
    series[2].PixelData = other[2].PixelData
    series[2].file_meta.TransferSyntaxUID = JPEGLSLossless
    with pytest.raises(BrokenInstanceError):
        assemble_volume(series)
