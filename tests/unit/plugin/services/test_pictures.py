"""The oracle is a phantom: an ellipsoid head with a ball left, anterior and superior of its centre.

Where the ball must be seen follows from the ellipsoid's equation and the outline that the picture itself shows.
"""

import io
import json

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from dicom_ingest.model import Volume
from plugin.services.pictures import composite, render_pictures

CENTRE_LPS = np.array([12.0, -30.0, 55.0])
SEMI_AXES_MM = np.array([66.0, 84.0, 60.0])
BALL_OFFSET_MM = np.array([24.0, -32.0, 20.0])
BALL_RADIUS_MM = 15.0
COLOURS = {1: (90, 160, 255), 2: (255, 64, 88)}

# Where (slice, row, column) run to in LPS, and their spacing in mm.
ACQUISITIONS = [
    pytest.param([(0, 0, 1), (0, 1, 0), (1, 0, 0)], (2, 2, 2), id="axial"),
    pytest.param([(0, 0, -1), (0, 1, 0), (1, 0, 0)], (3, 2, 2), id="axial, from head to feet"),
    pytest.param([(0, 0, 1), (0, -1, 0), (-1, 0, 0)], (4, 1.5, 1.5), id="axial, rows and columns reversed"),
    pytest.param([(1, 0, 0), (0, 0, -1), (0, 1, 0)], (3, 2, 2), id="sagittal"),
    pytest.param([(-1, 0, 0), (0, 0, 1), (0, -1, 0)], (2, 2, 2), id="sagittal, all reversed"),
    pytest.param([(0, 1, 0), (0, 0, -1), (1, 0, 0)], (3, 2, 2), id="coronal"),
    pytest.param([(0, -1, 0), (0, 0, -1), (-1, 0, 0)], (2, 2, 2), id="coronal, from behind"),
]
PLANES = {  # LPS axis to the right and downwards, with the sign of its growth; and the axis that is cut
    "axial": ((0, 1), (1, 1), 2),
    "coronal": ((0, 1), (2, -1), 1),
    "sagittal": ((1, 1), (2, -1), 0),
}


def rotation(about_s_degrees: float, about_l_degrees: float) -> np.ndarray:
    a, b = np.radians([about_s_degrees, about_l_degrees])
    about_s = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_l = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return about_s @ about_l


def acquire(directions, spacing_mm, *, turn=None, semi_axes_mm=SEMI_AXES_MM, fov_mm=190.0, ball=300.0):
    """A phantom volume, and the ball as label 2 with a shell of label 1."""
    axes = np.array(directions, float).T @ np.diag(spacing_mm)
    axes = axes if turn is None else turn @ axes
    shape = tuple(round(fov_mm / s) for s in spacing_mm)
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = CENTRE_LPS + np.array([3.0, -2.0, 1.0]) - axes @ ((np.array(shape) - 1) / 2)
    points = np.moveaxis(np.indices(shape), 0, -1) @ axes.T + affine[:3, 3]
    offset = points - CENTRE_LPS
    depth = (offset**2 / semi_axes_mm**2).sum(-1)
    voxels = np.select([depth <= 1, depth <= 1.08], [160.0, 60.0], 0.0)  # the rim is the window's black
    radius = np.linalg.norm(offset - BALL_OFFSET_MM, axis=-1)
    labels = np.select([radius <= BALL_RADIUS_MM / 2, radius <= BALL_RADIUS_MM], [2, 1], 0).astype(np.uint8)
    voxels[labels > 0] = ball
    return Volume(voxels.astype(np.float32), affine, "1.2.3", "1.2.4", ()), labels


def open_picture(artefacts, name) -> Image.Image:
    return Image.open(io.BytesIO(next(a.content for a in artefacts if a.name == name)))


def head_box(base: np.ndarray):
    """Outline (left, top, right, bottom) of the largest bright thing: the head, not a letter."""
    parts, _ = ndimage.label(base > 20)
    rows, columns = ndimage.find_objects(parts)[int(np.argmax(np.bincount(parts.ravel())[1:]))]
    return columns.start, rows.start, columns.stop, rows.stop


def centroid(mask: np.ndarray) -> np.ndarray:
    """(x, y)"""
    return np.argwhere(mask).mean(axis=0)[::-1] + 0.5


