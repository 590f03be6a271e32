import numpy as np
import pytest

from federated.decision import CORE, ENHANCING, OEDEMA, Decision, decide


def column(*triples):
    """One voxel per triple of probabilities."""
    return np.array(triples, np.float32).T[:, :, None, None]


@pytest.mark.parametrize(
    ("probabilities", "label"),
    [
        pytest.param((0.2, 0.1, 0.0), 0, id="nothing"),
        pytest.param((0.9, 0.1, 0.0), OEDEMA, id="whole tumour only"),
        pytest.param((0.9, 0.8, 0.1), CORE, id="core"),
        pytest.param((0.9, 0.8, 0.7), ENHANCING, id="enhancing"),
        pytest.param((0.1, 0.1, 0.9), ENHANCING, id="an inner region carries the outer ones"),
    ],
)
def test_nested_regions_become_one_label(probabilities, label):
    assert decide(column(probabilities), 1.0, Decision(min_component_ml=0.0)).ravel().tolist() == [label]


def test_each_region_has_its_own_threshold():
    decision = Decision((0.3, 0.6, 0.9), min_component_ml=0.0)
    assert decide(column((0.4, 0.5, 0.8), (0.4, 0.7, 0.8)), 1.0, decision).ravel().tolist() == [OEDEMA, CORE]


def test_small_pieces_are_dropped_and_large_ones_kept():
    probabilities = np.zeros((3, 10, 10, 10), np.float32)
    probabilities[0, 1:5, 1:5, 1:5] = 1
    probabilities[0, 8, 8, 7:9] = 1
    labels = decide(probabilities, 0.1, Decision(min_component_ml=0.5))
    assert (labels > 0).sum() == 64
    assert labels[8, 8, 8] == 0


def test_voxels_that_touch_at_a_corner_are_one_piece():
    probabilities = np.zeros((3, 6, 6, 6), np.float32)
    for index in range(6):
        probabilities[0, index, index, index] = 1
    assert (decide(probabilities, 1.0, Decision(min_component_ml=6.0)) > 0).sum() == 6


def test_a_healthy_case_stays_empty():
    assert not decide(np.zeros((3, 4, 4, 4), np.float32), 1.0, Decision()).any()
