"""DICOM studies with a SEG to training cases. Files are untrusted; every fault names the study by its UID."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from dicom_ingest.attributes import text
from dicom_ingest.errors import DicomIngestError
from dicom_ingest.instances import parse_file_header, parse_instance
from dicom_ingest.model import MrContrast, Series, Volume
from dicom_ingest.segment_masks import SegmentMask, read_segments
from dicom_ingest.selection import choose_series
from dicom_ingest.volume import assemble_volume
from federated.cases import REFERENCE, Case
from federated.demographics import ETHNICITIES, SEXES, Demographics
from federated.errors import TrainingDataError
from federated.ports import Image
from federated.resampling import Grid, resample_labels, to_shape
from plugin.services.regions import SEGMENTS

NON_ENHANCING = ("NCIt", "C81175")
LABELS: Mapping[tuple[str, str], int] = {
    **{(segment.finding.scheme.upper(), segment.finding.value): segment.number for segment in SEGMENTS},
    (NON_ENHANCING[0].upper(), NON_ENHANCING[1]): 1,
}
"""Label of each segmented property type, CID 7159; schemes in upper case, because both spellings of NCIt are met."""
_LABEL_NAMES = (
    # In this order: "non-enhancing" holds "enhancing".
    (("necro", "non-enhancing", "non enhancing", "nonenhancing", "ncr", "netc"), 1),
    (("oedema", "edema", "snfh"), 2),
    (("enhancing", "enhanced"), 3),
)
_PAINTED = (2, 1, 3)
"""Where segments overlap the later one stands."""
_PREFIX_AT, _PREFIX = 128, b"DICM"
_DIRECTORY = "1.2.840.10008.1.3.10"
_AGE_UNITS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


@dataclass(frozen=True, eq=False)
class DicomCase:
    """One study, whose images are not read yet.

    Attributes:
        headers: One of each series, by series UID, without pixel data.
        files: Of each series.
    """

    name: str
    headers: Mapping[str, Dataset] = field(repr=False)
    files: Mapping[str, Sequence[Path]] = field(repr=False)

    def read(self) -> Case:
        """Choose the series by their headers, stack them, and paint the SEG on the grid of T1 after contrast.

        Raises:
            TrainingDataError: A series is unusable, or there is not exactly one SEG whose segments are BraTS's three.
        """
        try:
            selection = choose_series([self._series(uid) for uid in self.headers])
            volumes = {
                contrast: assemble_volume(self._instances(chosen.series.series_instance_uid))
                for contrast, chosen in selection.chosen.items()
            }
            labels = self._labels(volumes[MrContrast.T1CE])
        except DicomIngestError as fault:
            raise TrainingDataError(f"{self.name}: {fault}") from fault
        images = {contrast.value: Image(volume.voxels, volume.affine_lps) for contrast, volume in volumes.items()}
        reference = selection.chosen[MrContrast.T1CE].series.header
        return Case(self.name, images, labels, demographics_of(reference))

    def _series(self, uid: str) -> Series:
        header = self.headers[uid]
        return Series(self.name, uid, text(header, "Modality"), len(self.files[uid]), header)

    def _instances(self, uid: str) -> list[Dataset]:
        return [parse_instance(path.read_bytes()) for path in self.files[uid]]

    def _labels(self, reference: Volume) -> npt.NDArray[np.uint8]:
        segmentations = [uid for uid, header in self.headers.items() if header.SOPClassUID == SegmentationStorage]
        paths = [path for uid in segmentations for path in self.files[uid]]
        if len(paths) != 1:
            raise TrainingDataError(
                f"{self.name}: expected one segmentation, got {len(paths)}; keep only the one that was reviewed."
            )
        document = parse_instance(paths[0].read_bytes())
        if text(document, "FrameOfReferenceUID") != reference.frame_of_reference_uid:
            raise TrainingDataError(
                f"{self.name}: the segmentation's frame of reference is not that of the {REFERENCE} series; "
                "segment that series."
            )
        labels = paint_labels(self.name, read_segments(document), reference)
        if not labels.any():
            raise TrainingDataError(
                f"{self.name}: expected labelled voxels, the segmentation is empty; draw the tumour, or leave it out."
            )
        return labels


def read_dicom_cohort(folder: Path) -> tuple[DicomCase, ...]:
    """Find the studies below a folder, however their files lie, sorted by UID; only headers are read.

    Raises:
        TrainingDataError: There is no DICOM file, or one is broken.
    """
    studies: dict[str, dict[str, dict[str, Path]]] = {}
    headers: dict[str, Dataset] = {}
    for path, header in _headers(folder):
        study = studies.setdefault(str(header.StudyInstanceUID), {})
        series = study.setdefault(str(header.SeriesInstanceUID), {})
        # A second copy of an instance is the same one.
        series.setdefault(str(header.SOPInstanceUID), path)
        headers.setdefault(str(header.SeriesInstanceUID), header)
    if not studies:
        raise TrainingDataError(f"{folder}: expected NIfTI files in a BraTS layout, or DICOM studies; found neither.")
    return tuple(
        DicomCase(
            uid,
            {series: headers[series] for series in sorted(found)},
            {series: tuple(files.values()) for series, files in found.items()},
        )
        for uid, found in sorted(studies.items())
    )


def label_of(segment: SegmentMask) -> int | None:
    """Which BraTS label a segment is, by its code, else by its name; None when it is none of the three."""
    by_code = LABELS.get((segment.finding.scheme.upper(), segment.finding.value))
    if by_code is not None:
        return by_code
    name = segment.label.lower()
    return next((label for words, label in _LABEL_NAMES if any(word in name for word in words)), None)


def _headers(folder: Path) -> Iterator[tuple[Path, Dataset]]:
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name.upper() == "DICOMDIR":
            continue
        try:
            with path.open("rb") as file:
                file.seek(_PREFIX_AT)
                if file.read(len(_PREFIX)) != _PREFIX:
                    continue
                file.seek(0)
                yield path, parse_file_header(file)
        except (OSError, DicomIngestError) as fault:
            raise TrainingDataError(f"{path}: {fault}") from fault


def paint_labels(study: str, segments: Sequence[SegmentMask], reference: Volume) -> npt.NDArray[np.uint8]:
    """BraTS labels of a segmentation, (slices, rows, columns) on a volume's grid.

    Raises:
        TrainingDataError: A segment is none of the three.
    """
    grid = Grid(to_shape(reference.voxels.shape), reference.affine_lps)
    known = {segment.number: label_of(segment) for segment in segments}
    strange = [segment.label for segment in segments if known[segment.number] is None]
    if strange:
        raise TrainingDataError(
            f"{study}: expected the segments {', '.join(repr(each.label) for each in SEGMENTS)}, got "
            f"{', '.join(repr(label) for label in strange)} too; recode or remove it."
        )
    labels = np.zeros(grid.shape, np.uint8)
    for label in _PAINTED:
        for segment in segments:
            if known[segment.number] == label:
                mask = resample_labels(segment.voxels.astype(np.uint8), segment.affine_lps, grid)
                labels[mask > 0] = label
    return labels


def demographics_of(header: Dataset) -> Demographics | None:
    """What the header says of the patient; None where it does not say enough."""
    sex, age = text(header, "PatientSex"), text(header, "PatientAge")
    if sex not in SEXES or len(age) != 4 or not age[:3].isdigit() or age[3] not in _AGE_UNITS:
        return None
    group = text(header, "EthnicGroup").lower()
    ethnicity = next((known for known in ETHNICITIES if group and known.startswith(group)), ETHNICITIES[-1])
    return Demographics(sex, int(int(age[:3]) * _AGE_UNITS[age[3]]), ethnicity)
