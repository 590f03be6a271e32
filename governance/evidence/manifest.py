"""The manifest of a bundle: every file with its size and SHA-256, signed with the log's own key.

The log's first key is all that a third party must have from the hospital; the log itself says which key it has now.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from governance.canonical import canonical_bytes
from governance.errors import NotCanonicalError, ReportError, SignatureError
from governance.ledger.cosignature import CosignerKey

FORMAT: Final = "qfl-evidence-bundle/1"
PURPOSE: Final = "qfl/evidence-bundle"
"""The context of the signature: it is none of a tree, a rotation or an act."""
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
_MAX_BYTES: Final = 1 << 23


@dataclass(frozen=True)
class FileMark:
    """What a file must be."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What is in a bundle.

    Attributes:
        origin: Name of the log.
        size: Of the log's tree.
        report: Digest of the report.
        at: When it was made, ISO 8601.
        files: By name; all but manifest and signature.
    """

    origin: str
    size: int
    report: str
    at: str
    files: Mapping[str, FileMark]

    def to_bytes(self) -> bytes:
        """What is signed."""
        return canonical_bytes(
            {
                "format": FORMAT,
                "origin": self.origin,
                "size": self.size,
                "report": self.report,
                "at": self.at,
                "files": {name: {"size": mark.size, "sha256": mark.sha256} for name, mark in self.files.items()},
            }
        )


def mark_of(content: bytes) -> FileMark:
    """Of a file."""
    return FileMark(len(content), hashlib.sha256(content).hexdigest())


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest; nothing is verified.

    Raises:
        ReportError: It is none.
    """
    document = _canonical(data)
    match document:
        case {
            "format": "qfl-evidence-bundle/1",
            "origin": str(origin),
            "size": int(size),
            "report": str(report),
            "at": str(at),
            "files": dict(files),
        } if len(document) == 6:
            return Manifest(origin, size, report, at, {str(name): _mark(mark) for name, mark in files.items()})
        case _:
            raise ReportError(f"Expected a manifest of format {FORMAT}, got something else.")


def write_signature(key: CosignerKey, signature: bytes) -> bytes:
    """The file beside the manifest."""
    return canonical_bytes({"key": key.vkey, "signature": base64.b64encode(signature).decode()})


def check_signature(manifest: bytes, signature: bytes, expected: CosignerKey) -> None:
    """Check that the log's key signed a manifest.

    Raises:
        SignatureError: It did not.
        ReportError: The signature's file is none.
    """
    match _canonical(signature):
        case {"key": str(key), "signature": str(encoded), **rest} if not rest:
            pass
        case _:
            raise ReportError("Expected a signature with its key, got something else.")
    if key != expected.vkey:
        raise SignatureError("The manifest is signed by another key than the log's.")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as fault:
        raise ReportError("Expected a signature in base64.") from fault
    expected.verify(raw, manifest, purpose=PURPOSE)


def _canonical(data: bytes) -> Any:
    if len(data) > _MAX_BYTES:
        raise ReportError(f"Expected at most {_MAX_BYTES} bytes, got {len(data)}.")
    try:
        document = json.loads(data)
        if canonical_bytes(document) == data:
            return document
    except (ValueError, RecursionError, NotCanonicalError) as fault:
        raise ReportError("Expected canonical JSON.") from fault
    raise ReportError("Expected JSON in its canonical form.")


def _mark(found: Any) -> FileMark:
    match found:
        case {"size": int(size), "sha256": str(sha256)} if len(found) == 2:
            return FileMark(size, sha256)
        case _:
            raise ReportError("Expected size and SHA-256 of each file in the manifest.")
