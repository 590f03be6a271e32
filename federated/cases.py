"""Training cases: images with the labels that a reader drew."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Image

from federated.errors import TrainingDataError
from federated.phantom import Phantom
from federated.ports import Image
from federated.preprocessing import ModelInput, Preprocessing, to_model_input
from federated.resampling import resample_labels

IMAGES_SUFFIX = "_t1_t1ce_t2_flair_2mm.nii.gz"
LABELS_SUFFIX = "_seg_2mm.nii.gz"
FILE_CONTRASTS = ("T1", "T1ce", "T2", "FLAIR")
BRATS_LABELS = {0: 0, 1: 1, 2: 2, 4: 3}
"""BraTS writes enhancing tumour as 4."""
REFERENCE = "T1ce"


@dataclass(frozen=True, eq=False)
class Case:
    """One labelled case on its own grid.

    Attributes:
        images: By contrast; all on one grid.
        labels: uint8 (slices, rows, columns) on that grid: 1 core, 2 oedema, 3 enhancing.
    """

    name: str
    images: Mapping[str, Image]
    labels: npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Example:
    """One labelled case as the network sees it; labels are on the model input's grid."""

    name: str
    model_input: ModelInput
    labels: npt.NDArray[np.uint8]


def list_cases(folder: Path) -> list[str]:
    """Names of the cases in a folder, sorted.

    Raises:
        TrainingDataError: It holds none.
    """
    names = sorted(path.name.removesuffix(IMAGES_SUFFIX) for path in folder.glob(f"*{IMAGES_SUFFIX}"))
    if not names:
        raise TrainingDataError(f"{folder}: expected files named CASE{IMAGES_SUFFIX}, found none.")
    return names


def read_case(folder: Path, name: str) -> Case:
    """Read one case: a NIfTI file with four contrasts and one with BraTS labels.

    Raises:
        TrainingDataError: A file is missing or unreadable, or the two do not fit.
    """
    try:
        images = Nifti1Image.from_filename(folder / (name + IMAGES_SUFFIX))
        labels = Nifti1Image.from_filename(folder / (name + LABELS_SUFFIX))
        voxels, values = np.asarray(images.dataobj, np.float32), np.asarray(labels.dataobj)
    except (OSError, ImageFileError) as fault:
        raise TrainingDataError(f"{name}: cannot be read ({type(fault).__name__}).") from fault
    if voxels.shape != (*values.shape, len(FILE_CONTRASTS)) or not np.allclose(images.affine, labels.affine):
        raise TrainingDataError(
            f"{name}: expected four contrasts on the grid of the labels, got {voxels.shape} and {values.shape}."
        )
    unknown = sorted(set(np.unique(values).tolist()) - set(BRATS_LABELS))
    if unknown:
        raise TrainingDataError(f"{name}: expected the labels 0, 1, 2, 4, got {unknown} too.")
    # NIfTI is RAS with array axes (i, j, k); here it is LPS with axes (slices, rows, columns) = (k, j, i).
    affine_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ images.affine @ np.eye(4)[:, [2, 1, 0, 3]]
    contrasts = {
        contrast: Image(np.ascontiguousarray(voxels[..., index].T), affine_lps)
        for index, contrast in enumerate(FILE_CONTRASTS)
    }
    lookup = np.zeros(256, np.uint8)
    lookup[list(BRATS_LABELS)] = list(BRATS_LABELS.values())
    return Case(name, contrasts, np.ascontiguousarray(lookup[values.astype(np.uint8)].T))


def phantom_case(name: str, phantom: Phantom) -> Case:
    """A synthetic head as a case."""
    return Case(name, phantom.images, phantom.labels)


def to_example(case: Case, preprocessing: Preprocessing) -> Example:
    """Bring a case to the model's grid, by the same way as at inference."""
    model_input = to_model_input(case.images, REFERENCE, preprocessing)
    labels = resample_labels(case.labels, case.images[REFERENCE].affine_lps, model_input.grid)
    return Example(case.name, model_input, labels)


def case_digest(case: Case) -> str:
    """SHA-256 over voxels and labels, to name the data that a result came from."""
    found = hashlib.sha256()
    for contrast in sorted(case.images):
        found.update(case.images[contrast].voxels.tobytes())
    found.update(case.labels.tobytes())
    return found.hexdigest()
