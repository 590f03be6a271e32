"""A folder of DICOM files, however nested, to the volumes of one study."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from dicom_ingest.errors import BrokenInstanceError
from dicom_ingest.instances import parse_instance
from dicom_ingest.model import MrContrast, Selection, Series, Volume
from dicom_ingest.selection import choose_series
from dicom_ingest.volume import assemble_volume
from federated.ports import Progress
from plugin.errors import InputNotFoundError, SeveralStudiesError

MAX_FILES: Final = 50_000
MAX_FILE_BYTES: Final = 2**28
"""A classic MR image takes half a megabyte; enhanced ones, which are refused later by name, some hundred."""

_PREAMBLE_BYTES = 128
_PREFIX = b"DICM"
_DIRECTORY = "DICOMDIR"
"""The media directory, which is no image (PS3.10 8.6)."""


@dataclass(frozen=True, eq=False)
class DicomStudy:
    """One study as found in a folder.

    Attributes:
        selection: Which series stands for which contrast, and why.
        volumes: The chosen ones, in LPS.
    """

    selection: Selection
    volumes: Mapping[MrContrast, Volume]


@dataclass(eq=False)
class _Found:
    """One series: the header of its first file, and every instance's file."""

    header: Dataset
    files: dict[str, Path]


def read_dicom_study(folder: Path, progress: Progress) -> DicomStudy:
    """Choose a study's four series by what their headers say, and stack them.

    Each file is read twice, so that the pixels of one series at a time are in memory.

    Args:
        folder: Holds Part 10 files of one study, in folders of any depth; other files are passed over.
        progress: Called as files are read.

    Raises:
        InputNotFoundError: No DICOM file is there, or too many files.
        SeveralStudiesError: The files are of more than one study.
        BrokenInstanceError: A file is not readable DICOM, or is too large.
        SelectionError: No MR series, or none that is T1 after contrast.
        GeometryError: A chosen series is not one regular volume.
    """
    found = _find_series(folder, progress)
    studies = sorted({str(series.header.StudyInstanceUID) for series in found.values()})
    if len(studies) > 1:
        raise SeveralStudiesError(
            f"Expected the files of one study, got {len(studies)}: {', '.join(studies)}; give the folder of one."
        )
    selection = choose_series([_series(one) for one in found.values()])
    volumes = {}
    for done, (contrast, chosen) in enumerate(selection.chosen.items(), start=1):
        files = found[chosen.series.series_instance_uid].files.values()
        volumes[contrast] = assemble_volume([_parse(path, folder) for path in files])
        progress(0.5 + 0.5 * done / len(selection.chosen))
    return DicomStudy(selection, volumes)


def has_dicom(folder: Path) -> bool:
    """Whether a folder, or one below it, holds a DICOM Part 10 file."""
    return any(True for _ in _dicom_files(folder))


def _find_series(folder: Path, progress: Progress) -> dict[str, _Found]:
    paths = list(_dicom_files(folder))
    found: dict[str, _Found] = {}
    for done, path in enumerate(paths, start=1):
        instance = _parse(path, folder)
        uid = str(instance.SeriesInstanceUID)
        if uid not in found:
            if "PixelData" in instance:
                del instance.PixelData
            found[uid] = _Found(instance, {})
        # A second copy of an instance is the same image.
        found[uid].files.setdefault(str(instance.SOPInstanceUID), path)
        progress(0.5 * done / len(paths))
    if not found:
        raise InputNotFoundError(f"{folder}: expected DICOM Part 10 files, found none; export the study again.")
    return found


def _dicom_files(folder: Path) -> Iterator[Path]:
    """In a fixed order; links to folders are not followed."""
    seen = 0
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name.upper() == _DIRECTORY:
            continue
        seen += 1
        if seen > MAX_FILES:
            raise InputNotFoundError(f"{folder}: expected the files of one study, found more than {MAX_FILES} files.")
        with path.open("rb") as file:
            file.seek(_PREAMBLE_BYTES)
            if file.read(len(_PREFIX)) == _PREFIX:
                yield path


def _parse(path: Path, folder: Path) -> Dataset:
    name = path.relative_to(folder)
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise BrokenInstanceError(
            f"{name}: expected a DICOM file of at most {MAX_FILE_BYTES} bytes, got {size}; "
            "send the series as classic MR images."
        )
    try:
        return parse_instance(path.read_bytes())
    except BrokenInstanceError as fault:
        raise BrokenInstanceError(f"{name}: {fault}") from None


def _series(found: _Found) -> Series:
    header = found.header
    return Series(
        study_instance_uid=str(header.StudyInstanceUID),
        series_instance_uid=str(header.SeriesInstanceUID),
        modality=str(header.get("Modality", "") or ""),
        number_of_instances=len(found.files),
        header=header,
    )
