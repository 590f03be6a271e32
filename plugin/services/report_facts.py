"""What a report document says, and how its values are written; the same words in HTML and PDF."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from plugin.services.regions import BY_KEY
from plugin.services.values import Measurement, Patient, SeriesUse

TITLE: Final = "Brain MRI: tumour segmentation"
PRELIMINARY: Final = "Preliminary - produced by an AI model, not yet reviewed by a radiologist"
RESEARCH_USE: Final = "Research use only. Not a medical device; not for primary diagnosis."
CONVENTION: Final = "Radiological convention: the patient's right is on the left of axial and coronal images."
NOT_GIVEN: Final = "\N{EN DASH}"
TIMES: Final = "\N{MULTIPLICATION SIGN}"

_SEXES: Final[Mapping[str, str]] = {"M": "male", "F": "female", "O": "other"}
"""PS3.3 C.7.1.1."""


@dataclass(frozen=True)
class KeyImage:
    """One key image.

    Attributes:
        contrast, plane: "T1ce", "axial".
        png: With the overlay composited.
    """

    contrast: str
    plane: str
    png: bytes

    @property
    def caption(self) -> str:
        """Short, for beside the picture."""
        return f"{self.contrast}, {self.plane}"


@dataclass(frozen=True)
class ReportFacts:
    """Everything that stands in a report document.

    Attributes:
        organisation: The site that runs the plugin.
        study_date: DICOM DA or ISO 8601.
        model_version: The digest that stands everywhere else too.
        issued: When the result was made, with its time zone.
        findings: See findings_sentence.
        images: In reading order; three of one contrast make a row.
    """

    organisation: str
    patient: Patient
    accession_number: str | None
    study_date: str | None
    study_description: str | None
    study_instance_uid: str
    analysis_id: str
    issued: datetime
    model_name: str
    model_version: str
    software_version: str
    findings: str
    measurements: tuple[Measurement, ...]
    warnings: tuple[str, ...]
    series: tuple[SeriesUse, ...]
    images: tuple[KeyImage, ...]


@dataclass(frozen=True)
class MeasurementRow:
    """One measurement as it is written.

    Attributes:
        swatch: "#rrggbb" when the region is drawn in the pictures; None for a union of drawn regions.
    """

    label: str
    swatch: str | None
    volume: str
    diameters: str
    confidence: str


def findings_sentence(measurements: Sequence[Measurement], tumour_found: bool) -> str:
    """Sum a result up for a radiologist, in one sentence.

    Args:
        measurements: With the keys of plugin.services.regions.
        tumour_found: Whether any tumour voxel was found.
    """
    if not tumour_found:
        return "No region suspicious for an intra-axial tumour was found by the model."
    by_key = {item.key: item for item in measurements}
    parts = []
    whole, enhancing = by_key.get("whole-tumour"), by_key.get("enhancing")
    has_enhancing = enhancing is not None and enhancing.volume_ml > 0
    if whole:
        parts.append(f"whole tumour {_volume(whole)}" + ("" if has_enhancing else _longest(whole)))
    if enhancing:
        parts.append(
            f"enhancing part {_volume(enhancing)}{_longest(enhancing)}" if has_enhancing else "no enhancing part"
        )
    return f"Suspected intra-axial tumour: {'; '.join(parts)}." if parts else "Suspected intra-axial tumour."


def measurement_rows(measurements: Sequence[Measurement]) -> list[MeasurementRow]:
    """The measurement table, in the order given."""
    return [
        MeasurementRow(
            label=item.label,
            swatch=_swatch(item),
            volume=_volume(item).removesuffix(" ml"),
            diameters=_axes(item, TIMES) or NOT_GIVEN,
            confidence=NOT_GIVEN if item.confidence is None else f"{item.confidence:.0%}".replace("%", " %"),
        )
        for item in measurements
    ]


def identity_rows(report: ReportFacts) -> list[tuple[str, str]]:
    """Whose study it is, as label and value; a report without these belongs to nobody."""
    patient = report.patient
    return [
        ("Patient", display_name(patient.name)),
        ("Patient ID", patient.patient_id or NOT_GIVEN),
        ("Date of birth", display_date(patient.birth_date)),
        ("Sex", _SEXES.get(patient.sex, patient.sex) or NOT_GIVEN),
        ("Study", report.study_description or NOT_GIVEN),
        ("Study date", display_date(report.study_date)),
        ("Accession number", report.accession_number or NOT_GIVEN),
        ("Reported", display_time(report.issued)),
    ]


def provenance_rows(report: ReportFacts) -> list[tuple[str, str]]:
    """What made the result, as label and value."""
    return [
        ("Model", report.model_name),
        ("Model version", report.model_version),
        ("Software version", report.software_version),
        ("Analysis", report.analysis_id),
        ("Study Instance UID", report.study_instance_uid),
    ]


def series_rows(series: Sequence[SeriesUse]) -> list[tuple[str, str, str]]:
    """(used as, description, reason), the used series first."""
    ordered = sorted(series, key=lambda use: use.contrast is None)
    return [(use.contrast or "not used", use.description or NOT_GIVEN, use.reason) for use in ordered]


def display_name(person_name: str) -> str:
    """A DICOM PN as "Family, Given Middle", its ideographic and phonetic forms behind; other text stays as it is.

    References:
        DICOM PS3.5 6.2.1.
    """
    forms = []
    for group in person_name.split("="):
        family, _, rest = group.partition("^")
        given = " ".join(part for part in rest.split("^") if part)
        forms.append(", ".join(part.strip() for part in (family, given) if part.strip()))
    return " / ".join(form for form in forms if form) or NOT_GIVEN


def display_date(date: str | None) -> str:
    """A DICOM DA as ISO 8601; other text stays as it is."""
    return re.sub(r"^(\d{4})(\d{2})(\d{2})$", r"\1-\2-\3", date or "") or NOT_GIVEN


def display_time(moment: datetime) -> str:
    """To the minute, with the time zone it was given in."""
    return f"{moment:%Y-%m-%d %H:%M %Z}".strip()


def image_rows(images: Sequence[KeyImage]) -> list[list[KeyImage]]:
    """One row per contrast, at most three pictures wide."""
    rows: list[list[KeyImage]] = []
    for image in images:
        if not rows or len(rows[-1]) == 3 or rows[-1][0].contrast != image.contrast:
            rows.append([])
        rows[-1].append(image)
    return rows


def _swatch(item: Measurement) -> str | None:
    region = BY_KEY.get(item.key)
    return "#{:02x}{:02x}{:02x}".format(*item.display_rgb) if region and region.segment else None


def _volume(item: Measurement) -> str:
    return "< 0.1 ml" if 0 < item.volume_ml < 0.05 else f"{item.volume_ml:.1f} ml"


def _axes(item: Measurement, times: str) -> str:
    if item.long_axis_mm is None:
        return ""
    if item.short_axis_mm is None:
        return f"{item.long_axis_mm:.0f}"
    return f"{item.long_axis_mm:.0f} {times} {item.short_axis_mm:.0f}"


def _longest(item: Measurement) -> str:
    axes = _axes(item, "x")
    return f", longest diameter {axes} mm" if axes else ""
