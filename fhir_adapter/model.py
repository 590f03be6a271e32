"""The values of this package: what the plugin says and hears in FHIR, whatever the server's version."""

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

from fhir_adapter.ports import Resource


class NotificationKind(StrEnum):
    """What a notification is about."""

    HANDSHAKE = "handshake"
    HEARTBEAT = "heartbeat"
    EVENT = "event-notification"
    CHANGED = "changed"
    """An R4 rest-hook without payload: something that the criteria select has changed; the server did not say what."""


@dataclass(frozen=True)
class StudyEvent:
    """One event about an imaging study.

    Attributes:
        event_key: The same for a repeat of the same event, different for another one; within one subscription.
        event_number: As the server counts, None for an R4 rest-hook.
        imaging_study_reference: "ImagingStudy/id"; None when the server did not say which.
    """

    event_key: str
    event_number: int | None
    imaging_study_reference: str | None


@dataclass(frozen=True)
class Notification:
    """A parsed notification.

    Attributes:
        subscription_reference: As the server names it, None for an R4 rest-hook.
        status: The subscription's status code as the notification gives it.
        events_since_start: events-since-subscription-start.
        error: The server's own words when status is error.
    """

    kind: NotificationKind
    subscription_reference: str | None
    status: str | None
    events_since_start: int | None
    events: tuple[StudyEvent, ...]
    error: str | None = None


@dataclass(frozen=True)
class ImagingStudySeries:
    """One series of an ImagingStudy."""

    series_instance_uid: str
    modality: str
    number_of_instances: int | None
    endpoint_references: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ImagingStudy:
    """What the plugin uses of an ImagingStudy, and the whole resource as it was read.

    Attributes:
        reference: "ImagingStudy/id".
        version_id: meta.versionId, for If-Match.
        status: registered, available, cancelled, entered-in-error or unknown.
        based_on: References to the orders.
    """

    reference: str
    version_id: str | None
    status: str
    study_instance_uid: str
    patient_reference: str | None
    started: str | None
    description: str | None
    accession_number: str | None
    based_on: tuple[str, ...]
    endpoint_references: tuple[str, ...]
    series: tuple[ImagingStudySeries, ...]
    resource: Resource


@dataclass(frozen=True)
class Coding:
    """A coding with the FHIR system URI."""

    system: str
    code: str
    display: str


@dataclass(frozen=True)
class RegionFinding:
    """One measured region, as Observations.

    Attributes:
        key: Short and stable: whole-tumour, tumour-core, enhancing, oedema, necrosis.
    """

    key: str
    label: str
    finding: Coding
    volume_ml: float
    long_axis_mm: float | None
    short_axis_mm: float | None
    confidence: float | None


@dataclass(frozen=True)
class PublishedInstance:
    """A DICOM object that the plugin stored in the archive."""

    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    modality: str
    series_number: int
    description: str


@dataclass(frozen=True)
class AiModel:
    """The model behind a result, as Device. version is the digest that stands everywhere."""

    name: str
    version: str
    manufacturer: str
    software_version: str


@dataclass(frozen=True)
class PatientIdentity:
    """The patient as DICOM names them, for a study that the EHR does not hold yet."""

    patient_id: str | None
    issuer: str | None = None


@dataclass(frozen=True)
class AccessRecord:
    """One access to patient data that an AuditEvent must tell.

    Attributes:
        action: C, R, U or E (query), as AuditEvent.action.
        what: The reference read or written, or None for a query.
        query: The raw request of a query.
        server: Base URL of the server that was asked.
    """

    action: str
    what: str | None
    query: str | None
    server: str
    at: datetime


