"""A finished analysis and the EHR's resources around it, for tests that tell an EHR of a result."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from fhir_adapter.imaging_study import parse_imaging_study
from fhir_adapter.model import (
    AccessRecord,
    AiModel,
    Coding,
    PublishedInstance,
    RegionFinding,
    ResultContent,
    Review,
    ReviewDecision,
    Reviewer,
)
from fhir_adapter.ports import Resource

EHR = "https://ehr.test/fhir"
PACS = "https://pacs.test/dicom-web"
STUDY_UID = "1.2.826.0.1.3680043.8.498.101"
MR_SERIES_UID = f"{STUDY_UID}.1"
SEG_SERIES_UID = f"{STUDY_UID}.90"
SR_SERIES_UID = f"{STUDY_UID}.91"
KEY = "5d41402abc4b2a76b9719d911017c592ae2b7a6d6f1b3f4b9c0c0d8b9f6a7e51"
ISSUED = datetime(2026, 3, 4, 10, 30, 15, 250_000, tzinfo=UTC)

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_SCT = "http://snomed.info/sct"
_NCIT = "http://ncicb.nci.nih.gov/xml/owl/EVS/Thesaurus.owl"


def imaging_study_resource(**changes: Any) -> Resource:
    """An ImagingStudy as an EHR holds it."""
    accession = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]}
    resource: Resource = {
        "resourceType": "ImagingStudy",
        "id": "study-1",
        "identifier": [
            {"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY_UID}"},
            {"type": accession, "value": "A-100"},
        ],
        "status": "available",
        "subject": {"reference": "Patient/p-1"},
        "started": "2026-03-04T09:00:00+01:00",
        "basedOn": [{"reference": "ServiceRequest/order-1"}],
        "modality": [{"system": _DCM, "code": "MR"}],
        "numberOfSeries": 1,
        "numberOfInstances": 40,
        "description": "MRI brain",
        "series": [
            {"uid": MR_SERIES_UID, "modality": {"system": _DCM, "code": "MR"}, "numberOfInstances": 40},
        ],
    }
    return {**resource, **changes}


def result_content(resource: Resource | None = None, **changes: Any) -> ResultContent:
    """A result with a tumour; resource is the EHR's ImagingStudy as read, None for a study it does not hold."""
    neoplasm = Coding(_SCT, "108369006", "Neoplasm")
    enhancing = Coding(_NCIT, "C113842", "Enhancing Lesion")
    content = ResultContent(
        key=KEY,
        analysis_id="analysis-1",
        issued=ISSUED,
        study_instance_uid=STUDY_UID,
        imaging_study=parse_imaging_study(resource) if resource else None,
        patient_reference="Patient/p-1",
        accession_number="A-100",
        study_started=datetime(2026, 3, 4, 8, 0, tzinfo=UTC),
        model=AiModel("QFL hybrid segmenter", "a" * 64, "QFL consortium", "0.1.0"),
        performer_name="Example Hospital",
        plugin_url="https://plugin.test/analyses/analysis-1",
        fhir_base_url=EHR,
        regions=(
            RegionFinding("whole-tumour", "Whole tumour", neoplasm, 41.23456, 52.34, 40.07, 0.87654),
            RegionFinding("enhancing", "Enhancing tumour", enhancing, 0.0, None, None, None),
        ),
        tumour_found=True,
        conclusion="A tumour of 41.2 mL was segmented.",
        warnings=("The T2 series has gaps.",),
        report_html=b"<html><body>Report</body></html>",
        report_pdf=b"%PDF-1.7 report",
        instances=(
            _instance(SEG_SERIES_UID, "1.2.840.10008.5.1.4.1.1.66.4", "SEG", 990),
            _instance(SR_SERIES_UID, "1.2.840.10008.5.1.4.1.1.88.34", "SR", 991),
        ),
        accesses=(
            AccessRecord("R", "ImagingStudy/study-1", None, EHR, ISSUED),
            AccessRecord("E", None, "ImagingStudy?identifier=urn:dicom:uid|urn:oid:1.2", EHR, ISSUED),
            AccessRecord("R", f"urn:oid:{STUDY_UID}", None, PACS, ISSUED),
            AccessRecord("C", f"urn:oid:{SEG_SERIES_UID}.1", None, PACS, ISSUED),
        ),
    )
    return replace(content, **changes)


def _instance(series_uid: str, sop_class_uid: str, modality: str, number: int) -> PublishedInstance:
    return PublishedInstance(series_uid, f"{series_uid}.1", sop_class_uid, modality, number, f"AI tumour {modality}")


def review(
    decision: ReviewDecision = ReviewDecision.ACCEPTED, *, practitioner_reference: str | None = None, **changes: Any
) -> Review:
    """A radiologist's decision on that result."""
    reviewer = Reviewer("rad1", "Dr Rosa Radner", practitioner_reference)
    made = Review(KEY, decision, reviewer, "Agrees with my reading.", datetime(2026, 3, 5, 8, 15, tzinfo=UTC), EHR)
    return replace(made, **changes)
