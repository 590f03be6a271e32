"""The radiologist's decision: it makes a report final, or entered in error."""

from fhir_adapter.model import ReviewDecision
from plugin.errors import AnalysisNotFoundError, CommentRequiredError, NotAwaitingReviewError
from plugin.services.governance.monitoring import note_review
from plugin.services.ports import Services
from plugin.services.values import ReviewRecord, User


def review_result(
    services: Services, *, analysis_id: str, decision: ReviewDecision, reviewer: User, comment: str
) -> None:
    """Store a decision, and have the EHR told.

    Raises:
        AnalysisNotFoundError, NotAwaitingReviewError: There is none, or it does not wait for a decision (any more).
        CommentRequiredError: A rejection without a reason.
    """
    if services.store.get(analysis_id) is None:
        raise AnalysisNotFoundError(f"There is no analysis {analysis_id}.")
    if decision is ReviewDecision.REJECTED and not comment.strip():
        raise CommentRequiredError("Say why the result is rejected; the EHR keeps the reason with the report.")
    now = services.clock()
    review = ReviewRecord(decision=decision.value, reviewer=reviewer.username, comment=comment.strip(), at=now)
    if not services.store.save_review(analysis_id, review=review, destination=services.site.fhir_base_url, now=now):
        raise NotAwaitingReviewError("This result does not await a decision: it is not published yet, or was decided.")
    services.queue.deliver(analysis_id)
    note_review(services, analysis_id)
