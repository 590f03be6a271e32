"""Studies of synthetic heads by two scanners of one hospital, one of which has gone bad.

Both see the same kinds of patients; the bad one's images are noisy. Everything about a study follows from its number.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np

from sandbox.patients import Identity, Subject, Visit
from sandbox.patients.identity import derive_uid
from sandbox.patients.subjects import SEQUENCES

GOOD, BAD = "SBXMR1", "SBXMR2"
_NOISE: Final = {GOOD: None, BAD: 0.9}
"""Of the images, as a fraction of white matter's brightness; None for a usual scanner's."""
_SPACING_MM: Final = 4.0
"""Coarse, so that a study takes seconds."""
_OF_BRATS: Final = np.array([0, 1, 2, 4], np.uint8)
"""The labels of subjects by those of phantoms."""


@dataclass(frozen=True, eq=False)
class PhantomStudy:
    """A study, and the truth."""

    subject: Subject
    visit: Visit


def phantom_studies(run: str, study_date: date) -> Iterator[PhantomStudy]:
    """Studies without end, by turns of the good and the bad scanner.

    Args:
        run: Makes other patients and UIDs than another run.
        study_date: Of all.
    """
    number = 0
    while True:
        yield _study(run, number, study_date)
        number += 1


def _study(run: str, number: int, study_date: date) -> PhantomStudy:
    # The phantom needs no torch; the sandbox starts without either.
    from federated.phantom import build_phantom

    rng = np.random.default_rng([uuid.uuid5(uuid.NAMESPACE_OID, run).int % 2**63, number])
    station = BAD if number % 2 else GOOD
    years = int(rng.integers(30, 85))
    phantom = build_phantom(rng, spacing_mm=_SPACING_MM, noise=_NOISE[station], age_years=float(years))
    key = (run, str(number))
    subject = Subject(
        id=f"phantom-{number}",
        sequences={
            name: _turned(phantom.images[name].voxels).round().clip(0, 32767).astype(np.int16) for name in SEQUENCES
        },
        label=_OF_BRATS[_turned(phantom.labels)],
        affine_lps=phantom.images["T1ce"].affine_lps[:, [2, 1, 0, 3]],
    )
    patient = Identity(
        patient_id=f"SBX-{run[:6]}-{number:04d}",
        family_name="Phantom",
        given_name=f"Number {number}",
        sex="FM"[int(rng.integers(2))],
        birth_date=study_date - timedelta(days=round(365.25 * years) + 30),
    )
    visit = Visit(
        subject_id=subject.id,
        patient=patient,
        study_date=study_date,
        accession_number=f"PH{uuid.uuid5(uuid.NAMESPACE_OID, '|'.join(key)).int % 10**8:08d}",
        study_instance_uid=derive_uid(*key, "study"),
        frame_of_reference_uid=derive_uid(*key, "frame of reference"),
        series_instance_uids={name: derive_uid(*key, "series", name) for name in SEQUENCES},
        station=station,
        source="Synthetic head, no patient",
    )
    return PhantomStudy(subject, visit)


def _turned(voxels: np.ndarray) -> np.ndarray:
    """From (slices, rows, columns) to (columns, rows, slices)."""
    return voxels.transpose(2, 1, 0)
