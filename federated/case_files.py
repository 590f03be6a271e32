"""Cases as NIfTI files, in the layouts in which BraTS data comes.

    FOLDER/CASE_t1_t1ce_t2_flair_2mm.nii.gz, CASE_seg_2mm.nii.gz    four contrasts on the fourth axis, in that order
    FOLDER/.../CASE_t1.nii.gz, _t1ce, _t2, _flair, _seg             BraTS up to 2021: labels 1, 2 and 4
    FOLDER/.../CASE-t1n.nii.gz, -t1c, -t2w, -t2f, -seg              BraTS from 2023: labels 1, 2 and 3

Folders may hold each other, as in BraTS's HGG/CASE/. Sequences may be missing. A file demographics.csv may lie beside
the cases.
"""

import re
import zlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Image
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from federated.errors import TrainingDataError
from federated.ports import Image

IMAGES_SUFFIX = "_t1_t1ce_t2_flair_2mm.nii.gz"
LABELS_SUFFIX = "_seg_2mm.nii.gz"
FILE_CONTRASTS = ("T1", "T1ce", "T2", "FLAIR")
BRATS_LABELS: Mapping[int, int] = {0: 0, 1: 1, 2: 2, 4: 3}
"""BraTS up to 2021 writes enhancing tumour as 4."""
BRATS_2023_LABELS: Mapping[int, int] = {0: 0, 1: 1, 2: 2, 3: 3}
MAX_VOXELS = 160_000_000
MIN_SLICES = 3

_OLD_NAMES = {"t1": "T1", "t1ce": "T1ce", "t2": "T2", "flair": "FLAIR", "seg": "seg"}
_NEW_NAMES = {"t1n": "T1", "t1c": "T1ce", "t2w": "T2", "t2f": "FLAIR", "seg": "seg"}
_FILE_NAME = re.compile(r"(?P<case>.+)[_-](?P<role>t1ce|t1c|t1n|t1|t2w|t2f|t2|flair|seg)\.nii(\.gz)?", re.IGNORECASE)
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_REVERSED = np.eye(4)[:, [2, 1, 0, 3]]
_GRID_TOLERANCE = 1e-3
_INT16 = 32767
# What nibabel, gzip and numpy let out on malformed bytes.
_FAULTS = (
    *(ImageFileError, HeaderDataError, WrapStructError, zlib.error),
    *(ArithmeticError, EOFError, LookupError, OSError, TypeError, ValueError),
)


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
    opened: dict[Path, tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]] = {}
    images = {}
    for contrast in FILE_CONTRASTS:
        if contrast not in files.images:
            continue
        path, index = files.images[contrast]
        if path not in opened:
            opened[path] = _read(files.name, path, dimensions=3 if index is None else 4)
        voxels, affine = opened[path]
        if index is not None:
            voxels = voxels[..., index]
        image = Image(np.ascontiguousarray(voxels.T), affine)
        _check_voxels(files.name, contrast, image)
        images[contrast] = image
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
    values, affine = _read(files.name, files.labels, dimensions=3)
    expected = files.label_values
    unknown = sorted(set(np.unique(values).tolist()) - set(expected))
    if unknown:
        listed = ", ".join(str(value) for value in expected)
        shown = [int(value) if float(value).is_integer() else value for value in unknown[:5]]
        raise TrainingDataError(f"{files.name}: expected the labels {listed}, got {shown} too.")
    lookup = np.zeros(max(expected) + 1, np.uint8)
    lookup[list(expected)] = list(expected.values())
    return np.ascontiguousarray(lookup[values.astype(np.intp)].T), affine


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
        written = _to_nifti(np.rint(image.voxels / np.float32(slope)).astype(np.int16), image.affine_lps)
        written.header.set_slope_inter(slope, 0)  # type: ignore[no-untyped-call]  # nibabel carries no types
        nibabel.save(written, place / f"{name}_{roles[contrast]}.nii.gz")
    values = np.array([0, 1, 2, 4], np.uint8)[labels]
    affine = next(iter(images.values())).affine_lps
    nibabel.save(_to_nifti(values, affine), place / f"{name}_seg.nii.gz")


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


def _read(case: str, path: Path, *, dimensions: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """A file's values, axes (i, j, k) as in the file, and the affine of the same array transposed, in LPS."""
    try:
        image = Nifti1Image.from_filename(path)
        shape = tuple(int(length) for length in image.shape)
        if len(shape) != dimensions or min(shape) < 1 or (dimensions == 4 and shape[3] != len(FILE_CONTRASTS)):
            wanted = "three dimensions" if dimensions == 3 else "four contrasts on a fourth axis"
            raise TrainingDataError(f"{case}: expected {wanted} in {path.name}, got shape {shape}.")
        if np.prod(shape, dtype=float) > MAX_VOXELS * 4:
            raise TrainingDataError(f"{case}: {path.name} claims {shape} voxels, more than {MAX_VOXELS}.")
        values = np.asarray(image.dataobj, np.float32)
    except _FAULTS as fault:
        raise TrainingDataError(f"{case}: {path.name} cannot be read ({type(fault).__name__}).") from fault
    # NIfTI is RAS with array axes (i, j, k); here it is LPS with axes (slices, rows, columns) = (k, j, i).
    affine = np.asarray(_TO_LPS @ image.affine @ _REVERSED, np.float64)
    _check_geometry(case, path, shape[:3], affine)
    return values, affine


def _check_geometry(case: str, path: Path, shape: tuple[int, ...], affine: npt.NDArray[np.float64]) -> None:
    if min(shape) < MIN_SLICES:
        raise TrainingDataError(
            f"{case}: expected at least {MIN_SLICES} slices along every axis in {path.name}, got shape {shape}."
        )
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or spacing.min() <= 0:
        listed = " x ".join(f"{length:g}" for length in spacing)
        raise TrainingDataError(f"{case}: expected voxels of positive size in {path.name}, got {listed} mm.")
    directions = affine[:3, :3] / spacing
    if np.abs(directions.T @ directions - np.eye(3)).max() > 10 * _GRID_TOLERANCE:
        raise TrainingDataError(f"{case}: the axes of {path.name} are not perpendicular; resample it.")


def _check_voxels(case: str, contrast: str, image: Image) -> None:
    bad = int(np.count_nonzero(~np.isfinite(image.voxels)))
    if bad:
        raise TrainingDataError(f"{case}: expected finite voxels in {contrast}, got {bad} that are NaN or infinite.")
    if float(image.voxels.min()) == float(image.voxels.max()):
        raise TrainingDataError(f"{case}: every voxel of {contrast} is {image.voxels.flat[0]:g}; it holds no image.")


def _to_nifti(values: npt.NDArray[np.generic], affine_lps: npt.NDArray[np.float64]) -> Nifti1Image:
    return Nifti1Image(values.T, _TO_LPS @ affine_lps @ _REVERSED)  # type: ignore[no-untyped-call]