def expected_ball(box, plane, offset_mm=BALL_OFFSET_MM, semi_axes_mm=SEMI_AXES_MM) -> np.ndarray:
    """Where the ball's centre lies, from the head's outline on a plane through the ball."""
    (across, right), (along, down), cut = PLANES[plane]
    shrink = np.sqrt(1 - (offset_mm[cut] / semi_axes_mm[cut]) ** 2)
    left, top, end, bottom = box
    x = 0.5 + right * offset_mm[across] / (2 * shrink * semi_axes_mm[across])
    y = 0.5 + down * offset_mm[along] / (2 * shrink * semi_axes_mm[along])
    return np.array([left + x * (end - left), top + y * (bottom - top)])


@pytest.mark.parametrize(("directions", "spacing_mm"), ACQUISITIONS)
def test_landmark_is_seen_where_the_patient_has_it(directions, spacing_mm):
    reference, labels = acquire(directions, spacing_mm)
    artefacts = render_pictures(reference, {}, labels, COLOURS)
    for plane in PLANES:
        base = np.asarray(open_picture(artefacts, f"key-T1ce-{plane}.png"))
        assert base.shape == (512, 512)
        np.testing.assert_allclose(centroid(base > 245), expected_ball(head_box(base), plane), atol=6, err_msg=plane)


@pytest.mark.parametrize(
    "turn", [pytest.param(rotation(12, -15), id="small angles"), pytest.param(rotation(-33, 28), id="large angles")]
)
@pytest.mark.parametrize(("directions", "spacing_mm"), ACQUISITIONS)
def test_oblique_landmark_is_seen_along_the_nearest_axes(directions, spacing_mm, turn):
    sphere_mm = np.full(3, 75.0)  # it looks the same from everywhere, so the ball alone shows the turn
    reference, labels = acquire(directions, spacing_mm, turn=turn, semi_axes_mm=sphere_mm)
    artefacts = render_pictures(reference, {}, labels, COLOURS)
    for plane in PLANES:
        base = np.asarray(open_picture(artefacts, f"key-T1ce-{plane}.png"))
        expected = expected_ball(head_box(base), plane, turn.T @ BALL_OFFSET_MM, sphere_mm)
        np.testing.assert_allclose(centroid(base > 245), expected, atol=6, err_msg=plane)


@pytest.mark.parametrize(("directions", "spacing_mm"), ACQUISITIONS)
def test_overlay_lies_on_its_region(directions, spacing_mm):
    reference, labels = acquire(directions, spacing_mm)
    artefacts = render_pictures(reference, {}, labels, COLOURS)
    for plane in PLANES:
        base = np.asarray(open_picture(artefacts, f"key-T1ce-{plane}.png"))
        overlay = np.asarray(open_picture(artefacts, f"key-T1ce-{plane}-overlay.png"))
        assert overlay.shape == (512, 512, 4)
        shown, bright = overlay[..., 3] > 30, base > 178  # half-way from head to ball
        bright[:, :40] = bright[:, -40:] = bright[:40] = bright[-40:] = False  # letters and scale bar
        assert (shown & bright).sum() / (shown | bright).sum() > 0.8, plane


def test_overlay_uses_the_segment_colours_half_filled_with_a_solid_contour():
    reference, labels = acquire(*ACQUISITIONS[0].values)
    overlay = np.asarray(open_picture(render_pictures(reference, {}, labels, COLOURS), "key-T1ce-axial-overlay.png"))
    for rgb in COLOURS.values():
        alphas = overlay[(np.abs(overlay[..., :3].astype(int) - rgb) <= 4).all(-1)][:, 3]
        assert alphas.max() == 255
        assert 20 < np.median(alphas) < 120


def test_other_contrasts_are_seen_on_the_same_pixels_whatever_their_grid():
    reference, labels = acquire(*ACQUISITIONS[0].values)
    flair, _ = acquire(*ACQUISITIONS[3].values, turn=rotation(9, 14), fov_mm=230)
    artefacts = render_pictures(reference, {"FLAIR": flair}, labels, COLOURS)
    for plane in PLANES:
        t1ce, other = (np.asarray(open_picture(artefacts, f"key-{c}-{plane}.png")) for c in ("T1ce", "FLAIR"))
        np.testing.assert_allclose(centroid(other > 200), centroid(t1ce > 200), atol=4)
        np.testing.assert_allclose(head_box(other), head_box(t1ce), atol=8)


