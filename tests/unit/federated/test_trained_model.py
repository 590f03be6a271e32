"""Thresholds of a new model under a bound on the groups' gap."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from federated import trained_model
from federated.balancing.balance_settings import BalanceSettings
from federated.balancing.operating_point import THRESHOLDS
from federated.models import build_network
from federated.presets import PRESETS
from federated.sampling import Split
from federated.trained_model import build_model
from federated.training import Trained
from tests.fakes.tiny_training import CPU, tiny_example

CASES = [tiny_example(seed) for seed in range(4)]
SEXES = [{"sex": "F"}, {"sex": "F"}, {"sex": "M"}, {"sex": "M"}]


def built(max_gap, groups, validation=CASES):
    balance = BalanceSettings(("sex",), minimum_group=2, max_gap=max_gap)
    preset = replace(PRESETS["tiny"], arm="identity", spacing_mm=8.0, balance=balance)
    torch.manual_seed(0)
    weights = dict(build_network(preset.network).state_dict())
    trained = Trained(weights, 1, 1, (1.0,), {}, 0.0, "float32", 1)
    return build_model(preset, Split(real=CASES[:1], validation=validation, validation_groups=groups), trained, CPU)


@pytest.fixture
def _planted(monkeypatch):
    """Women are served at low thresholds only."""
    table = np.full((4, 3, len(THRESHOLDS)), 0.9)
    table[:2] = np.linspace(0.85, 0.2, len(THRESHOLDS))
    table[2:, :, 0] = 0.86
    table[2:, :, 4] = 0.99
    table[:2, :, 4] = 0.8
    monkeypatch.setattr(trained_model, "dice_by_threshold", lambda *_, **__: table)


@pytest.mark.usefixtures("_planted")
def test_the_bound_chooses_the_thresholds_and_the_card_says_what_it_costs():
    model = built(0.05, SEXES)
    assert model.decision.thresholds == (0.1, 0.1, 0.1)
    told = model.training["operating_point"]
    assert (told["outcome"], told["bound"], told["attribute"]) == ("met", 0.05, "sex")
    assert told["gap"] == pytest.approx(0.01)
    assert told["gap_without"] == pytest.approx(0.19)
    assert told["dice_given_up"] == pytest.approx((0.99 + 0.8) / 2 - (0.86 + 0.85) / 2)


@pytest.mark.usefixtures("_planted")
def test_a_loose_bound_changes_nothing():
    assert built(1.0, SEXES).decision.thresholds == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("groups", "validation"), [([{}] * 4, CASES), (SEXES[:2], CASES[:2]), ((), ())], ids=["unknown", "one", "no cases"]
)
def test_without_evidence_the_thresholds_stay(groups, validation):
    bounded, free = built(0.05, groups, validation), built(None, groups, validation)
    assert bounded.decision == free.decision
    assert bounded.training["operating_point"]["outcome"] == "insufficient evidence"
    assert "operating_point" not in free.training
