"""A value to the bytes that are hashed and signed.

Canonical JSON after RFC 8785, without floats: their text differs between writers, so a caller writes a measured
number as a string with its own precision.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from governance.errors import NotCanonicalError

Canonical: TypeAlias = "bool | int | str | Sequence[Canonical] | Mapping[str, Canonical] | None"


def canonical_bytes(value: Canonical) -> bytes:
    """Write a value as UTF-8 JSON with sorted keys and no blanks.

    Raises:
        NotCanonicalError: The value holds a float, a non-string key or an object JSON does not know.
    """
    _check(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(value: Canonical) -> str:
    """SHA-256 of the canonical bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_bytes(value)).hexdigest()


def _check(value: object) -> None:
    match value:
        case None | bool() | int() | str():
            return
        case Mapping():
            for key, item in value.items():
                if not isinstance(key, str):
                    raise NotCanonicalError(f"Keys must be strings, got {type(key).__name__}.")
                _check(item)
        case list() | tuple():
            for item in value:
                _check(item)
        case _:
            raise NotCanonicalError(f"A {type(value).__name__} has no canonical form; write it as a string or integer.")
