"""ImagingStudy resources: the EHR's word on which study there is, and where its series are."""

import re
from collections.abc import Mapping

from fhir_adapter.elements import Element
from fhir_adapter.errors import MalformedResourceError, NoStudyUidError
from fhir_adapter.identifiers import DICOM_UID, study_uid_from_identifier, urn_oid
from fhir_adapter.model import ImagingStudy, ImagingStudySeries
from fhir_adapter.ports import Resource
from fhir_adapter.references import parse_reference

# R4 ValueSet imagingstudy-status, required binding.
_STATUSES = frozenset({"registered", "available", "cancelled", "entered-in-error", "unknown"})

# R4 datatypes.html#dateTime, without its ranges: a server that checks them refuses the write with a reason.
_DATE_TIME = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d))?)?)?", re.ASCII)


def parse_imaging_study(resource: Resource) -> ImagingStudy:
    """Read an ImagingStudy of R4, R4B or R5.

    Raises:
        MalformedResourceError: Not an ImagingStudy, without an id, or an element that the plugin uses is unusable.
        NoStudyUidError: No identifier holds the DICOM study instance UID.
    """
    element = Element.of(resource, "ImagingStudy")
    if element.text("resourceType") != "ImagingStudy":
        raise MalformedResourceError("Expected an ImagingStudy, got another resource.")
    reference = parse_reference(f"ImagingStudy/{element.required_text('id')}")
    if reference is None:
        raise MalformedResourceError("ImagingStudy.id: expected a FHIR id, got another text.")
    status = element.required_text("status")
    if status not in _STATUSES:
        raise MalformedResourceError(
            f"{reference.local}: expected a status of {', '.join(sorted(_STATUSES))}, got another."
        )
    meta = element.child("meta")
    return ImagingStudy(
        reference=reference.local,
        version_id=meta.text("versionId") if meta else None,
        status=status,
        study_instance_uid=_study_instance_uid(element, reference.local),
        patient_reference=_patient_reference(element),
        started=_date_time(element.text("started")),
        description=element.text("description"),
        accession_number=_accession_number(element),
        based_on=element.references("basedOn"),
        endpoint_references=element.references("endpoint"),
        series=tuple(_series(series) for series in element.children("series")),
        resource=resource,
    )


def imaging_study_search_parameters(study_instance_uid: str) -> Mapping[str, str]:
    """How to search for the ImagingStudy of a DICOM study."""
    return {"identifier": f"{DICOM_UID}|{urn_oid(study_instance_uid)}"}


def _study_instance_uid(element: Element, reference: str) -> str:
    for identifier in element.children("identifier"):
        if identifier.text("system") == DICOM_UID and (value := identifier.text("value")):
            try:
                return study_uid_from_identifier(value)
            except MalformedResourceError as error:
                raise NoStudyUidError(f"{reference}: {error}") from error
    raise NoStudyUidError(
        f"{reference}: expected an identifier of system {DICOM_UID}, got none. Ask the EHR's team for it."
    )


def _date_time(value: str | None) -> str | None:
    """A dateTime to quote in the report; one that is none is left out, for the DICOM study has it too."""
    return value if value and _DATE_TIME.fullmatch(value) else None


def _accession_number(element: Element) -> str | None:
    for identifier in element.children("identifier"):
        kind = identifier.child("type")
        if kind and any(coding.text("code") == "ACSN" for coding in kind.children("coding")):
            return identifier.text("value")
    return None


def _patient_reference(element: Element) -> str | None:
    """The subject when it is a Patient: an ImagingStudy may also be of a Device or a Group (phantoms, herds)."""
    literal = element.reference("subject")
    reference = parse_reference(literal) if literal else None
    return literal if reference and reference.resource_type == "Patient" else None


def _series(element: Element) -> ImagingStudySeries:
    try:
        uid = study_uid_from_identifier(element.required_text("uid"))
    except MalformedResourceError as error:
        raise MalformedResourceError(f"{element.path}.uid: {error}") from error
    return ImagingStudySeries(
        series_instance_uid=uid,
        modality=element.code("modality") or "",
        number_of_instances=element.count("numberOfInstances"),
        endpoint_references=element.references("endpoint"),
    )
