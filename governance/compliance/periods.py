"""The periods that reports are about: a month, a half-year, or from one day to another; in UTC."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final

from governance.errors import ClockSetBackError, ReportError

_MONTH: Final = re.compile(r"(\d{4})-(0[1-9]|1[0-2])", re.ASCII)
_HALF: Final = re.compile(r"(\d{4})-H([12])", re.ASCII)
_RANGE: Final = re.compile(r"(\d{4}-\d\d-\d\d)\.\.(\d{4}-\d\d-\d\d)", re.ASCII)
_EXPECTED: Final = "Expected a period as 2026-11, 2026-H2 or 2026-07-01..2026-09-30"
_BY_DAY: Final = 45
"""Periods of up to so many days are told day by day, longer ones month by month."""


class Schedule(StrEnum):
    """How often a report is issued by itself."""

    BIANNUAL = "biannual"
    MONTHLY = "monthly"
    OFF = "off"


@dataclass(frozen=True)
class Period:
    """A time that a report is about.

    Attributes:
        name: As it is asked for, e.g. "2026-H2".
        start: Of its first day, UTC.
        end: After its last day, UTC.
    """

    name: str
    start: datetime
    end: datetime

    def holds(self, at: datetime) -> bool:
        """Whether a moment is in it."""
        return self.start <= at < self.end

    def buckets(self) -> tuple["Period", ...]:
        """Its days, or its months where it is longer."""
        if (self.end - self.start).days <= _BY_DAY:
            days = range((self.end - self.start).days)
            return tuple(_days(self.start + timedelta(days=day), self.start + timedelta(days=day + 1)) for day in days)
        found, start = [], self.start
        while start < self.end:
            end = min(_next_month(start), self.end)
            found.append(Period(start.date().isoformat()[:7], start, end))
            start = end
        return tuple(found)


def parse_period(text: str) -> Period:
    """Read a period.

    Raises:
        ReportError: It is none.
    """
    try:
        if month := _MONTH.fullmatch(text):
            return month_of(datetime(int(month[1]), int(month[2]), 1, tzinfo=UTC))
        if half := _HALF.fullmatch(text):
            return half_year_of(datetime(int(half[1]), 1 if half[2] == "1" else 7, 1, tzinfo=UTC))
        if days := _RANGE.fullmatch(text):
            first, last = (date.fromisoformat(each) for each in days.groups())
            start, end = _midnight(first), _midnight(last) + timedelta(days=1)
            if start < end:
                return Period(text, start, end)
    except (ValueError, OverflowError) as fault:
        raise ReportError(f"{_EXPECTED}, got {text[:40]!r}, which does not exist.") from fault
    raise ReportError(f"{_EXPECTED}, got {text[:40]!r}.")


def month_of(at: datetime) -> Period:
    """The month that a moment is in."""
    start = _midnight(at.astimezone(UTC).date().replace(day=1))
    return Period(start.date().isoformat()[:7], start, _next_month(start))


def half_year_of(at: datetime) -> Period:
    """The half-year that a moment is in."""
    day = at.astimezone(UTC).date()
    is_first = day.month <= 6
    start = _midnight(date(day.year, 1 if is_first else 7, 1))
    end = _midnight(date(day.year, 7, 1) if is_first else date(day.year + 1, 1, 1))
    return Period(f"{day.year:04d}-H{1 if is_first else 2}", start, end)


def last_finished(schedule: Schedule, now: datetime) -> Period:
    """The newest period of a schedule that is over.

    Raises:
        ReportError: Nothing is scheduled.
    """
    if schedule is Schedule.OFF:
        raise ReportError("Expected monthly or biannual reports, they are off.")
    of = month_of if schedule is Schedule.MONTHLY else half_year_of
    return of(of(now).start - timedelta(days=1))


def check_clock(now: datetime, latest: datetime | None) -> None:
    """Check that the time is not before what is known to have happened.

    Args:
        now: The time.
        latest: Of the newest entry, report, ...; None where there is none.

    Raises:
        ClockSetBackError: It is: a report made now would leave out what was recorded already.
    """
    if latest is not None and now < latest - timedelta(seconds=2):
        raise ClockSetBackError(
            f"The newest record is of {latest.isoformat()}, and now it is {now.isoformat()}: the clock was set back. "
            "Set it right; no report was made."
        )


def _days(start: datetime, end: datetime) -> Period:
    return Period(start.date().isoformat(), start, end)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _next_month(start: datetime) -> datetime:
    return datetime(start.year + start.month // 12, start.month % 12 + 1, 1, tzinfo=UTC)
