import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist

from federated.errors import EvaluationError
from federated.metrics import (
    FAR_MM,
    agreement,
    dice,
    hausdorff_95_of_masks,
    mask_agreement,
    surface_dice_of_masks,
)

SHAPE = (24, 28, 32)


def labels(*values):
    return np.array(values, np.uint8).reshape(1, 1, -1)


def cube(start, size=8, shape=SHAPE):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(first, first + size) for first in start)] = True
    return mask


def ball(radius_mm, spacing_mm, shape):
    points = np.indices(shape).astype(float) - (np.array(shape)[:, None, None, None] - 1) / 2
    return ((points * np.array(spacing_mm)[:, None, None, None]) ** 2).sum(axis=0) <= radius_mm**2


def by_hand(first, second, spacing_mm):
    """The definition, point by point."""
    borders = [np.argwhere(mask & ~ndimage.binary_erosion(mask)) * spacing_mm for mask in (first, second)]
    distances = cdist(*borders)
    return max(np.percentile(distances.min(axis=1), 95), np.percentile(distances.min(axis=0), 95))


def test_a_map_agrees_with_itself():
    assert set(dice(labels(0, 1, 2, 3), labels(0, 1, 2, 3)).values()) == {1.0}


def test_counts_by_hand():
    found = dice(labels(2, 2, 1, 3, 0, 0), labels(2, 0, 3, 3, 1, 0))
    assert found["whole-tumour"] == pytest.approx(2 * 3 / (4 + 4))
    assert found["tumour-core"] == pytest.approx(2 * 2 / (2 + 3))
    assert found["enhancing"] == pytest.approx(2 * 1 / (1 + 2))


def test_two_maps_without_a_region_agree_on_it():
    assert dice(labels(2, 0), labels(2, 2))["enhancing"] == 1.0


def test_a_region_found_where_there_is_none_scores_nothing():
    assert dice(labels(3), labels(2))["enhancing"] == 0.0


def test_a_shifted_wall_is_as_far_as_its_shift():
    wall = np.zeros(SHAPE, bool)
    wall[5] = True
    moved = np.roll(wall, 3, axis=0)
    assert hausdorff_95_of_masks(wall, moved, (2.5, 1.0, 1.0)) == pytest.approx(7.5)


@pytest.mark.parametrize("spacing_mm", [pytest.param((1, 1, 1), id="1-mm"), pytest.param((5, 0.9, 0.9), id="thick")])
@pytest.mark.parametrize("shift", [(3, 0, 0), (0, 4, 0), (2, -3, 5)])
def test_shifted_cubes_are_as_far_as_the_definition_says(shift, spacing_mm):
    first, second = cube((8, 8, 8)), cube(np.add((8, 8, 8), shift))
    found = hausdorff_95_of_masks(first, second, spacing_mm)
    assert found == pytest.approx(by_hand(first, second, np.array(spacing_mm, float)), rel=1e-5)
    assert 0 < found <= np.linalg.norm(np.multiply(shift, spacing_mm)) + 1e-5


@pytest.mark.parametrize(
    ("spacing_mm", "shape"),
    [
        pytest.param((1.0, 1.0, 1.0), (61, 61, 61), id="isotropic"),
        pytest.param((3.0, 1.0, 1.5), (21, 61, 41), id="anisotropic"),
    ],
)
def test_concentric_balls_are_as_far_as_their_radii(spacing_mm, shape):
    found = hausdorff_95_of_masks(ball(25, spacing_mm, shape), ball(15, spacing_mm, shape), spacing_mm)
    assert found == pytest.approx(10, abs=math.dist(spacing_mm, (0, 0, 0)))


def test_a_far_speck_below_five_percent_of_the_border_is_overlooked():
    drawn = ball(11, (1, 1, 1), (40, 40, 40))
    found = drawn.copy()
    found[0, 0, 0] = True
    assert hausdorff_95_of_masks(found, drawn, (1, 1, 1)) == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.floats(0.3, 6), min_size=3, max_size=3))
def test_agrees_with_the_definition_on_random_masks(seed, spacing_mm):
    rng = np.random.default_rng(seed)
    first, second = (ndimage.gaussian_filter(rng.normal(size=(9, 10, 11)), 1) > 0.15 for _ in range(2))
    expected = by_hand(first, second, np.array(spacing_mm))
    assert hausdorff_95_of_masks(first, second, spacing_mm) == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert hausdorff_95_of_masks(second, first, spacing_mm) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_the_field_of_view_does_not_change_the_distance():
    first, second = cube((4, 4, 4)), cube((5, 7, 4))
    padded = [np.pad(mask, 9) for mask in (first, second)]
    assert hausdorff_95_of_masks(*padded, (1, 2, 3)) == hausdorff_95_of_masks(first, second, (1, 2, 3))


