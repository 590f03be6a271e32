"""What the EHR knows about an examination: Patient, order, ImagingStudy and where the images are (FHIR R4)."""

import uuid
from datetime import UTC, datetime, time
from typing import Any

from sandbox.patients.identity import Identity, Visit
from sandbox.patients.mr_series import STUDY_TIME, series_description
from sandbox.patients.subjects import SEQUENCES, Subject

Resource = dict[str, Any]

MRN_SYSTEM = "http://sandbox-hospital.example/mrn"
ACCESSION_SYSTEM = "http://sandbox-hospital.example/accession"
ENDPOINT_SYSTEM = "http://sandbox-hospital.example/endpoint"
ENDPOINT_ID = "sandbox-pacs"
_V2_0203 = "http://terminology.hl7.org/CodeSystem/v2-0203"
_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_PROCEDURE = {"system": "http://loinc.org", "code": "24587-8", "display": "MR Brain WO and W contrast IV"}
_BRAIN = {"system": "http://snomed.info/sct", "code": "12738006", "display": "Brain structure"}
_MR = {"system": _DCM, "code": "MR"}


def build_registration(subject: Subject, visit: Visit, wado_url: str) -> Resource:
    """Build the transaction that tells the EHR of an examination; sending it twice changes nothing.

    Args:
        subject: For the number of slices.
        visit: Identifiers.
        wado_url: Base of the PACS's DICOMweb services.
    """
    patient, order = f"urn:uuid:{uuid.uuid4()}", f"urn:uuid:{uuid.uuid4()}"
    endpoint = f"urn:uuid:{uuid.uuid4()}"
    started = datetime.combine(visit.study_date, time.fromisoformat(STUDY_TIME), UTC).isoformat()
    study = _build_imaging_study(subject, visit, started) | {
        "subject": {"reference": patient},
        "basedOn": [{"reference": order}],
        "endpoint": [{"reference": endpoint}],
    }
    request = _build_service_request(visit, started) | {"subject": {"reference": patient}}
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            _create_once(_build_patient(visit.patient), f"{MRN_SYSTEM}|{visit.patient.patient_id}", patient),
            # The PACS may have moved since the last time: updated, not only created.
            _put(_build_endpoint(wado_url), f"Endpoint?identifier={ENDPOINT_SYSTEM}|{ENDPOINT_ID}", endpoint),
            _create_once(request, f"{ACCESSION_SYSTEM}|{visit.accession_number}", order),
            _create_once(study, f"urn:dicom:uid|urn:oid:{visit.study_instance_uid}", f"urn:uuid:{uuid.uuid4()}"),
        ],
    }


def _create_once(resource: Resource, identifier: str, full_url: str) -> Resource:
    request = {"method": "POST", "url": resource["resourceType"], "ifNoneExist": f"identifier={identifier}"}
    return {"fullUrl": full_url, "resource": resource, "request": request}


def _put(resource: Resource, url: str, full_url: str) -> Resource:
    return {"fullUrl": full_url, "resource": resource, "request": {"method": "PUT", "url": url}}


def _build_patient(patient: Identity) -> Resource:
    kind = {"coding": [{"system": _V2_0203, "code": "MR", "display": "Medical record number"}]}
    return {
        "resourceType": "Patient",
        "active": True,
        "identifier": [{"use": "usual", "type": kind, "system": MRN_SYSTEM, "value": patient.patient_id}],
        "name": [{"use": "official", "family": patient.family_name, "given": [patient.given_name]}],
        "gender": {"F": "female", "M": "male"}[patient.sex],
        "birthDate": patient.birth_date.isoformat(),
    }


def _build_endpoint(wado_url: str) -> Resource:
    return {
        "resourceType": "Endpoint",
        "identifier": [{"system": ENDPOINT_SYSTEM, "value": ENDPOINT_ID}],
        "status": "active",
        "connectionType": {
            "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
            "code": "dicom-wado-rs",
        },
        "name": "Sandbox PACS",
        "payloadType": [{"coding": [{"system": _DCM, "code": "113014", "display": "DICOM Study"}], "text": "DICOM"}],
        "payloadMimeType": ["application/dicom"],
        "address": wado_url,
    }


def _accession_identifier(visit: Visit) -> Resource:
    kind = {"coding": [{"system": _V2_0203, "code": "ACSN", "display": "Accession ID"}]}
    return {"type": kind, "system": ACCESSION_SYSTEM, "value": visit.accession_number}


def _build_service_request(visit: Visit, started: str) -> Resource:
    return {
        "resourceType": "ServiceRequest",
        "identifier": [_accession_identifier(visit)],
        "status": "active",
        "intent": "order",
        "code": {"coding": [_PROCEDURE], "text": _PROCEDURE["display"]},
        "authoredOn": started,
        "reasonCode": [{"text": "Suspected intracranial mass"}],
    }


def _build_imaging_study(subject: Subject, visit: Visit, started: str) -> Resource:
    slices = int(subject.label.shape[2])
    series = [
        {
            "uid": visit.series_instance_uids[sequence],
            "number": number,
            "modality": _MR,
            "description": series_description(sequence),
            "numberOfInstances": slices,
            "bodySite": _BRAIN,
        }
        for number, sequence in enumerate(SEQUENCES, start=1)
    ]
    return {
        "resourceType": "ImagingStudy",
        "identifier": [
            {"use": "official", "system": "urn:dicom:uid", "value": f"urn:oid:{visit.study_instance_uid}"},
            _accession_identifier(visit),
        ],
        "status": "available",
        "modality": [_MR],
        "started": started,
        "numberOfSeries": len(series),
        "numberOfInstances": slices * len(series),
        "procedureCode": [{"coding": [_PROCEDURE]}],
        "description": "MR brain without and with contrast",
        "series": series,
    }
