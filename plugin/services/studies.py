"""From what was announced to series in archives: EHR first, then PACS."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from dicom_ingest.errors import StudyNotFoundError
from dicom_ingest.model import Series
from dicom_ingest.ports import ImageArchive
from fhir_adapter.endpoints import choose_addresses
from fhir_adapter.imaging_study import imaging_study_search_parameters, parse_imaging_study
from fhir_adapter.model import AccessRecord, ImagingStudy
from plugin.errors import StudyIncompleteError, StudyUnavailableError
from plugin.services.ports import Services
from plugin.services.values import Analysis, Patient

_GONE = {"cancelled", "entered-in-error"}


@dataclass(frozen=True, eq=False)
class AnnouncedStudy:
    """A study as the EHR tells it.

    Attributes:
        imaging_study: None when the EHR has none: the study was asked for by its UID.
        addresses: DICOMweb base by series UID; a series that is not in it is looked for in the default archive.
    """

    study_instance_uid: str
    imaging_study: ImagingStudy | None
    addresses: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class ArchivedSeries:
    """A series and the archive that holds it; address is None for the site's default archive."""

    series: Series
    archive: ImageArchive
    address: str | None


def find_imaging_study(services: Services, analysis: Analysis) -> ImagingStudy | None:
    """The EHR's ImagingStudy of an analysis, read afresh; None when the EHR has none.

    Raises:
        FhirAdapterError: It cannot be read, or is not usable.
    """
    if analysis.imaging_study_reference:
        return parse_imaging_study(services.fhir.read(analysis.imaging_study_reference))
    if not analysis.study_instance_uid:
        return None
    parameters = imaging_study_search_parameters(analysis.study_instance_uid)
    found = services.fhir.search("ImagingStudy", parameters, limit=1)
    return parse_imaging_study(found[0]) if found else None


def access_record(services: Services, analysis: Analysis, at: datetime) -> AccessRecord:
    """How the EHR was asked for the study, for the AuditEvent."""
    server = services.site.fhir_base_url
    if analysis.imaging_study_reference:
        return AccessRecord("R", analysis.imaging_study_reference, None, server, at)
    parameters = imaging_study_search_parameters(analysis.study_instance_uid or "")
    query = "ImagingStudy?" + "&".join(f"{name}={value}" for name, value in parameters.items())
    return AccessRecord("E", None, query, server, at)


def resolve_study(services: Services, analysis: Analysis) -> AnnouncedStudy:
    """What the EHR says of the study, and where its series are.

    Raises:
        StudyUnavailableError: It is cancelled or entered in error.
        FhirAdapterError: It cannot be read, or is not usable.
    """
    study = find_imaging_study(services, analysis)
    if study is None:
        return AnnouncedStudy(analysis.study_instance_uid or "", None, {})
    if study.status in _GONE:
        raise StudyUnavailableError(
            f"The EHR gives the study {study.study_instance_uid} the status {study.status}; nothing is analysed."
        )
    named = {*study.endpoint_references, *(ref for series in study.series for ref in series.endpoint_references)}
    endpoints = {
        reference: services.fhir.read(reference) for reference in sorted(named) if not reference.startswith("#")
    }
    return AnnouncedStudy(study.study_instance_uid, study, choose_addresses(study, endpoints))


def list_study(services: Services, announced: AnnouncedStudy) -> list[ArchivedSeries]:
    """The study's series as the archives hold them.

    Raises:
        StudyNotFoundError: No archive has the study.
        StudyIncompleteError: An archive holds fewer instances than the EHR announced: they may still come.
        ArchiveError: An archive is away, refuses, or is not allowed.
    """
    uid = announced.study_instance_uid
    found: dict[str, ArchivedSeries] = {}
    addresses: list[str | None] = [*sorted(set(announced.addresses.values()))] or [None]
    for address in addresses:
        archive = services.archives.at(address)
        try:
            listed = archive.list_series(uid)
        except StudyNotFoundError:
            continue
        for series in listed:
            if announced.addresses.get(series.series_instance_uid, address) == address:
                found[series.series_instance_uid] = ArchivedSeries(series, archive, address)
    if not found:
        raise StudyNotFoundError(f"No archive holds the study {uid}. Check that it was sent to the PACS.")
    _check_complete(announced, found)
    return list(found.values())


def _check_complete(announced: AnnouncedStudy, found: Mapping[str, ArchivedSeries]) -> None:
    for series in announced.imaging_study.series if announced.imaging_study else ():
        if series.modality != "MR":
            continue
        held = (
            found[series.series_instance_uid].series.number_of_instances if series.series_instance_uid in found else 0
        )
        if held < (series.number_of_instances or 0):
            raise StudyIncompleteError(
                f"Series {series.series_instance_uid}: the EHR announces {series.number_of_instances} images, the "
                f"archive holds {held}. The rest may still be on its way."
            )


def patient_of(series: Series) -> Patient:
    """The patient as the images name them."""
    header = series.header
    return Patient(
        name=str(header.get("PatientName", "") or ""),
        patient_id=str(header.get("PatientID", "") or ""),
        birth_date=str(header.get("PatientBirthDate", "") or ""),
        sex=str(header.get("PatientSex", "") or ""),
    )
