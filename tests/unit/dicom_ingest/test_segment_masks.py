import numpy as np
import pytest

from dicom_ingest.errors import BrokenInstanceError, UnsupportedInstanceError
from dicom_ingest.instances import encode_instance, parse_instance
from dicom_ingest.segment_masks import read_segments
from dicom_ingest.segmentation import build_segmentation
from dicom_ingest.volume import assemble_volume, order_slices
from tests.fakes.mr_series import ORIENTATIONS, make_series
from tests.fakes.results import ALGORITHM, NOW, SEGMENTS, make_mask

SHAPE = (8, 24, 20)


def build(sources, mask):
    document = build_segmentation(
        order_slices(sources), mask, SEGMENTS, ALGORITHM, key="key", series_number=900, now=NOW
    )
    return parse_instance(encode_instance(document))


def places(mask, affine):
    return {tuple(point) for point in np.round(np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3], 2) + 0.0}


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS)
@pytest.mark.parametrize("reverse", [False, True], ids=["ascending", "descending"])
def test_every_voxel_is_found_in_its_place(orientation, reverse):
    sources = make_series(shape=SHAPE, orientation=orientation, reverse=reverse)
    mask, affine = make_mask(SHAPE), assemble_volume(sources).affine_lps
    found = read_segments(build(sources, mask))
    assert [(one.number, one.label, one.finding) for one in found] == [
        (one.number, one.label, one.finding) for one in SEGMENTS
    ]
    for segment in found:
        assert places(segment.voxels, segment.affine_lps) == places(mask == segment.number, affine)


def test_one_slice_is_enough():
    sources = make_series(shape=SHAPE)
    mask = np.zeros(SHAPE, np.uint8)
    mask[3, 4, 5] = 2
    affine = assemble_volume(sources).affine_lps
    assert [places(one.voxels, one.affine_lps) for one in read_segments(build(sources, mask))] == [
        set(),
        places(mask == 2, affine),
        set(),
    ]


def test_refuses_what_is_no_binary_segmentation():
    document = build(make_series(shape=SHAPE), make_mask(SHAPE))
    document.SegmentationType = "FRACTIONAL"
    with pytest.raises(UnsupportedInstanceError, match=r"Expected a BINARY Segmentation, .* FRACTIONAL"):
        read_segments(document)
    with pytest.raises(UnsupportedInstanceError, match="of type none"):
        read_segments(make_series(shape=SHAPE)[0])


@pytest.mark.parametrize("keyword", ["SegmentSequence", "PerFrameFunctionalGroupsSequence", "NumberOfFrames", "Rows"])
def test_refuses_a_malformed_segmentation(keyword):
    document = build(make_series(shape=SHAPE), make_mask(SHAPE))
    delattr(document, keyword)
    with pytest.raises(BrokenInstanceError, match="cannot be read"):
        read_segments(document)


def test_refuses_more_frames_than_can_be_read():
    document = build(make_series(shape=SHAPE), make_mask(SHAPE))
    document.NumberOfFrames = 2**28
    with pytest.raises(UnsupportedInstanceError, match="more than can be read"):
        read_segments(document)
