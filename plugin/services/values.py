"""What the use cases speak of: analyses, their states, results, deliveries, events and users."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class AnalysisState(StrEnum):
    """Where an analysis stands. The database is the truth; every analysis ends in a state with a reason."""

    QUEUED = "queued"
    RUNNING = "running"
    PUBLISHING = "publishing"
    """The result is stored; PACS and EHR are being told."""
    UNDELIVERED = "undelivered"
    """The result is stored, but a delivery has used up its attempts: a person must replay it."""
    AWAITING_REVIEW = "awaiting-review"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NOT_ANALYSABLE = "not-analysable"
    """The study cannot be analysed; the reason says what would have to change."""
    FAILED = "failed"
    """Our fault or a server's, after all attempts: a person may start it again."""
    HALTED = "halted"
    """Not analysed: the model is not released, or halted; it is queued again when officers let the model run."""
    DUPLICATE = "duplicate"
    """The same series were already analysed with the same model; duplicate_of says where."""

    @property
    def is_open(self) -> bool:
        """Whether a worker still has something to do."""
        return self in {AnalysisState.QUEUED, AnalysisState.RUNNING, AnalysisState.PUBLISHING}


class Step(StrEnum):
    """What a worker does for one analysis, in this order."""

    RESOLVE = "resolve"
    SELECT = "select"
    FETCH = "fetch"
    SEGMENT = "segment"
    BUILD = "build"
    DELIVER = "deliver"


@dataclass(frozen=True)
class Patient:
    """Who the study is about, for the pages inside the hospital; never for a log."""

    name: str
    patient_id: str
    birth_date: str
    sex: str


@dataclass(frozen=True)
class SeriesUse:
    """A series of the study, and what it was used for (contrast), or None, and why."""

    series_instance_uid: str
    description: str
    contrast: str | None
    reason: str


@dataclass(frozen=True)
class Measurement:
    """One measured region; see dicom_ingest.model.RegionMeasurement."""

    key: str
    label: str
    volume_ml: float
    long_axis_mm: float | None
    short_axis_mm: float | None
    confidence: float | None
    display_rgb: tuple[int, int, int]


@dataclass(frozen=True)
class AnalysisResult:
    """What came out.

    Attributes:
        images: The names of the picture artefacts, in the order to show them.
        findings: One sentence a radiologist can read.
    """

    tumour_found: bool
    findings: str
    measurements: tuple[Measurement, ...]
    warnings: tuple[str, ...]
    series: tuple[SeriesUse, ...]
    seg_sop_instance_uid: str
    sr_sop_instance_uid: str
    images: tuple[str, ...]


@dataclass(frozen=True)
class StepRecord:
    """One run of one step."""

    step: Step
    attempt: int
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class Analysis:
    """One analysis as stored.

    Attributes:
        progress: Finished fraction of the step, 0 to 1.
        reason_code, reason: Why it ended as it did; the reason is for a radiologist and holds no name.
        work_key: Digest of study UID + series set + model version; unique among analyses that are not duplicates.
    """

    id: str
    state: AnalysisState
    step: Step | None
    progress: float
    reason_code: str | None
    reason: str | None
    imaging_study_reference: str | None
    study_instance_uid: str | None
    work_key: str | None
    model_version: str | None
    patient: Patient | None
    accession_number: str | None
    study_date: str | None
    study_description: str | None
    requested_by: str
    attempt: int
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    duplicate_of: str | None
    result: AnalysisResult | None
    review: "ReviewRecord | None"


@dataclass(frozen=True)
class ReviewRecord:
    """Who decided what, when."""

    decision: str
    reviewer: str
    comment: str
    at: datetime


class DeliveryKind(StrEnum):
    """What is to be told, in this order."""

    SEG = "seg"
    SR = "sr"
    REPORT = "report"
    REVIEW = "review"


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    SENT = "sent"
    DEAD = "dead"
    """Out of attempts, or refused for good: visible and replayable."""


@dataclass(frozen=True)
class Delivery:
    """One row of the outbox.

    Attributes:
        destination: Base URL of the PACS or EHR.
        receipt: What the other side said: the stored UIDs, or the created references by resource type.
    """

    id: int
    analysis_id: str
    kind: DeliveryKind
    state: DeliveryState
    destination: str
    attempts: int
    next_attempt_at: datetime
    last_error: str | None
    sent_at: datetime | None
    receipt: Mapping[str, Any] | None


@dataclass(frozen=True)
class Artefact:
    """A stored file of an analysis."""

    name: str
    media_type: str
    content: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return hashlib.sha256(self.content).hexdigest()


class EventState(StrEnum):
    """What became of a notification's event."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"
    CONTROL = "control"
    """A handshake or heartbeat."""
    SEARCHING = "searching"
    """The server did not say which study: it is being looked for."""
    REFUSED = "refused"


@dataclass(frozen=True)
class EventRecord:
    """One line of the intake log.

    Attributes:
        count: How often the same refusal came within its window.
    """

    id: int
    subscription: str
    state: EventState
    detail: str
    analysis_id: str | None
    received_at: datetime
    count: int


class Role(StrEnum):
    """What a signed-in person may do."""

    RADIOLOGIST = "radiologist"
    ADMINISTRATOR = "administrator"
    ETHICS_OFFICER = "ethics-officer"
    DATA_STEWARD = "data-steward"
    AUDITOR = "auditor"


@dataclass(frozen=True)
class User:
    """A person who may sign in."""

    username: str
    display_name: str
    role: Role
    practitioner_reference: str | None = None
    password_hash: str = field(default="", repr=False)


@dataclass(frozen=True)
class SubscriptionRecord:
    """A subscription that the plugin registered at the EHR.

    Attributes:
        name: The last part of the notification URL.
        secret_digest: SHA-256 of the shared secret, hexadecimal; the secret itself is only at the EHR.
        criteria: The topic's canonical URL, or an R4 search.
        last_event_number: The highest seen.
        searched_until: Up to when the EHR was searched for events that no notification told.
    """

    name: str
    kind: str
    criteria: str
    payload: str
    fhir_reference: str | None
    secret_digest: str = field(repr=False)
    status: str
    created_at: datetime
    last_seen_at: datetime | None
    last_event_number: int | None
    last_error: str | None
    searched_until: datetime | None = None
