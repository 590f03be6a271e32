"""Images of any grid to the one grid that the model knows, and its answer back to the reference's own grid.

The model's grid is isotropic and aligned with LPS: array axes (slices, rows, columns) run towards superior, posterior
and left. Each contrast is scaled robustly inside the brain; an absent contrast is zeros, and a flag channel says so.

A study may come prepared, stripped of its skull and co-registered on one grid, or native, as scanners make it: then its
sequences are laid on the reference, and the brain is taken out of the head. Each voxel is interpolated once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from federated.brain_extraction import extract_brain
from federated.errors import ModelInputError
from federated.ports import Image
from federated.registration import Registration, apply_registration, register
from federated.resampling import Floats, Grid, Mask, box_corners, interpolate, resample, to_shape, translation

Scalar = TypeVar("Scalar", bound=np.generic)
Box = tuple[npt.NDArray[np.int_], npt.NDArray[np.int_]]
"""Start and stop indices."""

FIELD_OF_VIEW_MM = (30.0, 600.0)
HEAD_MM = (30.0, 400.0)
SPACING_MM = (0.1, 20.0)
MAX_VOXELS = 160_000_000
LARGEST_BRAIN_ML = 2200.0
"""Above it, a foreground on a constant background is a head, not a brain."""
LARGEST_SHEAR_DEG = 0.5
"""Headers round their direction cosines; more than this is no rounding."""
ONE_BRAIN = 0.9
"""Dice overlap of stripped sequences, on one grid, that show the same brain in the same place."""
RIGID_MM = 10.0
"""How far around the brain sequences must fit: the skull moves with it, jaw and neck do not."""


@dataclass(frozen=True)
class Preprocessing:
    """How images become model input; part of the model version.

    Attributes:
        contrasts: The channels, in order.
        spacing_mm: Of the model's grid.
        margin_voxels: Kept around the head.
        stride: The model's grid is a multiple of it along every axis.
        clip: Largest absolute value after scaling.
    """

    contrasts: tuple[str, ...] = ("T1", "T1ce", "T2", "FLAIR")
    spacing_mm: float = 2.0
    margin_voxels: int = 2
    stride: int = 8
    clip: float = 8.0


@dataclass(frozen=True, eq=False)
class ModelInput:
    """What the network reads, and what was done to get it.

    Attributes:
        channels: float32 (2 * contrasts, slices, rows, columns): the scaled contrasts, then a flag channel for each, 1
            when it is present.
        head: bool (slices, rows, columns); where the brain is, or the whole head if the brain could not be taken out.
        grid: Of channels and head.
        present: The contrasts that are there.
        skull_stripped: Whether only the brain was left on a constant background when the study came.
        prepared: Whether, moreover, its contrasts came co-registered on one grid: nothing was moved or cut away.
        brain_extracted: Whether the brain was taken out of the head here.
        registrations: How the other contrasts lie against the reference, unless the study came prepared.
        notes: What a radiologist must know of the preparation.
    """

    channels: Floats
    head: Mask
    grid: Grid
    present: tuple[str, ...]
    skull_stripped: bool
    prepared: bool = True
    brain_extracted: bool = False
    registrations: tuple[Registration, ...] = ()
    notes: tuple[str, ...] = ()


def to_model_input(images: Mapping[str, Image], reference: str, preprocessing: Preprocessing) -> ModelInput:
    """Bring the contrasts of one case to the model's grid, brain only, co-registered.

    Args:
        images: By contrast name; contrasts may be missing, the reference may not. Their grids may differ.
        reference: The grid covers this image's field of view, cropped to the brain.
        preprocessing: What the model was trained with.

    Raises:
        ModelInputError: The reference is missing, or an image is empty, constant, not finite, or of absurd geometry.
    """
    present = tuple(contrast for contrast in preprocessing.contrasts if contrast in images)
    if reference not in present:
        found = ", ".join(sorted(images)) or "no image"
        raise ModelInputError(
            f"The model needs {reference}, got {found}; its contrasts are {', '.join(preprocessing.contrasts)}."
        )
    for contrast in present:
        check_image(contrast, images[contrast])
    grid = _covering_grid(images[reference], preprocessing.spacing_mm)
    prepared = _prepare({contrast: images[contrast] for contrast in present}, reference, grid)
    sources = prepared.sources
    box = _box(prepared.inside, preprocessing)
    head = _crop(prepared.inside, box, fill=False)
    channels = np.zeros((2 * len(preprocessing.contrasts), *head.shape), np.float32)
    for channel, contrast in enumerate(preprocessing.contrasts):
        if contrast in present:
            values = _crop(sources[contrast].values, box, fill=sources[contrast].fill)
            channels[channel] = _scale(values, head & (values != sources[contrast].fill), preprocessing.clip, contrast)
            channels[len(preprocessing.contrasts) + channel] = 1
    return ModelInput(
        channels=channels,
        head=head,
        grid=Grid(to_shape(head.shape), grid.affine_lps @ translation(box[0])),
        present=present,
        skull_stripped=prepared.skull_stripped,
        prepared=prepared.as_it_came,
        brain_extracted=prepared.brain_extracted,
        registrations=prepared.registrations,
        notes=prepared.notes,
    )


def to_reference_grid(probabilities: Floats, grid: Grid, reference: Image, *, negligible: float = 0.01) -> Floats:
    """Interpolate probabilities (regions, slices, rows, columns) linearly on the reference's own grid.

    Only the box that holds every probability above negligible is computed; outside it the answer is 0, as it is outside
    the model's grid.
    """
    answer = np.zeros((len(probabilities), *reference.voxels.shape), np.float32)
    occupied = np.argwhere((probabilities > negligible).any(axis=0))
    if not len(occupied):
        return answer
    to_reference = np.linalg.inv(reference.affine_lps) @ grid.affine_lps
    # One voxel more on each side: linear interpolation reaches so far.
    reach = box_corners(to_reference, occupied.min(axis=0) - 1.0, occupied.max(axis=0) + 1.0)
    start = np.clip(np.floor(reach.min(axis=0)).astype(int), 0, reference.voxels.shape)
    stop = np.clip(np.ceil(reach.max(axis=0)).astype(int) + 1, 0, reference.voxels.shape)
    if (stop <= start).any():
        return answer
    box_grid = Grid(to_shape(stop - start), reference.affine_lps @ translation(start))
    window = tuple(slice(int(low), int(high)) for low, high in zip(start, stop, strict=True))
    to_index = np.linalg.inv(grid.affine_lps) @ box_grid.affine_lps
    for region, values in zip(answer, probabilities, strict=True):
        region[window] = interpolate(values, to_index, box_grid.shape, mode="grid-constant")
    return answer


def check_image(contrast: str, image: Image) -> None:
    """Refuse what no model can read.

    Raises:
        ModelInputError: Not three-dimensional, one slice, empty, constant, not finite, sheared, or of absurd spacing or
            extent.
    """
    voxels = image.voxels
    if voxels.ndim != 3 or not 0 < voxels.size <= MAX_VOXELS:
        raise ModelInputError(
            f"{contrast}: expected 1 to {MAX_VOXELS} voxels in 3 dimensions, got shape {voxels.shape}; "
            "choose another series."
        )
    if min(voxels.shape) < 2:
        raise ModelInputError(
            f"{contrast}: expected a volume of at least 2 slices, rows and columns, got shape {voxels.shape}; "
            "choose a series that covers the brain."
        )
    low, high = float(voxels.min()), float(voxels.max())
    if not np.isfinite([low, high]).all():
        raise ModelInputError(f"{contrast}: expected finite voxels, got NaN or infinity; the series is damaged.")
    if low == high:
        raise ModelInputError(f"{contrast}: every voxel is {low:g}; the series holds no image.")
    _check_geometry(contrast, image)


def background_value(voxels: Floats) -> float | None:
    """The value that stands for 'nothing' in a masked image, None where the background is measured air.

    A masked image holds one exact value, 0 or its minimum, in at least a tenth of its voxels.
    """
    for value in (0.0, float(voxels.min())):
        if np.count_nonzero(voxels == np.float32(value)) >= 0.1 * voxels.size:
            return value
    return None


def _check_geometry(contrast: str, image: Image) -> None:
    affine = image.affine_lps
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.array_equal(affine[3], [0, 0, 0, 1]):
        raise ModelInputError(
            f"{contrast}: expected an affine of 4 x 4 finite numbers that maps voxels to LPS, got shape {affine.shape} "
            f"with last row {affine[-1].tolist()}; the series' geometry is damaged."
        )
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    _check_range(contrast, "voxel spacing", spacing, SPACING_MM)
    _check_range(contrast, "field of view", spacing * image.voxels.shape, FIELD_OF_VIEW_MM)
    cosines = np.abs(np.triu((affine[:3, :3] / spacing).T @ (affine[:3, :3] / spacing), 1)).max()
    shear_deg = float(np.degrees(np.arcsin(min(cosines, 1.0))))
    if shear_deg > LARGEST_SHEAR_DEG:
        raise ModelInputError(
            f"{contrast}: expected orthogonal voxel axes, got a shear of {shear_deg:.1f} degrees; "
            "resample the series to a rectangular grid."
        )


def _check_range(contrast: str, what: str, found: npt.NDArray[np.float64], allowed: tuple[float, float]) -> None:
    if found.min() < allowed[0] or found.max() > allowed[1]:
        listed = " x ".join(f"{value:.4g}" for value in found)
        raise ModelInputError(
            f"{contrast}: expected a {what} of {allowed[0]:g} to {allowed[1]:g} mm, got {listed} mm; "
            "choose another series."
        )


def _covering_grid(reference: Image, spacing_mm: float) -> Grid:
    """The smallest grid whose voxels cover every voxel of the reference, edges included."""
    corners = box_corners(reference.affine_lps, np.full(3, -0.5), np.array(reference.voxels.shape) - 0.5)
    low, high = corners.min(axis=0), corners.max(axis=0)
    counts = np.maximum(np.ceil((high - low) / spacing_mm - 1e-3).astype(int), 1)
    affine_lps = np.zeros((4, 4))
    # Array axes (slices, rows, columns) are LPS axes (z, y, x).
    affine_lps[[2, 1, 0], [0, 1, 2]] = spacing_mm
    affine_lps[:3, 3] = low + spacing_mm / 2
    affine_lps[3, 3] = 1
    return Grid(to_shape(counts[::-1]), affine_lps)


@dataclass(frozen=True, eq=False)
class _Source:
    """One contrast on the covering grid; fill stands where it has no voxels, and for the background if it is masked."""

    values: Floats
    fill: np.float32
    is_masked: bool


def _source(image: Image, grid: Grid) -> _Source:
    background = background_value(image.voxels)
    fill = np.float32(image.voxels.min() if background is None else background)
    return _Source(resample(image, grid, fill=float(fill)), fill, background is not None)


@dataclass(frozen=True, eq=False)
class _Prepared:
    """The contrasts where the reference has them, and what to read of them."""

    sources: Mapping[str, _Source]
    inside: Mask
    skull_stripped: bool
    as_it_came: bool
    brain_extracted: bool
    registrations: tuple[Registration, ...]
    notes: tuple[str, ...]


def _prepare(images: Mapping[str, Image], reference: str, grid: Grid) -> _Prepared:
    """Take out the brain and lay the contrasts on the reference, where that is still to be done."""
    sources = {contrast: _source(image, grid) for contrast, image in images.items()}
    head = _head(sources[reference])
    head_ml = float(head.sum() * np.prod(grid.spacing_mm)) / 1000
    skull_stripped = sources[reference].is_masked and head_ml <= LARGEST_BRAIN_ML
    if skull_stripped and _is_one_brain(images, sources, reference, head):
        return _Prepared(sources, head, skull_stripped, True, False, (), ())
    brain = None if skull_stripped else extract_brain(sources[reference].values, head, grid)
    inside = head if brain is None else brain
    rigid = ndimage.binary_dilation(inside, iterations=round(RIGID_MM / float(grid.spacing_mm[0])))
    registrations = tuple(
        register(contrast, image, sources[reference].values, grid, rigid)
        for contrast, image in images.items()
        if contrast != reference
    )
    moved = {
        found.contrast: _source(apply_registration(images[found.contrast], found), grid)
        for found in registrations
        if found.is_applied
    }
    notes = [note for found in registrations for note in _registration_notes(found, reference)]
    if brain is None and not skull_stripped:
        notes.append("The brain could not be told from the skull: the whole head was read, check the result with care.")
    return _Prepared(
        {**sources, **moved}, inside, skull_stripped, False, brain is not None, registrations, tuple(notes)
    )


def _registration_notes(found: Registration, reference: str) -> list[str]:
    if found.note is not None:
        return [found.note]
    if not found.is_applied:
        return []
    moved = f"{found.contrast} was moved by {found.shift_mm:.1f} mm and {found.turn_deg:.1f} degrees to fit {reference}"
    return [f"{moved}: the patient moved between the sequences."]


def _is_one_brain(images: Mapping[str, Image], sources: Mapping[str, _Source], reference: str, head: Mask) -> bool:
    """Whether all contrasts are stripped, on one grid, and fill the same brain."""
    first = images[reference]
    for contrast, image in images.items():
        source = sources[contrast]
        if not source.is_masked or image.voxels.shape != first.voxels.shape:
            return False
        if not np.allclose(image.affine_lps, first.affine_lps, atol=1e-3):
            return False
        signal = source.values != source.fill
        if 2 * (signal & head).sum() < ONE_BRAIN * (signal.sum() + head.sum()):
            return False
    return True


def _head(source: _Source) -> Mask:
    """The head, or the stripped brain, with its holes filled."""
    if source.is_masked:
        distance = np.abs(source.values - source.fill)
        threshold = 0.02 * np.percentile(distance[distance > 0], 95) if distance.any() else 0.0
    else:
        air, bright = np.percentile(source.values, [2, 98])
        distance, threshold = source.values - air, 0.15 * (bright - air)
    pieces, count = ndimage.label(distance > threshold)
    if not count:
        raise ModelInputError("No head is seen in the reference; choose another series.")
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    # The dark skull can part brain and scalp: every large piece is the head's.
    large = (sizes >= 0.1 * sizes.max())[pieces]
    closed = ndimage.binary_closing(np.pad(large, 3), iterations=2)[3:-3, 3:-3, 3:-3]
    # Slice by slice as well: a slab that cuts the ventricles leaves holes that are open in three dimensions.
    filled: Mask = ndimage.binary_fill_holes(closed)
    return np.stack([ndimage.binary_fill_holes(plane) for plane in filled])


def _box(head: Mask, preprocessing: Preprocessing) -> Box:
    """Start and stop of the head with its margin, widened evenly to multiples of the stride; may leave the array."""
    where = np.argwhere(head)
    start, stop = where.min(axis=0), where.max(axis=0) + 1
    _check_range("Reference", "head", (stop - start) * preprocessing.spacing_mm, HEAD_MM)
    start, stop = start - preprocessing.margin_voxels, stop + preprocessing.margin_voxels
    surplus = -(stop - start) % preprocessing.stride
    return start - surplus // 2, stop + (surplus - surplus // 2)


def _crop(values: npt.NDArray[Scalar], box: Box, fill: Scalar | bool) -> npt.NDArray[Scalar]:
    """The box's voxels; fill where it leaves the array."""
    start, stop = box
    cropped = np.full(stop - start, fill, values.dtype)
    low, high = np.maximum(start, 0), np.minimum(stop, values.shape)
    source = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    target = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
    cropped[target] = values[source]
    return cropped


def _scale(values: Floats, inside: Mask, clip: float, contrast: str) -> Floats:
    """Median 0 and, by the 10th and 90th percentiles, standard deviation 1 inside; 0 outside."""
    if not inside.any():
        raise ModelInputError(f"{contrast}: does not reach the head in the reference; choose another series.")
    low, middle, high = np.percentile(values[inside], [10, 50, 90])
    # 2.563 standard deviations lie between these percentiles of a normal distribution.
    deviation = max((high - low) / 2.563, 1e-6 * (abs(middle) + 1))
    scaled = np.clip((values - middle) / deviation, -clip, clip)
    return np.where(inside, scaled, 0).astype(np.float32)
