"""When a hospital lets work begin: windows of the week, in its own time zone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MIDNIGHT: Final = 24 * 60
"""The end of a day, in minutes."""


@dataclass(frozen=True)
class Window:
    """A part of some days; one that ends before it starts goes on into the next day.

    Attributes:
        days: On which it starts; 0 is Monday.
        start, end: Minutes since midnight by the wall clock; end is not in it, and may be MIDNIGHT.
    """

    days: frozenset[int]
    start: int
    end: int

    def __str__(self) -> str:
        """As people write it."""
        days = " ".join(DAYS[day] for day in sorted(self.days))
        return f"{days} {self.start // 60:02}:{self.start % 60:02}-{self.end // 60:02}:{self.end % 60:02}"

    def holds(self, weekday: int, minute: int) -> bool:
        """Whether a moment by the wall clock is in it."""
        if self.start < self.end:
            return weekday in self.days and self.start <= minute < self.end
        return (weekday in self.days and minute >= self.start) or ((weekday - 1) % 7 in self.days and minute < self.end)


@dataclass(frozen=True)
class WorkingHours:
    """All windows; None for always.

    The wall clock decides. When clocks go forward, what falls into the hour that is skipped is short by it; when they
    go back, the hour that comes twice counts both times.
    """

    zone: ZoneInfo
    windows: Sequence[Window] | None

    def are_now(self, now: datetime) -> bool:
        """Whether work may begin."""
        if self.windows is None:
            return True
        local = now.astimezone(self.zone)
        minute = local.hour * 60 + local.minute
        return any(window.holds(local.weekday(), minute) for window in self.windows)

    def next_start(self, now: datetime) -> datetime | None:
        """When they begin next, in the hospital's zone; None when it is now, or never within eight days."""
        if self.windows is None or self.are_now(now):
            return None
        moments = (start for window in self.windows for start in self._starts(window, now))
        return min((moment for moment in moments if moment > now), default=None)

    def _starts(self, window: Window, now: datetime) -> Sequence[datetime]:
        today = now.astimezone(self.zone).date()
        hour, minute = divmod(window.start, 60)
        days = (today + timedelta(days=ahead) for ahead in range(9))
        # By way of UTC: a wall-clock time that is skipped becomes the moment that the clock shows instead.
        return [
            datetime.combine(day, time(hour, minute), self.zone).astimezone(UTC).astimezone(self.zone)
            for day in days
            if day.weekday() in window.days
        ]
