"""The subjects that lie in sandbox/data: four co-registered MR sequences and a label, as BraTS names them."""

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt

DATA = Path(__file__).parent.parent / "data" / "brats_tcga_2mm"
SEQUENCES = ("T1", "T1ce", "T2", "FLAIR")
"""The order of the fourth axis of the image files."""

_IMAGE = "_t1_t1ce_t2_flair_2mm.nii.gz"
_LABEL = "_seg_2mm.nii.gz"
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Subject:
    """One subject, its axes turned so that the indices grow towards left, posterior and superior.

    Attributes:
        sequences: By name, int16 (columns, rows, slices): the first index grows along an image row.
        label: uint8, same shape: 1 necrosis and non-enhancing core, 2 oedema, 4 enhancing, 0 none of them.
        affine_lps: Maps (column, row, slice, 1) to LPS, mm.
    """

    id: str
    sequences: dict[str, npt.NDArray[np.int16]]
    label: npt.NDArray[np.uint8]
    affine_lps: npt.NDArray[np.float64]


def subject_ids() -> tuple[str, ...]:
    """The subjects there are."""
    return tuple(sorted(path.name.removesuffix(_IMAGE) for path in DATA.glob("*" + _IMAGE)))


def load_subject(subject_id: str) -> Subject:
    """Read a subject's files.

    Raises:
        ValueError: There is no such subject, or its image and label do not lie on one grid.
    """
    if subject_id not in subject_ids():
        raise ValueError(f"no subject {subject_id!r}; there are: {', '.join(subject_ids())}")
    image, label = _turned_to_lps(DATA / (subject_id + _IMAGE)), _turned_to_lps(DATA / (subject_id + _LABEL))
    voxels = np.asarray(image.dataobj).astype(np.int16)
    if voxels.shape[:3] != label.shape or not np.allclose(image.affine, label.affine):
        raise ValueError(f"subject {subject_id}: image and label lie on different grids")
    return Subject(
        id=subject_id,
        sequences={name: voxels[..., index] for index, name in enumerate(SEQUENCES)},
        label=np.asarray(label.dataobj).astype(np.uint8),
        affine_lps=_RAS_TO_LPS @ image.affine,
    )


def _turned_to_lps(path: Path) -> nibabel.Nifti1Image:
    """Load a file with its axes permuted and flipped, not resampled, to left, posterior, superior."""
    image = nibabel.Nifti1Image.from_filename(path)
    # nibabel's orientation functions carry no types.
    has = nibabel.io_orientation(image.affine)  # type: ignore[no-untyped-call]
    wanted = nibabel.orientations.axcodes2ornt(("L", "P", "S"))  # type: ignore[no-untyped-call]
    turn = nibabel.orientations.ornt_transform(has, wanted)  # type: ignore[no-untyped-call]
    turned: nibabel.Nifti1Image = image.as_reoriented(turn)  # type: ignore[no-untyped-call]
    return turned
