"""Volumes and diameters of the tumour's regions on the reference series' own grid."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist, squareform

from federated.decision import CORE, ENHANCING, OEDEMA

Mask = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]

MEASURABLE_MM = 10.0
"""Least length of both diameters of a lesion that RANO calls measurable, on slices of up to THIN_SLICE_MM; on thicker
ones it is two slices."""
THIN_SLICE_MM = 5.0


@dataclass(frozen=True)
class RegionMeasure:
    """What was measured on one region.

    Attributes:
        key: "whole-tumour", "tumour-core", "enhancing", "oedema" or "necrosis".
        label: The region's name for a reader.
        long_axis_mm, short_axis_mm: Longest diameter of one connected piece on any axial slice, and the longest chord
            perpendicular to it there; None when the region is empty.
        confidence: Mean probability of the region within it, 0 to 1; None when it is empty.
        is_measurable: Whether RANO would follow it: both diameters long enough, and seen on two axial slices or more.
    """

    key: str
    label: str
    volume_ml: float
    long_axis_mm: float | None
    short_axis_mm: float | None
    confidence: float | None
    is_measurable: bool

    @property
    def product_mm2(self) -> float | None:
        """Product of the two diameters, what RANO compares between visits; None when the region is empty."""
        return (
            None if self.long_axis_mm is None or self.short_axis_mm is None else self.long_axis_mm * self.short_axis_mm
        )


def measure_regions(
    labels: npt.NDArray[np.uint8], probabilities: npt.NDArray[np.float32], affine_lps: npt.NDArray[np.float64]
) -> tuple[RegionMeasure, ...]:
    """Measure the three nested regions and the two that remain between them.

    Diameters are taken on the voxel planes nearest to axial, whatever the acquisition was.

    Args:
        labels: (slices, rows, columns): 1 necrotic and non-enhancing core, 2 oedema, 3 enhancing.
        probabilities: (3, slices, rows, columns): whole tumour, tumour core, enhancing tumour.
        affine_lps: (4, 4), maps (slice, row, column, 1) to LPS, mm; its axes are at right angles.

    References:
        Wen et al. 2010 (RANO), doi:10.1200/JCO.2009.26.3541: maximal perpendicular diameters on one axial slice, and
            what is measurable.
    """
    window = ndimage.find_objects((labels > 0).view(np.uint8))
    box = window[0] if window else (slice(0), slice(0), slice(0))
    found, (whole, core, enhancing) = labels[box], probabilities[(slice(None), *box)]
    regions = (
        ("whole-tumour", "Whole tumour", found > 0, whole),
        ("tumour-core", "Tumour core", (found == CORE) | (found == ENHANCING), core),
        ("enhancing", "Enhancing tumour", found == ENHANCING, enhancing),
        # Nested regions: what belongs to the outer one and not to the inner one.
        ("oedema", "Oedema", found == OEDEMA, np.clip(whole - core, 0, 1)),
        ("necrosis", "Necrotic and non-enhancing core", found == CORE, np.clip(core - enhancing, 0, 1)),
    )
    return tuple(_measure(key, label, mask, probability, affine_lps) for key, label, mask, probability in regions)


def diameters(mask: Mask, spacing_mm: tuple[float, float]) -> tuple[float, float] | None:
    """The longest diameter on any slice and the longest chord perpendicular to it there, mm; None for an empty mask.

    Diameters run between the outer corners of voxels, so a lone voxel of 1 mm measures its diagonal, 1.41 mm. Each
    8-connected piece of a slice is measured on its own, by its convex hull.

    Args:
        mask: (slices, rows, columns).
        spacing_mm: Distance between neighbouring rows, and between neighbouring columns.
    """
    best: tuple[float, float] | None = None
    for corners in _pieces(mask, np.array(spacing_mm)):
        # The diagonal of the bounding box is an upper limit: most pieces need no hull.
        if best is not None and np.linalg.norm(np.ptp(corners, axis=0)) <= best[0]:
            continue
        hull = corners[ConvexHull(corners).vertices]
        distances = squareform(pdist(hull))
        first, second = np.unravel_index(distances.argmax(), distances.shape)
        long_axis = float(distances[first, second])
        if best is None or long_axis > best[0]:
            best = long_axis, _longest_chord(hull, (hull[second] - hull[first]) / long_axis)
    return best


def _measure(
    key: str, label: str, mask: Mask, probability: npt.NDArray[np.float32], affine_lps: npt.NDArray[np.float64]
) -> RegionMeasure:
    spacing = np.linalg.norm(affine_lps[:3, :3], axis=0)
    # The array axis that runs most along the patient's: its planes are the most axial ones.
    axial = int(np.argmax(np.abs(affine_lps[2, :3]) / spacing))
    slices, thickness_mm = np.moveaxis(mask, axial, 0), float(spacing[axial])
    down, right = np.delete(spacing, axial)
    axes = diameters(slices, (float(down), float(right)))
    if axes is None:
        return RegionMeasure(key, label, 0.0, None, None, None, is_measurable=False)
    volume_ml = int(mask.sum()) * abs(float(np.linalg.det(affine_lps[:3, :3]))) / 1000
    least_mm = MEASURABLE_MM if thickness_mm <= THIN_SLICE_MM else 2 * thickness_mm
    is_measurable = min(axes) >= least_mm and int(slices.any(axis=(1, 2)).sum()) > 1
    return RegionMeasure(key, label, volume_ml, *axes, float(probability[mask].mean()), is_measurable)


def _pieces(mask: Mask, spacing_mm: Points) -> Iterator[Points]:
    """Of each piece on each slice the outer corners of every row's first and last voxel, (corners, 2), mm."""
    for plane in mask:
        pieces, _ = ndimage.label(plane, structure=np.ones((3, 3)))
        for number, window in enumerate(ndimage.find_objects(pieces), start=1):
            piece = pieces[window] == number
            rows = np.flatnonzero(piece.any(axis=1))
            first, last = piece[rows].argmax(axis=1), piece.shape[1] - piece[rows, ::-1].argmax(axis=1)
            corners = [(rows + down, edge) for down in (0, 1) for edge in (first, last)]
            yield np.concatenate([np.column_stack(pair) for pair in corners]) * spacing_mm


def _longest_chord(hull: Points, direction: Points) -> float:
    """The hull's longest chord perpendicular to a unit vector.

    Across a convex polygon the length of parallel chords is concave and bends at vertices only: the longest one passes
    through a vertex.
    """
    along, across = hull @ direction, hull @ np.array([-direction[1], direction[0]])
    first, last = int(along.argmin()), int(along.argmax())
    # Vertices run counterclockwise: one side of the polygon from first to last, the other one back.
    there, back = _height(along, across, first, last), _height(along, across, last, first)
    return float(np.abs(there - back).max())


def _height(along: Points, across: Points, start: int, stop: int) -> Points:
    """Of one side of the polygon, at every vertex."""
    side = (start + np.arange((stop - start) % len(along) + 1)) % len(along)
    side = side[np.argsort(along[side])]
    height: Points = np.interp(along, along[side], across[side])
    return height
