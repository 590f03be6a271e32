from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.balancing.operating_point import THRESHOLDS, choose_operating_point, dice_by_threshold
from federated.errors import BalanceDataError
from federated.metrics import REGIONS, dice_of_masks, region_masks
from federated.models import HybridConfig, build_network
from federated.quantum.slot import SlotConfig
from federated.sampling import Split
from tests.fakes.tiny_training import CPU, tiny_example

LEVELS = (0.3, 0.5, 0.7)
GROUPS = ["F"] * 5 + ["M"] * 5


def best_by_brute_force(dice, members, bound):
    """Over every threshold of every region, for every group on its own."""
    means = []
    for inside in members:
        of_group = dice[inside].mean(0)
        means.append([np.mean([of_group[r, t] for r, t in enumerate(places)]) for places in SETS])
    found = [(np.mean(chosen), chosen) for chosen in product(*means) if max(chosen) - min(chosen) <= bound + 1e-12]
    return max(found)[0] if found else None


SETS = list(product(range(3), repeat=3))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.3))
def test_finds_the_best_dice_under_the_bound(seed, bound):
    dice = np.random.default_rng(seed).random((10, 3, 3))
    found = choose_operating_point(dice, GROUPS, bound=bound, minimum=5, thresholds=LEVELS)
    common = {}
    for places in SETS:
        by_case = np.mean([dice[:, r, t] for r, t in enumerate(places)], axis=0)
        common[places] = (by_case.mean(), abs(by_case[:5].mean() - by_case[5:].mean()))
    allowed = [mean for mean, gap in common.values() if gap <= bound]
    if allowed:
        assert found.outcome == "met"
        assert found.fair.dice == pytest.approx(max(allowed))
        assert found.fair.gap <= bound + 1e-9
    else:
        assert found.outcome == "not met"
        assert found.fair.gap == pytest.approx(min(gap for _, gap in common.values()))
    assert found.free.dice == pytest.approx(max(mean for mean, _ in common.values()))
    assert found.given_up >= 0
    expected = best_by_brute_force(dice, [slice(0, 5), slice(5, 10)], bound)
    if expected is not None:
        assert found.by_group_dice == pytest.approx(expected)
        assert found.by_group_gap <= bound + 1e-9
        assert found.by_group_dice >= found.fair.dice - 1e-9 or found.outcome == "not met"


def planted():
    """Men do well at any threshold, women only at a low one."""
    dice = np.full((10, 3, 3), 0.9)
    dice[:5] = np.array([0.8, 0.6, 0.5])
    dice[5:] = np.array([0.84, 0.94, 0.9])
    return dice


def test_the_bound_costs_what_it_costs():
    free = choose_operating_point(planted(), GROUPS, bound=1.0, minimum=5, thresholds=LEVELS)
    assert free.given_up == 0
    fair = choose_operating_point(planted(), GROUPS, bound=0.05, minimum=5, thresholds=LEVELS)
    assert fair.fair.thresholds == (0.3, 0.3, 0.3)
    assert fair.fair.gap == pytest.approx(0.04)
    assert fair.fair.dice_by_group == pytest.approx({"F": 0.8, "M": 0.84})
    assert fair.gap_interval.low == pytest.approx(0.04), "cases of a group are alike here"


def test_levelling_down_is_named():
    found = choose_operating_point(planted(), GROUPS, bound=0.05, minimum=5, thresholds=LEVELS)
    # The best free set is (0.3, 0.3, 0.3): women 0.8, men 0.84.
    assert found.worse_off == ()
    assert found.by_group["F"] == (0.3, 0.3, 0.3)
    lowered = planted()
    lowered[5:] = np.array([0.94, 0.82, 0.9])
    found = choose_operating_point(lowered, GROUPS, bound=0.05, minimum=5, thresholds=LEVELS)
    assert found.worse_off == ("M",)
    assert found.by_group_gap <= 0.05 + 1e-9


def test_groups_that_cannot_meet_are_told_so():
    dice = np.full((10, 3, 3), 0.9)
    dice[:5] = 0.4
    found = choose_operating_point(dice, GROUPS, bound=0.1, minimum=5, thresholds=LEVELS)
    assert found.outcome == "not met"
    assert found.by_group_gap == pytest.approx(0.5)


@pytest.mark.parametrize("groups", [["F"] * 10, [None] * 10, ["F"] * 6 + ["M"] * 4])
def test_says_insufficient_evidence(groups):
    found = choose_operating_point(planted(), groups, bound=0.05, minimum=5, thresholds=LEVELS)
    assert found.outcome == "insufficient evidence"
    assert found.fair == found.free
    assert found.by_group == {}


@pytest.mark.parametrize(
    ("dice", "bound", "told"),
    [
        pytest.param(np.zeros((9, 3, 3)), 0.1, r"\(10, 3, 3\), got \(9, 3, 3\)", id="cases"),
        pytest.param(np.full((10, 3, 3), 1.2), 0.1, "from 0 to 1", id="no Dice"),
        pytest.param(np.full((10, 3, 3), np.nan), 0.1, "from 0 to 1", id="not a number"),
        pytest.param(np.zeros((10, 3, 3)), -0.1, "bound of the gap", id="bound"),
    ],
)
def test_refuses_what_does_not_fit(dice, bound, told):
    with pytest.raises(BalanceDataError, match=told):
        choose_operating_point(dice, GROUPS, bound=bound, minimum=5, thresholds=LEVELS)


def test_a_network_is_measured_on_held_out_cases_only():
    config = HybridConfig(filters=(4, 8), detail=2, neck=None, head=SlotConfig("identity", wires=2))
    torch.manual_seed(0)
    network = build_network(config).eval()
    split = Split(real=[tiny_example(0)], validation=[tiny_example(1), tiny_example(2)])
    found = dice_by_threshold(split, config, network.state_dict(), CPU)
    assert found.shape == (2, 3, len(THRESHOLDS))
    for row, example in enumerate(split.validation):
        with torch.inference_mode():
            logits = network(torch.from_numpy(example.model_input.channels)[None])[0]
        for region, mask in enumerate(region_masks(example.labels).values()):
            for place, threshold in enumerate(THRESHOLDS):
                shown = (logits[region].sigmoid().numpy() > threshold) & example.model_input.head
                assert found[row, region, place] == pytest.approx(dice_of_masks(shown, mask), abs=1e-9)
    assert len(REGIONS) == 3
    with pytest.raises(BalanceDataError, match="hold some out"):
        dice_by_threshold(Split(real=[tiny_example(0)]), config, network.state_dict(), CPU)
