import numpy as np
import pytest
import torch

from federated.augmentation import Augmentation
from federated.cases import phantom_case, to_example
from federated.decision import Decision
from federated.errors import TrainingDataError
from federated.phantom import build_phantom
from federated.preprocessing import Preprocessing
from federated.training import TrainingSettings, choose_decision, region_loss, train
from tests.fakes.tiny_model import TINY_NETWORK

CPU = torch.device("cpu")
MILD = Augmentation(rotation_rad=0.1, warp_voxels=0.5, transplant=0, shell=0, drop=0)
SETTINGS = TrainingSettings(
    steps=40, batch=2, patch=(24, 32, 24), learning_rate=1e-2, average_decay=0.8, augmentation=MILD
)


def example(seed):
    phantom = build_phantom(np.random.default_rng(seed), shape=(20, 24, 20), spacing_mm=8.0)
    return to_example(phantom_case(f"phantom-{seed}", phantom), Preprocessing(spacing_mm=8.0))


@pytest.fixture(scope="module")
def examples():
    return [example(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def trained(examples):
    steps = []
    result = train(examples[:2], examples[2:], TINY_NETWORK, SETTINGS, CPU, lambda *step: steps.append(step))
    return result, steps


def test_the_loss_falls(trained):
    losses = trained[0].losses
    assert losses[-1] < losses[0] - 0.2


def test_reports_every_tenth_step(trained):
    assert [step for step, _, _ in trained[1]] == [10, 20, 30, 40]
    assert trained[0].steps == 40


def test_the_same_seed_gives_the_same_weights(examples):
    settings = TrainingSettings(steps=2, batch=1, patch=(24, 24, 24), augmentation=MILD)
    first, second = (train(examples, (), TINY_NETWORK, settings, CPU, lambda *_: None).weights for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_stops_when_its_time_is_over(examples):
    settings = TrainingSettings(steps=10_000, minutes=1 / 120, batch=1, patch=(24, 24, 24), augmentation=MILD)
    result = train(examples, (), TINY_NETWORK, settings, CPU, lambda *_: None)
    assert 1 <= result.steps < 10_000
    assert result.seconds < 5


def test_chooses_thresholds_among_the_candidates(examples, trained):
    decision = choose_decision(examples, TINY_NETWORK, trained[0].weights, SETTINGS, CPU, voxel_ml=0.512, variants=1)
    assert isinstance(decision, Decision)
    assert all(0.3 <= threshold <= 0.7 for threshold in decision.thresholds)
    again = choose_decision(examples, TINY_NETWORK, trained[0].weights, SETTINGS, CPU, voxel_ml=0.512, variants=1)
    assert decision == again


def test_refuses_to_train_on_nothing():
    with pytest.raises(TrainingDataError, match="no case"):
        train([], [], TINY_NETWORK, SETTINGS, CPU, lambda *_: None)


def test_loss_of_a_certain_right_answer_is_nothing():
    regions = torch.zeros(1, 3, 4, 4, 4)
    regions[:, :, :2] = 1
    assert region_loss((regions - 0.5) * 60, regions).item() == pytest.approx(0, abs=1e-4)


def test_loss_of_a_certain_wrong_answer_is_large():
    regions = torch.zeros(1, 3, 4, 4, 4)
    regions[:, :, :2] = 1
    assert region_loss((0.5 - regions) * 60, regions).item() > 25
