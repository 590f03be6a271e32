"""What the use cases need from the world, in their own words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from dicom_ingest.ports import Archives
from federated.ports import Segmenter
from fhir_adapter.ports import FhirStore
from plugin.services.federation_desk import FederationDesk
from plugin.services.governance.desk import GovernanceDesk
from plugin.services.training_runs import TrainingStore
from plugin.services.values import (
    Analysis,
    AnalysisResult,
    AnalysisState,
    Artefact,
    Delivery,
    DeliveryKind,
    EventRecord,
    EventState,
    Patient,
    ReviewRecord,
    Step,
    StepRecord,
    SubscriptionRecord,
    User,
)


class WorkQueue(Protocol):
    """Hints to the workers. A lost hint is harmless: the timer finds the work in the database."""

    def analyse(self, analysis_id: str) -> None:
        """Have an analysis run."""

    def deliver(self, analysis_id: str) -> None:
        """Have an analysis' pending deliveries sent."""

    def search_studies(self, subscription: str) -> None:
        """Have the EHR searched for studies that changed since the last search."""

    def train(self, run_id: str) -> None:
        """Have a training run."""


class AnalysisStore(Protocol):
    """Analyses and what belongs to them. Each method is one transaction."""

    # Intake
    def add_event(
        self,
        *,
        subscription: str,
        event_key: str,
        state: EventState,
        detail: str,
        imaging_study_reference: str | None,
        study_instance_uid: str | None,
        requested_by: str,
        open_analysis: bool,
        now: datetime,
    ) -> tuple[bool, str | None]:
        """Store an event and, with open_analysis, its analysis.

        Returns:
            Whether the event is new, and the id of its analysis: the earlier one for a repeat.
        """

    def add_refusal(self, *, subscription: str, reason: str, now: datetime) -> None:
        """Count a refused notification; repeats of the same reason within a minute share one row."""

    def list_events(self, *, limit: int) -> Sequence[EventRecord]:
        """The newest events first."""

    # Running
    def claim(self, analysis_id: str, *, owner: str, now: datetime, lease: timedelta) -> Analysis | None:
        """Take a queued analysis, or one whose worker's lease has run out; None when another worker holds it."""

    def renew(self, analysis_id: str, *, owner: str, now: datetime, lease: timedelta) -> bool:
        """Say that the owner still works on it; False when it has lost the claim."""

    def release(self, analysis_id: str, *, owner: str, now: datetime, retry_at: datetime, reason: str) -> None:
        """Give an analysis back to the queue, to run again at retry_at."""

    def start_step(self, analysis_id: str, step: Step, *, now: datetime) -> None:
        """Record that a step begins."""

    def finish_step(self, analysis_id: str, step: Step, *, now: datetime) -> None:
        """Record that a step is done."""

    def set_progress(self, analysis_id: str, fraction: float, *, now: datetime) -> None:
        """Record how far the current step is."""

    def identify(
        self,
        analysis_id: str,
        *,
        study_instance_uid: str,
        work_key: str,
        model_version: str,
        patient: Patient,
        accession_number: str | None,
        study_date: str | None,
        study_description: str | None,
        now: datetime,
    ) -> str | None:
        """Fix what the analysis is about.

        Returns:
            The id of another analysis with the same work key, which makes this one its duplicate; else None.
        """

    def finish(
        self,
        analysis_id: str,
        state: AnalysisState,
        *,
        reason_code: str,
        reason: str,
        now: datetime,
        duplicate_of: str | None = None,
    ) -> None:
        """End an analysis without a result; its work key is free for another try."""

    def save_result(
        self,
        analysis_id: str,
        *,
        owner: str,
        result: AnalysisResult,
        artefacts: Sequence[Artefact],
        deliveries: Sequence[tuple[DeliveryKind, str]],
        now: datetime,
    ) -> None:
        """Store the result and the intent to tell PACS and EHR, together.

        Raises:
            LeaseLostError: Another worker has taken the analysis over; nothing is stored.
            governance.errors.ModelNotInUseError: The model was halted meanwhile; nothing is stored.
        """

    # Reading
    def get(self, analysis_id: str) -> Analysis | None:
        """One analysis."""

    def list_analyses(
        self, *, states: Sequence[AnalysisState] | None, limit: int, offset: int = 0, text: str = ""
    ) -> Sequence[Analysis]:
        """The newest first; text matches patient id, accession number, study UID or description."""

    def latest_for_study(self, study_instance_uid: str) -> Analysis | None:
        """The newest analysis of a study that is not a duplicate."""

    def count_by_state(self) -> Mapping[AnalysisState, int]:
        """How many analyses are in each state."""

    def steps(self, analysis_id: str) -> Sequence[StepRecord]:
        """In the order they began."""

    def artefact(self, analysis_id: str, name: str) -> Artefact | None:
        """One stored file."""

    def stalled(self, *, now: datetime) -> Sequence[str]:
        """Analyses that are due, that no live worker holds and that no worker was told of lately."""

    # Outbox
    def deliveries(self, analysis_id: str) -> Sequence[Delivery]:
        """In the order they are to be sent."""

    def claim_delivery(self, analysis_id: str, *, owner: str, now: datetime, lease: timedelta) -> Delivery | None:
        """Take the analysis' first pending delivery if it is due and nothing before it is unsent."""

    def mark_sent(self, delivery_id: int, *, receipt: Mapping[str, Any], now: datetime) -> None:
        """Record a delivery; after the last one the analysis awaits review."""

    def mark_failed(self, delivery_id: int, *, error: str, next_attempt_at: datetime | None, now: datetime) -> None:
        """Record a failed attempt; without next_attempt_at the delivery is dead and its analysis undelivered."""

    def replay(self, delivery_id: int, *, now: datetime) -> Delivery | None:
        """Make a dead delivery pending again."""

    def due_deliveries(self, *, now: datetime) -> Sequence[str]:
        """Ids of analyses with a delivery that is due and that no worker was told of lately."""

    # Review
    def save_review(self, analysis_id: str, *, review: ReviewRecord, destination: str, now: datetime) -> bool:
        """Store a decision and the intent to tell the EHR; False when the analysis does not await review."""

    # People and subscriptions
    def get_user(self, username: str) -> User | None:
        """One user."""

    def save_user(self, user: User, *, now: datetime) -> None:
        """Add or replace a user."""

    def save_token(self, username: str, *, token_digest: str, now: datetime) -> None:
        """Add an API token of a user, by the SHA-256 of the token."""

    def user_for_token(self, token_digest: str) -> User | None:
        """Whose API token it is."""

    def get_subscription(self, name: str) -> SubscriptionRecord | None:
        """One subscription."""

    def list_subscriptions(self) -> Sequence[SubscriptionRecord]:
        """All subscriptions, by name."""

    def save_subscription(self, subscription: SubscriptionRecord) -> None:
        """Add or replace a subscription."""

    def note_subscription(
        self,
        name: str,
        *,
        now: datetime,
        status: str | None = None,
        event_number: int | None = None,
        error: str | None = None,
    ) -> int | None:
        """Record that the server spoke about a subscription.

        Returns:
            The highest event number seen before.
        """

    def note_search(self, name: str, *, searched_until: datetime) -> None:
        """Record up to when the EHR was searched for missed events."""

    def remove_subscription(self, name: str) -> None:
        """Forget a subscription."""

    def is_alive(self) -> bool:
        """Whether the database answers and its schema is the one this code needs."""


@dataclass(frozen=True)
class Site:
    """What the use cases must know of the site.

    Attributes:
        public_url: Where people reach the web pages.
        notification_url: Where the EHR reaches the notification hook; the subscription's name is appended.
        fhir_base_url, archive_url: Of the EHR, and of the default archive.
    """

    organisation: str
    public_url: str
    notification_url: str
    fhir_base_url: str
    archive_url: str
    lease: timedelta
    max_attempts: int
    max_delivery_attempts: int
    retry_base: timedelta


@dataclass(frozen=True)
class Services:
    """Everything the use cases work with; built once by plugin.bootstrap."""

    site: Site
    store: AnalysisStore
    queue: WorkQueue
    fhir: FhirStore
    archives: Archives
    segmenter: Callable[[], Segmenter]
    """Loads the model on first use: a process that needs no model never imports it."""
    clock: Callable[[], datetime]
    trainings: TrainingStore
    governance: GovernanceDesk
    federation: FederationDesk = field(default_factory=FederationDesk)
