"""Synthetic classic MR series: every orientation, spacing and order, with UIDs and voxels that repeat."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import format_number_as_ds

from dicom_ingest.model import MrContrast
from dicom_ingest.uids import derive_uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (0.866025403784, 0.433012701892, 0.25, -0.5, 0.75, 0.433012701892)
"""ImageOrientationPatient: the direction along a row, then the direction along a column, LPS."""

ORIENTATIONS = {"axial": AXIAL, "sagittal": SAGITTAL, "coronal": CORONAL, "oblique": OBLIQUE}


@dataclass(frozen=True)
class Patient:
    """Who is imaged; the characters need ISO_IR 192."""

    name: str = "Sørensen^Åse"
    patient_id: str = "P0001"
    issuer: str = "TEST-HOSPITAL"
    birth_date: str = "19700101"
    sex: str = "F"


_HEADERS: dict[MrContrast, dict[str, object]] = {
    MrContrast.T1: {
        "SeriesDescription": "AX T1 SE",
        "ScanningSequence": "SE",
        "EchoTime": "12",
        "RepetitionTime": "600",
    },
    MrContrast.T1CE: {
        "SeriesDescription": "AX T1 SE POST GD",
        "ScanningSequence": "SE",
        "EchoTime": "12",
        "RepetitionTime": "600",
        "ContrastBolusAgent": "Gadobutrol",
    },
    MrContrast.T2: {
        "SeriesDescription": "AX T2 TSE",
        "ScanningSequence": "SE",
        "EchoTime": "100",
        "RepetitionTime": "5000",
    },
    MrContrast.FLAIR: {
        "SeriesDescription": "AX T2 FLAIR",
        "ScanningSequence": ["SE", "IR"],
        "EchoTime": "120",
        "RepetitionTime": "9000",
        "InversionTime": "2500",
    },
}
"""What a scanner writes for each contrast."""

_SERIES_NUMBERS = {contrast: number for number, contrast in enumerate(MrContrast, start=1)}


def make_series(
    voxels: npt.NDArray[np.integer] | None = None,
    *,
    contrast: MrContrast = MrContrast.T1CE,
    shape: tuple[int, int, int] = (8, 24, 20),
    orientation: Sequence[float] = AXIAL,
    spacing_mm: tuple[float, float, float] = (3.0, 1.0, 1.25),
    origin_lps: tuple[float, float, float] = (-32.0, -28.0, 11.5),
    reverse: bool = False,
    key: str = "study",
    study_instance_uid: str | None = None,
    series_instance_uid: str | None = None,
    frame_of_reference_uid: str | None = None,
    series_number: int | None = None,
    patient: Patient = Patient(),
    accession_number: str = "ACC1",
    seed: int = 0,
    **attributes: object,
) -> list[Dataset]:
    """Make one classic MR series, in ascending InstanceNumber.

    Args:
        voxels: int16 or uint16 (slices, rows, columns), slices ascending along the normal of orientation; None draws
            12-bit noise of the given shape from seed.
        contrast: Decides the header: description, timing, contrast agent.
        orientation: ImageOrientationPatient; ORIENTATIONS has the usual ones.
        spacing_mm: Distance between slices, rows and columns.
        origin_lps: ImagePositionPatient of the first slice along the normal, mm.
        reverse: Number the instances against the normal, as many scanners do.
        key: Series with the same key are of one study and one frame of reference; the UIDs derive from it.
        series_number: By default 1 to 4 in the order of MrContrast.
        attributes: By keyword, e.g. SeriesDescription="AX T1"; None removes the attribute.
    """
    if voxels is None:
        voxels = np.random.default_rng(seed).integers(0, 4096, shape, dtype=np.uint16)
    number = _SERIES_NUMBERS[contrast] if series_number is None else series_number
    series_uid = series_instance_uid or derive_uid(key, "series", contrast, str(number))
    identity = {
        **_identity(patient, accession_number),
        "StudyInstanceUID": study_instance_uid or study_uid(key),
        "SeriesInstanceUID": series_uid,
        "FrameOfReferenceUID": frame_of_reference_uid or derive_uid(key, "frame of reference"),
        "SeriesNumber": number,
    }
    normal = np.cross(orientation[:3], orientation[3:])
    slices = []
    for index, pixels in enumerate(voxels):
        position = np.asarray(origin_lps) + normal * spacing_mm[0] * index
        instance_number = len(voxels) - index if reverse else index + 1
        geometry = {
            "ImagePositionPatient": _ds(position),
            "ImageOrientationPatient": _ds(orientation),
            "PixelSpacing": _ds(spacing_mm[1:]),
            "SliceThickness": _ds(spacing_mm[:1])[0],
            "SpacingBetweenSlices": _ds(spacing_mm[:1])[0],
            "InstanceNumber": instance_number,
            "SOPInstanceUID": derive_uid(series_uid, str(instance_number)),
        }
        slices.append(
            _instance({**identity, **_ACQUISITION, **_HEADERS[contrast], **geometry, **_pixels(pixels)}, attributes)
        )
    return sorted(slices, key=lambda instance: instance.InstanceNumber)


def make_study(key: str = "study", **options: object) -> list[Dataset]:
    """Make the four series of a glioma study, one after the other; options as in make_series, the same for all."""
    return [
        instance
        for seed, contrast in enumerate(MrContrast)
        for instance in make_series(contrast=contrast, key=key, seed=seed, **options)  # type: ignore[arg-type]
    ]


def study_uid(key: str = "study") -> str:
    """The StudyInstanceUID of series made with this key."""
    return derive_uid(key, "study")


_ACQUISITION: dict[str, object] = {
    "SOPClassUID": MRImageStorage,
    "Modality": "MR",
    "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
    "StudyDate": "20260101",
    "StudyTime": "101010",
    "SeriesDate": "20260101",
    "SeriesTime": "101500",
    "AcquisitionDate": "20260101",
    "AcquisitionTime": "101500",
    "ContentDate": "20260101",
    "ContentTime": "101500",
    "StudyID": "1",
    "StudyDescription": "MRI brain",
    "ReferringPhysicianName": "",
    "Manufacturer": "ACME",
    "ManufacturerModelName": "Synth",
    "PositionReferenceIndicator": "",
    "BodyPartExamined": "BRAIN",
    "PatientPosition": "HFS",
    "SequenceVariant": "SK",
    "ScanOptions": "",
    "MRAcquisitionType": "2D",
    "EchoTrainLength": 1,
    "MagneticFieldStrength": "3",
}


def _identity(patient: Patient, accession_number: str) -> dict[str, object]:
    return {
        "SpecificCharacterSet": "ISO_IR 192",
        "PatientName": patient.name,
        "PatientID": patient.patient_id,
        "IssuerOfPatientID": patient.issuer,
        "PatientBirthDate": patient.birth_date,
        "PatientSex": patient.sex,
        "AccessionNumber": accession_number,
    }


def _pixels(pixels: npt.NDArray[np.integer]) -> dict[str, object]:
    bits = 8 * pixels.dtype.itemsize
    data = np.ascontiguousarray(pixels).astype(pixels.dtype.newbyteorder("<")).tobytes()
    return {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": 1 if np.issubdtype(pixels.dtype, np.signedinteger) else 0,
        "PixelData": data + b"\0" * (len(data) % 2),
    }


def _instance(values: dict[str, object], changes: dict[str, object]) -> Dataset:
    instance = Dataset()
    for keyword, value in {**values, **changes}.items():
        if value is not None:
            setattr(instance, keyword, value)
    instance["PixelData"].VR = "OW"
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UID(instance.SOPClassUID)
    meta.MediaStorageSOPInstanceUID = UID(instance.SOPInstanceUID)
    instance.file_meta = meta
    return instance


def _ds(values: Sequence[float] | npt.NDArray[np.float64]) -> list[str]:
    return [format_number_as_ds(float(value)) for value in values]