def test_all_contrasts_on_the_references_grid_look_as_if_interpolated():
    reference, labels = acquire(*ACQUISITIONS[0].values)
    shifted = Volume(reference.voxels, reference.affine_lps + 2e-3 * np.eye(4, k=3), "1.9", "1.4", ())
    pictures = [
        np.asarray(open_picture(render_pictures(reference, {"FLAIR": flair}, labels, COLOURS), "key-FLAIR-axial.png"))
        for flair in (reference, shifted)
    ]
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() <= 2


def test_scale_bar_tells_the_truth():
    reference, labels = acquire(*ACQUISITIONS[0].values)
    base = np.asarray(open_picture(render_pictures(reference, {}, labels, COLOURS), "key-T1ce-axial.png"))
    left, _, right, _ = head_box(base)
    shrink = np.sqrt(1 - (BALL_OFFSET_MM[2] / SEMI_AXES_MM[2]) ** 2)
    bar = np.flatnonzero(base[500, 300:] == 235)
    assert (bar[-1] - bar[0]) * 2 * shrink * SEMI_AXES_MM[0] / (right - left) == pytest.approx(50, rel=0.04)


def test_orientation_letters_stand_at_the_edges():
    reference, labels = acquire(*ACQUISITIONS[0].values)
    artefacts = render_pictures(reference, {}, labels, COLOURS)
    axial, coronal, sagittal = (np.asarray(open_picture(artefacts, f"key-T1ce-{p}.png")) for p in PLANES)
    left, right, top = np.s_[240:272, :24], np.s_[240:272, -24:], np.s_[:24, 240:272]
    for edge in (left, right, top):
        assert (axial[edge] > 200).any()
    np.testing.assert_array_equal(axial[left], coronal[left])  # R
    np.testing.assert_array_equal(coronal[top], sagittal[top])  # H
    assert (axial[left] != sagittal[left]).any()  # R, A
    assert (axial[left] != axial[right][:, ::-1]).any()  # R, L


def test_coronal_and_sagittal_cut_the_largest_lesion():
    reference, labels = acquire(*ACQUISITIONS[0].values)
    labels[10, 10, 10] = 1  # far off, outside the head
    artefacts = render_pictures(reference, {}, labels, COLOURS)
    for plane in ("coronal", "sagittal"):
        assert np.asarray(open_picture(artefacts, f"key-T1ce-{plane}-overlay.png"))[..., 3].astype(bool).sum() > 1000


def test_without_a_tumour_the_middle_of_the_head_is_shown():
    reference, labels = acquire(*ACQUISITIONS[3].values, ball=160.0)
    artefacts = render_pictures(reference, {}, np.zeros_like(labels), COLOURS)
    base = np.asarray(open_picture(artefacts, "key-T1ce-axial.png"))
    left, top, right, bottom = head_box(base)
    assert (right - left) / (bottom - top) == pytest.approx(SEMI_AXES_MM[0] / SEMI_AXES_MM[1], rel=0.04)
    assert not np.asarray(open_picture(artefacts, "key-T1ce-axial-overlay.png"))[..., 3].any()
    atlas = json.loads(next(a.content for a in artefacts if a.name == "atlas.json"))
    assert set(atlas["tumour_area_mm2"]) == {0.0}
    assert 0.4 < atlas["first_slice"] / atlas["count"] < 0.6


