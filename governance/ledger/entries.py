"""An entry of the ledger and its leaf: the canonical bytes that are hashed, and that a verifier reads."""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from governance.canonical import Canonical, canonical_bytes
from governance.errors import EntryError
from governance.ledger.kinds import check_facts, check_text

MAX_LEAF_BYTES: Final = 1 << 16
MAX_KEY: Final = 100
_MIN_SECRET_BYTES: Final = 16
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
# Made once: json.loads and json.dumps would make them for each of a million entries.
_decode = json.JSONDecoder().decode
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


@dataclass(frozen=True)
class Entry:
    """One transaction.

    Attributes:
        kind: One of kinds.KINDS.
        at: When it happened; it is written in UTC, to the microsecond.
        facts: What happened: numbers, digests and names of machines; floats are written as texts.
        key: Names the transaction: a second entry of the same key is not appended. Up to 100 characters, or empty.
    """

    kind: str
    at: datetime
    facts: Mapping[str, Canonical] = field(default_factory=dict)
    key: str = ""


def leaf_of(entry: Entry) -> bytes:
    """The canonical bytes of an entry, after checking it.

    Raises:
        EntryError: The kind is unknown, a fact is missing, the time has no zone, it is too long, or it looks like
            personal data.
        NotCanonicalError: A fact has no canonical bytes.
    """
    check_facts(entry.kind, entry.facts)
    if entry.at.tzinfo is None:
        raise EntryError(f"An entry of kind {entry.kind} needs a time with its zone, got one without.")
    if len(entry.key) > MAX_KEY:
        raise EntryError(f"Expected a key of at most {MAX_KEY} characters, got {len(entry.key)}.")
    at = entry.at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    document: dict[str, Canonical] = {"v": 1, "kind": entry.kind, "at": f"{at}Z", "facts": entry.facts}
    if entry.key:
        check_text("key", entry.key)
        document["key"] = entry.key
    leaf = canonical_bytes(document)
    if len(leaf) > MAX_LEAF_BYTES:
        raise EntryError(
            f"An entry of kind {entry.kind} has {len(leaf)} bytes, at most {MAX_LEAF_BYTES} are taken: record a digest."
        )
    return leaf


def parse_leaf(leaf: bytes) -> Entry:
    """Read a leaf; its facts are not checked against its kind.

    Raises:
        EntryError: It is not the canonical bytes of an entry.
    """
    document = _read(leaf)
    match document:
        case {"v": 1, "kind": str(kind), "at": str(at), "facts": dict(facts)}:
            key = document.get("key", "")
        case _:
            raise EntryError("Expected an entry with version 1, kind, time and facts.")
    if not isinstance(key, str) or len(document) != 4 + ("key" in document) or not _TIME.fullmatch(at):
        raise EntryError("Expected an entry with nothing but version, kind, time, key and facts.")
    try:
        return Entry(kind, datetime.fromisoformat(at), facts, key)
    except ValueError as fault:
        raise EntryError("Expected the time of an entry, got none that exists.") from fault


def keyed_digest(key: bytes, value: str) -> str:
    """HMAC-SHA256 of a value that tells of a person or a study, as 64 hexadecimal digits.

    Args:
        key: The hospital's own, at least 16 bytes; whoever has it can find out whom a digest is of.
        value: E.g. a Study Instance UID.

    Raises:
        EntryError: The key is too short to keep the value.
    """
    if len(key) < _MIN_SECRET_BYTES:
        raise EntryError(f"Expected a key of at least {_MIN_SECRET_BYTES} bytes for keyed digests, got {len(key)}.")
    return hmac.new(key, value.encode(), hashlib.sha256).hexdigest()


def _read(leaf: bytes) -> dict[str, Any]:
    try:
        text = leaf.decode()
        document = _decode(text)
        is_canonical = _encode(document) == text
    except (ValueError, RecursionError) as fault:
        raise EntryError("Expected JSON in UTF-8.") from fault
    if not is_canonical or not isinstance(document, dict):
        raise EntryError("Expected a JSON object in its canonical form.")
    return document
