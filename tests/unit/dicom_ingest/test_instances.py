import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from dicom_ingest.errors import BrokenInstanceError
from dicom_ingest.instances import encode_instance, parse_file_header, parse_header, parse_instance, shallow_copy
from tests.fakes.mr_series import make_series

INSTANCE = make_series(shape=(1, 8, 6))[0]
DATA = encode_instance(INSTANCE)


def test_an_instance_survives_encoding_and_parsing() -> None:
    assert parse_instance(DATA) == INSTANCE


def test_the_same_instance_gives_the_same_bytes_and_stays_as_it_was() -> None:
    before = dict(INSTANCE.file_meta)
    assert encode_instance(INSTANCE) == DATA
    assert dict(INSTANCE.file_meta) == before


def test_other_readers_read_the_encoding() -> None:
    assert dcmread(BytesIO(DATA)).PatientName == "Sørensen^Åse"


def test_keeps_the_transfer_syntax() -> None:
    instance = shallow_copy(INSTANCE)
    instance.file_meta = parse_instance(DATA).file_meta
    instance.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    again = parse_instance(encode_instance(instance))
    assert again.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert np.array_equal(again.pixel_array, INSTANCE.pixel_array)


def test_a_dataset_without_file_meta_is_written_explicit_little_endian() -> None:
    bare = shallow_copy(INSTANCE)
    assert parse_instance(encode_instance(bare)) == INSTANCE


def test_a_shallow_copy_leaves_the_original_alone() -> None:
    copy = shallow_copy(INSTANCE)
    del copy.PixelData
    copy.PatientID = "other"
    assert parse_instance(encode_instance(INSTANCE)) == parse_instance(DATA)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GIF89a", id="not DICOM"),
        pytest.param(DATA[:132], id="only the prefix"),
        pytest.param(DATA[:600], id="cut off in the header"),
        pytest.param(DATA[:-20], id="cut off in the pixels"),
        pytest.param(DATA[132:], id="without preamble"),
    ],
)
def test_refuses_what_is_not_a_whole_instance(data: bytes) -> None:
    with pytest.raises(BrokenInstanceError):
        parse_instance(data)


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", [None, "", "abc", "1.2\\3.4"], ids=["absent", "empty", "text", "two"])
def test_refuses_an_instance_without_a_valid_identifier(keyword: str, value: str | None) -> None:
    instance = parse_instance(DATA)
    del instance[keyword]
    if value is not None:
        instance.add_new(keyword, "LO", value.split("\\"))
    with pytest.raises(BrokenInstanceError, match=r"SOP|UID"):
        parse_instance(encode_instance_as_it_is(instance))


def encode_instance_as_it_is(instance: Dataset) -> bytes:
    buffer = BytesIO()
    instance.save_as(buffer, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def test_refuses_pixel_data_shorter_than_rows_and_columns_claim() -> None:
    instance = parse_instance(DATA)
    instance.Rows = 600
    with pytest.raises(BrokenInstanceError, match="is cut off"):
        parse_instance(encode_instance(instance))


def test_refuses_empty_compressed_pixel_data() -> None:
    compressed = DATA.replace(ExplicitVRLittleEndian.encode(), RLELossless.encode())
    header = compressed[: compressed.rindex(b"\xe0\x7f\x10\x00")]
    no_items = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    with pytest.raises(BrokenInstanceError, match="empty pixel data"):
        parse_instance(header + no_items)


def test_refuses_a_deflated_instance_before_inflating_it() -> None:
    meta = encode_instance(_with_syntax(DeflatedExplicitVRLittleEndian))
    end = 132 + 12 + int.from_bytes(meta[140:144], "little")
    bomb = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    data = meta[:end] + bomb.compress(bytes(64 * 2**20)) + bomb.flush()
    with pytest.raises(BrokenInstanceError, match="deflated"):
        parse_instance(data)


def _with_syntax(syntax: str) -> Dataset:
    instance = parse_instance(DATA)
    instance.file_meta.TransferSyntaxUID = syntax
    return instance


def test_refuses_sequences_nested_too_deep_without_quoting_the_cause() -> None:
    item = b"\x08\x00\x15\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    with pytest.raises(BrokenInstanceError, match="RecursionError") as caught:
        parse_instance(DATA[: DATA.index(b"\x08\x00\x16\x00")] + item * 5000)
    assert caught.value.__suppress_context__


def test_no_value_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    # As a date the accession number is malformed, which pydicom reports with the value.
    malformed = DATA.replace(b"SH\x04\x00ACC1", b"DA\x04\x00ACC1")
    with caplog.at_level("DEBUG"):
        assert parse_instance(malformed).AccessionNumber == "ACC1"
    assert caplog.records == []


@settings(max_examples=300, deadline=None)
@example(500, b"\xff\xff\xff\xff", 0)
@given(
    at=st.integers(0, len(DATA) - 1),
    noise=st.binary(min_size=1, max_size=24),
    cut=st.integers(0, 64),
)
def test_damaged_bytes_give_a_readable_instance_or_the_named_error(at: int, noise: bytes, cut: int) -> None:
    damaged = DATA[:at] + noise + DATA[at + len(noise) : len(DATA) - cut]
    try:
        instance = parse_instance(damaged)
    except BrokenInstanceError:
        return
    for element in instance.iterall():
        repr(element.value)


def test_a_files_header_is_the_instance_without_its_pixels() -> None:
    whole = parse_instance(DATA)
    del whole.PixelData
    header = parse_file_header(BytesIO(DATA))
    assert header == whole
    assert header.file_meta == whole.file_meta


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, len(DATA) - 1), noise=st.binary(min_size=1, max_size=24), cut=st.integers(0, len(DATA)))
def test_a_damaged_file_gives_a_readable_header_or_the_named_error(at: int, noise: bytes, cut: int) -> None:
    damaged = (DATA[:at] + noise + DATA[at + len(noise) :])[: len(DATA) - cut]
    try:
        header = parse_file_header(BytesIO(damaged))
    except BrokenInstanceError:
        return
    for element in header.iterall():
        repr(element.value)


def test_parse_header_reads_dicom_json_and_leaves_bulk_data_out() -> None:
    header = parse_header(
        {
            "0008103E": {"vr": "LO", "Value": ["AX T1"]},
            "00180081": {"vr": "DS", "Value": [12.5]},
            "7FE00010": {"vr": "OW", "BulkDataURI": "https://pacs.example/bulk"},
        }
    )
    assert header.SeriesDescription == "AX T1"
    assert header.EchoTime == 12.5
    assert "PixelData" not in header


@pytest.mark.parametrize(
    "broken",
    [
        {"00180081": {"vr": "DS", "Value": ["twelve"]}},
        {"0018": {"vr": "DS"}},
        {"00180081": {"vr": "XX", "Value": [1]}},
        {"00180081": ["DS"]},
        {"00180081": None},
        {"00081110": {"vr": "SQ", "Value": ["not an item"]}},
        {"00100010": {"vr": "PN", "Value": [1]}},
    ],
)
def test_parse_header_leaves_out_what_it_cannot_read(broken: dict[str, object]) -> None:
    header = parse_header({**broken, "0008103E": {"vr": "LO", "Value": ["AX T1"]}})
    assert header.SeriesDescription == "AX T1"
