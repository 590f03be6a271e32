"""The ImagingStudy of a result: the EHR's own with the result's series added, or a new one."""

import copy
from collections.abc import Iterable

from fhir_adapter import codes
from fhir_adapter.codes import coding, concept
from fhir_adapter.elements import Element
from fhir_adapter.identifiers import DICOM_UID, derived_uuid, urn_oid
from fhir_adapter.instants import date_time
from fhir_adapter.model import ImagingStudy, PublishedInstance, ResultContent
from fhir_adapter.ports import Resource
from fhir_adapter.transactions import identifier


def series_element_id(series_instance_uid: str) -> str:
    """The id of a result's series inside the ImagingStudy, for a Provenance that speaks of that series alone."""
    return f"series-{derived_uuid(series_instance_uid)}"


def extend_imaging_study(study: ImagingStudy, content: ResultContent) -> Resource | None:
    """The EHR's ImagingStudy with the result's series.

    Returns:
        The resource to write, None when it already has all of them.

    Raises:
        MalformedResourceError: Its modalities are not what they should be.
    """
    held = {series.series_instance_uid for series in study.series}
    added = [series for series in result_series(content) if series["uid"] not in held]
    if not added:
        return None
    resource = copy.deepcopy(study.resource)
    resource["series"] = [*resource.get("series", []), *added]
    modalities = Element.of(resource, study.reference).children("modality")
    resource["modality"] = _with_modalities([modality.fields for modality in modalities], added)
    instances = sum(series["numberOfInstances"] for series in added)
    for name, more in (("numberOfSeries", len(added)), ("numberOfInstances", instances)):
        if isinstance(resource.get(name), int):
            resource[name] += more
    return resource


def build_imaging_study(content: ResultContent) -> Resource:
    """A new ImagingStudy for a study that the EHR does not hold: it lists the result's series only."""
    series = result_series(content)
    resource: Resource = {
        "resourceType": "ImagingStudy",
        "identifier": [identifier(DICOM_UID, urn_oid(content.study_instance_uid))],
        "status": "available",
        "subject": {"reference": content.patient_reference},
        "modality": _with_modalities([], series),
        "series": series,
    }
    if content.accession_number:
        resource["identifier"].append({"type": concept(codes.ACCESSION), "value": content.accession_number})
    if content.study_started:
        resource["started"] = date_time(content.study_started)
    if content.endpoint_reference:
        resource["endpoint"] = [{"reference": content.endpoint_reference}]
    return resource


def result_series(content: ResultContent) -> list[Resource]:
    """ImagingStudy.series of what the plugin stored in the archive."""
    by_uid: dict[str, Resource] = {}
    for instance in content.instances:
        series = by_uid.setdefault(instance.series_instance_uid, _series(instance, content))
        series["instance"].append(_instance(instance, len(series["instance"]) + 1))
        series["numberOfInstances"] = len(series["instance"])
    return list(by_uid.values())


def _series(instance: PublishedInstance, content: ResultContent) -> Resource:
    series: Resource = {
        "id": series_element_id(instance.series_instance_uid),
        "uid": instance.series_instance_uid,
        "number": instance.series_number,
        "modality": coding(codes.modality(instance.modality)),
        "description": instance.description,
        "numberOfInstances": 0,
        "bodySite": coding(codes.BRAIN),
        "instance": [],
    }
    if content.endpoint_reference:
        series["endpoint"] = [{"reference": content.endpoint_reference}]
    return series


def _instance(instance: PublishedInstance, number: int) -> Resource:
    sop_class = {"system": "urn:ietf:rfc:3986", "code": urn_oid(instance.sop_class_uid)}
    return {"uid": instance.sop_instance_uid, "sopClass": sop_class, "number": number, "title": instance.description}


def _with_modalities(modalities: list[Resource], series: Iterable[Resource]) -> list[Resource]:
    present = {modality.get("code") for modality in modalities}
    added = {one["modality"]["code"]: one["modality"] for one in series}
    return [*modalities, *(modality for code, modality in added.items() if code not in present)]
