"""The analysis of one study: from its announcement to a stored result and the intent to tell PACS and EHR.

Any step may run twice: nothing is stored before the result, which is stored at once with its deliveries. No model is
used that is not released; the store refuses a result of one that was halted meanwhile.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom_ingest.model import MrContrast, Selection, Series, Volume
from dicom_ingest.selection import choose_series
from dicom_ingest.volume import assemble_volume, order_slices
from federated.ports import Image, Prediction
from governance.canonical import digest
from plugin.errors import StudyIncompleteError
from plugin.services.governance.model_use import check_in_use
from plugin.services.governance.observing import Observed, observe
from plugin.services.ports import Services
from plugin.services.publication import Findings, build_publication
from plugin.services.running import Run, describe, hold, place_of
from plugin.services.studies import ArchivedSeries, list_study, patient_of, resolve_study
from plugin.services.values import AnalysisState, DeliveryKind, Step

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Fetched:
    """One contrast as fetched: the volume, and for the reference the sources that SEG and SR refer to."""

    volume: Volume
    sources: tuple[Dataset, ...]


def analyse_study(services: Services, *, analysis_id: str) -> None:
    """Run one analysis, unless another worker does or it is done; every error becomes a state with a reason."""
    with hold(services, analysis_id) as run:
        if run is None:
            return
        try:
            _analyse(run)
        except Exception as error:  # noqa: BLE001 - the outer edge: whatever happens ends in a state that a person sees
            _log.warning(
                "analysis %s: %s: %s (%s)", analysis_id, type(error).__name__, describe(error), place_of(error)
            )
            _log.debug("analysis %s", analysis_id, exc_info=error)
            run.conclude(error)
            return
    services.queue.deliver(analysis_id)


def _analyse(run: Run) -> None:
    services, analysis = run.services, run.analysis
    with run.step(Step.RESOLVE):
        announced = resolve_study(services, analysis)
    with run.step(Step.SELECT):
        archived = list_study(services, announced)
        if _is_duplicate(run, archived):
            return
        selection = choose_series([held.series for held in archived])
    model = services.segmenter().identity
    check_in_use(services.governance, model.version)  # before the images are asked for in vain
    with run.step(Step.FETCH):
        fetched = _fetch(run, selection, archived)
    with run.step(Step.SEGMENT):
        check_in_use(services.governance, model.version)
        prediction = _segment(run, fetched)
    with run.step(Step.BUILD):
        reference = selection.chosen[MrContrast.T1CE].series
        destination = _archive_of(reference, archived).address or services.site.archive_url
        publication = build_publication(
            services,
            Findings(
                key=run.work_key,
                analysis_id=analysis.id,
                model=model,
                selection=selection,
                patient=patient_of(reference),
                volumes={contrast: one.volume for contrast, one in fetched.items()},
                sources=fetched[MrContrast.T1CE].sources,
                prediction=prediction,
            ),
        )
    observe(
        services,
        Observed(
            analysis_id=analysis.id,
            model_version=model.version,
            patient=patient_of(reference),
            patient_reference=announced.imaging_study.patient_reference if announced.imaging_study else None,
            study_date=str(reference.header.get("StudyDate", "") or ""),
            header=fetched[MrContrast.T1CE].sources[0],
            volumes={contrast: one.volume for contrast, one in fetched.items()},
            prediction=prediction,
            result=publication.result,
        ),
    )
    services.store.save_result(
        analysis.id,
        owner=run.owner,
        result=publication.result,
        artefacts=publication.artefacts,
        deliveries=[
            (DeliveryKind.SEG, destination),
            (DeliveryKind.SR, destination),
            (DeliveryKind.REPORT, services.site.fhir_base_url),
        ],
        now=services.clock(),
    )


def _is_duplicate(run: Run, archived: Sequence[ArchivedSeries]) -> bool:
    """Fix what the analysis is about; end it when the same work was done, or is being done, under another id."""
    services, analysis = run.services, run.analysis
    # Other objects of the study may be listed with hardly any attributes.
    first = next((held.series for held in archived if held.series.modality == "MR"), archived[0].series)
    header, study_instance_uid = first.header, first.study_instance_uid
    mr_series = sorted(held.series.series_instance_uid for held in archived if held.series.modality == "MR")
    model_version = services.segmenter().identity.version
    run.work_key = digest([study_instance_uid, mr_series, model_version])
    earlier = services.store.identify(
        analysis.id,
        study_instance_uid=study_instance_uid,
        work_key=run.work_key,
        model_version=model_version,
        patient=patient_of(first),
        accession_number=str(header.get("AccessionNumber", "") or "") or None,
        study_date=str(header.get("StudyDate", "") or "") or None,
        study_description=str(header.get("StudyDescription", "") or "") or None,
        now=services.clock(),
    )
    if earlier is None:
        return False
    services.store.finish(
        analysis.id,
        AnalysisState.DUPLICATE,
        reason_code="AlreadyAnalysed",
        reason="The same series were already analysed with the same model; that result stands.",
        duplicate_of=earlier,
        now=services.clock(),
    )
    return True


def _fetch(run: Run, selection: Selection, archived: Sequence[ArchivedSeries]) -> Mapping[MrContrast, _Fetched]:
    """Pull the chosen series and stack them; only the reference's sources are kept."""
    expected = sum(chosen.series.number_of_instances for chosen in selection.chosen.values())
    fetched: dict[MrContrast, _Fetched] = {}
    arrived = 0
    for contrast, chosen in selection.chosen.items():
        series = chosen.series
        archive = _archive_of(series, archived).archive
        instances = []
        for instance in archive.fetch_instances(series.study_instance_uid, series.series_instance_uid):
            instances.append(instance)
            arrived += 1
            run.progress(arrived / max(expected, arrived))
        if len(instances) < series.number_of_instances:
            raise StudyIncompleteError(
                f"Series {series.series_instance_uid}: the archive lists {series.number_of_instances} images and sent "
                f"{len(instances)}."
            )
        sources = order_slices(instances) if contrast is MrContrast.T1CE else ()
        fetched[contrast] = _Fetched(assemble_volume(instances), sources)
    return fetched


def _segment(run: Run, fetched: Mapping[MrContrast, _Fetched]) -> Prediction:
    images = {contrast.value: Image(one.volume.voxels, one.volume.affine_lps) for contrast, one in fetched.items()}
    return run.services.segmenter().segment(images, MrContrast.T1CE.value, run.progress)


def _archive_of(series: Series, archived: Sequence[ArchivedSeries]) -> ArchivedSeries:
    return next(held for held in archived if held.series.series_instance_uid == series.series_instance_uid)
