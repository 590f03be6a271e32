"""Windows by the wall clock, over midnight and over the nights when clocks change."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from plugin.services.working_hours import MIDNIGHT, Window, WorkingHours

BERLIN = ZoneInfo("Europe/Berlin")
NIGHTS = Window(frozenset(range(5)), 19 * 60, 6 * 60)
WEEKEND = Window(frozenset({5, 6}), 0, MIDNIGHT)
HOURS = WorkingHours(BERLIN, (NIGHTS, WEEKEND))


@pytest.mark.parametrize(
    ("local", "is_open"),
    [
        pytest.param("2026-11-02T18:59", False, id="monday-before"),
        pytest.param("2026-11-02T19:00", True, id="monday-begins"),
        pytest.param("2026-11-02T23:59", True, id="monday-late"),
        pytest.param("2026-11-03T00:00", True, id="over-midnight"),
        pytest.param("2026-11-03T05:59", True, id="until-the-morning"),
        pytest.param("2026-11-03T06:00", False, id="ends-in-time"),
        pytest.param("2026-11-02T05:00", False, id="sunday's-night-is-not-named"),
        pytest.param("2026-11-07T05:00", True, id="friday's-night"),
        pytest.param("2026-11-07T12:00", True, id="saturday"),
        pytest.param("2026-11-08T23:59", True, id="sunday-to-its-end"),
        pytest.param("2026-11-09T00:00", False, id="monday-midnight"),
    ],
)
def test_a_window_over_midnight_belongs_to_the_day_on_which_it_starts(local, is_open):
    assert HOURS.are_now(datetime.fromisoformat(local).replace(tzinfo=BERLIN)) is is_open


def test_the_hospitals_clock_counts_whoever_asks_where():
    at = datetime(2026, 7, 6, 18, 30, tzinfo=UTC)  # 20:30 in Berlin, a Monday
    assert HOURS.are_now(at)
    assert HOURS.are_now(at.astimezone(ZoneInfo("America/New_York")))
    assert not HOURS.are_now(at - timedelta(hours=2))


@pytest.mark.parametrize(
    ("utc", "is_open"),
    [
        # On 29 March 2026 clocks go from 02:00 CET to 03:00 CEST at 01:00 UTC.
        pytest.param("2026-03-29T00:29", False, id="01:29-before"),
        pytest.param("2026-03-29T00:30", True, id="01:30-begins"),
        pytest.param("2026-03-29T00:59", True, id="01:59"),
        pytest.param("2026-03-29T01:00", True, id="03:00-the-skipped-hour-is-not-made-up-for"),
        pytest.param("2026-03-29T01:30", False, id="03:30-ends"),
        # On 25 October 2026 they go from 03:00 CEST to 02:00 CET at 01:00 UTC.
        pytest.param("2026-10-24T23:30", True, id="autumn-01:30"),
        pytest.param("2026-10-25T00:15", True, id="autumn-02:15-first"),
        pytest.param("2026-10-25T01:15", True, id="autumn-02:15-again"),
        pytest.param("2026-10-25T02:29", True, id="autumn-03:29"),
        pytest.param("2026-10-25T02:30", False, id="autumn-03:30-ends"),
    ],
)
def test_the_wall_clock_decides_when_clocks_change(utc, is_open):
    hours = WorkingHours(BERLIN, (Window(frozenset(range(7)), 90, 210),))
    assert hours.are_now(datetime.fromisoformat(utc).replace(tzinfo=UTC)) is is_open


def test_a_window_in_the_skipped_hour_begins_when_the_clock_has_passed_it():
    hours = WorkingHours(BERLIN, (Window(frozenset({6}), 150, 240),))  # Sundays from 02:30
    start = hours.next_start(datetime(2026, 3, 28, 12, tzinfo=UTC))
    assert start == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert hours.are_now(start)


@pytest.mark.parametrize(
    ("local", "start"),
    [
        pytest.param("2026-11-02T12:00", "2026-11-02T19:00", id="the-same-day"),
        pytest.param("2026-11-09T10:00", "2026-11-09T19:00", id="after-the-weekend"),
        pytest.param("2026-11-06T12:00", "2026-11-06T19:00", id="friday"),
    ],
)
def test_says_when_they_begin_next(local, start):
    found = HOURS.next_start(datetime.fromisoformat(local).replace(tzinfo=BERLIN))
    assert found == datetime.fromisoformat(start).replace(tzinfo=BERLIN)


def test_a_single_weekly_window_that_has_just_ended_is_a_week_away():
    hours = WorkingHours(BERLIN, (Window(frozenset({0}), 60, 120),))
    assert hours.next_start(datetime(2026, 11, 2, 3, tzinfo=BERLIN)) == datetime(2026, 11, 9, 1, tzinfo=BERLIN)


def test_always_is_always():
    always = WorkingHours(BERLIN, None)
    now = datetime(2026, 11, 2, 12, tzinfo=UTC)
    assert always.are_now(now)
    assert always.next_start(now) is None
    assert HOURS.next_start(datetime(2026, 11, 7, 12, tzinfo=BERLIN)) is None


def test_a_window_says_what_it_is():
    assert str(NIGHTS) == "mon tue wed thu fri 19:00-06:00"