def test_empty_masks_are_equal_and_one_empty_mask_is_as_far_as_can_be():
    empty, full = np.zeros(SHAPE, bool), cube((1, 1, 1))
    assert hausdorff_95_of_masks(empty, empty, (1, 1, 1)) == 0
    assert hausdorff_95_of_masks(empty, full, (1, 1, 1)) == FAR_MM == pytest.approx(373.1287, abs=1e-4)
    assert mask_agreement(empty, empty, (1, 1, 1)).sensitivity == 1
    missed, invented = mask_agreement(empty, full, (1, 1, 1)), mask_agreement(full, empty, (1, 1, 1))
    assert (missed.dice, missed.sensitivity, missed.precision) == (0, 0, 0)
    assert (invented.dice, invented.sensitivity, invented.precision) == (0, 0, 0)


def test_sensitivity_and_precision_by_hand():
    found = agreement(labels(2, 2, 1, 3, 0, 0), labels(2, 0, 3, 3, 1, 0), (1, 1, 1))["whole-tumour"]
    assert (found.sensitivity, found.precision) == (3 / 4, 3 / 4)
    core = agreement(labels(2, 2, 1, 3, 0, 0), labels(2, 0, 3, 3, 1, 0), (1, 1, 1))["tumour-core"]
    assert (core.sensitivity, core.precision) == (pytest.approx(2 / 3), 1)


@pytest.mark.parametrize(
    ("second", "spacing_mm", "message"),
    [
        pytest.param(np.ones((2, 2, 3), bool), (1, 1, 1), "one grid", id="other-grid"),
        pytest.param(np.ones((2, 2, 2), bool), (1, 1), "2 spacings", id="a-spacing-missing"),
        pytest.param(np.ones((2, 2, 2), bool), (1, 0, 1), "above 0 mm", id="zero-spacing"),
        pytest.param(np.ones((2, 2, 2), bool), (1, math.nan, 1), "above 0 mm", id="nan-spacing"),
    ],
)
def test_refuses_what_cannot_be_measured(second, spacing_mm, message):
    with pytest.raises(EvaluationError, match=message):
        hausdorff_95_of_masks(np.ones((2, 2, 2), bool), second, spacing_mm)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("spacing_mm", [(2.0, 2.0, 2.0), (3.0, 1.0, 1.0)])
@pytest.mark.parametrize("tolerance_mm", [1.0, 2.0, 4.5])
def test_the_surface_dice_agrees_with_monai(spacing_mm, tolerance_mm):
    import torch
    from monai.metrics.surface_dice import compute_surface_dice

    found, drawn = ball(9.0, spacing_mm, SHAPE), np.roll(ball(10.0, spacing_mm, SHAPE), 2, axis=2)
    one, other = (torch.from_numpy(np.stack([~mask, mask]))[None] for mask in (found, drawn))
    # MONAI compares distances without slack.
    theirs = compute_surface_dice(one, other, [tolerance_mm + 1e-9], spacing=spacing_mm)
    assert surface_dice_of_masks(found, drawn, spacing_mm, tolerance_mm) == pytest.approx(float(theirs), abs=1e-6)


def test_the_surface_dice_by_hand():
    drawn = cube((8, 8, 8), 1)
    near, far = cube((8, 8, 9), 1), cube((8, 8, 10), 1)
    assert surface_dice_of_masks(near, drawn, (1, 1, 2), 2.0) == 1.0
    assert surface_dice_of_masks(far, drawn, (1, 1, 2), 2.0) == 0.0
    assert surface_dice_of_masks(near | far, drawn, (1, 1, 2), 2.0) == pytest.approx(2 / 3)


def test_a_border_that_is_off_costs_a_small_region_no_more_than_a_large_one():
    small, large = cube((4, 4, 4), 4), cube((4, 4, 4), 16)
    moved = [np.roll(mask, 1, axis=0) for mask in (small, large)]
    assert dice_gap(small, moved[0], large, moved[1]) > 0.15
    surface = [
        surface_dice_of_masks(mask, other, (2, 2, 2), 2.0) for mask, other in ((small, moved[0]), (large, moved[1]))
    ]
    assert surface == [1.0, 1.0]


def dice_gap(small, small_moved, large, large_moved):
    found = [mask_agreement(one, other, (1, 1, 1)).dice for one, other in ((small, small_moved), (large, large_moved))]
    return found[1] - found[0]


def test_the_surface_dice_of_nothing():
    empty = np.zeros(SHAPE, bool)
    assert surface_dice_of_masks(empty, empty, (1, 1, 1), 1.0) == 1.0
    assert surface_dice_of_masks(empty, cube((1, 1, 1)), (1, 1, 1), 1.0) == 0.0
    assert surface_dice_of_masks(cube((1, 1, 1)), empty, (1, 1, 1), 1.0) == 0.0


@pytest.mark.parametrize("tolerance_mm", [0.0, -1.0, math.inf, math.nan])
def test_refuses_a_tolerance_that_is_none(tolerance_mm):
    with pytest.raises(EvaluationError, match="tolerance"):
        surface_dice_of_masks(cube((1, 1, 1)), cube((1, 1, 1)), (1, 1, 1), tolerance_mm)
