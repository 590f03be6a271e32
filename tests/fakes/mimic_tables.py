"""Small synthetic tables in the layout of MIMIC-CXR and MIMIC-IV."""

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

METADATA, LABELS = "mimic-cxr-2.0.0-metadata.csv", "mimic-cxr-2.0.0-chexpert.csv"
RACES = ("WHITE", "BLACK/AFRICAN AMERICAN", "ASIAN - CHINESE", "HISPANIC/LATINO - PUERTO RICAN", "UNKNOWN")


def table(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write one."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])


def write_mimic(
    folder: Path, patients: int = 40, *, miss: Callable[[int], bool] = lambda _: False, studies: int = 1
) -> None:
    """Write a small cohort: every third patient has the finding, and the model is right unless told to miss."""
    numbers = range(patients)
    table(
        folder / "patients.csv",
        ["subject_id", "gender", "anchor_age", "anchor_year", "anchor_year_group", "dod"],
        [[1000 + n, "FM"[n % 2], 30 + n % 60, 2150, "2014 - 2016", ""] for n in numbers],
    )
    table(
        folder / "admissions.csv",
        ["subject_id", "hadm_id", "race"],
        [[1000 + n, 1, RACES[n % 5]] for n in numbers],
    )
    images, labels, predictions = [], [], []
    for n in numbers:
        for visit in range(studies):
            study = 50_000 + 10 * n + visit
            step = "CHEST (PORTABLE AP)" if n % 4 else "CHEST (PA AND LAT)"
            images.append([f"d{study}", 1000 + n, study, f"{2152 + visit}0301", step])
            labels.append([1000 + n, study, "1.0" if n % 3 == 0 else ("" if n % 3 == 1 else "0.0"), "-1.0"])
            says = (n % 3 == 0) != miss(n)
            predictions.append([study, 0.9 if says else 0.1, 0.5])
    table(
        folder / METADATA,
        ["dicom_id", "subject_id", "study_id", "StudyDate", "PerformedProcedureStepDescription"],
        images,
    )
    table(folder / LABELS, ["subject_id", "study_id", "Edema", "Fracture"], labels)
    table(folder / "predictions.csv", ["study_id", "Edema", "Fracture"], predictions)
