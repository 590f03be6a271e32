"""Cohorts to train on: NIfTI folders and DICOM studies with a SEG as the same cases; and phantoms as either."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path

import numpy as np

from dicom_ingest.instances import encode_instance
from dicom_ingest.model import Algorithm, MrContrast
from dicom_ingest.segmentation import build_segmentation
from dicom_ingest.synthetic import SyntheticStudy, build_series
from dicom_ingest.uids import derive_uid
from dicom_ingest.volume import assemble_volume, order_slices
from federated.case_files import check_empty
from federated.cases import REFERENCE, Case, CaseSource, case_digest, read_cohort
from federated.errors import FederatedError, TrainingDataError
from federated.preprocessing import check_image
from federated.resampling import Grid, resample_labels, to_shape
from plugin.services.dicom_cases import read_dicom_cohort
from plugin.services.regions import SEGMENTS

STUDY_DATE = date(2020, 1, 1)
"""Of every study that never was."""
_SEG_SERIES_NUMBER = 900


@dataclass(frozen=True)
class CaseSummary:
    """What a case holds, or why it cannot be used.

    Attributes:
        contrasts: In the order of the model's channels.
        shape: Of the reference's grid: (slices, rows, columns).
        spacing_mm: Along the same axes.
        volumes_ml: Of labels 1, 2 and 3.
        fault: None for a case that can be used; then the other fields are filled.
    """

    name: str
    contrasts: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    volumes_ml: tuple[float, ...] = ()
    fault: str | None = None


def open_cohort(folder: Path) -> Sequence[CaseSource]:
    """Find the cases of a folder: NIfTI in a BraTS layout if there is any, else DICOM studies with a SEG.

    Raises:
        TrainingDataError: There is no folder, or no case in it.
    """
    if not folder.is_dir():
        raise TrainingDataError(f"{folder}: expected a folder of cases, there is none.")
    if any(folder.rglob("*.nii")) or any(folder.rglob("*.nii.gz")):
        return read_cohort(folder)
    return read_dicom_cohort(folder)


def summarise_case(source: CaseSource) -> CaseSummary:
    """Read a case and say what it holds, or what is wrong with it."""
    try:
        case = source.read()
        for contrast, image in case.images.items():
            check_image(contrast, image)
    except FederatedError as fault:
        return CaseSummary(source.name, fault=str(fault))
    affine = case.images[REFERENCE].affine_lps
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    counts = np.bincount(case.labels.ravel(), minlength=4)[1:]
    return CaseSummary(
        name=case.name,
        contrasts=tuple(contrast for contrast in MrContrast if contrast in case.images),
        shape=case.labels.shape,
        spacing_mm=tuple(float(length) for length in np.linalg.norm(affine[:3, :3], axis=0)),
        volumes_ml=tuple(float(count) * voxel_ml for count in counts),
    )


def write_dicom_cohort(folder: Path, cases: Iterable[CaseSource]) -> int:
    """Write synthetic cases as DICOM studies, four axial series and a SEG each; returns how many.

    Raises:
        TrainingDataError: The folder holds something already.
    """
    check_empty(folder)
    count = 0
    for source in cases:
        _write_study(folder, source.read())
        count += 1
    return count


def _write_study(folder: Path, case: Case) -> None:
    key, person = f"{case.name} {case_digest(case)}", case.demographics
    study = SyntheticStudy(
        key=key,
        patient_id=case.name,
        study_date=STUDY_DATE,
        sex=person.sex if person else "",
        age_years=person.age_years if person else None,
        # A short string: at most 16 characters.
        ethnic_group=person.ethnicity.split(" ")[0] if person else "",
    )
    place = folder / case.name
    for contrast, image in case.images.items():
        series = build_series(study, MrContrast(contrast), image.voxels, image.affine_lps)
        (place / contrast).mkdir(parents=True)
        for number, instance in enumerate(series, start=1):
            (place / contrast / f"{number:04d}.dcm").write_bytes(encode_instance(instance))
        if contrast == REFERENCE:
            sources = order_slices(series)
    volume = assemble_volume(sources)
    grid = Grid(to_shape(volume.voxels.shape), volume.affine_lps)
    mask = resample_labels(case.labels, case.images[REFERENCE].affine_lps, grid)
    drawn_by = Algorithm("QFL phantom", case_digest(case), "QFL phantom", "1", derive_uid("QFL phantom"))
    now = datetime.combine(STUDY_DATE, time(12), UTC)
    document = build_segmentation(sources, mask, SEGMENTS, drawn_by, key=key, series_number=_SEG_SERIES_NUMBER, now=now)
    (place / "seg.dcm").write_bytes(encode_instance(document))
