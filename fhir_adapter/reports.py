"""A finished analysis as one FHIR transaction: report, measurements, device, provenance and audit trail.

The Bundle may be sent twice. Creates are conditional on identifiers and tags that derive from the work key; the update
of the EHR's ImagingStudy is bound to the version that was read, and left out once the study holds the result's series.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape

from fhir_adapter import codes
from fhir_adapter.audit_events import AuditContext, audit_entries
from fhir_adapter.codes import coding, concept
from fhir_adapter.identifiers import DICOM_UID, RESULT, derived_uuid, urn_oid
from fhir_adapter.instants import date_time, instant
from fhir_adapter.model import AccessRecord, ImagingStudy, ResultContent
from fhir_adapter.observations import build_finding_observation, build_region_observation, observation_identifier
from fhir_adapter.ports import Resource
from fhir_adapter.provenance import (
    RESEARCH_USE,
    build_ai_device,
    build_ai_provenance,
    device_identifier,
    provenance_entry,
    target,
)
from fhir_adapter.references import parse_reference
from fhir_adapter.result_studies import build_imaging_study, extend_imaging_study, result_series
from fhir_adapter.transactions import create_entry, full_url, identifier, transaction, update_entry

# R4 DiagnosticReport.basedOn, without what an ImagingStudy cannot be based on.
_ORDERS = {"ServiceRequest", "CarePlan"}


def result_identifier(key: str) -> tuple[str, str]:
    """System and value of the DiagnosticReport's identifier."""
    return RESULT, key


def result_search_parameters(key: str) -> Mapping[str, str]:
    """How to search for the DiagnosticReport of a result."""
    return {"identifier": f"{RESULT}|{key}"}


def build_result_bundle(content: ResultContent) -> Resource:
    """Build the transaction that tells the EHR of a result.

    The report is preliminary and marked as asserted by AI: nothing becomes final without a person. The Device itself is
    no target of the Provenance: it is the author, not the work.

    Raises:
        ValueError: A time without a zone, or an access that lacks what its action needs.
    """
    key = content.key
    device = full_url(key, "Device")
    report = full_url(key, "DiagnosticReport")
    study, study_entries = _imaging_study(content)
    shared = _shared_by_observations(content, device, study)
    observations = _observation_entries(content, shared)
    results = [entry["fullUrl"] for entry in observations]
    provenance = build_ai_provenance(
        [target(report), *(target(result) for result in results), *_study_targets(study, study_entries, content)],
        device,
        [_source(content)],
        tag=str(derived_uuid(key, "Provenance", "result")),
        performer_name=content.performer_name,
        at=content.issued,
    )
    written = AccessRecord("C", report, None, content.fhir_base_url, content.issued)
    return transaction(
        [
            _create(device, build_ai_device(content.model), device_identifier(content.model)),
            *study_entries,
            *observations,
            _create(report, _report(content, study, results), result_identifier(key)),
            provenance_entry(full_url(key, "Provenance", "result"), provenance),
            *audit_entries(_audit_context(content), [*content.accesses, written]),
        ]
    )


def audit_bundle(context: AuditContext, accesses: Iterable[AccessRecord]) -> Resource:
    """Build the transaction that records the accesses of an analysis that ended without a result.

    Raises:
        ValueError: There are none: an empty Bundle would look like an audit trail.
    """
    entries = audit_entries(context, accesses)
    if not entries:
        raise ValueError("Expected at least one access to record, got none.")
    return transaction(entries)


def _create(url: str, resource: Resource, token: tuple[str, str]) -> Resource:
    return create_entry(url, resource, parameter="identifier", token=token)


def _imaging_study(content: ResultContent) -> tuple[str, list[Resource]]:
    """The reference to the ImagingStudy, and the entries that bring it up to date."""
    study = content.imaging_study
    if study is None:
        url = full_url(content.key, "ImagingStudy")
        return url, [_create(url, build_imaging_study(content), (DICOM_UID, urn_oid(content.study_instance_uid)))]
    extended = extend_imaging_study(study, content)
    return study.reference, [update_entry(extended, fhir_base_url=content.fhir_base_url)] if extended else []


def _study_targets(study: str, study_entries: list[Resource], content: ResultContent) -> list[Resource]:
    """The AI made the result's series, not the study they were added to: they are named by their element ids."""
    if not study_entries:
        return []
    ours = {series["id"] for series in result_series(content)}
    written = [series["id"] for series in study_entries[0]["resource"]["series"] if series.get("id") in ours]
    return [target(study, written)] if written else []


