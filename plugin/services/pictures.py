"""The pictures of an analysis: key images with their overlays, and an atlas of all slices for the browser.

Radiological convention: the patient's right is on the left of axial and coronal pictures; anterior is at the top of
axial and on the left of sagittal ones; the head is at the top of the other two. The same input gives the same bytes.
"""

import io
from collections.abc import Mapping
from typing import Final

import numpy as np
from PIL import Image

from dicom_ingest.model import MrContrast, Volume
from plugin.services.drawing import Grey, Labels, Rgb, to_artefact, to_png
from plugin.services.head_views import (
    LETTERS,
    Plane,
    Voxel,
    cut_plane,
    draw_base,
    draw_overlay,
    layout_of,
    point_to_show,
    to_grid,
)
from plugin.services.reading_grid import ReadingGrid, build_reading_grid, to_grey
from plugin.services.slice_atlas import build_atlas
from plugin.services.values import Artefact

KEY_CONTRASTS: Final = (MrContrast.T1CE, MrContrast.FLAIR)


def render_pictures(
    reference: Volume, others: Mapping[str, Volume], labels: Labels, colours: Mapping[int, Rgb]
) -> tuple[Artefact, ...]:
    """Draw all pictures of an analysis.

    Args:
        reference: The T1ce, acquired in any orientation.
        others: The other contrasts by name, on grids of their own.
        labels: (slices, rows, columns) on the reference's grid; 0 is background.
        colours: Each label's colour; labels are 1 to 127.

    Returns:
        key-<contrast>-<plane>.png (8-bit grey) and key-<contrast>-<plane>-overlay.png (RGBA, same size) for T1ce and
        FLAIR; atlas-<contrast>.png for every contrast, atlas-overlay.png and atlas.json; see build_atlas.

    Raises:
        ValueError: The labels are not on the reference's grid, one has no colour, or one is above 127.
    """
    _check_labels(reference, labels, colours)
    grid = build_reading_grid(reference, labels)
    greys = {str(MrContrast.T1CE): to_grey(grid.arrange(reference.voxels))}
    greys |= {contrast: to_grey(to_grid(grid, others[contrast], reference)) for contrast in sorted(others)}
    marked = grid.arrange(labels)
    point = point_to_show(grid, marked)
    return (
        *_key_images({c: greys[c] for c in KEY_CONTRASTS if c in greys}, marked, colours, grid, point),
        *build_atlas(greys, marked, colours, grid, first_slice=point[0]),
    )


def composite(base_png: bytes, overlay_png: bytes) -> bytes:
    """Lay an overlay over its base picture, for documents.

    Returns:
        An RGB PNG.

    Raises:
        ValueError: The two differ in size.
    """
    base, overlay = Image.open(io.BytesIO(base_png)), Image.open(io.BytesIO(overlay_png))
    if base.size != overlay.size:
        raise ValueError(
            f"Expected an overlay of {base.size} px, got {overlay.size}; take both from one render_pictures."
        )
    return to_png(Image.alpha_composite(base.convert("RGBA"), overlay.convert("RGBA")).convert("RGB"))


def _check_labels(reference: Volume, labels: Labels, colours: Mapping[int, Rgb]) -> None:
    if labels.shape != reference.voxels.shape:
        raise ValueError(f"Expected labels of the reference's shape {reference.voxels.shape}, got {labels.shape}.")
    if max(colours, default=0) > 127:
        raise ValueError(f"Expected labels up to 127, got a colour for {max(colours)}.")
    without = sorted({int(label) for label in np.flatnonzero(np.bincount(labels.ravel()))} - {0, *colours})
    if without:
        raise ValueError(f"Expected a colour for every label, got none for {without}.")


def _key_images(
    greys: Mapping[str, Grey], marked: Labels, colours: Mapping[int, Rgb], grid: ReadingGrid, point: Voxel
) -> list[Artefact]:
    artefacts = []
    overlays = {
        plane: draw_overlay(cut_plane(marked, plane, point), colours, layout_of(grid, plane)) for plane in Plane
    }
    for contrast, grey in greys.items():
        for plane in Plane:
            name = f"key-{contrast}-{plane}"
            base = draw_base(cut_plane(grey, plane, point), layout_of(grid, plane), LETTERS[plane])
            artefacts += [to_artefact(name, base), to_artefact(f"{name}-overlay", overlays[plane])]
    return artefacts
