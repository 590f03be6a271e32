"""Cases as NIfTI files, in the layouts in which BraTS data comes.

    FOLDER/CASE_t1_t1ce_t2_flair_2mm.nii.gz, CASE_seg_2mm.nii.gz    four contrasts on the fourth axis, in that order
    FOLDER/.../CASE_t1.nii.gz, _t1ce, _t2, _flair, _seg             BraTS up to 2021: labels 1, 2 and 4
    FOLDER/.../CASE-t1n.nii.gz, -t1c, -t2w, -t2f, -seg              BraTS from 2023: labels 1, 2 and 3

Folders may hold each other, as in BraTS's HGG/CASE/. Sequences may be missing. A file demographics.csv may lie beside
the cases.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from federated.errors import NiftiFileError, TrainingDataError
from federated.nifti import encode_nifti, grid_of, read_nifti
from federated.ports import Image

IMAGES_SUFFIX = "_t1_t1ce_t2_flair_2mm.nii.gz"
LABELS_SUFFIX = "_seg_2mm.nii.gz"
FILE_CONTRASTS = ("T1", "T1ce", "T2", "FLAIR")
BRATS_LABELS: Mapping[int, int] = {0: 0, 1: 1, 2: 2, 4: 3}
"""BraTS up to 2021 writes enhancing tumour as 4."""
BRATS_2023_LABELS: Mapping[int, int] = {0: 0, 1: 1, 2: 2, 3: 3}

_OLD_NAMES = {"t1": "T1", "t1ce": "T1ce", "t2": "T2", "flair": "FLAIR", "seg": "seg"}
_NEW_NAMES = {"t1n": "T1", "t1c": "T1ce", "t2w": "T2", "t2f": "FLAIR", "seg": "seg"}
_FILE_NAME = re.compile(r"(?P<case>.+)[_-](?P<role>t1ce|t1c|t1n|t1|t2w|t2f|t2|flair|seg)\.nii(\.gz)?", re.IGNORECASE)
_INT16 = 32767


@dataclass(frozen=True)
class CaseFiles:
    """Which files make up a case.

    Attributes:
        images: By contrast; the file and, of a 4-D file, the index on its fourth axis.
        labels: None when there is no file of labels.
        label_values: What the file's labels are here.
    """

    name: str
    images: Mapping[str, tuple[Path, int | None]]
    labels: Path | None
    label_values: Mapping[int, int]


def find_cases(folder: Path) -> dict[str, CaseFiles]:
    """Recognise the layout of a folder, and list its cases by name; no file is opened.

    Raises:
        TrainingDataError: There is no case, or two files claim to be one contrast of one case.
    """
    found = _joined_cases(folder) | _separate_cases(folder)
    if not found:
        raise TrainingDataError(
            f"{folder}: expected files named CASE_t1.nii.gz, CASE-t1n.nii.gz or CASE{IMAGES_SUFFIX} "
            "(see federated/case_files.py), found none."
        )
    return dict(sorted(found.items()))


def read_images(files: CaseFiles) -> dict[str, Image]:
    """Read the contrasts of a case.

    Raises:
        TrainingDataError: There is none, or a file is unreadable or holds something else than a volume.
    """
    if not files.images:
        raise TrainingDataError(f"{files.name}: expected at least one contrast beside the labels, found none.")
    opened: dict[Path, tuple[Image, ...]] = {}
    images = {}
    for contrast in FILE_CONTRASTS:
        if contrast not in files.images:
            continue
        path, index = files.images[contrast]
        if path not in opened:
            opened[path] = _read(files.name, path, 1 if index is None else len(FILE_CONTRASTS))
        images[contrast] = opened[path][index or 0]
        _check_voxels(files.name, contrast, images[contrast])
    return images


def read_labels(files: CaseFiles) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Read the labels of a case.

    Returns:
        uint8 (slices, rows, columns), 1 core, 2 oedema, 3 enhancing; affine_lps (4, 4).

    Raises:
        TrainingDataError: There are none, the file is unreadable, or it holds other labels than it should.
    """
    if files.labels is None:
        raise TrainingDataError(f"{files.name}: expected labels in a file named {files.name}_seg.nii.gz, found none.")
    (read,) = _read(files.name, files.labels)
    expected = files.label_values
    unknown = sorted(set(np.unique(read.voxels).tolist()) - set(expected))
    if unknown:
        listed = ", ".join(str(value) for value in expected)
        shown = [int(value) if float(value).is_integer() else value for value in unknown[:5]]
        raise TrainingDataError(f"{files.name}: expected the labels {listed}, got {shown} too.")
    lookup = np.zeros(max(expected) + 1, np.uint8)
    lookup[list(expected)] = list(expected.values())
    return lookup[read.voxels.astype(np.intp)], read.affine_lps


