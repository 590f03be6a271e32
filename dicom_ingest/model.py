"""The values of this package: frozen, and valid once built."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset


class MrContrast(StrEnum):
    """The four sequences of a glioma study; T1ce is T1-weighted after gadolinium."""

    T1 = "T1"
    T1CE = "T1ce"
    T2 = "T2"
    FLAIR = "FLAIR"


@dataclass(frozen=True, eq=False)
class Series:
    """One series as the archive lists it.

    Attributes:
        number_of_instances: As the archive counts them.
        header: The attributes of one of its instances, without pixel data.
    """

    study_instance_uid: str
    series_instance_uid: str
    modality: str
    number_of_instances: int
    header: Dataset


@dataclass(frozen=True, eq=False)
class ChosenSeries:
    """A series, the contrast it was taken for, and why, in words for a radiologist."""

    series: Series
    contrast: MrContrast
    reason: str


@dataclass(frozen=True, eq=False)
class IgnoredSeries:
    """A series that was not used, and why, in words for a radiologist."""

    series: Series
    reason: str


@dataclass(frozen=True, eq=False)
class Selection:
    """Which series stand for which contrast; T1ce is always there and is the reference."""

    chosen: Mapping[MrContrast, ChosenSeries]
    ignored: tuple[IgnoredSeries, ...]

    @property
    def missing(self) -> tuple[MrContrast, ...]:
        """The contrasts that no series stands for, in the order of MrContrast."""
        return tuple(contrast for contrast in MrContrast if contrast not in self.chosen)


@dataclass(frozen=True, eq=False)
class Volume:
    """One series stacked along its slice normal.

    Attributes:
        voxels: float32 (slices, rows, columns), rescaled.
        affine_lps: float64 (4, 4), maps (slice, row, column, 1) to LPS, mm.
        sop_instance_uids: One per slice, in the order of voxels.
    """

    voxels: npt.NDArray[np.float32]
    affine_lps: npt.NDArray[np.float64]
    series_instance_uid: str
    frame_of_reference_uid: str
    sop_instance_uids: tuple[str, ...]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbours along (slice, row index, column index), mm."""
        lengths = np.linalg.norm(self.affine_lps[:3, :3], axis=0)
        return (float(lengths[0]), float(lengths[1]), float(lengths[2]))


@dataclass(frozen=True)
class Code:
    """A coded concept: value, coding scheme designator (SCT, DCM, NCIt, LN, UCUM) and meaning."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Algorithm:
    """What made a result: as it stands in SEG and SR.

    Attributes:
        version: The model version, the digest that stands everywhere else too.
        device_uid: Identifies this installation's device.
    """

    name: str
    version: str
    manufacturer: str
    software_version: str
    device_uid: str


@dataclass(frozen=True)
class Segment:
    """One label of a mask.

    Attributes:
        number: The label's value in the mask, from 1 without gaps, and the SEG's SegmentNumber.
        finding: Segmented property type, CID 7159.
        display_rgb: Recommended colour, 0 to 255.
    """

    number: int
    label: str
    finding: Code
    display_rgb: tuple[int, int, int]


@dataclass(frozen=True)
class RegionMeasurement:
    """What was measured on one region.

    Attributes:
        label: "Whole tumour", or a segment's label.
        segment_number: The segment that is measured; None for a union of segments.
        finding: What the region is.
        long_axis_mm, short_axis_mm: Longest in-plane diameter and the longest one perpendicular to it on the same
            slice; None when the region is empty.
        confidence: Mean model probability within the region, 0 to 1; None when it is empty.
    """

    label: str
    segment_number: int | None
    finding: Code
    volume_ml: float
    long_axis_mm: float | None
    short_axis_mm: float | None
    confidence: float | None
