"""Pretend patients: real, openly licensed tumour MRI under invented names, as DICOM and as FHIR."""

from sandbox.patients.identity import Identity, Visit, identity_of, plan_visit
from sandbox.patients.mr_series import build_mr_instances
from sandbox.patients.resources import build_registration
from sandbox.patients.scoring import dice_against_label
from sandbox.patients.subjects import Subject, load_subject, subject_ids

__all__ = [
    "Identity",
    "Subject",
    "Visit",
    "build_mr_instances",
    "build_registration",
    "dice_against_label",
    "identity_of",
    "load_subject",
    "plan_visit",
    "subject_ids",
]
