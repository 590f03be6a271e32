"""The outbox: order, retries, dead letters, and nothing told twice."""

from datetime import timedelta

import pytest

from dicom_ingest.errors import ArchiveRefusedError, ArchiveUnavailableError
from fhir_adapter.errors import FhirConflictError, FhirRefusedError, FhirUnavailableError
from fhir_adapter.model import ReviewDecision
from plugin.errors import CommentRequiredError, DeliveryNotFoundError, NotAwaitingReviewError
from plugin.services import analysis, delivery, review
from plugin.services.values import AnalysisState, DeliveryState, Role, User
from tests.fakes.whole_hospital import WholeHospital

HOUSE = User("dr.house", "Gregory House", Role.RADIOLOGIST, None, "x")
HOUR = timedelta(hours=1)


@pytest.fixture
def hospital() -> WholeHospital:
    hospital = WholeHospital()
    hospital.store.save_user(HOUSE, now=hospital.clock())
    hospital.scan()
    return hospital


def analysed(hospital: WholeHospital) -> str:
    """Run the analysis, not yet its deliveries."""
    analysis_id = hospital.ask()
    hospital.queue.hints.clear()
    analysis.analyse_study(hospital.services, analysis_id=analysis_id)
    hospital.queue.hints.clear()
    assert hospital.get(analysis_id).state is AnalysisState.PUBLISHING
    return analysis_id


def deliver(hospital: WholeHospital, analysis_id: str) -> None:
    delivery.deliver_results(hospital.services, analysis_id=analysis_id)


def test_the_pacs_away_holds_everything_back_and_loses_nothing(hospital: WholeHospital) -> None:
    analysis_id = analysed(hospital)
    hospital.archive.fail_next(ArchiveUnavailableError("away"), times=2)
    deliver(hospital, analysis_id)
    assert hospital.fhir.all("DiagnosticReport") == [], "the EHR never names images that the PACS does not hold"
    hospital.tick(timedelta(seconds=6))
    assert hospital.get(analysis_id).state is AnalysisState.PUBLISHING
    hospital.tick(HOUR)
    assert hospital.get(analysis_id).state is AnalysisState.AWAITING_REVIEW
    assert len(hospital.segmenter.segmented) == 1
    assert len(hospital.archive.stored) == 2


@pytest.mark.parametrize("error", [FhirUnavailableError("away"), FhirConflictError("changed")])
def test_the_ehr_away_or_changed_is_tried_again(hospital: WholeHospital, error: Exception) -> None:
    analysis_id = analysed(hospital)
    hospital.fhir.fail_next(error)  # type: ignore[arg-type]
    deliver(hospital, analysis_id)
    assert hospital.get(analysis_id).state is AnalysisState.PUBLISHING
    hospital.tick(HOUR)
    assert hospital.get(analysis_id).state is AnalysisState.AWAITING_REVIEW
    assert len(hospital.fhir.all("DiagnosticReport")) == 1


def test_a_refusal_is_a_dead_letter_that_a_person_can_replay(hospital: WholeHospital) -> None:
    analysis_id = analysed(hospital)
    hospital.archive.fail_next(ArchiveRefusedError("The archive refuses (403)."))
    deliver(hospital, analysis_id)
    assert hospital.get(analysis_id).state is AnalysisState.UNDELIVERED
    dead = hospital.store.deliveries(analysis_id)[0]
    assert (dead.state, dead.last_error) == (DeliveryState.DEAD, "The archive refuses (403).")
    hospital.tick(HOUR)
    assert hospital.get(analysis_id).state is AnalysisState.UNDELIVERED
    delivery.replay_delivery(hospital.services, delivery_id=dead.id)
    hospital.work()
    assert hospital.get(analysis_id).state is AnalysisState.AWAITING_REVIEW
    with pytest.raises(DeliveryNotFoundError):
        delivery.replay_delivery(hospital.services, delivery_id=dead.id)


def test_after_all_attempts_a_delivery_is_dead(hospital: WholeHospital) -> None:
    analysis_id = analysed(hospital)
    hospital.archive.fail_next(ArchiveUnavailableError("away"), times=3)
    deliver(hospital, analysis_id)
    for _ in range(2):
        hospital.tick(HOUR)
    assert hospital.get(analysis_id).state is AnalysisState.UNDELIVERED


