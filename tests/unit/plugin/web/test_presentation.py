from datetime import UTC, datetime, timedelta, timezone

import pytest

from plugin.services.values import (
    AnalysisState,
    DeliveryKind,
    DeliveryState,
    EventState,
    Role,
    Step,
)
from plugin.web.presentation import (
    StepStatus,
    age,
    calendar_date,
    duration,
    label_of,
    person_name,
    steps_done,
    timestamp,
    view_steps,
)
from tests.fakes.hospital import NOW, Hospital


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Doe^Jane", "Doe, Jane"),
        ("Doe^Jane^Mary^Dr^", "Doe, Jane Mary"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou"),
        ("=山田^太郎", "山田, 太郎"),
        ("DOE", "DOE"),
        ("^Jane", "Jane"),
        ("", ""),
    ],
)
def test_person_name_after_ps3_5(name: str, expected: str) -> None:
    assert person_name(name) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("19620304", "4 Mar 1962"),
        ("1962-03-04", "4 Mar 1962"),
        ("1962", "1962"),
        ("19621399", "19621399"),
        ("", ""),
        (None, ""),
    ],
)
def test_calendar_date(value: str | None, expected: str) -> None:
    assert calendar_date(value) == expected


def test_timestamp_is_utc() -> None:
    moment = datetime(2026, 3, 4, 1, 5, tzinfo=timezone(timedelta(hours=2)))
    assert timestamp(moment) == "3 Mar 2026, 23:05 UTC"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-5, "just now"), (59, "just now"), (60, "1 min ago"), (7199, "1 h ago"), (86400 * 3, "3 d ago")],
)
def test_age(seconds: int, expected: str) -> None:
    assert age(NOW - timedelta(seconds=seconds), NOW) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(None, ""), (0.44, "0.4 s"), (12.4, "12 s"), (185.0, "3 min 5 s"), (59.7, "1 min 0 s")]
)
def test_duration(seconds: float | None, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize("kind", [AnalysisState, Step, DeliveryKind, DeliveryState, EventState, Role])
def test_every_value_has_a_label(kind) -> None:
    for value in kind:
        assert label_of(value)[0].isupper()


def test_steps_follow_the_analysis() -> None:
    hospital = Hospital(clock=lambda: datetime(2026, 3, 4, tzinfo=UTC))
    analysis_id = hospital.running()
    store = hospital.store
    store.start_step(analysis_id, Step.RESOLVE, now=NOW)
    store.finish_step(analysis_id, Step.RESOLVE, now=NOW + timedelta(seconds=2))
    store.start_step(analysis_id, Step.SELECT, now=NOW)
    store.set_progress(analysis_id, 0.25, now=NOW)
    analysis = store.get(analysis_id)
    views = view_steps(analysis, store.steps(analysis_id))
    assert [view.status for view in views] == [StepStatus.DONE, StepStatus.CURRENT] + [StepStatus.TODO] * 4
    assert (views[0].seconds, views[1].seconds, views[1].progress) == (2.0, None, 0.25)
    assert steps_done(analysis) == 1.25


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (AnalysisState.FAILED, StepStatus.STOPPED),
        (AnalysisState.NOT_ANALYSABLE, StepStatus.STOPPED),
        (AnalysisState.DUPLICATE, StepStatus.DONE),
    ],
)
def test_step_where_an_analysis_ended(state: AnalysisState, expected: StepStatus) -> None:
    hospital = Hospital()
    analysis_id = hospital.running()
    hospital.store.start_step(analysis_id, Step.SELECT, now=NOW)
    hospital.store.finish(analysis_id, state, reason_code="x", reason="y", now=NOW)
    views = view_steps(hospital.store.get(analysis_id), hospital.store.steps(analysis_id))
    assert views[1].status is expected
    assert views[2].status is StepStatus.TODO


def test_all_steps_are_done_once_a_result_awaits_review() -> None:
    hospital = Hospital()
    analysis = hospital.store.get(hospital.awaiting_review())
    assert steps_done(analysis) == 6
