"""UIDs that a second run makes again."""

import re
import uuid

from governance.canonical import canonical_bytes

_NAMESPACE = uuid.UUID("7b0f4c3e-6a0d-5f1b-9a52-2f0a4be2c1d7")
"""Ours; never change it, or a repeated run stores its result twice."""

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_UID_LENGTH = 64


def is_uid(value: str) -> bool:
    """Whether a text is a UID: digits and dots, at most 64 characters, no leading zeros.

    References:
        DICOM PS3.5 9.1.
    """
    return len(value) <= _UID_LENGTH and _UID.fullmatch(value) is not None


def derive_uid(*parts: str) -> str:
    """Derive a UID from a key: the same parts give the same UID, on every machine.

    Args:
        parts: What the UID stands for, e.g. the work key and "SEG"; ("ab", "c") and ("a", "bc") differ.

    Returns:
        A UID below 2.25, at most 44 characters.

    References:
        DICOM PS3.5 B.2; RFC 9562 5.5 (version 5, SHA-1).
    """
    return f"2.25.{uuid.uuid5(_NAMESPACE, canonical_bytes(parts).decode()).int}"
