from dataclasses import replace

import numpy as np
import pytest
import torch

from federated.evaluation import Scores, area_under_roc, evaluate
from federated.metrics import region_masks
from federated.models import build_network
from tests.fakes.tiny_model import TINY_NETWORK, build_tiny_model
from tests.fakes.tiny_training import CPU, tiny_example


def test_the_area_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 6, 60).astype(np.float32), rng.random(60) < 0.3
    pairs = scores[positive][:, None] - scores[~positive][None]
    assert area_under_roc(scores, positive) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


@pytest.mark.parametrize(("order", "expected"), [(1, 1.0), (-1, 0.0), (0, 0.5)], ids=["right", "wrong", "ties"])
def test_the_area_of_simple_scores(order, expected):
    positive = np.array([False, False, True, True])
    assert area_under_roc(np.arange(4, dtype=np.float32) * order, positive) == expected


@pytest.mark.parametrize("value", [True, False])
def test_there_is_no_area_without_both_kinds(value):
    assert np.isnan(area_under_roc(np.arange(3, dtype=np.float32), np.full(3, value)))


@pytest.mark.parametrize("logit", [20.0, -20.0], ids=["everything", "nothing"])
def test_dice_of_an_answer_that_is_known(logit):
    example = tiny_example(0)
    scores = evaluate(TINY_NETWORK, build_tiny_model(logit=logit).weights, [example], CPU)
    head = example.model_input.head
    for column, mask in enumerate(region_masks(example.labels).values()):
        drawn = mask.sum()
        expected = 2 * (mask & head).sum() / (head.sum() + drawn) if logit > 0 else float(not drawn)
        assert scores.dice[0, column] == pytest.approx(expected)
        assert scores.auc[0, column] == 0.5


def test_each_case_has_its_row():
    weights = build_tiny_model(seed=3).weights
    both = evaluate(TINY_NETWORK, weights, [tiny_example(0), tiny_example(1)], CPU)
    alone = evaluate(TINY_NETWORK, weights, [tiny_example(1)], CPU)
    np.testing.assert_array_equal(both.dice[1], alone.dice[0])
    np.testing.assert_array_equal(both.auc[1], alone.auc[0])


def test_a_region_that_nobody_has_leaves_no_area():
    example = tiny_example(0)
    bare = replace(example, labels=np.where(example.labels == 3, np.uint8(1), example.labels))
    torch.manual_seed(0)
    figures = evaluate(TINY_NETWORK, build_network(TINY_NETWORK).state_dict(), [bare], CPU).figures()
    assert figures["auc"]["enhancing"] is None
    assert 0 < figures["auc"]["whole-tumour"] < 1


def test_means_are_over_the_cases_that_have_one():
    figures = Scores(
        np.array([[1.0, 0, 0], [0.5, 0, 0]]), np.array([[0.5, np.nan, 1], [0.7, np.nan, np.nan]])
    ).figures()
    assert figures["dice"]["whole-tumour"] == 0.75
    assert figures["auc"] == {"whole-tumour": pytest.approx(0.6), "tumour-core": None, "enhancing": 1.0}
