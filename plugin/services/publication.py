"""What is told of a result: DICOM SEG and SR, pictures, the report, and the FHIR content that goes to the EHR."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version

from pydicom.dataset import Dataset

from dicom_ingest.instances import encode_instance, parse_instance
from dicom_ingest.model import Algorithm, MrContrast, RegionMeasurement, Selection, Volume
from dicom_ingest.segmentation import build_segmentation
from dicom_ingest.structured_report import build_measurement_report
from dicom_ingest.uids import derive_uid
from federated.measurement import measure_regions
from federated.ports import ModelIdentity, Prediction
from fhir_adapter.model import AiModel, PublishedInstance, RegionFinding, ResultContent
from plugin.errors import PatientUnknownError
from plugin.services.pictures import composite, render_pictures
from plugin.services.ports import Services
from plugin.services.regions import BY_KEY, COLOURS, SEGMENTS, to_measurement
from plugin.services.report_document import build_report_html
from plugin.services.report_facts import KeyImage, ReportFacts, findings_sentence
from plugin.services.report_pdf import build_report_pdf
from plugin.services.series_use import series_uses, unused_contrasts
from plugin.services.studies import access_record, find_imaging_study
from plugin.services.values import Analysis, AnalysisResult, Artefact, Measurement, Patient, Step

PRODUCT = "QFL hospital plugin"
MANUFACTURER = "QFL consortium"
SOFTWARE_VERSION = version("qfl-hospital-plugin")
# Far above what a scanner numbers its own series.
_SEG_SERIES_NUMBER, _SR_SERIES_NUMBER = 9001, 9002


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything that an analysis found.

    Attributes:
        key: The work key; every generated UID derives from it.
        sources: The reference series' instances, in the order of its volume's slices.
    """

    key: str
    analysis_id: str
    model: ModelIdentity
    selection: Selection
    patient: Patient
    volumes: Mapping[MrContrast, Volume]
    sources: Sequence[Dataset]
    prediction: Prediction


@dataclass(frozen=True, eq=False)
class Publication:
    """A result and its files, ready to be stored."""

    result: AnalysisResult
    artefacts: tuple[Artefact, ...]


def build_publication(services: Services, findings: Findings) -> Publication:
    """Measure, and write everything that will be told. The same findings at the same time give the same bytes."""
    now = services.clock().astimezone()  # the hospital's time of day is what its archive and its readers expect
    reference = findings.volumes[MrContrast.T1CE]
    labels, probabilities = findings.prediction.labels, findings.prediction.probabilities
    measured = measure_regions(labels, probabilities, reference.affine_lps)
    measurements = tuple(to_measurement(one) for one in measured)
    algorithm = _algorithm(services, findings.model)
    seg = build_segmentation(
        findings.sources, labels, SEGMENTS, algorithm, key=findings.key, series_number=_SEG_SERIES_NUMBER, now=now
    )
    sr = build_measurement_report(
        findings.sources,
        seg,
        [_region_measurement(one) for one in measurements],
        algorithm,
        key=findings.key,
        series_number=_SR_SERIES_NUMBER,
        now=now,
    )
    others = {contrast.value: one for contrast, one in findings.volumes.items() if contrast is not MrContrast.T1CE}
    pictures = render_pictures(reference, others, labels, COLOURS)
    tumour_found = bool(labels.any())
    result = AnalysisResult(
        tumour_found=tumour_found,
        findings=findings_sentence(measurements, tumour_found),
        measurements=measurements,
        warnings=(*unused_contrasts(findings.selection), *findings.prediction.warnings),
        series=series_uses(findings.selection),
        seg_sop_instance_uid=str(seg.SOPInstanceUID),
        sr_sop_instance_uid=str(sr.SOPInstanceUID),
        images=tuple(one.name for one in pictures if _is_key_image(one.name)),
    )
    facts = _report_facts(services, findings, result, pictures, now)
    documents = (
        Artefact("seg.dcm", "application/dicom", encode_instance(seg)),
        Artefact("sr.dcm", "application/dicom", encode_instance(sr)),
        Artefact("report.html", "text/html", build_report_html(facts)),
        Artefact("report.pdf", "application/pdf", build_report_pdf(facts)),
    )
    return Publication(result, (*documents, *pictures))


def _algorithm(services: Services, model: ModelIdentity) -> Algorithm:
    return Algorithm(
        name=model.name,
        version=model.version,
        manufacturer=MANUFACTURER,
        software_version=SOFTWARE_VERSION,
        device_uid=derive_uid("device", services.site.organisation, services.site.public_url),
    )


def _region_measurement(one: Measurement) -> RegionMeasurement:
    region = BY_KEY[one.key]
    return RegionMeasurement(
        label=region.label,
        segment_number=region.segment_number,
        finding=region.code,
        volume_ml=one.volume_ml,
        long_axis_mm=one.long_axis_mm,
        short_axis_mm=one.short_axis_mm,
        confidence=one.confidence,
    )


def _is_key_image(name: str) -> bool:
    return name.startswith("key-") and not name.endswith("-overlay.png")


