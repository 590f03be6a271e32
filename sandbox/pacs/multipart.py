"""multipart/related (RFC 2387), read and written as a stream."""

import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Protocol

CHUNK_BYTES = 2**18
_SPOOL_BYTES = 8 * 2**20
_MAX_HEADER_BYTES = 8 * 2**10


class MultipartError(Exception):
    """A body that is not multipart."""


class Readable(Protocol):
    """A stream of a request's body."""

    def read(self, size: int, /) -> bytes:
        """At most size bytes; none at the end."""


class _Source:
    """A stream that can be searched for delimiters without reading it whole."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._buffer = b""

    def _more(self) -> None:
        chunk = self._stream.read(CHUNK_BYTES)
        if not chunk:
            raise MultipartError("the body ends before its closing delimiter")
        self._buffer += chunk

    def take(self, size: int) -> bytes:
        """Exactly so many bytes."""
        while len(self._buffer) < size:
            self._more()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def until(self, delimiter: bytes) -> Iterator[bytes]:
        """Pieces up to a delimiter, which is dropped."""
        while True:
            end = self._buffer.find(delimiter)
            if end >= 0:
                piece, self._buffer = self._buffer[:end], self._buffer[end + len(delimiter) :]
                yield piece
                return
            # A delimiter may begin in the last bytes.
            safe = max(0, len(self._buffer) - len(delimiter) + 1)
            if safe:
                piece, self._buffer = self._buffer[:safe], self._buffer[safe:]
                yield piece
            self._more()


def read_parts(stream: Readable, boundary: str) -> Iterator[IO[bytes]]:
    """The content of each part, as a file at its beginning; a part is closed when the next is asked for.

    Raises:
        MultipartError: Broken framing; the parts before it were whole.
    """
    source = _Source(stream)
    delimiter = b"\r\n--" + boundary.encode("ascii")
    for _ in source.until(delimiter[2:]):  # what stands before the first delimiter is to be ignored
        pass
    while True:
        ending = source.take(2)
        if ending == b"--":
            return
        if ending != b"\r\n":
            raise MultipartError("a delimiter is not followed by a line break")
        _skip_headers(source)
        with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as part:
            for piece in source.until(delimiter):
                part.write(piece)
            part.seek(0)
            yield part


def _skip_headers(source: _Source) -> None:
    """Read past a part's headers: what a part is, its bytes say."""
    window = source.take(2)
    size = 2
    while window != b"\r\n" and not window.endswith(b"\r\n\r\n"):
        window = window[-3:] + source.take(1)
        size += 1
        if size > _MAX_HEADER_BYTES:
            raise MultipartError("the headers of a part are too long")


def write_parts(contents: Iterable[IO[bytes]], boundary: str, content_type: str) -> Iterator[bytes]:
    """Frame contents as parts; each is closed after it was written."""
    for content in contents:
        with content:
            yield f"--{boundary}\r\nContent-Type: {content_type}\r\n\r\n".encode("ascii")
            while chunk := content.read(CHUNK_BYTES):
                yield chunk
            yield b"\r\n"
    yield f"--{boundary}--\r\n".encode("ascii")
