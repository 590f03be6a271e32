"""Elements of untrusted FHIR JSON: a value of the type that is asked for, None when absent, or MalformedResourceError.

Only what the plugin uses is looked at, so that a server's oddity elsewhere costs no study. Messages name the element
and the types, never the value: it may be a person's.
"""

import re
from dataclasses import dataclass
from typing import Any

from fhir_adapter.errors import MalformedResourceError

# R4 datatypes.html#string allows tab, carriage return and line feed; a lone surrogate cannot be written as UTF-8.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")
_DECIMAL = re.compile(r"[0-9]{1,18}")
_MOST_CHARACTERS = 1024 * 1024
_LARGEST_INTEGER = 2**63 - 1


@dataclass(frozen=True)
class Element:
    """A JSON object and where it stands."""

    fields: dict[str, Any]
    path: str

    @classmethod
    def of(cls, value: object, path: str) -> "Element":
        """Take a JSON object.

        Raises:
            MalformedResourceError: The value is another type.
        """
        if not isinstance(value, dict):
            raise MalformedResourceError(f"{path}: expected a JSON object, got {_kind(value)}.")
        return cls(value, path)

    def text(self, name: str) -> str | None:
        """A string."""
        value = self.fields.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise MalformedResourceError(f"{self.path}.{name}: expected a string, got {_kind(value)}.")
        if not value or len(value) > _MOST_CHARACTERS or _FORBIDDEN.search(value):
            raise MalformedResourceError(f"{self.path}.{name}: expected 1 to 1048576 printable characters.")
        return value

    def required_text(self, name: str) -> str:
        """A string that must be there."""
        value = self.text(name)
        if value is None:
            raise MalformedResourceError(f"{self.path}.{name}: expected a string, got nothing.")
        return value

    def count(self, name: str) -> int | None:
        """A number from 0; R4 writes a 64-bit one as a string."""
        value = self.fields.get(name)
        if value is None:
            return None
        if isinstance(value, str) and _DECIMAL.fullmatch(value):
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_INTEGER:
            return value
        raise MalformedResourceError(f"{self.path}.{name}: expected a number from 0, got {_kind(value)}.")

    def flag(self, name: str) -> bool | None:
        """A boolean."""
        value = self.fields.get(name)
        if value is None or isinstance(value, bool):
            return value
        raise MalformedResourceError(f"{self.path}.{name}: expected a boolean, got {_kind(value)}.")

    def child(self, name: str) -> "Element | None":
        """An object."""
        value = self.fields.get(name)
        return None if value is None else Element.of(value, f"{self.path}.{name}")

    def children(self, name: str) -> tuple["Element", ...]:
        """A list of objects; empty when absent."""
        value = self.fields.get(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise MalformedResourceError(f"{self.path}.{name}: expected a list, got {_kind(value)}.")
        return tuple(Element.of(item, f"{self.path}.{name}[{index}]") for index, item in enumerate(value))

    def reference(self, name: str) -> str | None:
        """The literal of a Reference."""
        child = self.child(name)
        return child.text("reference") if child else None

    def references(self, name: str) -> tuple[str, ...]:
        """The literals of a list of References; logical ones are left out."""
        literals = (child.text("reference") for child in self.children(name))
        return tuple(literal for literal in literals if literal)

    def code(self, name: str) -> str | None:
        """A code: of a Coding as R4 has it, or the first one of a CodeableConcept as R5 has it in the same place."""
        child = self.child(name)
        if child is None:
            return None
        for coding in child.children("coding"):
            return coding.text("code")
        return child.text("code")


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "another string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else "another type")
