"""Reviewed studies of consenting patients as a cohort, and each of them as a case, fetched from the archive."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final

from pydicom.dataset import Dataset

from dicom_ingest.attributes import text
from dicom_ingest.errors import DicomIngestError
from dicom_ingest.instances import parse_instance
from dicom_ingest.model import MrContrast, Volume
from dicom_ingest.segment_masks import read_segments
from dicom_ingest.volume import assemble_volume
from federated.cases import REFERENCE, Case, CaseSource
from federated.demographics import ETHNICITIES, SEXES, Demographics
from federated.errors import TrainingDataError
from federated.ports import Image
from fhir_adapter.consent import find_consents
from fhir_adapter.errors import FhirAdapterError, FhirNotFoundError, ResourceError
from fhir_adapter.model import ImagingStudy
from fhir_adapter.references import parse_reference
from fhir_adapter.research_use import Answer, ResearchUse, ask_consents
from plugin.errors import AnalysisError
from plugin.services.dicom_cases import demographics_of, paint_labels
from plugin.services.ports import Services
from plugin.services.research_cohort import Cohort, is_held_out, keyed_digest, pseudonym
from plugin.services.studies import ArchivedSeries, find_imaging_study, list_study, resolve_study
from plugin.services.values import Analysis, AnalysisState

_log = logging.getLogger(__name__)
SEG_FILE: Final = "seg.dcm"
_PAGE: Final = 200
_UNREVIEWED: Final = (AnalysisState.PUBLISHING, AnalysisState.UNDELIVERED, AnalysisState.AWAITING_REVIEW)
_GONE: Final = {"cancelled", "entered-in-error"}


@dataclass(frozen=True)
class ReviewedCohort:
    """The studies whose result a radiologist accepted, one a patient, where the patient's Consents permit it.

    Attributes:
        services: The site's.
        use: What the site's policy means by research use, read anew at each draw.
        key: Of digests, pseudonyms and of who is held out.
    """

    services: Services
    use: Callable[[], ResearchUse]
    key: bytes = field(repr=False)

    def draw(self, *, now: datetime, spacing_mm: float = 2.0) -> Cohort:  # noqa: ARG002 - as CohortSource has it
        """See CohortSource; each study's ImagingStudy and each patient's Consents are read from the EHR afresh.

        Raises:
            SitePolicyError: The policy cannot be read.
        """
        use, left_out = self.use(), Counter(_unreviewed(self.services))
        chosen: dict[str, Analysis] = {}
        answers: dict[str, Answer] = {}
        for analysis in _accepted(self.services):
            patient, reason = self._patient(analysis)
            if patient is None:
                left_out[reason] += 1
                continue
            if patient not in answers:
                answers[patient] = ask_consents(find_consents(self.services.fhir, patient), use, now=now)
            if not answers[patient].is_yes:
                left_out[str(answers[patient])] += 1
            elif patient in chosen:
                # Privacy is accounted for by patient: the newest study stands for each.
                left_out["older study of the same patient"] += 1
            else:
                chosen[patient] = analysis
        return self._cohort(chosen, {reason: count for reason, count in left_out.items() if count})

    def _patient(self, analysis: Analysis) -> tuple[str | None, str]:
        """ "Patient/id" of a study, or the reason why it is left out."""
        if analysis.result is None or not analysis.result.tumour_found:
            return None, "no tumour found"
        try:
            study = find_imaging_study(self.services, analysis)
        except (FhirNotFoundError, ResourceError):
            return None, "study not in the EHR"
        if study is not None and study.status in _GONE:
            return None, "study withdrawn in the EHR"
        patient = _patient_of(self.services, analysis, study)
        return patient, "" if patient else "patient unknown"

    def _cohort(self, chosen: Mapping[str, Analysis], left_out: Mapping[str, int]) -> Cohort:
        training: list[CaseSource] = []
        held_out: list[CaseSource] = []
        people = {}
        for patient, analysis in chosen.items():
            case = ReviewedCase(pseudonym(self.key, _work_key(analysis)), self.services, analysis)
            if is_held_out(self.key, patient):
                held_out.append(case)
                if known := _demographics(analysis):
                    people[case.name] = known
            else:
                training.append(case)
        digest = keyed_digest(self.key, [_work_key(analysis) for analysis in chosen.values()])
        return Cohort(training, held_out, digest, people=people, left_out=left_out)


@dataclass(frozen=True, eq=False)
class ReviewedCase:
    """One accepted result, whose images and segmentation are in the archive.

    Attributes:
        name: A pseudonym: messages of a training may reach the coordinator.
    """

    name: str
    services: Services = field(repr=False)
    analysis: Analysis = field(repr=False)

    def read(self) -> Case:
        """Fetch the series that the result was made from, and the segmentation that the radiologist accepted.

        Raises:
            TrainingDataError: The archive does not have them any more, or they do not fit together.
        """
        try:
            listed = list_study(self.services, resolve_study(self.services, self.analysis))
            archived = {held.series.series_instance_uid: held for held in listed}
            used = self._used(archived)
            volumes = {contrast: _volume(archived[uid]) for contrast, uid in used.items()}
            reference, grid = archived[used[MrContrast.T1CE]], volumes[MrContrast.T1CE]
            labels = paint_labels(self.name, read_segments(self._segmentation(reference, grid)), grid)
        except (DicomIngestError, FhirAdapterError, AnalysisError) as fault:
            # Their messages name studies, which must not reach the coordinator.
            _log.warning("%s is analysis %s: %s", self.name, self.analysis.id, fault)
            raise TrainingDataError(
                f"{self.name}: the archive does not give this reviewed case ({type(fault).__name__})."
            ) from fault
        if not labels.any():
            raise TrainingDataError(f"{self.name}: expected labelled voxels, the segmentation is empty.")
        images = {contrast.value: Image(volume.voxels, volume.affine_lps) for contrast, volume in volumes.items()}
        return Case(self.name, images, labels, demographics_of(reference.series.header))

    def _used(self, archived: Mapping[str, ArchivedSeries]) -> Mapping[MrContrast, str]:
        """The series that the result was made from, by contrast."""
        series = self.analysis.result.series if self.analysis.result else ()
        used = {MrContrast(each.contrast): each.series_instance_uid for each in series if each.contrast}
        if MrContrast.T1CE not in used or set(used.values()) - set(archived):
            raise TrainingDataError(f"{self.name}: expected all series that its result was made from, some are gone.")
        return used

    def _segmentation(self, reference: ArchivedSeries, volume: Volume) -> Dataset:
        """As the archive holds it now."""
        stored = self.services.store.artefact(self.analysis.id, SEG_FILE)
        if stored is None:
            raise TrainingDataError(f"{self.name}: expected the result's segmentation, it is not kept any more.")
        own = parse_instance(stored.content)
        found = reference.archive.fetch_instance(
            reference.series.study_instance_uid, str(own.SeriesInstanceUID), str(own.SOPInstanceUID)
        )
        if text(found, "FrameOfReferenceUID") != volume.frame_of_reference_uid:
            raise TrainingDataError(f"{self.name}: expected a segmentation in the {REFERENCE}'s frame of reference.")
        return found


def _work_key(analysis: Analysis) -> str:
    """Of study, series and model: another result of the same study is another case."""
    return analysis.work_key or analysis.id


def _volume(held: ArchivedSeries) -> Volume:
    series = held.series
    return assemble_volume(list(held.archive.fetch_instances(series.study_instance_uid, series.series_instance_uid)))


def _accepted(services: Services) -> Iterator[Analysis]:
    """The newest first, each once, also where more come in meanwhile."""
    seen: set[str] = set()
    for offset in range(0, 1_000_000, _PAGE):
        page = services.store.list_analyses(states=[AnalysisState.ACCEPTED], limit=_PAGE, offset=offset)
        yield from (analysis for analysis in page if analysis.id not in seen)
        seen |= {analysis.id for analysis in page}
        if len(page) < _PAGE:
            return


def _unreviewed(services: Services) -> Mapping[str, int]:
    counts = services.store.count_by_state()
    return {
        "not reviewed": sum(counts.get(state, 0) for state in _UNREVIEWED),
        "rejected by a radiologist": counts.get(AnalysisState.REJECTED, 0),
    }


def _patient_of(services: Services, analysis: Analysis, study: ImagingStudy | None) -> str | None:
    """By the ImagingStudy, else by the identifier that the images carry where it names exactly one patient."""
    reference = parse_reference(study.patient_reference) if study and study.patient_reference else None
    if reference is not None:
        return reference.local
    patient_id = analysis.patient.patient_id if analysis.patient else ""
    found = services.fhir.search("Patient", {"identifier": patient_id}, limit=2) if patient_id else []
    return f"Patient/{found[0]['id']}" if len(found) == 1 else None


def _demographics(analysis: Analysis) -> Demographics | None:
    """What the study says of the patient; DICOM names no ethnicity that could be relied on."""
    patient = analysis.patient
    if patient is None or patient.sex not in SEXES:
        return None
    try:
        born = date.fromisoformat(patient.birth_date)
        examined = date.fromisoformat(analysis.study_date or "")
    except ValueError:
        return None
    before_birthday = (examined.month, examined.day) < (born.month, born.day)
    return Demographics(patient.sex, examined.year - born.year - before_birthday, ETHNICITIES[-1])
