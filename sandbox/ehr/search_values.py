"""Whether one value of a resource matches one value of a search (http://hl7.org/fhir/R4/search.html)."""

import calendar
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.ehr.errors import FhirError

Interval = tuple[datetime, datetime]

_EARLIEST = datetime.min.replace(tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC)
_PREFIXED = re.compile(r"(eq|ne|gt|lt|ge|le|sa|eb)?(.+)")
_PARTIAL = re.compile(
    r"(?P<year>\d{4})(-(?P<month>\d\d)(-(?P<day>\d\d)"
    r"(T(?P<time>\d\d:\d\d(:\d\d(\.\d+)?)?)(?P<zone>Z|[+-]\d\d:\d\d)?)?)?)?"
)


def _date_interval(found: re.Match[str]) -> Interval:
    year, month, day = (int(found[name]) if found[name] else None for name in ("year", "month", "day"))
    start = datetime(year or 1, month or 1, day or 1, tzinfo=UTC)
    if month is None:
        return start, start.replace(year=start.year + 1)
    if day is None:
        return start, start + timedelta(days=calendar.monthrange(start.year, month)[1])
    return start, start + timedelta(days=1)


def parse_interval(text: str) -> Interval:
    """Read a FHIR date, dateTime or instant as the half-open stretch of time that it covers.

    Raises:
        FhirError: 400, not a date.
    """
    advice = "expected a date such as 2026-01-31 or 2026-01-31T10:00:00Z (a + in a URL is written %2B)"
    found = _PARTIAL.fullmatch(text)
    if not found:
        raise FhirError(400, "value", f"{advice}, got {text!r}")
    try:
        if not found["time"]:
            return _date_interval(found)
        start = datetime.fromisoformat(text)
    except ValueError as error:
        raise FhirError(400, "value", f"{advice}, got {text!r}") from error
    start = start if start.tzinfo else start.replace(tzinfo=UTC)
    digits = found["time"].count(":")
    if "." in found["time"]:
        return start, start + timedelta(milliseconds=1)
    return start, start + (timedelta(seconds=1) if digits == 2 else timedelta(minutes=1))


def _interval_of(value: Any) -> Interval:
    if isinstance(value, dict):  # Period
        low = parse_interval(value["start"])[0] if "start" in value else _EARLIEST
        high = parse_interval(value["end"])[1] if "end" in value else _LATEST
        return low, high
    return parse_interval(str(value))


def _within(inner: Interval, outer: Interval) -> bool:
    return inner[0] >= outer[0] and inner[1] <= outer[1]


_COMPARISONS: dict[str, Callable[[Interval, Interval], bool]] = {
    "eq": _within,
    "ne": lambda has, asked: not _within(has, asked),
    "gt": lambda has, asked: has[1] > asked[1],
    "lt": lambda has, asked: has[0] < asked[0],
    "ge": lambda has, asked: has[1] > asked[1] or _within(has, asked),
    "le": lambda has, asked: has[0] < asked[0] or _within(has, asked),
    "sa": lambda has, asked: has[0] >= asked[1],
    "eb": lambda has, asked: has[1] <= asked[0],
}


def matches_date(value: Any, asked: str, base_url: str) -> bool:  # noqa: ARG001  # one signature for all kinds
    """Compare a date, dateTime, instant or Period with a prefixed date."""
    found = _PREFIXED.fullmatch(asked)
    prefix, text = (found[1] or "eq", found[2]) if found else ("eq", asked)
    return _COMPARISONS[prefix](_interval_of(value), parse_interval(text))


def _codings(value: Any) -> list[tuple[str, str]]:
    if isinstance(value, bool):
        return [("", str(value).lower())]
    if isinstance(value, str):
        return [("", value)]
    if "coding" in value:  # CodeableConcept
        return [pair for coding in value["coding"] for pair in _codings(coding)]
    return [(value.get("system", ""), value.get("code", value.get("value", "")))]  # Coding or Identifier


def matches_token(value: Any, asked: str, base_url: str) -> bool:  # noqa: ARG001  # one signature for all kinds
    """Compare a code, Coding, CodeableConcept or Identifier with [system|]code."""
    system, bar, code = asked.rpartition("|")
    for has_system, has_code in _codings(value):
        # "|code" asks for no system, "system|" for any code of it; a code element's system is implicit.
        system_fits = not bar or has_system == system or isinstance(value, str)
        if system_fits and (has_code == code or (bar and not code)):
            return True
    return False


def matches_reference(value: Any, asked: str, base_url: str) -> bool:
    """Compare a Reference with an id, Type/id or absolute URL."""
    text = value.get("reference", "") if isinstance(value, dict) else str(value)
    has = text.removeprefix(base_url + "/").split("/_history/")[0]
    wanted = asked.removeprefix(base_url + "/")
    return has == wanted or ("/" not in wanted and has.rpartition("/")[2] == wanted and bool(has))


def matches_string(value: Any, asked: str, base_url: str) -> bool:
    """Compare text, or any text part of a HumanName, by its beginning and without case."""
    if isinstance(value, dict):
        return any(matches_string(part, asked, base_url) for part in value.values())
    if isinstance(value, list):
        return any(matches_string(part, asked, base_url) for part in value)
    return isinstance(value, str) and value.casefold().startswith(asked.casefold())


def matches_uri(value: Any, asked: str, base_url: str) -> bool:  # noqa: ARG001  # one signature for all kinds
    """Compare a URI, exactly."""
    return bool(value == asked)


MATCHERS: dict[str, Callable[[Any, str, str], bool]] = {
    "date": matches_date,
    "token": matches_token,
    "reference": matches_reference,
    "string": matches_string,
    "uri": matches_uri,
}
