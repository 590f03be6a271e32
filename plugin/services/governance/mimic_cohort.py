"""A cohort in the layout of MIMIC-CXR: tables of images, findings, patients and admissions; a model's predictions.

    FOLDER/mimic-cxr-2.0.0-metadata.csv   dicom_id, subject_id, study_id, StudyDate, PerformedProcedureStepDescription
    FOLDER/mimic-cxr-2.0.0-chexpert.csv   subject_id, study_id, a column for each finding: 1, 0, -1 or nothing;
                                          or mimic-cxr-2.0.0-negbio.csv, the same
    FOLDER/mimic-cxr-2.0.0-split.csv      optional: study_id, split; then only the split "test" counts
    FOLDER/predictions.csv                study_id, a column for each finding: the model's probability, 0 to 1
    FOLDER/patients.csv                   as in MIMIC-IV: subject_id, gender, anchor_age, anchor_year
    FOLDER/admissions.csv                 as in MIMIC-IV: subject_id, race (or ethnicity)

Each file may be packed (.csv.gz). A finding that a report does not mention counts as not there, one that it is unsure
of (-1) leaves the study out for that finding. Of each patient only the first study counts: several of one person would
look like evidence of several people. Where images are taken is "portable" or "fixed": MIMIC names no hospital and no
scanner.

References:
    Johnson et al. (2019), MIMIC-CXR, doi:10.1038/s41597-019-0322-0; MIMIC-IV, doi:10.1038/s41597-022-01899-x.
    Seyyed-Kalantari et al. (2021), doi:10.1038/s41591-021-01595-0: who is missed more often, on these data.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from federated.demographics import age_band
from governance.errors import AuditDataError
from governance.fairness.classification import FoundCase
from governance.fairness.groups import GroupedCase
from plugin.services.governance.cohort_tables import find_table, need_table, read_table

_PREFIX: Final = "mimic-cxr-2.0.0-"
_SEXES: Final = ("F", "M")
_OLDEST: Final = 120
_TRUTHS: Final[Mapping[str, bool | None]] = {
    "1": True, "1.0": True, "0": False, "0.0": False, "": False, "-1": None, "-1.0": None,
}  # fmt: skip
# The words that MIMIC-IV's values begin with.
_ETHNICITIES: Final = (
    ("WHITE", "white"),
    ("BLACK", "black or african american"),
    ("ASIAN", "asian"),
    ("HISPANIC", "other"),
    ("AMERICAN INDIAN", "other"),
    ("NATIVE HAWAIIAN", "other"),
    ("SOUTH AMERICAN", "other"),
    ("PORTUGUESE", "other"),
    ("MULTI", "other"),
    ("OTHER", "other"),
    ("MIDDLE EASTERN", "other"),
    ("CARIBBEAN", "other"),
)
_NOT_TOLD: Final = ("", "UNKNOWN", "UNABLE TO OBTAIN", "PATIENT DECLINED TO ANSWER", "DECLINED")


@dataclass(frozen=True)
class MimicCohort:
    """Findings, and what the model said of them.

    Attributes:
        findings: Cases by finding.
        patients: As many studies count, one of each.
        left_out: Studies of patients who have an earlier one.
        digest: SHA-256 of the files.
    """

    findings: Mapping[str, tuple[FoundCase, ...]]
    patients: int
    left_out: int
    threshold: float
    digest: str


@dataclass(frozen=True)
class _Study:
    """One row of the findings; it is spoken of by its number."""

    number: int
    subject: str
    study: str
    truths: Mapping[str, bool | None]

    @property
    def pseudonym(self) -> str:
        """Its number in the table of findings."""
        return f"study-{self.number:06d}"


@dataclass(frozen=True)
class _Taken:
    """When and where a study was taken; empty where it is not known."""

    date: str
    site: str


def read_mimic_cohort(folder: Path, *, threshold: float = 0.5) -> MimicCohort:
    """Read the tables.

    Args:
        folder: With the files.
        threshold: Probability from which on the model says that the finding is there.

    Raises:
        AuditDataError: A table is missing, damaged or too large; a value is unknown; a study has findings and no
            prediction. The message names the study by its number in the table of findings.
    """
    if not 0 < threshold < 1:
        raise AuditDataError(f"Expected a threshold between 0 and 1, got {threshold!r}.")
    labels_file = need_table(folder, "findings", f"{_PREFIX}chexpert.csv", f"{_PREFIX}negbio.csv")
    predictions_file = need_table(folder, "predictions", "predictions.csv")
    metadata_file = need_table(folder, "images", f"{_PREFIX}metadata.csv")
    patients_file = need_table(folder, "patients", "patients.csv")
    admissions_file = need_table(folder, "admissions", "admissions.csv")
    split_file = find_table(folder, f"{_PREFIX}split.csv")
    taken = _read_taken(metadata_file)
    tested = None if split_file is None else _read_tested(split_file)
    studies = _read_studies(labels_file, tested)
    predictions = _read_predictions(predictions_file)
    first = _first_studies(studies, taken)
    people = _read_people(patients_file, admissions_file, {each.subject for each in first})
    findings: dict[str, list[FoundCase]] = {}
    for each in first:
        _add(findings, each, predictions, _groups(each, people, taken), threshold)
    if not findings:
        raise AuditDataError("Expected a finding that both the table of findings and the predictions have; none is.")
    files = (labels_file, predictions_file, metadata_file, patients_file, admissions_file)
    return MimicCohort(
        {name: tuple(cases) for name, cases in sorted(findings.items())},
        len(first),
        len(studies) - len(first),
        threshold,
        _digest([*files, *([split_file] if split_file else [])]),
    )


def _read_taken(path: Path) -> dict[str, _Taken]:
    found: dict[str, _Taken] = {}
    for row in read_table(path, ("dicom_id", "subject_id", "study_id", "StudyDate")):
        step = row.get("PerformedProcedureStepDescription", "").upper()
        site = "" if not step else "portable" if "PORTABLE" in step else "fixed"
        found.setdefault(row["study_id"], _Taken(row["StudyDate"], site))
    return found


def _read_tested(path: Path) -> frozenset[str]:
    return frozenset(row["study_id"] for row in read_table(path, ("study_id", "split")) if row["split"] == "test")


def _read_studies(path: Path, tested: frozenset[str] | None) -> list[_Study]:
    found: dict[str, _Study] = {}
    for number, row in enumerate(read_table(path, ("subject_id", "study_id")), start=1):
        study = row["study_id"]
        if tested is not None and study not in tested:
            continue
        if study in found:
            raise AuditDataError(f"{path.name}: study-{number:06d} and {found[study].pseudonym} are the same study.")
        truths = {}
        for name, value in row.items():
            if name in {"subject_id", "study_id"}:
                continue
            if value not in _TRUTHS:
                raise AuditDataError(f"{path.name}, study-{number:06d}: expected 1, 0, -1 or nothing for {name}.")
            truths[name] = _TRUTHS[value]
        found[study] = _Study(number, row["subject_id"], study, truths)
    if not found:
        raise AuditDataError(f"{path.name}: expected studies to audit, got none.")
    return list(found.values())


def _read_predictions(path: Path) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for number, row in enumerate(read_table(path, ("study_id",)), start=1):
        study = row.pop("study_id")
        if study in found:
            raise AuditDataError(f"{path.name}, row {number}: a second prediction for one study; give one each.")
        found[study] = {
            name: _probability(path, number, name, value)
            for name, value in row.items()
            if name not in {"subject_id", "dicom_id"}
        }
    return found


def _probability(path: Path, number: int, name: str, value: str) -> float:
    try:
        probability = float(value)
    except ValueError:
        probability = math.nan
    if not 0 <= probability <= 1:
        raise AuditDataError(f"{path.name}, row {number}: expected a probability of {name} from 0 to 1.")
    return probability


def _first_studies(studies: list[_Study], taken: Mapping[str, _Taken]) -> list[_Study]:
    """The earliest of each patient; where no dates are known, the first in the table."""
    first: dict[str, _Study] = {}
    for each in sorted(studies, key=lambda each: (_date(each, taken), each.number)):
        first.setdefault(each.subject, each)
    return sorted(first.values(), key=lambda each: each.number)


def _date(study: _Study, taken: Mapping[str, _Taken]) -> str:
    found = taken.get(study.study)
    if found is None:
        raise AuditDataError(
            f"{study.pseudonym}: has findings and no image in the table of images; leave it out of the findings."
        )
    return found.date


@dataclass(frozen=True)
class _Patient:
    sex: str
    anchor_age: int
    anchor_year: int
    ethnicity: str


def _read_people(patients: Path, admissions: Path, wanted: set[str]) -> dict[str, _Patient]:
    races: dict[str, Counter[str]] = {}
    for row in read_table(admissions, ("subject_id",)):
        if row["subject_id"] in wanted:
            if "race" not in row and "ethnicity" not in row:
                raise AuditDataError(f"{admissions.name}: expected the column race, or ethnicity.")
            races.setdefault(row["subject_id"], Counter())[row.get("race", row.get("ethnicity", "")).upper()] += 1
    found = {}
    for row in read_table(patients, ("subject_id", "gender", "anchor_age", "anchor_year")):
        subject = row["subject_id"]
        if subject in wanted:
            found[subject] = _Patient(
                row["gender"],
                _whole(row["anchor_age"]),
                _whole(row["anchor_year"]),
                _commonest(races.get(subject, Counter())),
            )
    return found


def _whole(text: str) -> int:
    """-1 for what is no number: it is complained of where the study is known."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 5 else -1


