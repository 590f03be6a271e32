"""Training cases: images with the labels that a reader drew; and cohorts, whose cases are read when they are needed."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from federated.case_files import CaseFiles, check_empty, find_cases, read_images, read_labels, write_case_files
from federated.contrast_order import contrast_order_fault
from federated.demographics import Demographics, Person, read_people, write_people
from federated.errors import ModelInputError, TrainingDataError
from federated.phantom import Phantom
from federated.ports import Image
from federated.preprocessing import ModelInput, Preprocessing, to_model_input
from federated.resampling import resample_labels

REFERENCE = "T1ce"
DEMOGRAPHICS_FILE = "demographics.csv"
_GRID_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Case:
    """One labelled case.

    Attributes:
        images: By contrast; T1ce, the reference, among them. Of a NIfTI cohort all are on one grid.
        labels: uint8 (slices, rows, columns) on the reference's grid: 1 core, 2 oedema, 3 enhancing.
        demographics: Of the patient, where known.
        site: Where it comes from, where known.
    """

    name: str
    images: Mapping[str, Image]
    labels: npt.NDArray[np.uint8]
    demographics: Demographics | None = None
    site: str | None = None


class CaseSource(Protocol):
    """A case that is read, or built, when it is needed."""

    @property
    def name(self) -> str:
        """Of the case; no two cases of a cohort share one."""

    def read(self) -> Case:
        """Read it; the same one every time.

        Raises:
            TrainingDataError: It cannot be used; the message says which case and why.
        """


@dataclass(frozen=True, eq=False)
class Example:
    """One labelled case as the network sees it; labels are on the model input's grid."""

    name: str
    model_input: ModelInput
    labels: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class StoredCase:
    """A case in NIfTI files.

    Attributes:
        tumour_free: Whether labels without any voxel are accepted: the case of a healthy brain.
    """

    files: CaseFiles
    demographics: Demographics | None = None
    site: str | None = None
    tumour_free: bool = False

    @property
    def name(self) -> str:
        """As its files are named."""
        return self.files.name

    def read(self) -> Case:
        """Read its files.

        Raises:
            TrainingDataError: A file is missing, damaged, or does not fit the others; no voxel is labelled; or the
                contrasts contradict their names.
        """
        images = read_images(self.files)
        if REFERENCE not in images:
            raise TrainingDataError(f"{self.name}: expected {REFERENCE}, got {', '.join(images)} only.")
        labels, affine = read_labels(self.files)
        reference = images[REFERENCE]
        for what, shape, other in [
            ("labels", labels.shape, affine),
            *((contrast, image.voxels.shape, image.affine_lps) for contrast, image in images.items()),
        ]:
            apart = np.abs(other - reference.affine_lps).max()
            if shape != reference.voxels.shape or apart > _GRID_TOLERANCE:
                raise TrainingDataError(
                    f"{self.name}: expected {what} on the grid of the {REFERENCE}, {_shape(reference.voxels.shape)}, "
                    f"got {_shape(shape)} voxels, affines {apart:.3g} mm apart; resample the case to one grid."
                )
        if not labels.any() and not self.tumour_free:
            raise TrainingDataError(
                f"{self.name}: expected labelled voxels, the segmentation is empty; draw the tumour, or leave it out."
            )
        fault = contrast_order_fault(images, labels)
        if fault:
            raise TrainingDataError(f"{self.name}: {fault}; check which file, or channel, is which contrast.")
        return Case(self.name, images, labels, self.demographics, self.site)


def list_cases(folder: Path) -> list[str]:
    """Names of the cases in a folder, sorted.

    Raises:
        TrainingDataError: It holds none.
    """
    return list(find_cases(folder))


def read_case(folder: Path, name: str) -> Case:
    """Read one case of a folder.

    Raises:
        TrainingDataError: There is no such case, or StoredCase.read refuses it.
    """
    found = {source.name: source for source in read_cohort(folder)}
    if name not in found:
        raise TrainingDataError(f"{folder}: expected a case named {name}, got {', '.join(found)}.")
    return found[name].read()


def read_cohort(folder: Path, *, tumour_free: bool = False) -> tuple[StoredCase, ...]:
    """Find the cases of a folder in any layout of case_files, sorted by name; voxels are read by each case's read().

    Args:
        folder: With the cases and, where known, demographics.csv.
        tumour_free: Whether cases without a labelled voxel are accepted.

    Raises:
        TrainingDataError: There is no case, or demographics.csv is not what it should be.
    """
    people = read_people(folder / DEMOGRAPHICS_FILE)
    unknown = Person(None, None)
    return tuple(
        StoredCase(files, people.get(name, unknown).demographics, people.get(name, unknown).site, tumour_free)
        for name, files in find_cases(folder).items()
    )


def write_cohort(folder: Path, cases: Iterable[CaseSource]) -> int:
    """Write cases as BraTS-layout NIfTI files with demographics.csv; returns how many.

    Raises:
        TrainingDataError: The folder holds something already.
    """
    check_empty(folder)
    people = {}
    for source in cases:
        case = source.read()
        write_case_files(folder, case.name, case.images, case.labels)
        people[case.name] = Person(case.demographics, case.site)
    if not people:
        raise TrainingDataError(f"{folder}: expected at least one case to write, got none.")
    write_people(folder / DEMOGRAPHICS_FILE, people)
    return len(people)


def phantom_case(name: str, phantom: Phantom) -> Case:
    """A synthetic head as a case."""
    return Case(name, phantom.images, phantom.labels)


def to_example(case: Case, preprocessing: Preprocessing) -> Example:
    """Bring a case to the model's grid, by the same way as at inference.

    Raises:
        TrainingDataError: An image is one that no model can read.
    """
    try:
        model_input = to_model_input(case.images, REFERENCE, preprocessing)
    except ModelInputError as fault:
        raise TrainingDataError(f"{case.name}: {fault}") from fault
    labels = resample_labels(case.labels, case.images[REFERENCE].affine_lps, model_input.grid)
    return Example(case.name, model_input, labels)


def case_digest(case: Case) -> str:
    """SHA-256 over voxels and labels, to name the data that a result came from."""
    found = hashlib.sha256()
    for contrast in sorted(case.images):
        found.update(case.images[contrast].voxels.tobytes())
    found.update(case.labels.tobytes())
    return found.hexdigest()


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(str(length) for length in shape)
