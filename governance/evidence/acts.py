"""Officers' acts as a bundle holds them: signed bytes and signature; the keys are those that the log itself names."""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from governance.canonical import Canonical, canonical_bytes
from governance.errors import KeyFileError, NotCanonicalError, OfficerKeyError, ReportError, SignatureError
from governance.ledger.entries import Entry
from governance.signatures import VerifyingKey

PURPOSE: Final = "qfl/officer-act"
"""The context that officers sign with."""
ACTION: Final = "officer-action"
_ENROLLED: Final = "enrolled"
_REVOKED: Final = "revoked"


@dataclass(frozen=True)
class KeptAct:
    """An act; the officer is known by a keyed digest.

    Attributes:
        document: The canonical bytes that were signed.
        signature: ML-DSA-65.
    """

    document: bytes
    signature: bytes

    @property
    def sha256(self) -> str:
        """Of the document, as its entry has it."""
        return hashlib.sha256(self.document).hexdigest()


def write_acts(acts: Sequence[KeptAct]) -> bytes:
    """The file."""
    rows: list[Canonical] = [
        {"document": each.document.decode(), "signature": base64.b64encode(each.signature).decode()} for each in acts
    ]
    return canonical_bytes(rows)


def parse_acts(data: bytes) -> list[KeptAct]:
    """Read the file.

    Raises:
        ReportError: It is none.
    """
    try:
        return [
            KeptAct(str(each["document"]).encode(), base64.b64decode(each["signature"], validate=True))
            for each in json.loads(data)
        ]
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as fault:
        raise ReportError(f"Expected officers' acts, got something else ({type(fault).__name__}).") from fault


def check_act(act: KeptAct, entries: Mapping[int, Entry]) -> None:
    """Check one act against the log.

    1. It is the canonical bytes of an act.
    2. An entry of the log has its digest, officer, role, act and subject.
    3. The log enrolled a key for that officer, and did not revoke it before.
    4. That key signed it.

    Args:
        act: To check.
        entries: Of the log, of kind ACTION, by index.

    Raises:
        ReportError: (1), (2)
        OfficerKeyError: (3)
        SignatureError: (4)
    """
    said = _said(act.document)  # 1
    wanted = {"officer": said["officer"], "role": said["role"], "action": said["act"], "subject": said["subject"]}
    place = next(  # 2
        (
            index
            for index, entry in entries.items()
            if entry.facts.get("document") == act.sha256 and wanted.items() <= dict(entry.facts).items()
        ),
        None,
    )
    if place is None:
        raise ReportError("no entry of the log has this act")
    keys = _keys_at(place, str(said["officer"]), entries)  # 3
    if not keys:
        raise OfficerKeyError(f"entry {place}: the log names no key of the officer at that time")
    for key in keys:  # 4
        try:
            key.verify(act.signature, act.document, purpose=PURPOSE)
        except SignatureError:
            continue
        return
    raise SignatureError(f"entry {place}: the officer's key did not sign it")


def _said(document: bytes) -> Mapping[str, Any]:
    try:
        said = json.loads(document)
        is_canonical = canonical_bytes(said) == document
    except (ValueError, RecursionError, NotCanonicalError) as fault:
        raise ReportError("it is no act") from fault
    match said:
        case {"officer": str(), "role": str(), "act": str(), "subject": str(), "facts": dict()} if is_canonical:
            found: Mapping[str, Any] = said
            return found
        case _:
            raise ReportError("it is no act")


def _keys_at(place: int, officer: str, entries: Mapping[int, Entry]) -> list[VerifyingKey]:
    """The officer's key when an act was recorded; the first officer's stands behind the act that enrols it."""
    found: list[VerifyingKey] = []
    for index in sorted(entries):
        facts = entries[index].facts
        if facts.get("officer") != officer or facts.get("action") not in {_ENROLLED, _REVOKED}:
            continue
        if "public_key" not in facts:
            continue
        if facts["action"] == _REVOKED and index < place:
            found = []
        elif facts["action"] == _ENROLLED and (index <= place or (index == place + 1 and not found)):
            found = [_key(str(facts["public_key"]))]
    return found


def _key(encoded: str) -> VerifyingKey:
    try:
        return VerifyingKey(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError, KeyFileError) as fault:
        raise OfficerKeyError("the log names a key of the officer that is none") from fault