def test_what_arrived_although_its_answer_got_lost_is_not_told_twice(hospital: WholeHospital) -> None:
    analysis_id = analysed(hospital)
    lease = hospital.services.site.lease
    for _ in range(3):
        # Another worker sends, and dies before it can say so.
        claimed = hospital.store.claim_delivery(analysis_id, owner="dies", now=hospital.clock(), lease=lease)
        assert claimed
        delivery._send(hospital.services, claimed)
        hospital.clock.advance(lease * 2)
        again = hospital.store.claim_delivery(analysis_id, owner="lives", now=hospital.clock(), lease=lease)
        assert again
        receipt = delivery._send(hospital.services, again)
        hospital.store.mark_sent(again.id, receipt=receipt, now=hospital.clock())
    assert hospital.get(analysis_id).state is AnalysisState.AWAITING_REVIEW
    assert len(hospital.archive.stored) == 2
    for kind, count in (("DiagnosticReport", 1), ("Provenance", 1), ("ImagingStudy", 1), ("Device", 1)):
        assert len(hospital.fhir.all(kind)) == count, kind


@pytest.mark.parametrize(
    ("decision", "comment", "status", "state"),
    [
        (ReviewDecision.ACCEPTED, "", "final", AnalysisState.ACCEPTED),
        (ReviewDecision.REJECTED, "Wrong side.", "entered-in-error", AnalysisState.REJECTED),
    ],
)
def test_a_review_reaches_the_ehr(
    hospital: WholeHospital, decision: ReviewDecision, comment: str, status: str, state: AnalysisState
) -> None:
    analysis_id = analysed(hospital)
    deliver(hospital, analysis_id)
    review.review_result(hospital.services, analysis_id=analysis_id, decision=decision, reviewer=HOUSE, comment=comment)
    hospital.fhir.fail_next(FhirUnavailableError("away"))
    hospital.work()
    assert hospital.fhir.all("DiagnosticReport")[0]["status"] == "preliminary"
    hospital.tick(HOUR)
    assert hospital.get(analysis_id).state is state
    (report,) = hospital.fhir.all("DiagnosticReport")
    assert report["status"] == status
    assert {one["status"] for one in hospital.fhir.all("Observation")} == {status}
    assert len(hospital.fhir.all("Provenance")) == 2


def test_a_rejection_needs_a_reason_and_a_decision_is_made_once(hospital: WholeHospital) -> None:
    analysis_id = analysed(hospital)
    decide = {"analysis_id": analysis_id, "decision": ReviewDecision.REJECTED, "reviewer": HOUSE}
    with pytest.raises(NotAwaitingReviewError):
        review.review_result(hospital.services, **decide, comment="Too early.")  # type: ignore[arg-type]
    deliver(hospital, analysis_id)
    with pytest.raises(CommentRequiredError):
        review.review_result(hospital.services, **decide, comment=" ")  # type: ignore[arg-type]
    review.review_result(hospital.services, **decide, comment="Artefact.")  # type: ignore[arg-type]
    with pytest.raises(NotAwaitingReviewError):
        review.review_result(hospital.services, **decide, comment="Again.")  # type: ignore[arg-type]


def test_a_report_that_the_ehr_lost_is_seen(hospital: WholeHospital) -> None:
    analysis_id = analysed(hospital)
    deliver(hospital, analysis_id)
    (report,) = hospital.fhir.all("DiagnosticReport")
    hospital.fhir.delete(f"DiagnosticReport/{report['id']}")
    review.review_result(
        hospital.services, analysis_id=analysis_id, decision=ReviewDecision.ACCEPTED, reviewer=HOUSE, comment=""
    )
    hospital.work()
    for _ in range(3):
        hospital.tick(HOUR)
    assert hospital.get(analysis_id).state is AnalysisState.UNDELIVERED


def test_an_ehr_that_refuses_is_asked_no_more(hospital: WholeHospital) -> None:
    analysis_id = analysed(hospital)
    hospital.fhir.fail_next(FhirRefusedError("422: missing performer"))
    deliver(hospital, analysis_id)
    assert hospital.get(analysis_id).state is AnalysisState.UNDELIVERED


def test_after_a_lost_database_the_same_work_finds_its_results_in_place(hospital: WholeHospital) -> None:
    deliver(hospital, analysed(hospital))
    again = WholeHospital(fhir=hospital.fhir, archive=hospital.archive)
    again.clock.advance(HOUR)
    analysis_id = again.ask()
    again.work()
    assert again.get(analysis_id).state is AnalysisState.AWAITING_REVIEW
    assert len(hospital.archive.stored) == 2
    assert len(hospital.fhir.all("DiagnosticReport")) == 1
