"""How values look on a page: labels, tones, dates, and the progress of an analysis. Computes only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum

from flask import Flask

from federated.rounds.run_view import RunState
from fhir_adapter.model import ReviewDecision
from plugin.services import amounts
from plugin.services.values import (
    Analysis,
    AnalysisState,
    DeliveryKind,
    DeliveryState,
    EventState,
    Role,
    Step,
    StepRecord,
)

# The values of these enumerations do not clash, except where they mean the same: an analysis and an event are both
# "accepted", an analysis and a federated run "running" and "failed".
_LABELS: Mapping[str, str] = {
    AnalysisState.QUEUED: "Queued",
    AnalysisState.RUNNING: "Running",
    AnalysisState.PUBLISHING: "Sending results",
    AnalysisState.UNDELIVERED: "Not delivered",
    AnalysisState.AWAITING_REVIEW: "Awaiting review",
    AnalysisState.ACCEPTED: "Accepted",
    AnalysisState.REJECTED: "Rejected",
    AnalysisState.NOT_ANALYSABLE: "Not analysable",
    AnalysisState.FAILED: "Failed",
    AnalysisState.HALTED: "Halted, not analysed",
    AnalysisState.DUPLICATE: "Duplicate",
    Step.RESOLVE: "Find study",
    Step.SELECT: "Choose series",
    Step.FETCH: "Fetch images",
    Step.SEGMENT: "Segment",
    Step.BUILD: "Build results",
    Step.DELIVER: "Deliver",
    DeliveryKind.SEG: "Segmentation (DICOM SEG)",
    DeliveryKind.SR: "Measurements (DICOM SR)",
    DeliveryKind.REPORT: "Report (FHIR)",
    DeliveryKind.REVIEW: "Review decision (FHIR)",
    DeliveryState.PENDING: "Waiting",
    DeliveryState.SENT: "Sent",
    DeliveryState.DEAD: "Gave up",
    EventState.REPEATED: "Repeated",
    EventState.CONTROL: "Handshake",
    EventState.SEARCHING: "Searching",
    EventState.REFUSED: "Refused",
    ReviewDecision.ACCEPTED: "Accepted",
    ReviewDecision.REJECTED: "Rejected",
    RunState.WAITING: "Not begun",
    RunState.DONE: "Finished",
    RunState.STOPPED: "Stopped",
    Role.RADIOLOGIST: "Radiologist",
    Role.ADMINISTRATOR: "Administrator",
    Role.ETHICS_OFFICER: "AI ethics officer",
    Role.DATA_STEWARD: "Data steward",
    Role.AUDITOR: "Auditor",
}
_TONES: Mapping[str, str] = {
    AnalysisState.RUNNING: "active",
    AnalysisState.PUBLISHING: "active",
    AnalysisState.UNDELIVERED: "bad",
    AnalysisState.AWAITING_REVIEW: "attention",
    AnalysisState.ACCEPTED: "good",
    AnalysisState.REJECTED: "rejected",
    AnalysisState.NOT_ANALYSABLE: "caution",
    AnalysisState.FAILED: "bad",
    AnalysisState.HALTED: "caution",
    DeliveryState.PENDING: "active",
    DeliveryState.SENT: "good",
    DeliveryState.DEAD: "bad",
    EventState.SEARCHING: "active",
    EventState.REFUSED: "bad",
    RunState.DONE: "good",
    RunState.STOPPED: "caution",
    ReviewDecision.ACCEPTED: "good",
    ReviewDecision.REJECTED: "rejected",
}
_DELIVERED = {AnalysisState.AWAITING_REVIEW, AnalysisState.ACCEPTED, AnalysisState.REJECTED}
_STOPPED = {
    AnalysisState.FAILED,
    AnalysisState.NOT_ANALYSABLE,
    AnalysisState.HALTED,
    AnalysisState.UNDELIVERED,
}


class StepStatus(StrEnum):
    """How far one step is."""

    DONE = "done"
    CURRENT = "current"
    STOPPED = "stopped"
    TODO = "todo"


@dataclass(frozen=True)
class StepView:
    """One step as the timeline shows it.

    Attributes:
        progress: Finished fraction, 0 to 1.
        seconds: How long its last run took, None before it ended.
        runs: How often it began, in all attempts.
    """

    label: str
    status: StepStatus
    progress: float
    started_at: datetime | None
    seconds: float | None
    runs: int


def view_steps(analysis: Analysis, records: Sequence[StepRecord]) -> tuple[StepView, ...]:
    """All steps of an analysis, with what is known of each."""
    by_step: dict[Step, list[StepRecord]] = {step: [] for step in Step}
    for record in records:
        by_step[record.step].append(record)
    return tuple(_view_step(analysis, step, by_step[step]) for step in Step)


def _view_step(analysis: Analysis, step: Step, records: Sequence[StepRecord]) -> StepView:
    status = step_status(analysis, step)
    last = records[-1] if records else None
    seconds = (last.finished_at - last.started_at).total_seconds() if last and last.finished_at else None
    progress = {StepStatus.DONE: 1.0, StepStatus.TODO: 0.0}.get(status, analysis.progress)
    return StepView(label_of(step), status, progress, last.started_at if last else None, seconds, len(records))


def step_status(analysis: Analysis, step: Step) -> StepStatus:
    """How far a step is, from the state and the current step alone, so a list needs no step records."""
    order = list(Step)
    if analysis.state in _DELIVERED:
        return StepStatus.DONE
    if analysis.step is None or order.index(step) > order.index(analysis.step):
        return StepStatus.TODO
    if step is not analysis.step or analysis.state is AnalysisState.DUPLICATE:
        return StepStatus.DONE
    return StepStatus.STOPPED if analysis.state in _STOPPED else StepStatus.CURRENT


def steps_done(analysis: Analysis) -> float:
    """How many steps are done, with the fraction of the current one."""
    done = sum(step_status(analysis, step) is StepStatus.DONE for step in Step)
    return done + (analysis.progress if analysis.step and done < len(Step) else 0.0)


def label_of(value: str) -> str:
    """A state, step, kind, decision or role in words."""
    return _LABELS.get(value, value)


def tone_of(value: str) -> str:
    """The CSS tone of a state's badge."""
    return _TONES.get(value, "quiet")


