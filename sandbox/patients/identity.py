"""Who the pretend patients are, and the UIDs of their studies: all invented, all the same at every run."""

import uuid
from dataclasses import dataclass
from datetime import date

from sandbox.patients.subjects import SEQUENCES, Subject

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "http://sandbox-hospital.example/dicom")

_PEOPLE = (
    ("Testfield", "Ada", "F", date(1961, 4, 12)),
    ("Samplewell", "Bruno", "M", date(1957, 9, 30)),
    ("Mockridge", "Clara", "F", date(1970, 1, 23)),
    ("Dummond", "Dario", "M", date(1949, 6, 5)),
    ("Feignley", "Edda", "F", date(1966, 11, 17)),
    ("Pretendis", "Fabio", "M", date(1973, 2, 8)),
)


@dataclass(frozen=True)
class Identity:
    """An invented person.

    Attributes:
        sex: M or F.
    """

    patient_id: str
    family_name: str
    given_name: str
    sex: str
    birth_date: date


@dataclass(frozen=True)
class Visit:
    """One MRI examination of one subject.

    Attributes:
        series_instance_uids: By sequence name.
        station: Name of the scanner.
        source: Where the images come from, in words; empty for the subjects that lie in sandbox/data.
    """

    subject_id: str
    patient: Identity
    study_date: date
    accession_number: str
    study_instance_uid: str
    frame_of_reference_uid: str
    series_instance_uids: dict[str, str]
    station: str = "SBXMR1"
    source: str = ""


def derive_uid(*parts: str) -> str:
    """A UID that is always the same for the same parts (PS3.5 B.2: 2.25 and a UUID as a number)."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, '|'.join(parts)).int}"


def identity_of(subject_id: str) -> Identity:
    """The invented person behind a subject."""
    number = uuid.uuid5(_NAMESPACE, subject_id).int
    family_name, given_name, sex, birth_date = _PEOPLE[number % len(_PEOPLE)]
    return Identity(f"SBX-{number % 1_000_000:06d}", family_name, given_name, sex, birth_date)


def plan_visit(subject: Subject, study_date: date) -> Visit:
    """Give a subject's examination its identifiers."""
    key = (subject.id, study_date.isoformat())
    number = uuid.uuid5(_NAMESPACE, "|".join(key)).int % 1_000_000
    return Visit(
        subject_id=subject.id,
        patient=identity_of(subject.id),
        study_date=study_date,
        accession_number=f"ACC{number:06d}",
        study_instance_uid=derive_uid(*key, "study"),
        frame_of_reference_uid=derive_uid(*key, "frame of reference"),
        series_instance_uids={name: derive_uid(*key, "series", name) for name in SEQUENCES},
    )
