"""multipart/related, read from a stream and written: DICOMweb's envelope.

References:
    RFC 2046 5.1; RFC 2387; DICOM PS3.18 8.6.1.2.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from email.message import Message

from dicom_ingest.errors import ArchiveRefusedError, ArchiveUnavailableError, TooLargeError

_LINE_END = b"\r\n"
_MAX_LINE_BYTES = 4 * 1024
_MAX_HEADERS = 32
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")

_NOT_MULTIPART = "The archive's answer is not well-formed multipart/related; check the archive's address."


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type header names.

    Raises:
        ArchiveRefusedError: The answer is not multipart/related, or its boundary is malformed.
    """
    header = Message()
    header["Content-Type"] = content_type
    if header.get_content_type() != "multipart/related":
        raise ArchiveRefusedError(
            f"Expected multipart/related from the archive, got {header.get_content_type()}; "
            "check the archive's address."
        )
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not _BOUNDARY.fullmatch(boundary):
        raise ArchiveRefusedError("Expected a boundary of 1 to 70 characters in the archive's multipart answer.")
    return boundary.encode("ascii")


def split_parts(chunks: Iterable[bytes], boundary: bytes, *, max_part_bytes: int) -> Iterator[bytes]:
    """Split a stream into the bodies of its parts, holding one part and one chunk at a time.

    Args:
        chunks: The stream's bytes, cut anywhere.

    Raises:
        ArchiveUnavailableError: The stream ends before its closing delimiter.
        ArchiveRefusedError: The stream is not multipart.
        TooLargeError: A part is larger than allowed.
    """
    delimiter = _LINE_END + b"--" + boundary
    stream = _Stream(chunks)
    stream.take_until(delimiter, _MAX_LINE_BYTES)
    while not stream.starts_with(b"--"):
        if stream.take_until(_LINE_END, _MAX_LINE_BYTES).strip(b" \t"):
            raise ArchiveRefusedError(_NOT_MULTIPART)
        _skip_headers(stream)
        yield stream.take_part(delimiter, max_part_bytes)


def join_part(body: bytes, media_type: str) -> tuple[bytes, str]:
    """Wrap one body; returns the message and its Content-Type."""
    boundary = hashlib.sha256(body).hexdigest()
    head = f"--{boundary}\r\nContent-Type: {media_type}\r\n\r\n".encode()
    message = b"".join((head, body, f"\r\n--{boundary}--\r\n".encode()))
    return message, f'multipart/related; type="{media_type}"; boundary={boundary}'


def _skip_headers(stream: "_Stream") -> None:
    for _ in range(_MAX_HEADERS):
        if not stream.take_until(_LINE_END, _MAX_LINE_BYTES):
            return
    raise ArchiveRefusedError(_NOT_MULTIPART)


class _Stream:
    """A stream's bytes that are not used yet.

    It starts with a line end, because every delimiter has one before it, and the first may be the stream's beginning.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._bytes = bytearray(_LINE_END)

    def starts_with(self, prefix: bytes) -> bool:
        while len(self._bytes) < len(prefix):
            self._more()
        return self._bytes.startswith(prefix)

    def take_until(self, end: bytes, limit: int) -> bytes:
        """What comes before the end marker, which is used up too."""
        taken = self._take(end, limit)
        if taken is None:
            raise ArchiveRefusedError(_NOT_MULTIPART)
        return taken

    def take_part(self, delimiter: bytes, limit: int) -> bytes:
        taken = self._take(delimiter, limit)
        if taken is None:
            raise TooLargeError(f"Expected parts of at most {limit} bytes from the archive, one is larger.")
        return taken

    def _take(self, end: bytes, limit: int) -> bytes | None:
        searched = 0
        while (found := self._bytes.find(end, searched)) < 0:
            searched = max(0, len(self._bytes) - len(end) + 1)
            if searched > limit:
                return None
            self._more()
        if found > limit:
            return None
        with memoryview(self._bytes) as view:
            taken = bytes(view[:found])
        del self._bytes[: found + len(end)]
        return taken

    def _more(self) -> None:
        for chunk in self._chunks:
            if chunk:
                self._bytes += chunk
                return
        raise ArchiveUnavailableError("The archive's answer ended before its last part was complete.")