def _commonest(values: Counter[str]) -> str:
    """What most admissions say, of those that say something; nothing where they contradict each other evenly."""
    told = Counter({value: count for value, count in values.items() if value not in _NOT_TOLD}).most_common(2)
    if not told or (len(told) == 2 and told[0][1] == told[1][1]):
        return ""
    return told[0][0]


def _groups(study: _Study, people: Mapping[str, _Patient], taken: Mapping[str, _Taken]) -> Mapping[str, str]:
    when = taken[study.study]
    groups = {"site": when.site} if when.site else {}
    person = people.get(study.subject)
    if person is None:
        return groups
    if person.sex not in _SEXES:
        raise AuditDataError(f"{study.pseudonym}: expected a gender of F or M, got another; correct the table.")
    groups["sex"] = person.sex
    year = _whole(when.date[:4])
    age = person.anchor_age + (year - person.anchor_year)
    if min(person.anchor_age, person.anchor_year, year) < 0 or not 0 <= age <= _OLDEST:
        raise AuditDataError(
            f"{study.pseudonym}: expected anchor_age, anchor_year and StudyDate that give an age of 0 to {_OLDEST}."
        )
    groups["age"] = age_band(age)
    if person.ethnicity:
        groups["ethnicity"] = _ethnicity(study, person.ethnicity)
    return groups


def _ethnicity(study: _Study, value: str) -> str:
    found = next((name for begins, name in _ETHNICITIES if value.startswith(begins)), None)
    if found is None:
        known = ", ".join(begins for begins, _ in _ETHNICITIES)
        raise AuditDataError(
            f"{study.pseudonym}: expected a race that begins with one of {known}, got another; correct it in the table "
            "of admissions, or write UNKNOWN."
        )
    return found


def _add(
    findings: dict[str, list[FoundCase]],
    study: _Study,
    predictions: Mapping[str, Mapping[str, float]],
    groups: Mapping[str, str],
    threshold: float,
) -> None:
    predicted = predictions.get(study.study)
    if predicted is None:
        raise AuditDataError(
            f"{study.pseudonym}: has findings and no prediction. Predict it, or name the studies that count in "
            f"{_PREFIX}split.csv."
        )
    case = GroupedCase(study.pseudonym, groups)
    for name, truth in study.truths.items():
        if truth is not None and name in predicted:
            findings.setdefault(name, []).append(FoundCase(case, truth, predicted[name] >= threshold))


def _digest(files: list[Path]) -> str:
    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