def person_name(name: str) -> str:
    """A DICOM PN as people read it: "Doe^Jane^M" as "Doe, Jane M" (PS3.5 6.2.1)."""
    alphabetic = next((group for group in name.split("=") if group.strip("^ ")), "")
    family, *others = (part.strip() for part in alphabetic.split("^"))
    given = " ".join(part for part in others[:2] if part)
    return ", ".join(part for part in (family, given) if part)


def calendar_date(value: str | None) -> str:
    """A DICOM DA or an ISO date as "4 Mar 1962"; anything else unchanged."""
    digits = (value or "").replace("-", "")
    try:
        day = date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return value or ""
    return f"{day.day} {day:%b %Y}"


def timestamp(moment: datetime) -> str:
    """ "4 Mar 2026, 14:05 UTC"; the browser turns it into local time."""
    utc = moment.astimezone(UTC)
    return f"{utc.day} {utc:%b %Y, %H:%M} UTC"


def age(moment: datetime, now: datetime) -> str:
    """How long ago, in the largest fitting unit."""
    seconds = (now - moment).total_seconds()
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length_s:
            return f"{int(seconds // length_s)} {unit} ago"
    return "just now"


def duration(seconds: float | None) -> str:
    """ "0.4 s", "12 s", "3 min 5 s"."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def init_templates(app: Flask) -> None:
    """Give the templates these words."""
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(
        label=label_of,
        tone=tone_of,
        person_name=person_name,
        calendar_date=calendar_date,
        timestamp=timestamp,
        age=age,
        duration=duration,
        dice=amounts.dice,
        number=amounts.number,
        amount=amounts.amount,
    )
    app.jinja_env.globals.update(steps_done=steps_done)
