"""Voxels to a classic MR series: what phantoms and other volumes without a scanner need to pass for a study.

The headers say that the images are synthetic; every UID derives from the study's key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import format_number_as_ds

from dicom_ingest.geometry import ORIENTATION_TOLERANCE, Array
from dicom_ingest.model import MrContrast
from dicom_ingest.results import long_string
from dicom_ingest.uids import derive_uid

_HIGHEST = 65535
_SYNTHETIC = "Synthetic image; no patient"


class Plane(StrEnum):
    """In which plane a series' slices lie."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


_AXES: Mapping[Plane, tuple[tuple[int, int], ...]] = {
    # Where (slices, rows, columns) lead: LPS axis 0 to 2 and sense, as radiologists look at each plane; slices follow
    # the normal, which is the row direction x the column direction.
    Plane.AXIAL: ((2, 1), (1, 1), (0, 1)),
    Plane.CORONAL: ((1, 1), (2, -1), (0, 1)),
    Plane.SAGITTAL: ((0, -1), (2, -1), (1, 1)),
}


@dataclass(frozen=True)
class SyntheticStudy:
    """An examination that never was.

    Attributes:
        key: The same key gives the same UIDs.
        patient_id: Of the invented patient, whose name it is too.
        sex: M, F, or empty.
        age_years: At the examination.
        ethnic_group: At most 16 characters.
    """

    key: str
    patient_id: str
    study_date: date
    sex: str = ""
    age_years: int | None = None
    ethnic_group: str = ""


@dataclass(frozen=True)
class _Protocol:
    """How a contrast is taken; times in ms."""

    name: str
    scanning_sequence: str | list[str]
    echo_time: float
    repetition_time: float
    inversion_time: float | None
    echo_train_length: int
    start: str


_PROTOCOLS = {
    MrContrast.T1: _Protocol("T1", "SE", 10, 600, None, 1, "093200"),
    MrContrast.T1CE: _Protocol("T1 +C", "SE", 10, 600, None, 1, "095100"),
    MrContrast.T2: _Protocol("T2", "SE", 98, 5000, None, 15, "093800"),
    MrContrast.FLAIR: _Protocol("T2 FLAIR", ["SE", "IR"], 120, 9000, 2500, 16, "094400"),
}
_PREFIXES = {Plane.AXIAL: "AX", Plane.CORONAL: "COR", Plane.SAGITTAL: "SAG"}


def build_series(
    study: SyntheticStudy,
    contrast: MrContrast,
    voxels: npt.NDArray[np.float32],
    affine_lps: Array,
    *,
    plane: Plane = Plane.AXIAL,
    slice_thickness_mm: float | None = None,
) -> list[Dataset]:
    """Build one classic MR series, a dataset for each slice in ascending InstanceNumber.

    Args:
        study: All series of one study share it, and one frame of reference.
        contrast: Decides description and timing.
        voxels: float32 (slices, rows, columns) along whatever axes the affine says.
        affine_lps: (4, 4), maps (slice, row, column, 1) to LPS, mm; axes perpendicular.
        plane: The slices' plane; voxels are reordered, never interpolated.
        slice_thickness_mm: None says as thick as they are apart.

    Raises:
        ValueError: Voxels are not finite, or the axes are not perpendicular.

    References:
        DICOM PS3.3 A.4, C.7.6.2, C.8.3.1; C.11.1 for the rescale, which some vendors write into MR images too.
    """
    voxels, affine_lps = turn_to_plane(voxels, affine_lps, plane)
    stored, slope, intercept = _quantise(voxels)
    shared = (_patient_and_study(study), _series(study, contrast, plane), _acquisition(contrast))
    series = []
    for index, pixels in enumerate(stored):
        instance = Dataset()
        for module in shared:
            instance.update(module)
        instance.SOPClassUID = MRImageStorage
        instance.SOPInstanceUID = UID(derive_uid(study.key, contrast, "instance", str(index)))
        instance.InstanceNumber = index + 1
        _add_geometry(instance, affine_lps, index, slice_thickness_mm)
        _add_pixels(instance, pixels, slope, intercept)
        instance.file_meta = FileMetaDataset()
        instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        series.append(instance)
    return series


def turn_to_plane(
    voxels: npt.NDArray[np.float32], affine_lps: Array, plane: Plane
) -> tuple[npt.NDArray[np.float32], Array]:
    """Reorder axes so that slices lie nearest to a plane; no voxel changes its value or its place.

    Raises:
        ValueError: The axes are not perpendicular to each other.
    """
    steps = affine_lps[:3, :3]
    directions = steps / np.linalg.norm(steps, axis=0)
    if np.abs(directions.T @ directions - np.eye(3)).max() > ORIENTATION_TOLERANCE:
        raise ValueError("Expected perpendicular axes, the affine's are sheared; resample the volume.")
    # The LPS axis that each array axis follows most: the whole assignment that agrees best.
    nearest = max(
        ((a, b, 3 - a - b) for a in range(3) for b in range(3) if a != b),
        key=lambda axes: sum(abs(directions[axis, index]) for index, axis in enumerate(axes)),
    )
    turned = affine_lps.copy()
    order = [nearest.index(axis) for axis, _ in _AXES[plane]]
    voxels = voxels.transpose(order)
    turned[:, :3] = affine_lps[:, order]
    for index, (axis, sense) in enumerate(_AXES[plane]):
        if turned[axis, index] * sense < 0:
            voxels = np.flip(voxels, index)
            turned[:3, 3] += turned[:3, index] * (voxels.shape[index] - 1)
            turned[:3, index] *= -1
    return np.ascontiguousarray(voxels), turned


