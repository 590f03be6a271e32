"""A header and named pieces of bytes as one message: no pickle, and no memory taken on a sender's word."""

import json
import struct
from collections.abc import Mapping
from typing import Any, Final

from federated.errors import MessageError
from governance.canonical import Canonical, canonical_bytes

MAGIC: Final = b"QFL1"
MAX_HEADER_BYTES: Final = 1 << 20
_START: Final = struct.Struct(">4sI")


def pack(header: Mapping[str, Canonical], pieces: Mapping[str, bytes] | None = None) -> bytes:
    """Write a message: the header as canonical JSON, then the pieces."""
    pieces = pieces or {}
    sizes = {name: len(piece) for name, piece in pieces.items()}
    head = canonical_bytes({"header": header, "pieces": [[name, size] for name, size in sizes.items()]})
    return b"".join([_START.pack(MAGIC, len(head)), head, *pieces.values()])


def unpack(message: bytes, *, limit: int) -> tuple[dict[str, Any], dict[str, memoryview]]:
    """Read a message that pack wrote; the pieces are views of it.

    Args:
        message: Of whoever.
        limit: Bytes that a message of this kind can have.

    Raises:
        MessageError: It is too long, or is not what pack writes.
    """
    if len(message) > limit:
        raise MessageError(f"Expected a message of at most {limit} bytes, got {len(message)}.")
    if len(message) < _START.size:
        raise MessageError(f"Expected a message, got {len(message)} bytes.")
    magic, length = _START.unpack_from(message)
    if magic != MAGIC or length > min(MAX_HEADER_BYTES, len(message) - _START.size):
        raise MessageError("Expected a message of this federation's format, got something else.")
    view = memoryview(message)
    header, sizes = _header(bytes(view[_START.size : _START.size + length]))
    pieces, start = {}, _START.size + length
    for name, size in sizes:
        pieces[name] = view[start : start + size]
        start += size
    if start != len(message) or len(pieces) != len(sizes):
        raise MessageError(
            f"Expected pieces of {start} bytes in all, each with its own name, got {len(message)} bytes."
        )
    return header, pieces


def _header(text: bytes) -> tuple[dict[str, Any], list[tuple[str, int]]]:
    try:
        document = json.loads(text)
        header, sizes = document["header"], [(name, size) for name, size in document["pieces"]]
    except (ValueError, KeyError, TypeError, RecursionError) as fault:
        raise MessageError(
            f"Expected a message's header as JSON, got something else ({type(fault).__name__})."
        ) from fault
    if not isinstance(header, dict) or not all(
        isinstance(name, str) and type(size) is int and size >= 0 for name, size in sizes
    ):
        raise MessageError("Expected a message's header to name its pieces and their sizes, got something else.")
    return header, sizes
