import itertools
import math

import numpy as np
import pytest

from federated.measurement import diameters, measure_regions


def corners_of(plane, spacing):
    points = {
        ((row + down) * spacing[0], (column + right) * spacing[1])
        for row, column in np.argwhere(plane)
        for down, right in itertools.product((0, 1), repeat=2)
    }
    return np.array(sorted(points))


def brute_force(plane, spacing):
    """Every pair of corners for the long axis; every chord between hull edges at a fine step for the short one."""
    points = corners_of(plane, spacing)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    long_axis = distances.max()
    first, second = np.argwhere(np.isclose(distances, long_axis))[0]
    direction = (points[second] - points[first]) / long_axis
    along, across = points @ direction, points @ np.array([-direction[1], direction[0]])
    # The hull's upper and lower height at a place: the highest and lowest line between any two points around it.
    best = 0.0
    for place in along:
        highest, lowest = -math.inf, math.inf
        for one, other in itertools.product(range(len(points)), repeat=2):
            if along[one] <= place + 1e-9 and along[other] >= place - 1e-9:
                gap = along[other] - along[one]
                share = 0.0 if gap < 1e-9 else (place - along[one]) / gap
                height = across[one] + share * (across[other] - across[one])
                highest, lowest = max(highest, height), min(lowest, height)
        best = max(best, highest - lowest)
    return long_axis, best


@pytest.mark.parametrize("spacing", [pytest.param((1.0, 1.0), id="square"), pytest.param((0.6, 2.0), id="anisotropic")])
@pytest.mark.parametrize("seed", range(8))
def test_diameters_agree_with_brute_force(seed, spacing):
    rng = np.random.default_rng(seed)
    plane = np.zeros((7, 6), bool)
    row, column = 3, 3
    for _ in range(9):
        # A random walk is connected.
        plane[row, column] = True
        row, column = np.clip(np.add((row, column), rng.integers(-1, 2, 2)), 0, [6, 5])
    long_axis, short_axis = diameters(plane[None], spacing)
    expected_long, expected_short = brute_force(plane, spacing)
    assert long_axis == pytest.approx(expected_long)
    # Two diameters of equal length may have different perpendiculars: then either is right.
    assert short_axis == pytest.approx(expected_short) or has_two_diameters(plane, spacing)


def has_two_diameters(plane, spacing):
    points = corners_of(plane, spacing)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return np.isclose(distances, distances.max()).sum() > 2


@pytest.mark.parametrize(
    ("spacing", "radii"),
    [
        pytest.param((1.0, 1.0), (40.0, 20.0), id="1 mm"),
        pytest.param((0.5, 0.5), (20.0, 11.0), id="half a millimetre"),
        pytest.param((0.5, 2.0), (30.0, 18.0), id="anisotropic"),
    ],
)
@pytest.mark.parametrize("angle", [0.0, 0.4, 1.2])
def test_ellipse_has_its_axes(spacing, radii, angle):
    rows = (np.arange(200) - 99.5) * spacing[0]
    columns = (np.arange(200) - 99.5) * spacing[1]
    y, x = np.meshgrid(rows, columns, indexing="ij")
    u, v = x * math.cos(angle) + y * math.sin(angle), -x * math.sin(angle) + y * math.cos(angle)
    plane = (u / radii[0]) ** 2 + (v / radii[1]) ** 2 <= 1
    long_axis, short_axis = diameters(plane[None], spacing)
    voxel = math.hypot(*spacing)
    assert long_axis == pytest.approx(2 * radii[0], abs=voxel)
    assert short_axis == pytest.approx(2 * radii[1], abs=voxel)


def test_a_lone_voxel_measures_its_diagonal():
    # The chord through a corner at 1.8 mm along the diagonal; the other side of the rectangle turns at 3.2 mm.
    mask = np.zeros((1, 3, 3), bool)
    mask[0, 1, 1] = True
    assert diameters(mask, (3.0, 4.0)) == pytest.approx((5.0, 2.4 + 2.4 * 1.8 / 3.2))


def test_separate_pieces_are_not_joined_by_a_diameter():
    mask = np.zeros((1, 5, 40), bool)
    mask[0, 2, 0:4] = mask[0, 2, 30:40] = True
    assert diameters(mask, (1.0, 1.0))[0] == pytest.approx(math.hypot(10, 1))


def test_the_longest_slice_counts():
    mask = np.zeros((3, 20, 20), bool)
    mask[0, 5, 5:9] = mask[1, 5, 5:18] = mask[2, 5, 5:11] = True
    assert diameters(mask, (1.0, 1.0))[0] == pytest.approx(math.hypot(13, 1))


def test_an_empty_mask_has_no_diameter():
    assert diameters(np.zeros((2, 4, 4), bool), (1.0, 1.0)) is None


def oblique(spacing):
    cosine, sine = math.cos(0.3), math.sin(0.3)
    rotation = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rotation[:, [2, 1, 0]] * spacing
    affine[:3, 3] = [10, -40, 7]
    return affine


