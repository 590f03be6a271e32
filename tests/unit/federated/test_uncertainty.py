import numpy as np
import pytest

from federated.uncertainty import expected_dice, nested, predictive_entropy


def voxel(*probabilities):
    return np.array(probabilities, np.float32).reshape(3, 1, 1, 1)


@pytest.mark.parametrize(
    ("probabilities", "entropy"),
    [
        pytest.param((0, 0, 0), 0.0, id="surely healthy"),
        pytest.param((1, 1, 1), 0.0, id="surely enhancing"),
        pytest.param((0.5, 0, 0), 0.5, id="tumour or not"),
        pytest.param((1, 1, 0.5), 0.5, id="core or enhancing"),
        pytest.param((0.75, 0.5, 0.25), 1.0, id="any label"),
        pytest.param((0, 0, 0.5), 0.5, id="an inner region carries the outer ones"),
        pytest.param((0.9, 0, 0), -(0.9 * np.log2(0.9) + 0.1 * np.log2(0.1)) / 2, id="rather oedema"),
    ],
)
def test_entropy_of_the_four_labels_as_a_share_of_two_bits(probabilities, entropy):
    assert predictive_entropy(voxel(*probabilities)).item() == pytest.approx(entropy, abs=1e-6)


def test_entropy_is_computed_wherever_there_is_doubt():
    probabilities = np.zeros((3, 6, 7, 8), np.float32)
    probabilities[0, 1, 2, 3] = probabilities[0, 4, 5, 6] = 0.5
    found = predictive_entropy(probabilities)
    assert found.dtype == np.float32
    assert found.shape == (6, 7, 8)
    assert np.argwhere(found > 0).tolist() == [[1, 2, 3], [4, 5, 6]]


def test_a_sum_above_one_by_rounding_stays_a_number():
    assert np.isfinite(predictive_entropy(voxel(1.0000001, 0.3, 0.3))).all()


def test_nesting_raises_outer_regions_only():
    assert nested(voxel(0.2, 0.6, 0.4)).ravel() == pytest.approx([0.6, 0.6, 0.4])


@pytest.mark.parametrize("sharpness", [0.5, 1.5, 4.0])
def test_expected_dice_is_the_mean_over_truths_drawn_from_the_probabilities(sharpness):
    rng = np.random.default_rng(1)
    distance = 5 - np.linalg.norm(np.indices((14, 14, 14)) - 6.5, axis=0)
    probabilities = (1 / (1 + np.exp(-sharpness * distance))).astype(np.float32)
    mask = probabilities > 0.5
    drawn = []
    for _ in range(200):
        truth = rng.random(mask.shape) < probabilities
        drawn.append(2 * (truth & mask).sum() / (truth.sum() + mask.sum()))
    assert expected_dice(probabilities, mask, 1.0) == pytest.approx(np.mean(drawn), abs=0.01)


def test_an_empty_mask_is_judged_by_the_tumour_still_expected():
    empty = np.zeros((10, 10, 10), bool)
    sure, doubtful = np.zeros(empty.shape, np.float32), np.full(empty.shape, 0.3, np.float32)
    assert expected_dice(sure, empty, 50.0) == 1.0
    assert expected_dice(doubtful, empty, 50.0) == pytest.approx(50 / 350)