def _report_facts(
    services: Services,
    findings: Findings,
    result: AnalysisResult,
    pictures: Sequence[Artefact],
    now: datetime,
) -> ReportFacts:
    files = {picture.name: picture.content for picture in pictures}
    header = findings.selection.chosen[MrContrast.T1CE].series.header
    return ReportFacts(
        organisation=services.site.organisation,
        patient=findings.patient,
        accession_number=str(header.get("AccessionNumber", "") or "") or None,
        study_date=str(header.get("StudyDate", "") or "") or None,
        study_description=str(header.get("StudyDescription", "") or "") or None,
        study_instance_uid=findings.selection.chosen[MrContrast.T1CE].series.study_instance_uid,
        analysis_id=findings.analysis_id,
        issued=now,
        model_name=findings.model.name,
        model_version=findings.model.version,
        software_version=SOFTWARE_VERSION,
        findings=result.findings,
        measurements=result.measurements,
        warnings=result.warnings,
        series=result.series,
        images=tuple(_key_image(name, files) for name in result.images),
    )


def _key_image(name: str, files: Mapping[str, bytes]) -> KeyImage:
    _, contrast, plane = name.removesuffix(".png").split("-")
    return KeyImage(contrast, plane, composite(files[name], files[name.replace(".png", "-overlay.png")]))


def result_content(services: Services, analysis: Analysis, files: Mapping[str, bytes]) -> ResultContent:
    """What the EHR is told of a stored result; the ImagingStudy is read afresh, so that its update fits.

    Args:
        files: seg.dcm, sr.dcm, report.html and report.pdf.

    Raises:
        PatientUnknownError: Neither the EHR's ImagingStudy nor its patients say whose study it is.
        FhirAdapterError: The EHR cannot be asked.
    """
    result = analysis.result
    if result is None or analysis.work_key is None:
        raise PatientUnknownError(f"Analysis {analysis.id} has no result to tell.")
    study = find_imaging_study(services, analysis)
    seg, sr = parse_instance(files["seg.dcm"]), parse_instance(files["sr.dcm"])
    resolved = [step.started_at for step in services.store.steps(analysis.id) if step.step is Step.RESOLVE]
    return ResultContent(
        key=analysis.work_key,
        analysis_id=analysis.id,
        issued=services.clock(),
        study_instance_uid=str(seg.StudyInstanceUID),
        imaging_study=study,
        patient_reference=(study.patient_reference if study else None) or _find_patient(services, analysis),
        accession_number=analysis.accession_number,
        study_started=_study_started(seg),
        model=AiModel(
            # The name in the SEG: the model that made the result, whatever this process would load now.
            name=str(seg.SegmentSequence[0].SegmentAlgorithmName),
            version=analysis.model_version or "",
            manufacturer=MANUFACTURER,
            software_version=SOFTWARE_VERSION,
        ),
        performer_name=services.site.organisation,
        plugin_url=f"{services.site.public_url}/analyses/{analysis.id}",
        fhir_base_url=services.site.fhir_base_url,
        regions=tuple(_region_finding(one) for one in result.measurements),
        tumour_found=result.tumour_found,
        conclusion=result.findings,
        warnings=result.warnings,
        report_html=files["report.html"],
        report_pdf=files["report.pdf"],
        instances=(_published(seg), _published(sr)),
        accesses=(access_record(services, analysis, resolved[-1] if resolved else analysis.created_at),),
    )


def _region_finding(one: Measurement) -> RegionFinding:
    return RegionFinding(
        key=one.key,
        label=one.label,
        finding=BY_KEY[one.key].coding,
        volume_ml=one.volume_ml,
        long_axis_mm=one.long_axis_mm,
        short_axis_mm=one.short_axis_mm,
        confidence=one.confidence,
    )


def _find_patient(services: Services, analysis: Analysis) -> str:
    """The patient by the identifier that the images carry, for a study that the EHR does not hold."""
    patient_id = analysis.patient.patient_id if analysis.patient else ""
    found = services.fhir.search("Patient", {"identifier": patient_id}, limit=2) if patient_id else []
    if len(found) != 1:
        raise PatientUnknownError(
            f"The EHR has no ImagingStudy of {analysis.study_instance_uid}, and {len(found)} patients with the images' "
            "patient id; exactly one is needed. Register the study in the EHR, then replay this delivery."
        )
    return f"Patient/{found[0]['id']}"


def _study_started(ds: Dataset) -> datetime | None:
    """Study date and time, in the zone the images name, else UTC."""
    date, clock = str(ds.get("StudyDate", "") or ""), str(ds.get("StudyTime", "") or "")[:6].ljust(6, "0")
    zone = str(ds.get("TimezoneOffsetFromUTC", "") or "+0000")
    try:
        return datetime.strptime(f"{date}{clock}{zone}", "%Y%m%d%H%M%S%z")
    except ValueError:
        return None


def _published(ds: Dataset) -> PublishedInstance:
    return PublishedInstance(
        series_instance_uid=str(ds.SeriesInstanceUID),
        sop_instance_uid=str(ds.SOPInstanceUID),
        sop_class_uid=str(ds.SOPClassUID),
        modality=str(ds.Modality),
        series_number=int(ds.SeriesNumber),
        description=str(ds.get("SeriesDescription", "") or ""),
    )
