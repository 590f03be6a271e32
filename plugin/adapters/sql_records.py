"""Rows to values and back: the JSON columns and the frozen dataclasses."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from plugin.services.values import (
    Analysis,
    AnalysisResult,
    AnalysisState,
    Delivery,
    DeliveryKind,
    DeliveryState,
    EventRecord,
    EventState,
    Measurement,
    Patient,
    ReviewRecord,
    Role,
    SeriesUse,
    Step,
    StepRecord,
    SubscriptionRecord,
    User,
)

Row = Mapping[str, Any]


def analysis_of(row: Row) -> Analysis:
    """A row of analyses."""
    return Analysis(
        id=row["id"],
        state=AnalysisState(row["state"]),
        step=Step(row["step"]) if row["step"] else None,
        progress=row["progress"],
        reason_code=row["reason_code"],
        reason=row["reason"],
        imaging_study_reference=row["imaging_study_reference"],
        study_instance_uid=row["study_instance_uid"],
        work_key=row["work_key"],
        model_version=row["model_version"],
        patient=Patient(**row["patient"]) if row["patient"] else None,
        accession_number=row["accession_number"],
        study_date=row["study_date"],
        study_description=row["study_description"],
        requested_by=row["requested_by"],
        attempt=row["attempt"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        finished_at=row["finished_at"],
        duplicate_of=row["duplicate_of"],
        result=_result_of(row["result"]) if row["result"] else None,
        review=review_of(row["review"]) if row["review"] else None,
    )


def result_json(result: AnalysisResult) -> dict[str, Any]:
    """A result as JSON."""
    return asdict(result)


def _result_of(stored: Row) -> AnalysisResult:
    measurements = tuple(
        Measurement(**{**item, "display_rgb": tuple(item["display_rgb"])}) for item in stored["measurements"]
    )
    return AnalysisResult(
        tumour_found=stored["tumour_found"],
        findings=stored["findings"],
        measurements=measurements,
        warnings=tuple(stored["warnings"]),
        series=tuple(SeriesUse(**item) for item in stored["series"]),
        seg_sop_instance_uid=stored["seg_sop_instance_uid"],
        sr_sop_instance_uid=stored["sr_sop_instance_uid"],
        images=tuple(stored["images"]),
    )


def review_json(review: ReviewRecord) -> dict[str, Any]:
    """A review as JSON."""
    return {**asdict(review), "at": review.at.isoformat()}


def review_of(stored: Row) -> ReviewRecord:
    """A review from JSON."""
    return ReviewRecord(**{**stored, "at": datetime.fromisoformat(stored["at"])})


def delivery_of(row: Row) -> Delivery:
    """A row of deliveries."""
    return Delivery(
        id=row["id"],
        analysis_id=row["analysis_id"],
        kind=DeliveryKind(row["kind"]),
        state=DeliveryState(row["state"]),
        destination=row["destination"],
        attempts=row["attempts"],
        next_attempt_at=row["next_attempt_at"],
        last_error=row["last_error"],
        sent_at=row["sent_at"],
        receipt=row["receipt"],
    )


def event_of(row: Row) -> EventRecord:
    """A row of events."""
    return EventRecord(
        id=row["id"],
        subscription=row["subscription"],
        state=EventState(row["state"]),
        detail=row["detail"],
        analysis_id=row["analysis_id"],
        received_at=row["received_at"],
        count=row["count"],
    )


def step_of(row: Row) -> StepRecord:
    """A row of steps."""
    return StepRecord(
        step=Step(row["step"]),
        attempt=row["attempt"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
    )


def subscription_of(row: Row) -> SubscriptionRecord:
    """A row of subscriptions."""
    return SubscriptionRecord(**row)


def user_of(row: Row) -> User:
    """A row of users."""
    return User(**{**row, "role": Role(row["role"])})
