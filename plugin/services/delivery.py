"""The outbox: what was decided is told to PACS and EHR, in order, until each has it.

A delivery may run twice: what is there already is found, compared and counted as sent.
"""

import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from dicom_ingest.comparison import check_stored
from dicom_ingest.errors import InstanceNotFoundError
from dicom_ingest.instances import parse_instance
from fhir_adapter.model import Review, ReviewDecision, Reviewer
from fhir_adapter.outgoing import check_created
from fhir_adapter.ports import Resource
from fhir_adapter.reports import build_result_bundle, result_search_parameters
from fhir_adapter.reviews import build_review_bundle, is_reviewed, result_references
from plugin.errors import DeliveryNotFoundError, ReportNotFoundError, Treatment, remedy
from plugin.services.ports import Services
from plugin.services.publication import result_content
from plugin.services.running import describe, later, place_of
from plugin.services.values import Analysis, Artefact, Delivery, DeliveryKind

_log = logging.getLogger(__name__)
_FILES = {DeliveryKind.SEG: "seg.dcm", DeliveryKind.SR: "sr.dcm"}


def deliver_results(services: Services, *, analysis_id: str) -> None:
    """Send an analysis' due deliveries, in order; stops at the first that does not go through."""
    owner = uuid.uuid4().hex
    while True:
        delivery = services.store.claim_delivery(
            analysis_id, owner=owner, now=services.clock(), lease=services.site.lease
        )
        if delivery is None or not _attempt(services, delivery):
            return


def _attempt(services: Services, delivery: Delivery) -> bool:
    try:
        receipt = _send(services, delivery)
    except Exception as error:  # noqa: BLE001 - the outer edge: a failed delivery waits or is dead, and is seen
        _log.warning(
            "delivery %s of analysis %s: %s: %s (%s)",
            delivery.kind,
            delivery.analysis_id,
            type(error).__name__,
            describe(error),
            place_of(error),
        )
        _log.debug("delivery %s", delivery.id, exc_info=error)
        _mark_failed(services, delivery, error)
        return False
    services.store.mark_sent(delivery.id, receipt=receipt, now=services.clock())
    return True


def _mark_failed(services: Services, delivery: Delivery, error: Exception) -> None:
    now, site = services.clock(), services.site
    again = remedy(error).treatment is Treatment.RETRY and delivery.attempts < site.max_delivery_attempts
    services.store.mark_failed(
        delivery.id,
        error=describe(error),
        next_attempt_at=later(now, site.retry_base, delivery.attempts) if again else None,
        now=now,
    )


def _send(services: Services, delivery: Delivery) -> Mapping[str, Any]:
    analysis = services.store.get(delivery.analysis_id)
    if analysis is None:
        raise DeliveryNotFoundError(f"Delivery {delivery.id} belongs to no analysis.")
    match delivery.kind:
        case DeliveryKind.SEG | DeliveryKind.SR:
            return _send_instance(services, delivery, _artefact(services, analysis, _FILES[delivery.kind]))
        case DeliveryKind.REPORT:
            return _send_report(services, analysis)
        case DeliveryKind.REVIEW:
            return _send_review(services, analysis)


def _artefact(services: Services, analysis: Analysis, name: str) -> Artefact:
    found = services.store.artefact(analysis.id, name)
    if found is None:
        raise DeliveryNotFoundError(f"Analysis {analysis.id} has no stored {name}.")
    return found


def _send_instance(services: Services, delivery: Delivery, file: Artefact) -> Mapping[str, Any]:
    """Store an instance, read it back and compare; an archive that already has it is not sent it again."""
    sent = parse_instance(file.content)
    archive = services.archives.at(delivery.destination)
    uids = (str(sent.StudyInstanceUID), str(sent.SeriesInstanceUID), str(sent.SOPInstanceUID))
    try:
        stored = archive.fetch_instance(*uids)
    except InstanceNotFoundError:
        archive.store_instance(file.content, uids[0])
        stored = archive.fetch_instance(*uids)
    check_stored(sent, stored)
    return {"study_instance_uid": uids[0], "series_instance_uid": uids[1], "sop_instance_uid": uids[2]}


def _send_report(services: Services, analysis: Analysis) -> Mapping[str, Any]:
    """Post the report's transaction, unless an earlier attempt whose answer got lost already did."""
    earlier = _find_report(services, analysis)
    if earlier is None:
        files = {
            name: _artefact(services, analysis, name).content
            for name in ("seg.dcm", "sr.dcm", "report.html", "report.pdf")
        }
        bundle = build_result_bundle(result_content(services, analysis, files))
        check_created(bundle)
        services.fhir.transact(bundle)
        earlier = _find_report(services, analysis)
    if earlier is None:
        raise ReportNotFoundError("The EHR accepted the report's transaction, but does not find the report.")
    return _receipt(services, earlier)


def _send_review(services: Services, analysis: Analysis) -> Mapping[str, Any]:
    """Make the report final or entered in error, unless an earlier attempt already did."""
    report = _find_report(services, analysis)
    if report is None:
        raise ReportNotFoundError("The EHR does not hold the report that was reviewed; it may have been deleted there.")
    review = _review_of(services, analysis)
    if not is_reviewed(report, review.decision):
        observations = [services.fhir.read(reference) for reference in result_references(report)]
        services.fhir.transact(
            build_review_bundle(
                review,
                report,
                observations,
                performer_name=services.site.organisation,
                plugin_url=f"{services.site.public_url}/analyses/{analysis.id}",
            )
        )
        report = services.fhir.read(f"DiagnosticReport/{report['id']}")
    return _receipt(services, report)


def _review_of(services: Services, analysis: Analysis) -> Review:
    record = analysis.review
    if record is None:
        raise DeliveryNotFoundError(f"Analysis {analysis.id} has no review.")
    user = services.store.get_user(record.reviewer)
    return Review(
        key=analysis.work_key or "",
        decision=ReviewDecision(record.decision),
        reviewer=Reviewer(
            username=record.reviewer,
            display_name=user.display_name if user else record.reviewer,
            practitioner_reference=user.practitioner_reference if user else None,
        ),
        comment=record.comment,
        at=record.at,
        fhir_base_url=services.site.fhir_base_url,
    )


def _find_report(services: Services, analysis: Analysis) -> Resource | None:
    found: Sequence[Resource] = services.fhir.search(
        "DiagnosticReport", result_search_parameters(analysis.work_key or ""), limit=1
    )
    return found[0] if found else None


def _receipt(services: Services, report: Resource) -> Mapping[str, Any]:
    """What the EHR holds now, for the page that shows what was sent where."""
    reference = f"DiagnosticReport/{report['id']}"
    provenance = services.fhir.search("Provenance", {"target": reference})
    return {
        "DiagnosticReport": reference,
        "status": report.get("status"),
        "ImagingStudy": [item.get("reference") for item in report.get("imagingStudy", [])],
        "Observation": [item.get("reference") for item in report.get("result", [])],
        "Provenance": [f"Provenance/{item['id']}" for item in provenance],
    }


def replay_delivery(services: Services, *, delivery_id: int) -> None:
    """Send a dead delivery again, with all its attempts.

    Raises:
        DeliveryNotFoundError: There is none, or it is not dead.
    """
    delivery = services.store.replay(delivery_id, now=services.clock())
    if delivery is None:
        raise DeliveryNotFoundError(f"There is no dead delivery {delivery_id}.")
    services.queue.deliver(delivery.analysis_id)
