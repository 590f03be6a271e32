"""A radiologist's decision on a result, as one FHIR transaction."""

import copy
from collections.abc import Sequence

from fhir_adapter.audit_events import AuditContext, audit_entries
from fhir_adapter.elements import Element
from fhir_adapter.errors import MalformedResourceError
from fhir_adapter.identifiers import USERNAME, derived_uuid
from fhir_adapter.model import AccessRecord, Review, ReviewDecision, Reviewer
from fhir_adapter.ports import Resource
from fhir_adapter.provenance import build_review_provenance, provenance_entry, target
from fhir_adapter.transactions import full_url, identifier, transaction, update_entry

_VERDICTS = {ReviewDecision.ACCEPTED: "Accepted", ReviewDecision.REJECTED: "Rejected"}
_PRACTITIONER_ID = "results-interpreter"


def is_reviewed(report: Resource, decision: ReviewDecision) -> bool:
    """Whether a DiagnosticReport already has the status that the decision leads to."""
    return report.get("status") == decision.value


def result_references(report: Resource) -> tuple[str, ...]:
    """References to the Observations of a DiagnosticReport, which a review changes with it."""
    return Element.of(report, "DiagnosticReport").references("result")


def build_review_bundle(
    review: Review, report: Resource, observations: Sequence[Resource], *, performer_name: str, plugin_url: str
) -> Resource:
    """Build the transaction that makes a result final, or marks it as entered in error.

    Report and Observations are replaced only in the versions that were read, so a review never overwrites what
    somebody else changed meanwhile. Ask is_reviewed first: a report that has its new status already needs no second
    transaction.

    Args:
        report: The DiagnosticReport as just read from the EHR.
        observations: Its Observations, as just read.
        performer_name: The site's organisation.
        plugin_url: Where a person finds the analysis in the plugin.

    Raises:
        MalformedResourceError: The report is not preliminary, or a resource is not what it should be.
    """
    _check(report, "DiagnosticReport")
    for observation in observations:
        _check(observation, "Observation")
    if report.get("status") != "preliminary":
        raise MalformedResourceError(
            f"DiagnosticReport/{report['id']}: expected status preliminary, got another one. Somebody else has decided "
            "on it in the EHR; settle it there."
        )
    changed = [_reviewed_report(report, review), *(_with_status(one, review.decision) for one in observations)]
    references = [f"{resource['resourceType']}/{resource['id']}" for resource in changed]
    provenance = build_review_provenance(
        [target(reference) for reference in references],
        _practitioner(review.reviewer),
        next((one["device"] for one in observations if isinstance(one.get("device"), dict)), None),
        tag=str(derived_uuid(review.key, "Provenance", "review", review.decision)),
        performer_name=performer_name,
        at=review.at,
    )
    context = AuditContext(
        key=review.key,
        patient_reference=Element.of(report, "DiagnosticReport").reference("subject"),
        performer_name=performer_name,
        plugin_url=plugin_url,
        fhir_base_url=review.fhir_base_url,
        user=_practitioner(review.reviewer),
    )
    written = AccessRecord("U", references[0], None, review.fhir_base_url, review.at)
    return transaction(
        [
            *(update_entry(resource, fhir_base_url=review.fhir_base_url) for resource in changed),
            provenance_entry(full_url(review.key, "Provenance", "review", review.decision), provenance),
            *audit_entries(context, [written]),
        ]
    )


def _check(resource: Resource, resource_type: str) -> None:
    element = Element.of(resource, resource_type)
    if element.text("resourceType") != resource_type:
        raise MalformedResourceError(f"Expected the {resource_type} of a result, got another resource.")
    element.required_text("id")


def _with_status(resource: Resource, decision: ReviewDecision) -> Resource:
    return {**copy.deepcopy(resource), "status": decision.value}


def _reviewed_report(report: Resource, review: Review) -> Resource:
    """The report with its decision. The AI's words stay; what the radiologist says stands below them."""
    reviewed = _with_status(report, review.decision)
    verdict = f"{_VERDICTS[review.decision]} by {review.reviewer.display_name} on {review.at.date().isoformat()}."
    element = Element.of(reviewed, "DiagnosticReport")
    said = [element.text("conclusion"), verdict, review.comment.strip()]
    reviewed["conclusion"] = "\n".join(line for line in said if line)
    # The narrative was generated before the decision; one that contradicts the report is worse than none.
    reviewed.pop("text", None)
    reference = review.reviewer.practitioner_reference
    if reference:
        interpreter = {"reference": reference, "display": review.reviewer.display_name}
    else:
        interpreter = {"reference": f"#{_PRACTITIONER_ID}", "display": review.reviewer.display_name}
        others = [one.fields for one in element.children("contained") if one.text("id") != _PRACTITIONER_ID]
        reviewed["contained"] = [*others, _contained_practitioner(review.reviewer)]
    reviewed["resultsInterpreter"] = [interpreter]
    return reviewed


def _contained_practitioner(reviewer: Reviewer) -> Resource:
    return {
        "resourceType": "Practitioner",
        "id": _PRACTITIONER_ID,
        "identifier": [identifier(USERNAME, reviewer.username)],
        "name": [{"text": reviewer.display_name}],
    }


def _practitioner(reviewer: Reviewer) -> Resource:
    if reviewer.practitioner_reference:
        return {"reference": reviewer.practitioner_reference, "display": reviewer.display_name}
    logical = {"type": "Practitioner", "identifier": identifier(USERNAME, reviewer.username)}
    return {**logical, "display": reviewer.display_name}
