"""Signed notes and verifier keys as c2sp.org/signed-note@v1.0.0 writes them: a text and signature lines.

Which signature is made how is not known here; see cosignature.py.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from governance.errors import NoteError

MAX_NOTE_BYTES: Final = 1 << 18
MAX_SIGNATURES: Final = 64
_DASH: Final = "\N{EM DASH}"
_VKEY: Final = re.compile(r"([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})")


@dataclass(frozen=True)
class NoteSignature:
    """One line below a note.

    Attributes:
        name: Of the key.
        key_id: 4 bytes.
        signature: As the key's type makes it.
    """

    name: str
    key_id: bytes
    signature: bytes

    def line(self) -> str:
        """As it stands in the note, with its newline."""
        return f"{_DASH} {self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n"


@dataclass(frozen=True)
class Note:
    """A text and its signatures, which nobody has verified yet.

    Attributes:
        text: It ends with a newline.
        signatures: In the note's order.
    """

    text: str
    signatures: tuple[NoteSignature, ...]

    def write(self) -> str:
        """The whole note."""
        return f"{self.text}\n{''.join(each.line() for each in self.signatures)}"

    def with_signatures(self, new: Sequence[NoteSignature]) -> "Note":
        """The note with further lines; one of a key that has signed before replaces that."""
        by_key = {(each.name, each.key_id): each for each in (*self.signatures, *new)}
        return Note(self.text, tuple(by_key.values()))


def parse_note(text: str) -> Note:
    """Take a note apart.

    Raises:
        NoteError: It is not of the format, or too long.
    """
    if len(text) > MAX_NOTE_BYTES:
        raise NoteError(f"Expected a note of at most {MAX_NOTE_BYTES} characters, got {len(text)}.")
    if any(sign < " " and sign != "\n" for sign in text):
        raise NoteError("Expected a note without control characters.")
    body, blank, lines = text.rpartition("\n\n")
    if not blank or not body or not lines.endswith("\n"):
        raise NoteError("Expected a note: a text, a blank line and signature lines.")
    return Note(f"{body}\n", parse_signatures(lines))


def parse_signatures(lines: str) -> tuple[NoteSignature, ...]:
    """Take signature lines apart, each with its newline.

    Raises:
        NoteError: A line is none, or there are too many.
    """
    found = lines.removesuffix("\n").split("\n")
    if not 0 < len(found) <= MAX_SIGNATURES:
        raise NoteError(f"Expected 1 to {MAX_SIGNATURES} signature lines, got {len(found)}.")
    return tuple(_parse_line(line) for line in found)


def key_id(name: str, kind: int, key: bytes) -> bytes:
    """The four bytes that name a key beside its name.

    Args:
        name: Of the key.
        kind: The signature type's byte.
        key: The public key as its type encodes it.
    """
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + key).digest()[:4]


def check_name(name: str) -> str:
    """A key's name, as the format takes it.

    Raises:
        NoteError: It is empty or longer than 255 bytes, or has a blank, a control character or a plus sign.
    """
    if not 0 < len(name.encode()) < 256 or any(sign.isspace() or sign < " " or sign == "+" for sign in name):
        raise NoteError("Expected a key's name of 1 to 255 bytes without blanks and '+', such as hospital.example/log.")
    return name


def write_vkey(name: str, kind: int, key: bytes) -> str:
    """A public key as text: name+id+base64."""
    return f"{name}+{key_id(name, kind, key).hex()}+{base64.b64encode(bytes([kind]) + key).decode()}"


def parse_vkey(text: str) -> tuple[str, int, bytes]:
    """Name, signature type and public key of a verifier key.

    Raises:
        NoteError: It is none, or its id is not that of the key.
    """
    found = _VKEY.fullmatch(text.strip())
    if found is None:
        raise NoteError("Expected a verifier key: name+8 hexadecimal digits+base64.")
    name, named, data = check_name(found[1]), bytes.fromhex(found[2]), _decode(found[3])
    if len(data) < 2 or key_id(name, data[0], data[1:]) != named:
        raise NoteError(f"The verifier key of {name} does not have the id that it names.")
    return name, data[0], data[1:]


def _parse_line(line: str) -> NoteSignature:
    match line.split(" "):
        case [dash, name, data] if dash == _DASH:
            decoded = _decode(data)
        case _:
            raise NoteError(f"Expected a signature line: {_DASH} name base64.")
    if len(decoded) < 5:
        raise NoteError(f"The signature of {name!r} is too short.")
    return NoteSignature(check_name(name), decoded[:4], decoded[4:])


def _decode(data: str) -> bytes:
    try:
        decoded = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as fault:
        raise NoteError("Expected base64.") from fault
    if base64.b64encode(decoded).decode() != data:  # bits that nobody reads would make two texts of one signature
        raise NoteError("Expected base64 without stray bits.")
    return decoded