def _quantise(voxels: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.uint16], str, str]:
    """Stored values, RescaleSlope and RescaleIntercept; 0 stays exactly 0 where nothing is negative."""
    low, high = float(voxels.min()), float(voxels.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("Expected finite voxels, got NaN or infinity.")
    intercept = format_number_as_ds(min(low, 0.0))
    slope = format_number_as_ds((high - float(intercept)) / _HIGHEST if high > float(intercept) else 1.0)
    stored = np.rint((voxels - float(intercept)) / float(slope)).clip(0, _HIGHEST).astype(np.uint16)
    return stored, slope, intercept


def _module(**attributes: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def _patient_and_study(study: SyntheticStudy) -> Dataset:
    dataset = _module(
        SpecificCharacterSet="ISO_IR 192",
        PatientName=f"Synthetic^{long_string(study.patient_id)}",
        PatientID=long_string(study.patient_id),
        PatientBirthDate="",
        PatientSex=study.sex,
        StudyInstanceUID=derive_uid(study.key, "study"),
        StudyID="1",
        StudyDate=study.study_date.strftime("%Y%m%d"),
        StudyTime="093000",
        AccessionNumber="",
        ReferringPhysicianName="",
        StudyDescription="MR BRAIN W/O & W CONTRAST (SYNTHETIC)",
    )
    if study.age_years is not None:
        dataset.PatientAge = f"{study.age_years:03d}Y"
    if study.ethnic_group:
        dataset.EthnicGroup = study.ethnic_group
    return dataset


def _series(study: SyntheticStudy, contrast: MrContrast, plane: Plane) -> Dataset:
    protocol = _PROTOCOLS[contrast]
    description = f"{_PREFIXES[plane]} {protocol.name}"
    day = study.study_date.strftime("%Y%m%d")
    dates = {f"{what}Date": day for what in ("Series", "Acquisition", "Content")}
    times = {f"{what}Time": protocol.start for what in ("Series", "Acquisition", "Content")}
    return _module(
        Modality="MR",
        SeriesInstanceUID=derive_uid(study.key, contrast, "series"),
        SeriesNumber=list(MrContrast).index(contrast) + 1,
        SeriesDescription=description,
        ProtocolName=description,
        **dates,
        **times,
        AcquisitionNumber=1,
        BodyPartExamined="BRAIN",
        PatientPosition="HFS",
        FrameOfReferenceUID=derive_uid(study.key, "frame of reference"),
        PositionReferenceIndicator="",
        Manufacturer="QFL phantom",
        ManufacturerModelName="Synthetic MR",
        DeviceSerialNumber="0",
        SoftwareVersions="1",
        ImageComments=_SYNTHETIC,
    )


def _acquisition(contrast: MrContrast) -> Dataset:
    protocol = _PROTOCOLS[contrast]
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
    if contrast is MrContrast.T1CE:
        dataset.ContrastBolusAgent = "Synthetic"
        dataset.ContrastBolusRoute = "INTRAVENOUS"
    return dataset


def _add_geometry(instance: Dataset, affine_lps: Array, index: int, slice_thickness_mm: float | None) -> None:
    slice_mm, row_mm, column_mm = np.linalg.norm(affine_lps[:3, :3], axis=0)
    along_column, along_row = affine_lps[:3, 1] / row_mm, affine_lps[:3, 2] / column_mm
    position = affine_lps[:3, 3] + index * affine_lps[:3, 0]
    instance.ImagePositionPatient = [format_number_as_ds(float(value)) for value in position]
    instance.ImageOrientationPatient = [format_number_as_ds(float(value)) for value in (*along_row, *along_column)]
    # Between rows first: PS3.3 10.7.1.1.
    instance.PixelSpacing = [format_number_as_ds(float(row_mm)), format_number_as_ds(float(column_mm))]
    instance.SliceThickness = format_number_as_ds(float(slice_thickness_mm or slice_mm))
    instance.SpacingBetweenSlices = format_number_as_ds(float(slice_mm))
    instance.SliceLocation = format_number_as_ds(float(np.cross(along_row, along_column) @ position))


def _add_pixels(instance: Dataset, pixels: npt.NDArray[np.uint16], slope: str, intercept: str) -> None:
    instance.Rows, instance.Columns = pixels.shape
    instance.SamplesPerPixel = 1
    instance.PhotometricInterpretation = "MONOCHROME2"
    instance.BitsAllocated, instance.BitsStored, instance.HighBit = 16, 16, 15
    instance.PixelRepresentation = 0
    instance.RescaleSlope, instance.RescaleIntercept, instance.RescaleType = slope, intercept, "US"
    # The window is in rescaled values: PS3.3 C.11.2.1.2.
    highest = _HIGHEST * float(slope) + float(intercept)
    instance.WindowCenter = format_number_as_ds(highest / 3)
    instance.WindowWidth = format_number_as_ds(highest / 1.5)
    instance.PixelData = pixels.astype("<u2").tobytes()
