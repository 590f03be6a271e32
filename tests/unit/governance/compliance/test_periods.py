"""Months, half-years and days: where they begin and end, and what a clock that was set back does."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.compliance.periods import (
    Schedule,
    check_clock,
    half_year_of,
    last_finished,
    month_of,
    parse_period,
)
from governance.errors import ClockSetBackError, ReportError

MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def utc(*numbers: int) -> datetime:
    return datetime(*numbers, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        pytest.param("2026-11", utc(2026, 11, 1), utc(2026, 12, 1), id="month"),
        pytest.param("2026-12", utc(2026, 12, 1), utc(2027, 1, 1), id="december"),
        pytest.param("2028-02", utc(2028, 2, 1), utc(2028, 3, 1), id="leap year"),
        pytest.param("2026-H1", utc(2026, 1, 1), utc(2026, 7, 1), id="first half"),
        pytest.param("2026-H2", utc(2026, 7, 1), utc(2027, 1, 1), id="second half"),
        pytest.param("2026-03-05..2026-03-05", utc(2026, 3, 5), utc(2026, 3, 6), id="one day"),
        pytest.param("2026-12-30..2027-01-02", utc(2026, 12, 30), utc(2027, 1, 3), id="over the year's end"),
    ],
)
def test_a_period_is_read(text: str, start: datetime, end: datetime) -> None:
    found = parse_period(text)
    assert (found.name, found.start, found.end) == (text, start, end)
    assert found.holds(start)
    assert not found.holds(end)


@pytest.mark.parametrize(
    "text",
    ["", "2026", "2026-13", "2026-00", "2026-H3", "2026-02-30..2026-03-01", "2026-03-02..2026-03-01", "9999-12",
     "0000-01", "2026-11 ", "\uff12\uff10\uff12\uff16-11", "2026-W03"],
)  # fmt: skip
def test_what_is_no_period_is_refused(text: str) -> None:
    with pytest.raises(ReportError, match="Expected a period"):
        parse_period(text)


@given(MOMENTS)
def test_a_moment_is_in_its_month_and_half_year_and_their_names_give_them_back(at: datetime) -> None:
    for period in (month_of(at), half_year_of(at)):
        assert period.holds(at)
        assert parse_period(period.name) == period


@given(MOMENTS)
def test_buckets_fill_a_period_without_gaps(at: datetime) -> None:
    for period in (month_of(at), half_year_of(at)):
        buckets = period.buckets()
        assert buckets[0].start == period.start
        assert buckets[-1].end == period.end
        assert all(one.end == next_.start for one, next_ in pairwise(buckets))
    assert len(half_year_of(at).buckets()) == 6


@given(MOMENTS, st.sampled_from([Schedule.MONTHLY, Schedule.BIANNUAL]))
def test_the_last_finished_period_is_over_and_the_next_one_is_not(now: datetime, schedule: Schedule) -> None:
    found = last_finished(schedule, now)
    of = month_of if schedule is Schedule.MONTHLY else half_year_of
    assert found.end <= now < of(found.end).end


def test_a_zone_does_not_move_a_period() -> None:
    tokyo = timezone(timedelta(hours=9))
    assert month_of(datetime(2026, 12, 1, 3, tzinfo=tokyo)).name == "2026-11"


def test_nothing_is_due_where_reports_are_off() -> None:
    with pytest.raises(ReportError, match="off"):
        last_finished(Schedule.OFF, utc(2026, 1, 1))


def test_a_clock_that_was_set_back_is_refused() -> None:
    check_clock(utc(2026, 1, 2), None)
    check_clock(utc(2026, 1, 2), utc(2026, 1, 2) + timedelta(seconds=1))
    with pytest.raises(ClockSetBackError, match="set back"):
        check_clock(utc(2026, 1, 1), utc(2026, 1, 2))