def check_empty(folder: Path) -> None:
    """Check that a cohort can be written to a folder.

    Raises:
        TrainingDataError: It holds something already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TrainingDataError(f"{folder}: expected an empty folder, it holds something; choose another one.")


def write_case_files(folder: Path, name: str, images: Mapping[str, Image], labels: npt.NDArray[np.uint8]) -> None:
    """Write a case as BraTS did up to 2021: FOLDER/NAME/NAME_t1.nii.gz and so on, int16 with a slope; 0 stays 0."""
    place = folder / name
    place.mkdir(parents=True)
    roles = {contrast: role for role, contrast in _OLD_NAMES.items()}
    for contrast, image in images.items():
        slope = max(float(np.abs(image.voxels).max()) / _INT16, 1e-9)
        stored = np.rint(image.voxels / np.float32(slope)).astype(np.int16)
        encoded = encode_nifti(stored, grid_of(image), slope=slope)
        (place / f"{name}_{roles[contrast]}.nii.gz").write_bytes(encoded)
    values = np.array([0, 1, 2, 4], np.uint8)[labels]
    grid = grid_of(next(iter(images.values())))
    (place / f"{name}_seg.nii.gz").write_bytes(encode_nifti(values, grid))


def _joined_cases(folder: Path) -> dict[str, CaseFiles]:
    found = {}
    for path in folder.glob(f"*{IMAGES_SUFFIX}"):
        name = path.name.removesuffix(IMAGES_SUFFIX)
        images = {contrast: (path, index) for index, contrast in enumerate(FILE_CONTRASTS)}
        labels = folder / (name + LABELS_SUFFIX)
        found[name] = CaseFiles(name, images, labels if labels.exists() else None, BRATS_LABELS)
    return found


def _separate_cases(folder: Path) -> dict[str, CaseFiles]:
    roles: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in sorted([*folder.rglob("*.nii"), *folder.rglob("*.nii.gz")]):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            continue
        name, role = match["case"], match["role"].lower()
        other = roles[name].setdefault(role, path)
        if other != path:
            raise TrainingDataError(f"{name}: expected one file for {role}, got {other} and {path}; remove one.")
    return {name: _case_files(name, found) for name, found in roles.items()}


def _case_files(name: str, roles: Mapping[str, Path]) -> CaseFiles:
    new = any(role in _NEW_NAMES and role != "seg" for role in roles)
    names = _NEW_NAMES if new else _OLD_NAMES
    mixed = sorted(set(roles) - set(names))
    if mixed:
        raise TrainingDataError(
            f"{name}: expected the names of one BraTS year, got {', '.join(sorted(roles))}; rename {', '.join(mixed)}."
        )
    images = {names[role]: (path, None) for role, path in roles.items() if role != "seg"}
    return CaseFiles(name, images, roles.get("seg"), BRATS_2023_LABELS if new else BRATS_LABELS)


def _read(case: str, path: Path, volumes: int = 1) -> tuple[Image, ...]:
    try:
        images, _ = read_nifti(path, volumes)
    except NiftiFileError as fault:
        raise TrainingDataError(f"{case}: {fault}") from fault
    return images


def _check_voxels(case: str, contrast: str, image: Image) -> None:
    if float(image.voxels.min()) == float(image.voxels.max()):
        raise TrainingDataError(f"{case}: every voxel of {contrast} is {image.voxels.flat[0]:g}; it holds no image.")
