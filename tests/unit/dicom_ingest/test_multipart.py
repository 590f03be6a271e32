from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_ingest.errors import ArchiveRefusedError, ArchiveUnavailableError, DicomIngestError, TooLargeError
from dicom_ingest.multipart import boundary_of, join_part, split_parts

BOUNDARY = b"xYz"


def message(*bodies: bytes, head: bytes = b"Content-Type: application/dicom\r\n") -> bytes:
    return b"".join(b"--xYz\r\n" + head + b"\r\n" + body + b"\r\n" for body in bodies) + b"--xYz--\r\n"


def parts(data: bytes | Iterable[bytes], *, limit: int = 1000) -> list[bytes]:
    chunks = [data] if isinstance(data, bytes) else data
    return list(split_parts(chunks, BOUNDARY, max_part_bytes=limit))


@given(bodies=st.lists(st.binary(max_size=60)), size=st.integers(1, 50))
def test_parts_come_out_however_the_stream_is_cut(bodies: list[bytes], size: int) -> None:
    data = message(*bodies)
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    if bodies:
        assert parts(chunks) == bodies
    else:
        assert parts(chunks) == []


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"preamble\r\n" + message(b"a", b"b"), id="preamble"),
        pytest.param(message(b"a", b"b") + b"epilogue", id="epilogue"),
        pytest.param(message(b"a", b"b", head=b""), id="no headers"),
        pytest.param(message(b"a", b"b").replace(b"--xYz\r\n", b"--xYz \t\r\n"), id="blanks after the delimiter"),
        pytest.param(message(b"a", b"b")[:-2], id="no line end after the last delimiter"),
        pytest.param(b"\r\n" + message(b"a", b"b"), id="line end first"),
    ],
)
def test_reads_every_legal_form(data: bytes) -> None:
    assert parts(data) == [b"a", b"b"]


def test_a_body_may_look_like_a_delimiter_of_another_boundary() -> None:
    body = b"\r\n--xY\r\n--other\r\n\r\n--"
    assert parts(message(body)) == [body]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(b"", ArchiveUnavailableError, id="nothing"),
        pytest.param(message(b"a", b"b")[:-8], ArchiveUnavailableError, id="ends without the last delimiter"),
        pytest.param(b"--xYz\r\nContent-Ty", ArchiveUnavailableError, id="ends in a header"),
        pytest.param(b"--xYz", ArchiveUnavailableError, id="ends after a delimiter"),
        pytest.param(b"<html>" * 2000, ArchiveRefusedError, id="no delimiter"),
        pytest.param(b"--xYzabc\r\n\r\n", ArchiveRefusedError, id="delimiter of a longer boundary"),
        pytest.param(b"--xYz\r\n" + b"A: b\r\n" * 100, ArchiveRefusedError, id="headers without end"),
        pytest.param(b"--xYz\r\n" + b"A" * 9999, ArchiveRefusedError, id="header line without end"),
        pytest.param(message(b"a" * 1001), TooLargeError, id="one byte too many"),
    ],
)
def test_refuses_by_name(data: bytes, error: type[DicomIngestError]) -> None:
    with pytest.raises(error):
        parts(data)


def test_a_part_as_large_as_the_limit_is_read() -> None:
    assert parts(message(b"a" * 1000)) == [b"a" * 1000]


def test_an_endless_part_is_refused_before_it_is_held() -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        yield b"--xYz\r\n\r\n"
        while True:
            taken += 100
            yield b"a" * 100

    with pytest.raises(TooLargeError):
        parts(endless())
    assert taken < 1500


def test_nothing_is_read_after_a_part_until_the_next_is_wanted() -> None:
    def stream() -> Iterator[bytes]:
        yield b"--xYz\r\n\r\none\r\n--xYz\r\n"
        raise AssertionError

    assert next(split_parts(stream(), BOUNDARY, max_part_bytes=10)) == b"one"


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary=abc', b"abc"),
        ('multipart/related; boundary="a b:c"; type=application/dicom', b"a b:c"),
        ("Multipart/Related;BOUNDARY=abc", b"abc"),
    ],
)
def test_finds_the_boundary(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/html",
        "application/dicom",
        "multipart/related",
        'multipart/related; boundary=""',
        "multipart/related; boundary=" + "a" * 71,
        'multipart/related; boundary="a\\b"',
        "multipart/related; boundary*=utf-8''%e2%82%ac",
    ],
)
def test_refuses_other_content_types(content_type: str) -> None:
    with pytest.raises(ArchiveRefusedError):
        boundary_of(content_type)


@given(st.binary())
def test_a_joined_part_can_be_split_again(body: bytes) -> None:
    data, content_type = join_part(body, "application/dicom")
    assert list(split_parts([data], boundary_of(content_type), max_part_bytes=len(body))) == [body]
