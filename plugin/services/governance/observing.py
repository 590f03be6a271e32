"""What monitoring keeps of an analysis: the groups of the person and the scanner, and numbers of images and result.

Only what the policy's attributes need is asked of the EHR. What is not known is left out: monitoring then says that
there is insufficient evidence, and never guesses.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from dicom_ingest.model import MrContrast, Volume
from federated.demographics import ETHNICITIES, SEXES, age_band
from federated.ports import Prediction
from fhir_adapter.demographics import PersonFacts, parse_person
from fhir_adapter.errors import FhirAdapterError
from plugin.services.governance.values import Observation
from plugin.services.ports import Services
from plugin.services.values import AnalysisResult, Patient

_log = logging.getLogger(__name__)

_MOST_VOXELS: Final = 300_000
_LONGEST_SITE: Final = 60
_OTHER: Final = "other"
_OLDEST: Final = 120


@dataclass(frozen=True, eq=False)
class Observed:
    """An analysis that is about to be stored.

    Attributes:
        patient_reference: Of the EHR's Patient, where the EHR holds the study.
        header: Of the reference series: the scanner.
        study_date: DICOM DA.
    """

    analysis_id: str
    model_version: str
    patient: Patient
    patient_reference: str | None
    study_date: str
    header: Dataset
    volumes: Mapping[MrContrast, Volume]
    prediction: Prediction
    result: AnalysisResult


def observe(services: Services, observed: Observed) -> None:
    """Keep what monitoring needs of an analysis; an earlier try of the same analysis is replaced."""
    desk = services.governance
    wanted = desk.policy().fairness.attributes
    person = _person(services, observed.patient_reference) if {"ethnicity", "sex"} & set(wanted) else None
    found = {
        "sex": _sex(observed.patient, person),
        "age": _age(observed.patient.birth_date, observed.study_date),
        "ethnicity": _ethnicity(person),
        "site": _scanner(observed.header),
    }
    groups = {name: value for name in wanted if (value := found.get(name))}
    desk.store.add_observation(
        Observation(
            analysis_id=observed.analysis_id,
            model_version=observed.model_version,
            groups=groups,
            features=_features(observed),
            confidence=float(np.clip(observed.prediction.confidence, 0.0, 1.0)),
            at=services.clock(),
        )
    )


def _person(services: Services, reference: str | None) -> PersonFacts | None:
    """What the EHR tells of the patient; the study is analysed without it as well."""
    if reference is None:
        return None
    try:
        return parse_person(services.fhir.read(reference))
    except FhirAdapterError as fault:
        _log.info("the patient's groups are not known to monitoring: %s", type(fault).__name__)
        return None


def _sex(patient: Patient, person: PersonFacts | None) -> str | None:
    named = patient.sex.strip().upper()
    return named if named in SEXES else (person.sex if person else None)


def _ethnicity(person: PersonFacts | None) -> str | None:
    """The category by which the audit's cohorts are grouped; several, and rarer ones, are "other"."""
    if person is None or not person.races:
        return None
    only = person.races[0] if len(person.races) == 1 else _OTHER
    return only if only in ETHNICITIES else _OTHER


def _age(birth_date: str, study_date: str) -> str | None:
    try:
        born, examined = (date.fromisoformat(each) for each in (birth_date.strip(), study_date.strip()))
    except ValueError:
        return None
    years = examined.year - born.year - ((examined.month, examined.day) < (born.month, born.day))
    return age_band(years) if 0 <= years <= _OLDEST else None


def _scanner(header: Dataset) -> str | None:
    """Which scanner it was: its maker, model and station name, as far as the images tell."""
    parts = [
        " ".join(str(header.get(keyword, "") or "").replace("^", " ").split())
        for keyword in ("Manufacturer", "ManufacturerModelName", "StationName")
    ]
    return " ".join(part for part in parts if part)[:_LONGEST_SITE] or None


def _features(observed: Observed) -> dict[str, float]:
    """Numbers of the images and the result that no scaling of the images changes."""
    sizes = {one.key: one.volume_ml for one in observed.result.measurements}
    whole = sizes.get("whole-tumour", 0.0)
    reference = observed.volumes[MrContrast.T1CE]
    labels = observed.prediction.labels > 0
    found = {
        "tumour volume (log ml)": float(np.log1p(whole)),
        "confidence": float(observed.prediction.confidence),
        "slice spacing (mm)": reference.spacing_mm[0],
        "pixel spacing (mm)": reference.spacing_mm[1],
        "uncertainty": float(observed.prediction.uncertainty[labels].mean()) if labels.any() else 0.0,
    }
    if whole > 0:
        found["enhancing share"] = sizes.get("enhancing", 0.0) / whole
    for contrast, volume in observed.volumes.items():
        found |= {f"{contrast} {name}": value for name, value in _image_numbers(volume.voxels).items()}
    return {name: round(value, 6) for name, value in found.items() if np.isfinite(value)}


def _image_numbers(voxels: npt.NDArray[np.float32]) -> dict[str, float]:
    """How much an image's intensities spread, and how much neighbours differ, both against its typical intensity."""
    step = max(1, int(np.ceil((voxels.size / _MOST_VOXELS) ** 0.5)))
    part = voxels[::step, ::step].astype(np.float64)
    inside = part > 0.1 * np.percentile(part, 99)
    if not inside.any():
        return {}
    low, middle, high = np.percentile(part[inside], (25, 50, 75))
    if middle <= 0:
        return {}
    both = inside[..., 1:] & inside[..., :-1]
    steps = np.abs(np.diff(part, axis=-1))[both]
    return {
        "spread": float((high - low) / middle),
        "noise": float(np.median(steps) / middle) if steps.size else 0.0,
    }
