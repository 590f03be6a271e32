"""The frameworks that controls are mapped to, and from when on they apply: the dates are read, not known."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Final

from governance.errors import ReportError


class Framework(StrEnum):
    """A standard or a law."""

    ISO_31700 = "ISO 31700-1"
    ISO_42001 = "ISO/IEC 42001"
    NIST = "NIST AI RMF"
    AI_ACT = "EU AI Act"
    GDPR = "GDPR"
    HIPAA = "HIPAA"


FULL_NAMES: Final[Mapping[Framework, str]] = {
    Framework.ISO_31700: "ISO 31700-1:2023, privacy by design for consumer goods and services",
    Framework.ISO_42001: "ISO/IEC 42001:2023, Annex A, AI management system",
    Framework.NIST: "NIST AI RMF 1.0 (NIST AI 100-1)",
    Framework.AI_ACT: "EU AI Act, Regulation (EU) 2024/1689",
    Framework.GDPR: "GDPR, Regulation (EU) 2016/679",
    Framework.HIPAA: "HIPAA, 45 CFR Part 164",
}


@dataclass(frozen=True)
class Reference:
    """A clause that a control answers to.

    Attributes:
        framework: It is in.
        clause: Its number.
        asks: What it asks for, in our own words; the text itself is the publisher's.
    """

    framework: Framework
    clause: str
    asks: str


@dataclass(frozen=True)
class ApplicationDate:
    """From when on a framework, or a part of it, applies.

    Attributes:
        part: In words.
        applies_from: None where it is voluntary.
        source: Where the date is from; whoever relies on it looks there.
    """

    framework: Framework
    part: str
    applies_from: date | None
    source: str


def parse_dates(document: Any) -> tuple[ApplicationDate, ...]:
    """Read the dates as a site configures them.

    Args:
        document: From YAML: {"dates": [{"framework", "part", "from", "source"}...]}.

    Raises:
        ReportError: It is something else.
    """
    match document:
        case {"dates": list(rows)} if rows and len(document) == 1:
            return tuple(_date(row) for row in rows)
        case _:
            raise ReportError("Expected the dates of application as a list under 'dates', got something else.")


def _date(row: Any) -> ApplicationDate:
    match row:
        case {"framework": str(framework), "part": str(part), "source": str(source), "from": value} if len(row) == 4:
            pass
        case _:
            raise ReportError("Expected each date of application with framework, part, from and source.")
    if framework not in list(Framework):
        raise ReportError(f"Expected one of {', '.join(Framework)} as framework, got {framework!r}.")
    try:
        found = value if value is None or isinstance(value, date) else date.fromisoformat(str(value))
    except ValueError as fault:
        raise ReportError(f"{framework}, {part}: expected a date such as 2027-12-02, got {value!r}.") from fault
    return ApplicationDate(Framework(framework), part, found, source)
