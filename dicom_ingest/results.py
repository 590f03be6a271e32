"""What SEG and SR share: whose study they belong to, what made them, and when."""

import copy
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone

import highdicom as hd
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.valuerep import DA, DT, TM

from dicom_ingest.attributes import text
from dicom_ingest.instances import shallow_copy
from dicom_ingest.model import Algorithm, Code

RESEARCH_USE = "Research use only"
_LONG_STRING = 64

_PATIENT_GROUPS = (0x0010, 0x0012)
_STUDY_KEYWORDS = (
    "SpecificCharacterSet",
    "TimezoneOffsetFromUTC",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "ReferringPhysicianIdentificationSequence",
    "StudyDescription",
    "ProcedureCodeSequence",
    "StudyInstanceUID",
    "StudyID",
)
_MUST_EXIST = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
)
"""Type 2: empty where the source has nothing."""

_BULK = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def without_identity(source: Dataset) -> Dataset:
    """A copy without pixel data, and with patient and study attributes blank but for the study's UID.

    highdicom refuses identity that breaks a value representation, and logs it; what the archive holds is copied
    verbatim by finish instead.
    """
    stand_in = shallow_copy(source)
    for element in list(_identity(stand_in)):
        if element.keyword != "StudyInstanceUID":
            del stand_in[element.tag]
    for keyword in _BULK:
        if keyword in stand_in:
            del stand_in[keyword]
    for keyword in _MUST_EXIST:
        setattr(stand_in, keyword, None)
    return stand_in


def finish(document: Dataset, source: Dataset, now: datetime) -> None:
    """Give a built document the source's patient and study, verbatim, and its dates.

    Args:
        source: An instance of the study the document belongs to.
        now: When the document was made. Written in the source's time zone where it states one, else as it is.

    References:
        DICOM PS3.3 C.7.1.1, C.7.2.1, C.7.2.2, C.12.1.
    """
    for element in list(_identity(document)):
        del document[element.tag]
    for keyword in _MUST_EXIST:
        setattr(document, keyword, None)
    for element in _identity(source):
        document.add(copy.copy(element))
    # highdicom appends itself last, with the clock's time.
    document.ContributingEquipmentSequence[-1].ContributionDateTime = DT(now)
    local = _in_zone_of(source, now)
    for name in ("InstanceCreation", "Content", "Series"):
        setattr(document, f"{name}Date", DA(local.date()))
        setattr(document, f"{name}Time", TM(local.time()))


def contributing_equipment(algorithm: Algorithm, now: datetime) -> hd.ContributingEquipment:
    """Describe the algorithm as the equipment that processed the images.

    References:
        DICOM PS3.3 C.12.1.1.5; PS3.16 CID 7005. IHE RAD AIR asks for it in every result.
    """
    equipment = hd.ContributingEquipment(
        manufacturer=long_string(algorithm.manufacturer),
        purpose_of_reference=codes.DCM.ProcessingEquipment,
        manufacturer_model_name=long_string(algorithm.name),
        software_versions=software_versions(algorithm),
        device_serial_number=algorithm.device_uid,
        contribution_datetime=DT(now),
        contribution_description=f"{RESEARCH_USE}. Model version {algorithm.version}",
    )
    equipment.DeviceUID = algorithm.device_uid
    return equipment


def software_versions(algorithm: Algorithm) -> list[str]:
    """The installation's software and the model, as SoftwareVersions (0018,1020)."""
    return [long_string(algorithm.software_version), model_version(algorithm)]


def model_version(algorithm: Algorithm) -> str:
    """The model version as an LO value, which just holds a SHA-256 in hexadecimal."""
    return long_string(algorithm.version)


def long_string(value: str) -> str:
    """Check that a value fits the value representation LO.

    Raises:
        ValueError: It is longer than 64 characters, or holds a backslash.

    References:
        DICOM PS3.5 6.2.
    """
    if len(value) > _LONG_STRING or "\\" in value:
        raise ValueError(f"Expected at most {_LONG_STRING} characters without a backslash, got {value!r}; shorten it.")
    return value


def concept(code: Code) -> hd.sr.CodedConcept:
    """Our code as highdicom's."""
    return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)


def check_one_study(sources: Sequence[Dataset]) -> None:
    """Check that there are sources and that all are of one study.

    Raises:
        ValueError: There is none, or they are of several studies.
    """
    studies = {source.StudyInstanceUID for source in sources}
    if len(studies) != 1:
        raise ValueError(f"Expected instances of one study, got {len(studies)} studies.")


def _identity(instance: Dataset) -> Iterator[DataElement]:
    for tag in list(instance.keys()):
        if tag.group in _PATIENT_GROUPS:
            yield instance[tag]
    for keyword in _STUDY_KEYWORDS:
        if keyword in instance:
            yield instance[keyword]


def _in_zone_of(source: Dataset, now: datetime) -> datetime:
    offset = text(source, "TimezoneOffsetFromUTC")
    if now.tzinfo is None or len(offset) != 5 or not offset[1:].isdigit():
        return now
    sign = -1 if offset[0] == "-" else 1
    return now.astimezone(timezone(sign * timedelta(hours=int(offset[1:3]), minutes=int(offset[3:5]))))
