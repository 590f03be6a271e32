import numpy as np
import pytest

from federated.metrics import dice


def labels(*values):
    return np.array(values, np.uint8).reshape(1, 1, -1)


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
