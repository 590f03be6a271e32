"""A subject's four sequences as classic MR images (PS3.3 A.4), as a scanner would have sent them."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import format_number_as_ds

from sandbox.patients.identity import Visit, derive_uid
from sandbox.patients.subjects import SEQUENCES, Subject

STUDY_TIME = "093000"
_TIMEZONE = "+0000"
_SOURCE_NOTE = "Sandbox data under an invented name; pixels adapted from TCGA-GBM/LGG, BraTS (CC BY 3.0)"


@dataclass(frozen=True)
class _Protocol:
    """How a sequence was taken; times in ms."""

    description: str
    scanning_sequence: str | list[str]
    echo_time: float
    repetition_time: float
    inversion_time: float | None
    echo_train_length: int
    start: str


_PROTOCOLS = {
    "T1": _Protocol("AX T1", "SE", 10, 600, None, 1, "093200"),
    "T1ce": _Protocol("AX T1 +C", "SE", 10, 600, None, 1, "095100"),
    "T2": _Protocol("AX T2", "SE", 98, 5000, None, 15, "093800"),
    "FLAIR": _Protocol("AX T2 FLAIR", ["SE", "IR"], 120, 9000, 2500, 16, "094400"),
}


def series_description(sequence: str) -> str:
    """What the scanner calls a sequence."""
    return _PROTOCOLS[sequence].description


def build_mr_instances(subject: Subject, visit: Visit) -> Iterator[bytes]:
    """Write all four series, slice by slice, as Part 10 files; the same bytes at every run.

    Args:
        subject: Voxels and geometry.
        visit: Identifiers, for the same subject.
    """
    for sequence in SEQUENCES:
        for slice_index in range(subject.label.shape[2]):
            yield _encode(_build_slice(subject, visit, sequence, slice_index))


def _build_slice(subject: Subject, visit: Visit, sequence: str, slice_index: int) -> Dataset:
    dataset = Dataset()
    parts = (_patient_and_study(visit), _series(visit, sequence), _acquisition(sequence))
    for module in parts:
        dataset.update(module)
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = UID(derive_uid(visit.series_instance_uids[sequence], str(slice_index)))
    dataset.InstanceNumber = slice_index + 1
    dataset.ImageComments = visit.source or _SOURCE_NOTE
    _add_geometry(dataset, subject.affine_lps, slice_index)
    voxels = subject.sequences[sequence]
    # Rows of an image are the second index of the volume.
    _add_pixels(dataset, voxels[:, :, slice_index].T, voxels)
    return dataset


def _module(**attributes: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def _patient_and_study(visit: Visit) -> Dataset:
    patient = visit.patient
    study_date = visit.study_date.strftime("%Y%m%d")
    return _module(
        SpecificCharacterSet="ISO_IR 192",
        PatientName=f"{patient.family_name}^{patient.given_name}",
        PatientID=patient.patient_id,
        IssuerOfPatientID="SANDBOX",
        PatientBirthDate=patient.birth_date.strftime("%Y%m%d"),
        PatientSex=patient.sex,
        StudyInstanceUID=visit.study_instance_uid,
        StudyID="1",
        StudyDate=study_date,
        StudyTime=STUDY_TIME,
        TimezoneOffsetFromUTC=_TIMEZONE,
        AccessionNumber=visit.accession_number,
        ReferringPhysicianName="Sandbox^Referrer",
        StudyDescription="MR BRAIN W/O & W CONTRAST",
    )


def _series(visit: Visit, sequence: str) -> Dataset:
    protocol = _PROTOCOLS[sequence]
    date = visit.study_date.strftime("%Y%m%d")
    return _module(
        Modality="MR",
        SeriesInstanceUID=visit.series_instance_uids[sequence],
        SeriesNumber=SEQUENCES.index(sequence) + 1,
        SeriesDescription=protocol.description,
        ProtocolName=protocol.description,
        SeriesDate=date,
        SeriesTime=protocol.start,
        AcquisitionDate=date,
        AcquisitionTime=protocol.start,
        ContentDate=date,
        ContentTime=protocol.start,
        AcquisitionNumber=1,
        BodyPartExamined="BRAIN",
        PatientPosition="HFS",
        FrameOfReferenceUID=visit.frame_of_reference_uid,
        PositionReferenceIndicator="",
        Manufacturer="Sandbox Imaging",
        ManufacturerModelName="Pretend 3T",
        DeviceSerialNumber="0001",
        SoftwareVersions="1",
        StationName=visit.station,
        InstitutionName="Sandbox Hospital",
    )


def _acquisition(sequence: str) -> Dataset:
    protocol = _PROTOCOLS[sequence]
    dataset = _module(
        ImageType=["ORIGINAL", "PRIMARY", "OTHER"],
        ScanningSequence=protocol.scanning_sequence,
        SequenceVariant="SK",
        ScanOptions="",
        MRAcquisitionType="2D",
        EchoTime=protocol.echo_time,
        RepetitionTime=protocol.repetition_time,
        EchoTrainLength=protocol.echo_train_length,
        FlipAngle=90,
        MagneticFieldStrength=3,
    )
    if protocol.inversion_time is not None:
        dataset.InversionTime = protocol.inversion_time
    if sequence == "T1ce":
        dataset.ContrastBolusAgent = "Gadobutrol"
        dataset.ContrastBolusRoute = "INTRAVENOUS"
    return dataset


def _add_geometry(dataset: Dataset, affine_lps: npt.NDArray[np.float64], slice_index: int) -> None:
    """Image Plane module (PS3.3 C.7.6.2): where the first pixel lies and where rows and columns lead."""
    steps = affine_lps[:3, :3]
    column_mm, row_mm, slice_mm = np.linalg.norm(steps, axis=0)
    along_row, along_column = steps[:, 0] / column_mm, steps[:, 1] / row_mm
    position = affine_lps[:3, 3] + slice_index * steps[:, 2]
    dataset.ImagePositionPatient = [format_number_as_ds(float(value)) for value in position]
    dataset.ImageOrientationPatient = [format_number_as_ds(float(value)) for value in (*along_row, *along_column)]
    dataset.PixelSpacing = [format_number_as_ds(float(row_mm)), format_number_as_ds(float(column_mm))]
    dataset.SliceThickness = format_number_as_ds(float(slice_mm))
    dataset.SpacingBetweenSlices = format_number_as_ds(float(slice_mm))
    normal = np.cross(along_row, along_column)
    dataset.SliceLocation = format_number_as_ds(float(normal @ position))


def _add_pixels(dataset: Dataset, pixels: npt.NDArray[np.int16], volume: npt.NDArray[np.int16]) -> None:
    rows, columns = pixels.shape
    dataset.Rows, dataset.Columns = rows, columns
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 0
    brightest = int(np.percentile(volume[volume > 0], 99.5))
    dataset.WindowCenter, dataset.WindowWidth = brightest // 2, brightest
    dataset.PixelData = np.ascontiguousarray(pixels, dtype="<u2").tobytes()


def _encode(dataset: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.ImplementationClassUID = UID(derive_uid("implementation"))
    dataset.file_meta = meta
    content = io.BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()