@pytest.mark.parametrize(("directions", "spacing_mm"), ACQUISITIONS)
def test_atlas_holds_every_slice_from_feet_to_head(directions, spacing_mm):
    reference, labels = acquire(directions, spacing_mm)
    artefacts = render_pictures(reference, {"T2": reference}, labels, COLOURS)
    atlas = json.loads(next(a.content for a in artefacts if a.name == "atlas.json"))
    assert atlas["contrasts"] == ["T1ce", "T2"]
    width, height, columns = atlas["tile_width"], atlas["tile_height"], atlas["columns"]
    assert max(width, height) <= 256

    sheets = [open_picture(artefacts, f"atlas-{name}.png") for name in ("T1ce", "T2", "overlay")]
    assert {sheet.size for sheet in sheets} == {(columns * width, -(-atlas["count"] // columns) * height)}
    y, x = (n * size for n, size in zip(divmod(atlas["first_slice"], columns), (height, width), strict=True))
    base, _, overlay = (np.asarray(sheet.convert("RGBA"))[y : y + height, x : x + width] for sheet in sheets)
    assert 0.5 < atlas["first_slice"] / atlas["count"] < 0.75  # the ball is towards the head
    tolerance = 1 + max(spacing_mm) / atlas["mm_per_px"]
    np.testing.assert_allclose(
        centroid(base[..., 0] > 200), expected_ball(head_box(base[..., 0]), "axial"), atol=tolerance
    )
    np.testing.assert_allclose(centroid(overlay[..., 3] > 0), centroid(base[..., 0] > 178), atol=tolerance)


def test_atlas_measures_in_millimetres():
    reference, labels = acquire(*ACQUISITIONS[2].values)
    atlas = json.loads(
        next(a.content for a in render_pictures(reference, {}, labels, COLOURS) if a.name == "atlas.json")
    )
    assert max(atlas["tumour_area_mm2"]) == pytest.approx(np.pi * BALL_RADIUS_MM**2, rel=0.08)
    assert len(atlas["tumour_area_mm2"]) == atlas["count"] == 48
    assert atlas["slice_spacing_mm"] == 4
    assert atlas["mm_per_px"] == 1, "finer than the 1.5 mm of the pixels, so that contours are thin"


def test_large_slices_are_shrunk_to_the_tile():
    reference, labels = acquire([(0, 0, 1), (0, 1, 0), (1, 0, 0)], (10, 0.5, 0.5))
    artefacts = render_pictures(reference, {}, labels, COLOURS)
    atlas = json.loads(next(a.content for a in artefacts if a.name == "atlas.json"))
    assert max(atlas["tile_width"], atlas["tile_height"]) == 256


def test_same_input_gives_the_same_bytes():
    reference, labels = acquire(*ACQUISITIONS[1].values)
    flair, _ = acquire(*ACQUISITIONS[3].values)
    assert render_pictures(reference, {"FLAIR": flair, "T2": flair}, labels, COLOURS) == render_pictures(
        reference, {"T2": flair, "FLAIR": flair}, labels, COLOURS
    )


def test_composite_shows_anatomy_and_region():
    reference, labels = acquire(*ACQUISITIONS[0].values)
    contents = {a.name: a.content for a in render_pictures(reference, {}, labels, COLOURS)}
    base_png, overlay_png = contents["key-T1ce-axial.png"], contents["key-T1ce-axial-overlay.png"]
    picture = Image.open(io.BytesIO(composite(base_png, overlay_png)))
    base, overlay = np.asarray(Image.open(io.BytesIO(base_png))), np.asarray(Image.open(io.BytesIO(overlay_png)))
    assert picture.mode == "RGB"
    outside, contour = overlay[..., 3] == 0, overlay[..., 3] == 255
    np.testing.assert_array_equal(np.asarray(picture)[outside], np.repeat(base[outside][:, None], 3, axis=1))
    np.testing.assert_array_equal(np.asarray(picture)[contour], overlay[contour][:, :3])


def test_composite_refuses_pictures_of_different_size():
    reference, labels = acquire(*ACQUISITIONS[0].values)
    contents = {a.name: a.content for a in render_pictures(reference, {}, labels, COLOURS)}
    with pytest.raises(ValueError, match="512"):
        composite(contents["key-T1ce-axial.png"], contents["atlas-T1ce.png"])


def test_refuses_labels_of_another_grid():
    reference, labels = acquire(*ACQUISITIONS[0].values)
    with pytest.raises(ValueError, match="shape"):
        render_pictures(reference, {}, labels[1:], COLOURS)


def test_refuses_a_label_without_colour():
    reference, labels = acquire(*ACQUISITIONS[0].values)
    with pytest.raises(ValueError, match=r"none for \[2\]"):
        render_pictures(reference, {}, labels, {1: (0, 0, 0)})


def test_empty_volume_gives_black_pictures():
    reference, labels = acquire(*ACQUISITIONS[0].values)
    empty = Volume(np.zeros_like(reference.voxels), reference.affine_lps, "1.2.3", "1.2.4", ())
    base = np.asarray(open_picture(render_pictures(empty, {}, np.zeros_like(labels), COLOURS), "key-T1ce-axial.png"))
    assert not base[40:470, 40:470].any()
