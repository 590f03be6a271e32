import numpy as np
import pytest
import SimpleITK

from federated.ports import Image
from federated.resampling import Grid, block_mean, covered, resample, resample_labels


def turned_affine(degrees, spacing, shape):
    """Array axes (slices, rows, columns) towards S, P, L, turned about L, P and S; the middle at the origin."""
    rotation = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(3)
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        rotation = rotation @ turn
    affine = np.eye(4)
    affine[:3, :3] = rotation[:, ::-1] * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


TARGET = Grid((30, 36, 32), turned_affine((0, 0, 0), (2.0, 2.0, 2.0), (30, 36, 32)))


def to_itk(voxels, affine_lps):
    """Voxels (slices, rows, columns) are what ITK calls (k, j, i); its directions are those of i, j, k."""
    image = SimpleITK.GetImageFromArray(voxels)
    spacing = np.linalg.norm(affine_lps[:3, :3], axis=0)
    directions = affine_lps[:3, :3] / spacing
    image.SetSpacing([float(value) for value in spacing[::-1]])
    image.SetOrigin([float(value) for value in affine_lps[:3, 3]])
    image.SetDirection(directions[:, ::-1].ravel().tolist())
    return image


def by_itk(image, affine_lps, grid, interpolator):
    frame = to_itk(np.zeros(grid.shape, np.uint8), grid.affine_lps)
    moved = SimpleITK.Resample(to_itk(image, affine_lps), frame, SimpleITK.Transform(), interpolator, -1.0)
    return SimpleITK.GetArrayFromImage(moved)


@pytest.mark.parametrize(
    ("angles", "spacing", "shape"),
    [
        pytest.param((0, 0, 0), (2.0, 2.0, 2.0), (30, 36, 32), id="same grid"),
        pytest.param((0, 0, 0), (3.0, 2.5, 2.0), (20, 30, 32), id="aligned"),
        pytest.param((0, 0, 90), (2.0, 2.5, 2.0), (30, 30, 32), id="rows and columns swapped"),
        pytest.param((20, -10, 35), (4.0, 2.0, 2.5), (16, 34, 28), id="oblique"),
    ],
)
def test_agrees_with_itk(angles, spacing, shape):
    voxels = np.random.default_rng(5).uniform(0, 100, shape).astype(np.float32)
    affine = turned_affine(angles, spacing, shape)
    found = resample(Image(voxels, affine), TARGET, fill=-1.0)
    expected = by_itk(voxels, affine, TARGET, SimpleITK.sitkLinear)
    # ITK decides on the very edge by its own rounding; inside there is no choice.
    decided = (expected >= 0) & (found >= 0)
    assert decided.mean() > 0.3
    assert np.mean((expected >= 0) != (found >= 0)) < 0.02
    np.testing.assert_allclose(found[decided], expected[decided], atol=0.02)


def test_labels_agree_with_itk():
    labels = np.random.default_rng(6).integers(0, 4, (16, 34, 28)).astype(np.uint8)
    affine = turned_affine((20, -10, 35), (4.0, 2.0, 2.5), labels.shape)
    found = resample_labels(labels, affine, TARGET)
    expected = by_itk(labels.astype(np.float32), affine, TARGET, SimpleITK.sitkNearestNeighbor)
    inside = expected >= 0
    assert np.mean(found[inside] == expected[inside]) > 0.995


def test_fine_images_do_not_alias():
    # A checkerboard of single voxels of 0.5 mm is grey at 2 mm.
    board = (np.indices((80, 80, 80)).sum(axis=0) % 2 * 100).astype(np.float32)
    affine = turned_affine((0, 0, 0), (0.5, 0.5, 0.5), board.shape)
    grid = Grid((16, 16, 16), turned_affine((0, 0, 0), (2.0, 2.0, 2.0), (16, 16, 16)))
    np.testing.assert_allclose(resample(Image(board, affine), grid, fill=0.0), 50, atol=1e-3)


def test_half_a_thick_slice_at_the_edge_belongs_to_the_image():
    slab = np.full((4, 40, 40), 10, np.float32)
    affine = turned_affine((0, 0, 0), (6.0, 1.0, 1.0), slab.shape)
    grid = Grid((16, 8, 8), turned_affine((0, 0, 0), (2.0, 2.0, 2.0), (16, 8, 8)))
    profile = resample(Image(slab, affine), grid, fill=-1.0)[:, 4, 4]
    # Four slices of 6 mm are 24 mm: twelve voxels of 2 mm.
    assert profile.tolist() == [-1.0] * 2 + [10.0] * 12 + [-1.0] * 2


def test_covered_is_where_the_image_has_voxels():
    image = Image(np.zeros((4, 40, 40), np.float32), turned_affine((0, 0, 0), (6.0, 1.0, 1.0), (4, 40, 40)))
    grid = Grid((16, 8, 8), turned_affine((0, 0, 0), (2.0, 2.0, 2.0), (16, 8, 8)))
    assert covered(image, grid)[:, 4, 4].tolist() == [False] * 2 + [True] * 12 + [False] * 2


def test_block_means_keep_thick_slices_and_the_place_of_what_they_average():
    voxels = np.random.default_rng(7).uniform(0, 1, (6, 20, 24)).astype(np.float32)
    affine = turned_affine((10, 20, 30), (5.0, 1.0, 0.5), voxels.shape)
    found = block_mean(Image(voxels, affine), 2.0)
    assert found.voxels.shape == (6, 10, 6)
    np.testing.assert_allclose(found.voxels[2, 3, 1], voxels[2, 6:8, 4:8].mean(), rtol=1e-6)
    np.testing.assert_allclose(found.affine_lps @ [2, 3, 1, 1], affine @ [2, 6.5, 5.5, 1])
