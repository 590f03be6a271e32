"""What `qfl predict` reads: a folder of DICOM series, NIfTI files named by sequence, or one 4-D NIfTI file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from federated.contrast_order import no_dark_fluid
from federated.nifti import NiftiGrid, grid_of, read_nifti
from federated.ports import Image, Progress
from plugin.errors import InputNotFoundError, SequenceNamesError
from plugin.services.prediction_dicom import has_dicom, read_dicom_study
from plugin.services.series_use import series_uses, unused_contrasts
from plugin.services.values import SeriesUse

SEQUENCES: Final = ("T1", "T1ce", "T2", "FLAIR")
"""Also the order of the volumes in a 4-D file."""
REFERENCE: Final = "T1ce"
"""Its grid is the mask's."""

_NAMES: Final = {
    "T1": ("t1", "t1n", "t1w"),
    "T1ce": ("t1ce", "t1c", "t1gd", "t1_ce", "t1_gd"),
    "T2": ("t2", "t2w"),
    "FLAIR": ("flair", "t2f", "t2flair", "t2_flair"),
}
"""How file names end, BraTS until 2021 and from 2023 on among them."""
_SEQUENCE_OF = {name: sequence for sequence, names in _NAMES.items() for name in names}
_NAME = re.compile(rf"(?P<case>.*?)(?:^|(?<=[-_. ]))(?P<name>{'|'.join(_SEQUENCE_OF)})\.nii(?:\.gz)?")


@dataclass(frozen=True)
class _Named:
    """A file whose name, in lower case, says its sequence; what stands before is the case."""

    path: Path
    case: str
    name: str
    sequence: str


class InputKind(StrEnum):
    """What the input is."""

    DICOM = "dicom-series"
    NIFTI_FILES = "nifti-by-sequence"
    NIFTI_4D = "nifti-4d"


@dataclass(frozen=True, eq=False)
class PredictionInput:
    """One case, read.

    Attributes:
        images: By sequence; the reference is among them.
        grid: Of the reference, in the words of NIfTI.
        uses: What each series, file or volume was taken for, and why.
        warnings: What a reader must know of the input.
    """

    kind: InputKind
    images: Mapping[str, Image]
    grid: NiftiGrid
    uses: tuple[SeriesUse, ...]
    warnings: tuple[str, ...]


def read_input(source: Path, progress: Progress) -> PredictionInput:
    """Recognise what an input is, and read it.

    Args:
        source: A folder with NIfTI files that are named by sequence (those below it are not looked at), else of DICOM
            files of any depth; or one 4-D NIfTI file.
        progress: Called with the finished fraction.

    Raises:
        InputNotFoundError: It is not there, or is none of the three.
        SequenceNamesError: NIfTI files do not make one case with a T1ce.
        NiftiFileError: A NIfTI file cannot be used.
        SeveralStudiesError, DicomIngestError: See read_dicom_study.
    """
    progress(0.0)
    try:
        found = _read(source, progress)
    except OSError as fault:
        raise InputNotFoundError(f"{source}: cannot be read ({fault.strerror}); check its permissions.") from fault
    progress(1.0)
    return found


def _read(source: Path, progress: Progress) -> PredictionInput:
    if source.is_file():
        return _read_4d(source)
    if not source.is_dir():
        raise InputNotFoundError(f"{source}: expected a folder or a NIfTI file, there is none; check the path.")
    files = sorted(path for path in source.iterdir() if path.is_file() and _is_nifti(path))
    named = [found for found in map(_named, files) if found]
    if named:
        return _read_files(named, files, progress)
    if has_dicom(source):
        return _read_dicom(source, progress)
    raise InputNotFoundError(_nothing_there(source, files))