@dataclass(frozen=True, eq=False)
class ResultContent:
    """A finished analysis, as the EHR is to receive it.

    Attributes:
        key: The work key; every identifier derives from it.
        imaging_study: As read from the EHR; None when the EHR has none, then one is created.
        study_started: Of the DICOM study.
        performer_name: The site's organisation.
        plugin_url: Where a person finds the analysis in the plugin.
        tumour_found: Whether any tumour voxel was found.
        report_html, report_pdf: presentedForm.
        endpoint_reference: Of the archive that holds the results, if known.
    """

    key: str
    analysis_id: str
    issued: datetime
    study_instance_uid: str
    imaging_study: ImagingStudy | None
    patient_reference: str
    accession_number: str | None
    study_started: datetime | date | None
    model: AiModel
    performer_name: str
    plugin_url: str
    fhir_base_url: str
    regions: tuple[RegionFinding, ...]
    tumour_found: bool
    conclusion: str
    warnings: tuple[str, ...]
    report_html: bytes
    report_pdf: bytes
    instances: tuple[PublishedInstance, ...]
    endpoint_reference: str | None = None
    accesses: tuple[AccessRecord, ...] = field(default=())


class ReviewDecision(StrEnum):
    """What a radiologist decided; the value is the DiagnosticReport status it leads to."""

    ACCEPTED = "final"
    REJECTED = "entered-in-error"


@dataclass(frozen=True)
class Reviewer:
    """The radiologist who decides.

    Attributes:
        username: As signed in; the identifier's value when the site gave no practitioner_reference.
        practitioner_reference: "Practitioner/id" in the EHR, if the site knows it.
    """

    username: str
    display_name: str
    practitioner_reference: str | None


@dataclass(frozen=True)
class Review:
    """A decision on one result."""

    key: str
    decision: ReviewDecision
    reviewer: Reviewer
    comment: str
    at: datetime
    fhir_base_url: str


@dataclass(frozen=True)
class SubscriptionStatus:
    """How a subscription fares at the server, from the Subscription itself or from $status.

    Attributes:
        subscription_reference: As the server names it.
        status: requested, active, error, off, or another code of a newer FHIR version.
        events_since_start: How many events the server has counted; None when it does not count.
        error: The server's own words.
    """

    subscription_reference: str | None
    status: str
    events_since_start: int | None
    error: str | None


class Effect(StrEnum):
    """What a rule of a Consent says of what it covers."""

    PERMIT = "permit"
    DENY = "deny"

    @property
    def opposite(self) -> "Effect":
        """Of R5, where each level of provisions negates the one above."""
        return Effect.DENY if self is Effect.PERMIT else Effect.PERMIT


@dataclass(frozen=True)
class CodeOf:
    """A code and the system it stands in, where it says so."""

    system: str | None
    code: str


@dataclass(frozen=True)
class ConsentRule:
    """A provision, whatever the version, with its exceptions. An empty condition is no condition.

    Attributes:
        effect: None when the rule itself says nothing, and only its exceptions do.
        start, end: From when and until when; end is the first moment after.
        purposes: Why, e.g. HRESCH of v3-ActReason.
        actions: What is done: collect, access, use, disclose, correct.
        codes: What content, in the site's or the country's own terms.
        classes: Which kinds of resources or documents.
        actors: References to whom; None where the rule names no one. An actor without a literal reference is "".
        is_narrowed: Whether other conditions (security labels, data, expressions) narrow it.
        exceptions: Rules inside this rule.
    """

    effect: Effect | None
    start: datetime | None = None
    end: datetime | None = None
    purposes: tuple[CodeOf, ...] = ()
    actions: tuple[str, ...] = ()
    codes: tuple[CodeOf, ...] = ()
    classes: tuple[CodeOf, ...] = ()
    actors: tuple[str, ...] | None = None
    is_narrowed: bool = False
    exceptions: tuple["ConsentRule", ...] = ()


@dataclass(frozen=True)
class Consent:
    """What a patient agreed to or not.

    Attributes:
        reference: "Consent/id".
        status: draft, proposed, active, rejected, inactive, entered-in-error, not-done or unknown.
        patient_reference: As the server writes it.
        about: Codes of scope and category.
        is_verified: What the verifications say; None where there is none.
    """

    reference: str
    status: str
    patient_reference: str | None
    about: tuple[CodeOf, ...]
    is_verified: bool | None
    rule: ConsentRule
