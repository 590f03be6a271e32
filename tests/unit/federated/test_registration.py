import numpy as np
import pytest
from scipy import ndimage

from federated.ports import Image
from federated.registration import LEAST_OVERLAP, MOST_DEG, MOST_MM, apply_registration, register, to_itk
from federated.resampling import Grid
from tests.fakes.landmark_head import (
    ISOTROPIC,
    LANDMARKS_LPS,
    THICK_AXIAL,
    THICK_SAGITTAL,
    brain_mask,
    head_image,
    motion,
    transform,
)

SMALL = motion((3, -2, 4), (2, -4, 3))
LARGE = motion((-8, 6, 10), (-9, 6, -8))


@pytest.fixture(scope="module")
def reference():
    """Voxels, grid and the brain with its skull."""
    image = head_image("T1ce")
    region = ndimage.binary_dilation(brain_mask(), iterations=5)
    return image.voxels, Grid(image.voxels.shape, image.affine_lps), region


def landmark_errors(registration, moved):
    """How far the correction leaves each landmark from where the reference shows it, mm."""
    shown = transform(moved, LANDMARKS_LPS)
    return np.linalg.norm(transform(registration.correction_lps, shown) - LANDMARKS_LPS, axis=1)


@pytest.mark.parametrize(
    ("contrast", "grid", "moved", "within_mm"),
    [
        pytest.param("T1", ISOTROPIC, SMALL, 1.0, id="T1, small"),
        pytest.param("T1", ISOTROPIC, LARGE, 1.0, id="T1, large"),
        pytest.param("T2", THICK_AXIAL, LARGE, 1.5, id="T2 of 5 mm, large"),
        pytest.param("FLAIR", THICK_SAGITTAL, LARGE, 1.5, id="sagittal FLAIR of 5 mm, large"),
    ],
)
def test_brings_every_landmark_home(reference, contrast, grid, moved, within_mm):
    found = register(contrast, head_image(contrast, grid, moved, seed=3), *reference)
    assert landmark_errors(found, moved).max() < within_mm
    assert found.is_applied
    assert found.note is None
    turn = np.degrees(np.arccos((np.trace(moved[:3, :3]) - 1) / 2))
    assert found.turn_deg == pytest.approx(turn, abs=0.5)
    rotation = found.correction_lps[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_the_same_images_give_the_same_answer(reference):
    image = head_image("FLAIR", THICK_AXIAL, SMALL)
    first, second = (register("FLAIR", image, *reference).correction_lps for _ in range(2))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize(
    ("contrast", "grid"),
    [
        pytest.param("T1", ISOTROPIC, id="T1"),
        pytest.param("FLAIR", THICK_SAGITTAL, id="sagittal FLAIR of 5 mm"),
    ],
)
def test_what_is_aligned_stays_exactly_where_it_is(reference, contrast, grid):
    image = head_image(contrast, grid, seed=4)
    found = register(contrast, image, *reference)
    assert not found.is_applied
    assert found.note is None
    assert apply_registration(image, found) is image


@pytest.mark.parametrize(
    ("moved", "limit"),
    [
        pytest.param(motion(turn_deg=(0, 0, MOST_DEG + 6)), "26 degrees", id="turned too far"),
        pytest.param(motion(shift_mm=(0, MOST_MM + 6, 0)), "36 mm", id="shifted too far"),
    ],
)
def test_does_not_believe_what_no_head_in_a_coil_does(reference, moved, limit):
    found = register("T1", head_image("T1", moved=moved), *reference)
    assert not found.is_applied
    assert limit in found.note
    assert found.note.startswith("T1 would have to move")


def test_a_sequence_that_hardly_shows_the_brain_stays_and_is_named(reference):
    image = head_image("FLAIR")
    slab = Image(image.voxels[:24], image.affine_lps)
    region = reference[2]
    assert region[:24].sum() < LEAST_OVERLAP * region.sum()
    found = register("FLAIR", slab, *reference)
    assert not found.is_applied
    assert found.note.startswith("FLAIR shows only ")


def test_a_registration_moves_the_affine_and_no_voxel(reference):
    image = head_image("T1", moved=SMALL)
    found = register("T1", image, *reference)
    moved = apply_registration(image, found)
    assert moved.voxels is image.voxels
    np.testing.assert_allclose(moved.affine_lps, found.correction_lps @ image.affine_lps)


def test_itk_places_voxels_as_the_affine_does():
    affine = motion((10, 20, 30), (5, -6, 7)) @ np.diag([2.0, 3.0, 4.0, 1.0])
    image = to_itk(np.zeros((4, 5, 6), np.float32), affine)
    # ITK indexes (column, row, slice).
    assert image.TransformIndexToPhysicalPoint((5, 2, 3)) == pytest.approx(tuple((affine @ [3, 2, 5, 1])[:3]))
