"""FHIR references as strings, taken apart without trusting them."""

import re
from dataclasses import dataclass

# R4 references.html#literal: type, id of at most 64 characters, and perhaps a version.
_LITERAL = re.compile(
    r"(?:(?P<base>https?://[^\s?#@\\]{1,512})/)?"
    r"(?P<type>[A-Z][A-Za-z]{1,63})/(?P<id>[A-Za-z0-9\-.]{1,64})"
    r"(?:/_history/(?P<version>[A-Za-z0-9\-.]{1,64}))?"
)


@dataclass(frozen=True)
class LiteralReference:
    """A literal reference.

    Attributes:
        base: Of the server, None when the reference is relative.
    """

    base: str | None
    resource_type: str
    id: str
    version: str | None

    @property
    def local(self) -> str:
        """ "Type/id", as it is read below a server's base."""
        return f"{self.resource_type}/{self.id}"


def parse_reference(value: str) -> LiteralReference | None:
    """Take a literal reference apart; None for any other one (contained, urn:uuid, conditional, not FHIR)."""
    match = _LITERAL.fullmatch(value)
    # "." and ".." are ids by FHIR's grammar, but path segments with a meaning of their own in a URL.
    if match is None or not match["id"].strip(".") or (match["version"] and not match["version"].strip(".")):
        return None
    return LiteralReference(match["base"], match["type"], match["id"], match["version"])