def _read_4d(path: Path) -> PredictionInput:
    if not _is_nifti(path):
        raise InputNotFoundError(
            f"{path.name}: expected a .nii or .nii.gz file with the volumes {', '.join(SEQUENCES)}; "
            "give DICOM files as their folder."
        )
    images, grid = read_nifti(path, len(SEQUENCES))
    uses = tuple(
        SeriesUse("", path.name, sequence, f"Volume {number} of {len(SEQUENCES)}.")
        for number, sequence in enumerate(SEQUENCES, start=1)
    )
    by_sequence = dict(zip(SEQUENCES, images, strict=True))
    if no_dark_fluid(by_sequence):
        raise SequenceNamesError(
            f"{path.name}: expected the volumes in the order {', '.join(SEQUENCES)}, but nothing that is bright on the "
            "third is dark on the fourth, as fluid is on T2 and FLAIR; put them in order, or give a file per sequence."
        )
    return PredictionInput(InputKind.NIFTI_4D, by_sequence, grid, uses, _grid_warnings({"All sequences": grid}))


def _read_files(found: Sequence[_Named], files: Sequence[Path], progress: Progress) -> PredictionInput:
    named = _one_case(found)
    images, grids = {}, {}
    for done, (sequence, one) in enumerate(named.items(), start=1):
        (images[sequence],), grids[sequence] = read_nifti(one.path, 1)
        progress(done / len(named))
    used = [SeriesUse("", one.path.name, sequence, f"Named {one.name}.") for sequence, one in named.items()]
    taken = {one.path for one in found}
    others = [SeriesUse("", path.name, None, "Not named by a sequence.") for path in files if path not in taken]
    return PredictionInput(InputKind.NIFTI_FILES, images, grids[REFERENCE], (*used, *others), _grid_warnings(grids))


def _read_dicom(folder: Path, progress: Progress) -> PredictionInput:
    study = read_dicom_study(folder, progress)
    images = {contrast.value: Image(one.voxels, one.affine_lps) for contrast, one in study.volumes.items()}
    return PredictionInput(
        kind=InputKind.DICOM,
        images=images,
        grid=grid_of(images[REFERENCE]),
        uses=series_uses(study.selection),
        warnings=tuple(unused_contrasts(study.selection)),
    )


def _one_case(found: Sequence[_Named]) -> dict[str, _Named]:
    """The files by sequence, in the order of SEQUENCES."""
    named: dict[str, _Named] = {}
    for one in found:
        rival = named.setdefault(one.sequence, one)
        if rival is not one:
            raise SequenceNamesError(
                f"Expected one file for {one.sequence}, got {rival.path.name} and {one.path.name}; "
                "give a folder with one case."
            )
        if one.case != found[0].case:
            raise SequenceNamesError(
                f"Expected the files of one case, {found[0].path.name} and {one.path.name} begin differently; "
                "give a folder with one case."
            )
    if REFERENCE not in named:
        names = ", ".join(f"{name}.nii.gz" for name in _NAMES[REFERENCE])
        got = ", ".join(one.path.name for one in found)
        raise SequenceNamesError(f"Expected a {REFERENCE} file, its name ending in {names}; got only {got}.")
    return {sequence: named[sequence] for sequence in SEQUENCES if sequence in named}


def _named(path: Path) -> _Named | None:
    match = _NAME.fullmatch(path.name.lower())
    if match is None:
        return None
    return _Named(path, match["case"].rstrip("-_. "), match["name"], _SEQUENCE_OF[match["name"]])


def _grid_warnings(grids: Mapping[str, NiftiGrid]) -> tuple[str, ...]:
    without = [sequence for sequence, grid in grids.items() if not grid.is_oriented]
    if not without:
        return ()
    return (
        f"{', '.join(without)}: the file does not say where left and right are (qform_code and sform_code are 0); "
        "sides and planes may be wrong.",
    )


def _nothing_there(source: Path, files: Sequence[Path]) -> str:
    if len(files) == 1:
        return f"{source}: expected files named by sequence, found {files[0].name}; if it is 4-D, give the file itself."
    names = ", ".join(f"{names[0]}.nii.gz" for names in _NAMES.values())
    found = f"{len(files)} NIfTI files of other names" if files else "neither"
    return f"{source}: expected DICOM files, or NIfTI files named {names}; found {found}."


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz"))
