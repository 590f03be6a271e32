import pytest
import torch

from federated.losses import region_loss


@pytest.fixture
def regions():
    regions = torch.zeros(1, 3, 4, 4, 4)
    regions[:, :, :2] = 1
    return regions


def test_a_certain_right_answer_costs_nothing(regions):
    assert region_loss((regions - 0.5) * 60, regions).item() == pytest.approx(0, abs=1e-4)


def test_a_certain_wrong_answer_costs_much(regions):
    assert region_loss((0.5 - regions) * 60, regions).item() > 25


def test_an_undecided_answer_costs_its_closed_form(regions):
    # Probability 1/2 everywhere, half of the voxels in the region: Dice (32 + 1) / (64 + 1), cross-entropy log 2.
    expected = 1 - 33 / 65 + torch.log(torch.tensor(2.0)).item()
    assert region_loss(torch.zeros_like(regions), regions).item() == pytest.approx(expected)


def test_half_precision_logits_are_summed_in_single_precision():
    logits = torch.zeros(1, 3, 64, 64, 64, dtype=torch.bfloat16)
    assert region_loss(logits, torch.zeros(1, 3, 64, 64, 64)).item() == pytest.approx(1 + 0.6931, abs=1e-3)