def test_regions_are_nested_and_measured_in_their_own_units():
    labels = np.zeros((10, 30, 30), np.uint8)
    labels[2:8, 5:25, 5:25] = 2
    labels[3:7, 10:20, 10:20] = 1
    labels[3:7, 10:20, 10:12] = 3
    probabilities = np.zeros((3, *labels.shape), np.float32)
    probabilities[0], probabilities[1], probabilities[2] = 0.9, 0.6, 0.5
    measured = {region.key: region for region in measure_regions(labels, probabilities, oblique((5.0, 1.0, 0.5)))}
    voxel_ml = 5.0 * 1.0 * 0.5 / 1000
    assert list(measured) == ["whole-tumour", "tumour-core", "enhancing", "oedema", "necrosis"]
    assert measured["whole-tumour"].volume_ml == pytest.approx(6 * 20 * 20 * voxel_ml)
    assert measured["tumour-core"].volume_ml == pytest.approx(4 * 10 * 10 * voxel_ml)
    assert measured["enhancing"].volume_ml == pytest.approx(4 * 10 * 2 * voxel_ml)
    assert measured["oedema"].volume_ml + measured["tumour-core"].volume_ml == pytest.approx(
        measured["whole-tumour"].volume_ml
    )
    assert measured["whole-tumour"].long_axis_mm == pytest.approx(math.hypot(20.0, 10.0))
    assert measured["tumour-core"].long_axis_mm == pytest.approx(math.hypot(10.0, 5.0))
    confidences = [region.confidence for region in measured.values()]
    assert confidences == pytest.approx([0.9, 0.6, 0.5, 0.3, 0.1], abs=1e-6)


def test_an_absent_region_has_neither_diameter_nor_confidence():
    labels = np.zeros((4, 8, 8), np.uint8)
    labels[1:3, 2:5, 2:5] = 2
    measured = {r.key: r for r in measure_regions(labels, np.ones((3, 4, 8, 8), np.float32), np.eye(4))}
    assert measured["whole-tumour"].volume_ml == pytest.approx(0.018)
    enhancing = measured["enhancing"]
    assert (enhancing.volume_ml, enhancing.long_axis_mm, enhancing.confidence) == (0.0, None, None)


def test_a_healthy_case_measures_nothing():
    labels = np.zeros((4, 8, 8), np.uint8)
    for region in measure_regions(labels, np.zeros((3, 4, 8, 8), np.float32), np.eye(4)):
        assert region.volume_ml == 0.0
        assert region.long_axis_mm is None


AXES = {
    # Array axes (slices, rows, columns) in LPS.
    "axial": ((0, 0, 1), (0, 1, 0), (1, 0, 0)),
    "sagittal": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "coronal": ((0, 1, 0), (0, 0, -1), (1, 0, 0)),
    "oblique axial": ((0, -0.25, 0.968), (0, 0.968, 0.25), (1, 0, 0)),
}


def cigar(axes, spacing):
    """A body of 60 mm along the head's axis, 24 mm to the back and 12 mm sideways, on a grid of any orientation."""
    steps = np.array(axes, float) * np.array(spacing)[:, None]
    affine = np.eye(4)
    affine[:3, :3] = steps.T
    shape = [int(90 / step) for step in spacing]
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    inside = ((points / np.array([6.0, 12.0, 30.0])) ** 2).sum(axis=-1) <= 1
    return np.where(inside, 3, 0).astype(np.uint8), affine


@pytest.mark.parametrize("name", ["axial", "sagittal", "coronal"])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 0.8, 0.8)], ids=["isotropic", "anisotropic"])
def test_diameters_are_those_of_axial_slices_whatever_the_acquisition(name, spacing):
    labels, affine = cigar(AXES[name], spacing)
    whole = measure_regions(labels, np.ones((3, *labels.shape), np.float32), affine)[0]
    # Between the outer corners of voxels: up to a voxel's diagonal more.
    assert whole.long_axis_mm == pytest.approx(24, abs=2.3)
    assert whole.short_axis_mm == pytest.approx(12, abs=2.3)
    assert whole.product_mm2 == pytest.approx(whole.long_axis_mm * whole.short_axis_mm)


def test_the_planes_nearest_to_axial_are_measured():
    labels, affine = cigar(AXES["oblique axial"], (1.0, 1.0, 1.0))
    whole = measure_regions(labels, np.ones((3, *labels.shape), np.float32), affine)[0]
    assert 24 < whole.long_axis_mm < 27


def block(shape_mm, spacing):
    size = [round(length / step) for length, step in zip(shape_mm, spacing, strict=True)]
    labels = np.zeros([length + 4 for length in size], np.uint8)
    labels[tuple(slice(2, 2 + length) for length in size)] = 3
    affine = np.eye(4)
    affine[:3, :3] = np.array(AXES["axial"], float).T * spacing
    return measure_regions(labels, np.ones((3, *labels.shape), np.float32), affine)[0]


@pytest.mark.parametrize(
    ("shape_mm", "spacing", "measurable"),
    [
        pytest.param((6, 20, 12), (3.0, 1.0, 1.0), True, id="both diameters above 10 mm"),
        pytest.param((6, 20, 5), (3.0, 1.0, 1.0), False, id="too narrow"),
        pytest.param((3, 20, 12), (3.0, 1.0, 1.0), False, id="on one slice only"),
        pytest.param((14, 20, 12), (7.0, 1.0, 1.0), False, id="less than two thick slices wide"),
        pytest.param((14, 20, 16), (7.0, 1.0, 1.0), True, id="wide enough for thick slices"),
    ],
)
def test_what_rano_would_follow_is_measurable(shape_mm, spacing, measurable):
    assert block(shape_mm, spacing).is_measurable is measurable


def test_an_absent_region_has_no_product_and_is_not_measurable():
    nothing = measure_regions(np.zeros((4, 8, 8), np.uint8), np.zeros((3, 4, 8, 8), np.float32), np.eye(4))[0]
    assert (nothing.product_mm2, nothing.is_measurable) == (None, False)
