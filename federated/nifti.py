"""NIfTI files to images, and masks back to NIfTI. The files are untrusted; the crossing between RAS and LPS is here.

References:
    NIfTI-1.1, nifti1.h; NIfTI-2, nifti2.h.
"""

import gzip
import logging
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Header, Nifti2Image
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from federated.errors import NiftiFileError
from federated.ports import Image

# nibabel logs each field that it finds odd; what matters of it is checked and told here.
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 10)

MAX_BYTES: Final = 2**30
"""Of a file, uncompressed: four contrasts of 256 x 256 x 256 voxels at 4 bytes take a quarter of it."""
MIN_SLICES: Final = 3
SPACING_MM: Final = (0.05, 20.0)
RIGHT_ANGLE: Final = 0.01
"""By how much the cosine between two axes may miss 0: about half a degree."""

_NIFTI2_HEADER_BYTES = 540
_REVERSED = np.eye(4)[:, [2, 1, 0, 3]]
"""NIfTI's (i, j, k) is (column, row, slice) here."""
_GEOMETRY = (
    *("qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("sform_code", "srow_x", "srow_y", "srow_z"),
)
# What nibabel, gzip and numpy let out on malformed bytes; the tests repeat the fuzzing that found them.
_FAULTS = (
    *(ImageFileError, HeaderDataError, WrapStructError),
    *(ArithmeticError, EOFError, LookupError, OSError, TypeError, ValueError),
)


@dataclass(frozen=True, eq=False)
class NiftiGrid:
    """Where the voxels of a NIfTI file are, as its header says it.

    Attributes:
        shape: Number of (columns, rows, slices): NIfTI's axes (i, j, k).
        affine_ras: float64 (4, 4), maps (i, j, k, 1) to RAS, mm.
        header: Of NIfTI-1 or NIfTI-2; geometry only, so that no text of the input's goes on.
    """

    shape: tuple[int, int, int]
    affine_ras: npt.NDArray[np.float64]
    header: Any

    @property
    def is_oriented(self) -> bool:
        """Whether the header says where left and right are."""
        return bool(self.header["qform_code"] > 0 or self.header["sform_code"] > 0)


def read_nifti(path: Path, volumes: int) -> tuple[tuple[Image, ...], NiftiGrid]:
    """Read one NIfTI file.

    Args:
        path: NIfTI-1 or NIfTI-2 in one file, .nii or .nii.gz.
        volumes: How many it must hold: 1 for a file of one sequence, which is 3-D, more for a 4-D file.

    Returns:
        The volumes as images in LPS, float32 (slices, rows, columns), and their common grid.

    Raises:
        NiftiFileError: The file cannot be read, is no NIfTI, is cut off or too large, holds another number of volumes,
            too few slices or values that are not finite, or its axes are not at right angles.
    """
    name = path.name
    # What does not fit into a number becomes infinite, which the checks tell.
    with np.errstate(over="ignore", invalid="ignore"):
        image = _parse(name, _read(path))
        shape = _check_shape(name, image.shape, volumes)
        grid = NiftiGrid(shape, np.asarray(image.affine, np.float64), _geometry(image))
        _check_axes(name, grid.affine_ras)
        voxels = _voxels(name, image).reshape(*shape, volumes)
    affine_lps = lps_to_ras(grid.affine_ras) @ _REVERSED
    return tuple(Image(np.ascontiguousarray(voxels[..., n].T), affine_lps) for n in range(volumes)), grid


def grid_of(image: Image) -> NiftiGrid:
    """The grid of an image that came from elsewhere, as NIfTI writes it."""
    affine_ras = lps_to_ras(image.affine_lps @ _REVERSED)
    header: Any = Nifti1Header()  # type: ignore[no-untyped-call]
    header.set_xyzt_units("mm")
    header.set_sform(affine_ras, code="scanner")
    header.set_qform(affine_ras, code="scanner")
    slices, rows, columns = image.voxels.shape
    return NiftiGrid((columns, rows, slices), header.get_best_affine(), header)


def encode_nifti(values: npt.NDArray[Any], grid: NiftiGrid, slope: float = 1.0) -> bytes:
    """Write values (slices, rows, columns) as .nii.gz in a grid's geometry; the same values give the same bytes.

    A reader multiplies integers by the slope.
    """
    cls: Any = Nifti2Image if isinstance(grid.header, Nifti2Header) else Nifti1Image
    header = grid.header.copy()
    header.set_data_dtype(values.dtype)
    image = cls(values.T, header.get_best_affine() if grid.is_oriented else None, header)
    if slope != 1.0:
        image.header.set_slope_inter(slope, 0)
    return gzip.compress(image.to_bytes(), compresslevel=5, mtime=0)


def lps_to_ras(affine: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn an affine into LPS to one into RAS, NIfTI's frame; the only crossing, and its own inverse."""
    return np.asarray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, np.float64)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            stream: Any = gzip.GzipFile(fileobj=file) if path.name.lower().endswith(".gz") else file
            content: bytes = stream.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as fault:
        raise NiftiFileError(
            f"{path.name}: expected a whole .nii or .nii.gz file, it cannot be read ({type(fault).__name__}); "
            "copy or export it again."
        ) from fault
    if len(content) > MAX_BYTES:
        raise NiftiFileError(f"{path.name}: expected at most {MAX_BYTES} bytes uncompressed; crop or resample it.")
    return content


def _parse(name: str, content: bytes) -> Any:
    size = content[:4]
    is_second = _NIFTI2_HEADER_BYTES in (int.from_bytes(size, "little"), int.from_bytes(size, "big"))
    cls: Any = Nifti2Image if is_second else Nifti1Image
    try:
        image = cls.from_bytes(content)
        claimed = int(np.prod([int(length) for length in image.shape], dtype=object)) * image.get_data_dtype().itemsize
    except _FAULTS as fault:
        raise NiftiFileError(
            f"{name}: expected a NIfTI-1 or NIfTI-2 file, got {len(content)} bytes that are not "
            f"({type(fault).__name__}); convert the images again."
        ) from fault
    if image.get_data_dtype().kind not in "iuf":
        raise NiftiFileError(f"{name}: expected real numbers, got {image.get_data_dtype()}; convert the images again.")
    if claimed > len(content):
        raise NiftiFileError(
            f"{name} is cut off: expected {claimed} bytes of voxels, got {len(content)} in all; copy it again."
        )
    return image


def _check_shape(name: str, shape: tuple[int, ...], volumes: int) -> tuple[int, int, int]:
    """The shape of one volume."""
    found = "x".join(str(length) for length in shape)
    core = shape
    while len(core) > 3 and core[-1] == 1:
        core = core[:-1]
    if volumes == 1 and len(core) != 3:
        raise NiftiFileError(
            f"{name}: expected one 3-D volume, got {found}. A 4-D file goes by itself, not in a folder of sequences."
        )
    if volumes > 1 and core[3:] != (volumes,):
        channels_first = len(core) == 4 and core[0] == volumes
        raise NiftiFileError(
            f"{name}: expected a 4-D file with {volumes} volumes (columns x rows x slices x {volumes}), got {found}; "
            + (
                "move the first axis to the end."
                if channels_first
                else "put one file per sequence in a folder instead."
            )
        )
    if core[2] < MIN_SLICES or min(core[:3]) < MIN_SLICES:
        raise NiftiFileError(
            f"{name}: expected at least {MIN_SLICES} voxels along each axis, got {found}; give a volume."
        )
    return int(core[0]), int(core[1]), int(core[2])


def _check_axes(name: str, affine: npt.NDArray[np.float64]) -> None:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or spacing.min() < SPACING_MM[0] or spacing.max() > SPACING_MM[1]:
        listed = " x ".join(f"{length:.3g}" for length in spacing)
        raise NiftiFileError(
            f"{name}: expected voxels of {SPACING_MM[0]} to {SPACING_MM[1]} mm, got {listed} mm; repair its header."
        )
    cosines = affine[:3, :3] / spacing
    off = np.abs(cosines.T @ cosines - np.eye(3)).max()
    if off > RIGHT_ANGLE:
        degrees = np.degrees(np.arccos(off))
        raise NiftiFileError(
            f"{name}: expected axes at right angles, two of them are at {degrees:.1f} degrees; resample the image."
        )


def _voxels(name: str, image: Any) -> npt.NDArray[np.float32]:
    try:
        voxels = np.asarray(image.dataobj, np.float32)
    except _FAULTS as fault:
        raise NiftiFileError(
            f"{name}: its voxels cannot be read ({type(fault).__name__}); copy or convert it again."
        ) from fault
    unusable = voxels.size - int(np.isfinite(voxels).sum())
    if unusable:
        raise NiftiFileError(
            f"{name}: expected finite voxels, {unusable} of {voxels.size} are NaN or infinite; "
            "replace them by 0 where they are background."
        )
    return voxels


def _geometry(image: Any) -> Any:
    """A fresh header of the same kind: the geometry is copied, nothing else."""
    header = type(image.header)()
    for field in _GEOMETRY:
        header[field] = image.header[field]
    header["pixdim"][:4] = image.header["pixdim"][:4]
    # Metres and micrometres are refused by their spacing, so what is left is in millimetres.
    header.set_xyzt_units("mm")
    header.set_data_shape(image.shape[:3])
    return header
