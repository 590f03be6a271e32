from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from fhir_adapter.instants import date_time, instant

BERLIN = timezone(timedelta(hours=1))


def test_instant_has_milliseconds_and_offset():
    assert instant(datetime(2026, 3, 4, 10, 30, 15, 250_999, tzinfo=UTC)) == "2026-03-04T10:30:15.250+00:00"


def test_refuses_an_instant_without_zone():
    with pytest.raises(ValueError, match="zone"):
        instant(datetime(2026, 3, 4))  # noqa: DTZ001 - the very case


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        pytest.param(date(2026, 3, 4), "2026-03-04", id="date"),
        pytest.param(datetime(2026, 3, 4, 9, tzinfo=BERLIN), "2026-03-04T09:00:00.000+01:00", id="with-zone"),
        pytest.param(datetime(2026, 3, 4, 9), "2026-03-04", id="without-zone"),  # noqa: DTZ001 - as DICOM gives it
    ],
)
def test_date_time_says_no_more_than_is_known(moment: date, written: str):
    assert date_time(moment) == written