def _source(content: ResultContent) -> Resource:
    """What the AI read: the study in the version before its own series were added."""
    study = content.imaging_study
    if study is None:
        return {"type": "ImagingStudy", "identifier": identifier(DICOM_UID, urn_oid(content.study_instance_uid))}
    return {"reference": f"{study.reference}/_history/{study.version_id}" if study.version_id else study.reference}


def _effective(content: ResultContent) -> str:
    """When the images were taken: as the EHR says, else as DICOM says, else when the report was made."""
    started = content.imaging_study.started if content.imaging_study else None
    return started or date_time(content.study_started or content.issued)


def _shared_by_observations(content: ResultContent, device: str, study: str) -> Resource:
    return {
        "subject": {"reference": content.patient_reference},
        "effectiveDateTime": _effective(content),
        "issued": instant(content.issued),
        "performer": [{"type": "Organization", "display": content.performer_name}],
        "device": {"reference": device},
        "derivedFrom": [{"reference": study}],
    }


def _observation_entries(content: ResultContent, shared: Resource) -> list[Resource]:
    key = content.key
    entries = [
        _create(
            full_url(key, "Observation", region.key),
            build_region_observation(region, key, shared),
            observation_identifier(key, region.key),
        )
        for region in content.regions
    ]
    members = [entry["fullUrl"] for entry in entries]
    finding = build_finding_observation(content.tumour_found, members, key, shared)
    url = full_url(key, "Observation", "finding")
    return [_create(url, finding, observation_identifier(key, "finding")), *entries]


def _report(content: ResultContent, study: str, results: Iterable[str]) -> Resource:
    conclusion = _conclusion(content)
    report: Resource = {
        "resourceType": "DiagnosticReport",
        "meta": {"security": [coding(codes.AI_ASSERTED)]},
        "text": {"status": "generated", "div": _narrative(conclusion)},
        # Contained, so that a receiver that must resolve the organisation can (IHE IMR).
        "contained": [{"resourceType": "Organization", "id": "performer", "name": content.performer_name}],
        "identifier": [identifier(*result_identifier(content.key))],
        "status": "preliminary",
        "category": [concept(codes.RADIOLOGY)],
        "code": concept(codes.MR_BRAIN, text="Brain MRI: AI tumour segmentation"),
        "subject": {"reference": content.patient_reference},
        "effectiveDateTime": _effective(content),
        "issued": instant(content.issued),
        "performer": [{"reference": "#performer", "display": content.performer_name}],
        "result": [{"reference": result} for result in results],
        "imagingStudy": [{"reference": study}],
        "conclusion": conclusion,
        "presentedForm": [
            _attachment(content.report_html, "text/html", content),
            _attachment(content.report_pdf, "application/pdf", content),
        ],
    }
    orders = _orders(content.imaging_study)
    if orders:
        report["basedOn"] = orders
    if content.tumour_found:
        report["conclusionCode"] = [concept(codes.BRAIN_NEOPLASM)]
    return report


def _orders(study: ImagingStudy | None) -> list[Resource]:
    parsed = {reference: parse_reference(reference) for reference in (study.based_on if study else ())}
    return [{"reference": text} for text, order in parsed.items() if order and order.resource_type in _ORDERS]


def _conclusion(content: ResultContent) -> str:
    """The AI's words. They stay when the report is reviewed, so they must still be true then."""
    caution = f"Made by an AI model; preliminary until a radiologist has decided on it. {RESEARCH_USE}"
    return "\n".join([content.conclusion, *content.warnings, caution, f"Analysis: {content.plugin_url}"])


def _narrative(text: str) -> str:
    paragraphs = "".join(f"<p>{escape(line)}</p>" for line in text.splitlines() if line.strip())
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{paragraphs}</div>'


def _attachment(data: bytes, content_type: str, content: ResultContent) -> Resource:
    return {
        "contentType": content_type,
        "data": base64.b64encode(data).decode(),
        "size": len(data),
        # R4 datatypes.html#Attachment prescribes SHA-1: it guards against damage, not against an attacker.
        "hash": base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode(),
        "title": "AI tumour segmentation, as it was before review",
        "creation": instant(content.issued),
    }


def _audit_context(content: ResultContent) -> AuditContext:
    return AuditContext(
        key=content.key,
        patient_reference=content.patient_reference,
        performer_name=content.performer_name,
        plugin_url=content.plugin_url,
        fhir_base_url=content.fhir_base_url,
    )
