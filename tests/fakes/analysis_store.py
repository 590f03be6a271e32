"""An AnalysisStore in memory: the rules of the real one, without a database."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from fhir_adapter.model import ReviewDecision
from governance.errors import ModelNotInUseError
from plugin.errors import LeaseLostError
from plugin.services.governance.values import ModelState, ModelStatus
from plugin.services.values import (
    Analysis,
    AnalysisResult,
    AnalysisState,
    Artefact,
    Delivery,
    DeliveryKind,
    DeliveryState,
    EventRecord,
    EventState,
    Patient,
    ReviewRecord,
    Step,
    StepRecord,
    SubscriptionRecord,
    User,
)

_REFUSAL_WINDOW = timedelta(minutes=1)
_REVIEWED = {
    ReviewDecision.ACCEPTED.value: AnalysisState.ACCEPTED,
    ReviewDecision.REJECTED.value: AnalysisState.REJECTED,
}


@dataclass
class _Row:
    """An analysis with what the real store keeps in columns that nobody outside it reads."""

    analysis: Analysis
    due_at: datetime
    owner: str | None = None
    lease_until: datetime | None = None
    steps: list[StepRecord] = field(default_factory=list)
    artefacts: dict[str, Artefact] = field(default_factory=dict)

    def is_abandoned(self, now: datetime) -> bool:
        return self.lease_until is not None and self.lease_until < now


@dataclass
class _Outgoing:
    """A delivery with its lease."""

    delivery: Delivery
    lease_until: datetime | None = None

    def is_free(self, now: datetime) -> bool:
        return (
            self.delivery.state is DeliveryState.PENDING
            and self.delivery.next_attempt_at <= now
            and (self.lease_until is None or self.lease_until < now)
        )


class InMemoryStore:
    """Holds everything in dictionaries under one lock, so each method is one transaction.

    Attributes:
        alive: What is_alive answers.
        model_states: By version; InMemoryGovernance writes them, as both use one database.
    """

    def __init__(self) -> None:
        self.alive = True
        self._lock = threading.RLock()
        self._rows: dict[str, _Row] = {}
        self._events: list[EventRecord] = []
        self._event_rows: dict[tuple[str, str], tuple[int, str | None]] = {}
        self._outbox: dict[int, _Outgoing] = {}
        self._users: dict[str, User] = {}
        self._tokens: dict[str, str] = {}
        self._subscriptions: dict[str, SubscriptionRecord] = {}
        self.model_states: dict[str, ModelStatus] = {}

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
        with self._lock:
            key = (subscription, event_key)
            if key in self._event_rows:
                index, earlier = self._event_rows[key]
                self._count_event(index)
                return False, earlier
            analysis_id = None
            if open_analysis:
                analysis_id = f"{len(self._rows) + 1:08d}"
                analysis = _new_analysis(analysis_id, imaging_study_reference, study_instance_uid, requested_by, now)
                self._rows[analysis_id] = _Row(analysis, due_at=now)
            self._event_rows[key] = (len(self._events), analysis_id)
            self._append_event(subscription, state, detail, analysis_id, now)
            return True, analysis_id

    def add_refusal(self, *, subscription: str, reason: str, now: datetime) -> None:
        with self._lock:
            for index, event in enumerate(self._events):
                if (
                    event.state is EventState.REFUSED
                    and (event.subscription, event.detail) == (subscription, reason)
                    and now - event.received_at < _REFUSAL_WINDOW
                ):
                    self._count_event(index)
                    return
            self._append_event(subscription, EventState.REFUSED, reason, None, now)

    def list_events(self, *, limit: int) -> Sequence[EventRecord]:
        with self._lock:
            return self._events[::-1][:limit]

    def _count_event(self, index: int) -> None:
        self._events[index] = replace(self._events[index], count=self._events[index].count + 1)

    def _append_event(
        self, subscription: str, state: EventState, detail: str, analysis_id: str | None, now: datetime
    ) -> None:
        self._events.append(EventRecord(len(self._events) + 1, subscription, state, detail, analysis_id, now, 1))

    # Running

    def claim(self, analysis_id: str, *, owner: str, now: datetime, lease: timedelta) -> Analysis | None:
        with self._lock:
            row = self._rows.get(analysis_id)
            if row is None or not _is_claimable(row, now):
                return None
            row.owner, row.lease_until = owner, now + lease
            self._change(row, now, state=AnalysisState.RUNNING, attempt=row.analysis.attempt + 1)
            return row.analysis

    def renew(self, analysis_id: str, *, owner: str, now: datetime, lease: timedelta) -> bool:
        with self._lock:
            row = self._rows[analysis_id]
            if row.owner != owner:
                return False
            row.lease_until = now + lease
            return True

    def release(self, analysis_id: str, *, owner: str, now: datetime, retry_at: datetime, reason: str) -> None:
        with self._lock:
            row = self._rows[analysis_id]
            if row.owner != owner:
                return
            row.owner, row.lease_until, row.due_at = None, None, retry_at
            self._change(row, now, state=AnalysisState.QUEUED, reason=reason)

    def start_step(self, analysis_id: str, step: Step, *, now: datetime) -> None:
        with self._lock:
            row = self._rows[analysis_id]
            row.steps.append(StepRecord(step, row.analysis.attempt, now, None))
            self._change(row, now, step=step, progress=0.0)

    def finish_step(self, analysis_id: str, step: Step, *, now: datetime) -> None:
        with self._lock:
            row = self._rows[analysis_id]
            for index in reversed(range(len(row.steps))):
                if row.steps[index].step is step:
                    row.steps[index] = replace(row.steps[index], finished_at=now)
                    break
            self._change(row, now, progress=1.0)

    def set_progress(self, analysis_id: str, fraction: float, *, now: datetime) -> None:
        with self._lock:
            self._change(self._rows[analysis_id], now, progress=fraction)

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
        with self._lock:
            row = self._rows[analysis_id]
            original = self._other_with_key(analysis_id, work_key)
            self._change(
                row,
                now,
                study_instance_uid=study_instance_uid,
                work_key=None if original else work_key,
                model_version=model_version,
                patient=patient,
                accession_number=accession_number,
                study_date=study_date,
                study_description=study_description,
            )
            return original

    def _other_with_key(self, analysis_id: str, work_key: str) -> str | None:
        others = (row.analysis for row in self._rows.values() if row.analysis.id != analysis_id)
        return next((other.id for other in others if other.work_key == work_key), None)

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
        with self._lock:
            row = self._rows[analysis_id]
            row.owner, row.lease_until = None, None
            self._change(
                row,
                now,
                state=state,
                reason_code=reason_code,
                reason=reason,
                finished_at=now,
                work_key=None,
                duplicate_of=duplicate_of,
            )

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
        with self._lock:
            row = self._rows[analysis_id]
            if row.owner != owner:
                raise LeaseLostError(f"analysis {analysis_id}: expected owner {owner}, another worker holds it now")
            if not self.is_released(row.analysis.model_version):
                raise ModelNotInUseError("The model was halted while this study was analysed: the result is dropped.")
            row.owner, row.lease_until = None, None
            row.artefacts = {artefact.name: artefact for artefact in artefacts}
            row.steps.append(StepRecord(Step.DELIVER, row.analysis.attempt, now, None))
            for kind, destination in deliveries:
                self._add_delivery(analysis_id, kind, destination, now)
            self._change(
                row,
                now,
                state=AnalysisState.PUBLISHING,
                step=Step.DELIVER,
                progress=0.0,
                reason_code=None,
                reason=None,
                result=result,
            )

    def is_released(self, model_version: str | None) -> bool:
        with self._lock:
            status = self.model_states.get(model_version or "")
            return status is not None and status.state is ModelState.RELEASED

    def requeue_halted(self, model_version: str, *, now: datetime) -> list[str]:
        """What _requeue of SqlGovernance does."""
        queued = []
        with self._lock:
            for analysis_id, row in self._rows.items():
                analysis = row.analysis
                if analysis.state is AnalysisState.HALTED and analysis.model_version == model_version:
                    row.due_at = now
                    ended = {"reason_code": None, "reason": None, "finished_at": None}
                    self._change(row, now, state=AnalysisState.QUEUED, attempt=0, **ended)
                    queued.append(analysis_id)
        return queued

    # Reading

    def get(self, analysis_id: str) -> Analysis | None:
        with self._lock:
            row = self._rows.get(analysis_id)
            return row.analysis if row else None

    def list_analyses(
        self, *, states: Sequence[AnalysisState] | None, limit: int, offset: int = 0, text: str = ""
    ) -> Sequence[Analysis]:
        with self._lock:
            found = [row.analysis for row in self._rows.values() if states is None or row.analysis.state in states]
        matching = [analysis for analysis in found if _matches(analysis, text)]
        newest_first = sorted(matching, key=_age_order, reverse=True)
        return newest_first[offset : offset + limit]

    def latest_for_study(self, study_instance_uid: str) -> Analysis | None:
        with self._lock:
            found = [
                row.analysis for row in self._rows.values() if row.analysis.study_instance_uid == study_instance_uid
            ]
        originals = [analysis for analysis in found if analysis.state is not AnalysisState.DUPLICATE]
        return max(originals, key=_age_order, default=None)

    def count_by_state(self) -> Mapping[AnalysisState, int]:
        with self._lock:
            states = [row.analysis.state for row in self._rows.values()]
        return {state: states.count(state) for state in set(states)}

    def steps(self, analysis_id: str) -> Sequence[StepRecord]:
        with self._lock:
            row = self._rows.get(analysis_id)
            return tuple(row.steps) if row else ()

    def artefact(self, analysis_id: str, name: str) -> Artefact | None:
        with self._lock:
            row = self._rows.get(analysis_id)
            return row.artefacts.get(name) if row else None

    def stalled(self, *, now: datetime) -> Sequence[str]:
        with self._lock:
            return [analysis_id for analysis_id, row in self._rows.items() if _is_claimable(row, now)]

    # Outbox

    def deliveries(self, analysis_id: str) -> Sequence[Delivery]:
        with self._lock:
            return [outgoing.delivery for outgoing in self._outgoing(analysis_id)]

    def claim_delivery(self, analysis_id: str, *, owner: str, now: datetime, lease: timedelta) -> Delivery | None:
        with self._lock:
            head = self._first_unsent(analysis_id)
            if head is None or not head.is_free(now):
                return None
            head.lease_until = now + lease
            head.delivery = replace(head.delivery, attempts=head.delivery.attempts + 1)
            return head.delivery

    def mark_sent(self, delivery_id: int, *, receipt: Mapping[str, Any], now: datetime) -> None:
        self._settle(delivery_id, now, state=DeliveryState.SENT, receipt=dict(receipt), sent_at=now, last_error=None)

    def mark_failed(self, delivery_id: int, *, error: str, next_attempt_at: datetime | None, now: datetime) -> None:
        if next_attempt_at is None:
            self._settle(delivery_id, now, state=DeliveryState.DEAD, last_error=error)
        else:
            self._settle(
                delivery_id, now, state=DeliveryState.PENDING, last_error=error, next_attempt_at=next_attempt_at
            )

    def replay(self, delivery_id: int, *, now: datetime) -> Delivery | None:
        with self._lock:
            outgoing = self._outbox.get(delivery_id)
            if outgoing is None or outgoing.delivery.state is not DeliveryState.DEAD:
                return None
            self._settle(delivery_id, now, state=DeliveryState.PENDING, attempts=0, next_attempt_at=now)
            return outgoing.delivery

    def _settle(self, delivery_id: int, now: datetime, **changes: Any) -> None:
        """Change one delivery and let its analysis follow."""
        with self._lock:
            outgoing = self._outbox[delivery_id]
            if outgoing.delivery.state is DeliveryState.SENT:
                return
            outgoing.lease_until = None
            outgoing.delivery = replace(outgoing.delivery, **changes)
            row = self._rows[outgoing.delivery.analysis_id]
            states = [delivery.state for delivery in self.deliveries(row.analysis.id)]
            sent = states.count(DeliveryState.SENT) / len(states)
            if sent == 1:
                row.steps = [
                    replace(step, finished_at=now) if step.step is Step.DELIVER and not step.finished_at else step
                    for step in row.steps
                ]
            self._change(row, now, state=_state_with(row.analysis, states), progress=sent)

    def due_deliveries(self, *, now: datetime) -> Sequence[str]:
        with self._lock:
            heads = [(analysis_id, self._first_unsent(analysis_id)) for analysis_id in self._rows]
        return [analysis_id for analysis_id, head in heads if head is not None and head.is_free(now)]

    def _outgoing(self, analysis_id: str) -> list[_Outgoing]:
        return [outgoing for outgoing in self._outbox.values() if outgoing.delivery.analysis_id == analysis_id]

    def _first_unsent(self, analysis_id: str) -> _Outgoing | None:
        unsent = (o for o in self._outgoing(analysis_id) if o.delivery.state is not DeliveryState.SENT)
        return next(unsent, None)

    def _add_delivery(self, analysis_id: str, kind: DeliveryKind, destination: str, now: datetime) -> None:
        number = len(self._outbox) + 1
        delivery = Delivery(
            id=number,
            analysis_id=analysis_id,
            kind=kind,
            state=DeliveryState.PENDING,
            destination=destination,
            attempts=0,
            next_attempt_at=now,
            last_error=None,
            sent_at=None,
            receipt=None,
        )
        self._outbox[number] = _Outgoing(delivery)

    # Review

    def save_review(self, analysis_id: str, *, review: ReviewRecord, destination: str, now: datetime) -> bool:
        with self._lock:
            row = self._rows.get(analysis_id)
            if row is None or row.analysis.state is not AnalysisState.AWAITING_REVIEW:
                return False
            self._change(row, now, state=_REVIEWED[review.decision], review=review, finished_at=now)
            self._add_delivery(analysis_id, DeliveryKind.REVIEW, destination, now)
            return True

    # People and subscriptions

    def get_user(self, username: str) -> User | None:
        with self._lock:
            return self._users.get(username)

    def save_user(self, user: User, *, now: datetime) -> None:
        with self._lock:
            self._users[user.username] = user

    def save_token(self, username: str, *, token_digest: str, now: datetime) -> None:
        with self._lock:
            self._tokens[token_digest] = username

    def user_for_token(self, token_digest: str) -> User | None:
        with self._lock:
            return self._users.get(self._tokens.get(token_digest, ""))

    def get_subscription(self, name: str) -> SubscriptionRecord | None:
        with self._lock:
            return self._subscriptions.get(name)

    def list_subscriptions(self) -> Sequence[SubscriptionRecord]:
        with self._lock:
            return [self._subscriptions[name] for name in sorted(self._subscriptions)]

    def save_subscription(self, subscription: SubscriptionRecord) -> None:
        with self._lock:
            self._subscriptions[subscription.name] = subscription

    def note_subscription(
        self,
        name: str,
        *,
        now: datetime,
        status: str | None = None,
        event_number: int | None = None,
        error: str | None = None,
    ) -> int | None:
        with self._lock:
            known = self._subscriptions.get(name)
            if known is None:
                return None
            before = known.last_event_number
            numbers = [number for number in (before, event_number) if number is not None]
            self._subscriptions[name] = replace(
                known,
                status=status or known.status,
                last_seen_at=now,
                last_event_number=max(numbers, default=None),
                last_error=error,
            )
            return before

    def note_search(self, name: str, *, searched_until: datetime) -> None:
        with self._lock:
            if name in self._subscriptions:
                self._subscriptions[name] = replace(self._subscriptions[name], searched_until=searched_until)

    def remove_subscription(self, name: str) -> None:
        with self._lock:
            self._subscriptions.pop(name, None)

    def is_alive(self) -> bool:
        return self.alive

    def _change(self, row: _Row, now: datetime, **changes: Any) -> None:
        row.analysis = replace(row.analysis, updated_at=now, **changes)


def _new_analysis(
    analysis_id: str, imaging_study: str | None, study_instance_uid: str | None, requested_by: str, now: datetime
) -> Analysis:
    return Analysis(
        id=analysis_id,
        state=AnalysisState.QUEUED,
        step=None,
        progress=0.0,
        reason_code=None,
        reason=None,
        imaging_study_reference=imaging_study,
        study_instance_uid=study_instance_uid,
        work_key=None,
        model_version=None,
        patient=None,
        accession_number=None,
        study_date=None,
        study_description=None,
        requested_by=requested_by,
        attempt=0,
        created_at=now,
        updated_at=now,
        finished_at=None,
        duplicate_of=None,
        result=None,
        review=None,
    )


def _age_order(analysis: Analysis) -> tuple[datetime, str]:
    return analysis.created_at, analysis.id


def _is_claimable(row: _Row, now: datetime) -> bool:
    if row.analysis.state is AnalysisState.QUEUED:
        return row.due_at <= now
    return row.analysis.state is AnalysisState.RUNNING and row.is_abandoned(now)


def _matches(analysis: Analysis, text: str) -> bool:
    wanted = text.strip().casefold()
    patient = (analysis.patient.patient_id, analysis.patient.name) if analysis.patient else ()
    searched = (*patient, analysis.accession_number, analysis.study_instance_uid, analysis.study_description)
    return any(wanted in (value or "").casefold() for value in searched)


def _state_with(analysis: Analysis, deliveries: Sequence[DeliveryState]) -> AnalysisState:
    if DeliveryState.DEAD in deliveries:
        return AnalysisState.UNDELIVERED
    if analysis.review is not None:
        return _REVIEWED[analysis.review.decision]
    return AnalysisState.PUBLISHING if DeliveryState.PENDING in deliveries else AnalysisState.AWAITING_REVIEW
