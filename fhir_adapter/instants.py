"""Points in time as FHIR writes them."""

from datetime import date, datetime


def instant(moment: datetime) -> str:
    """Write an instant: milliseconds and an offset are part of it.

    Raises:
        ValueError: The moment has no time zone; an instant without one would be a guess.
    """
    if moment.utcoffset() is None:
        raise ValueError("Expected a time with its zone, got one without.")
    return moment.isoformat(timespec="milliseconds")


def date_time(moment: datetime | date) -> str:
    """Write a dateTime. A time of day without a zone is no R4 dateTime: then the date alone is written."""
    if not isinstance(moment, datetime):
        return moment.isoformat()
    return instant(moment) if moment.utcoffset() is not None else moment.date().isoformat()
