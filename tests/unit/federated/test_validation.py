from dataclasses import replace

import numpy as np
import pytest
import torch

from federated.errors import TrainingDataError
from federated.metrics import dice_of_masks, region_masks
from federated.models import build_network
from federated.validation import THRESHOLDS, choose_decision, to_device, validate
from tests.fakes.tiny_model import TINY_NETWORK
from tests.fakes.tiny_training import CPU, MILD, SPACING_MM, tiny_example

EXAMPLES = [tiny_example(0), tiny_example(1)]


class Oracle(torch.nn.Module):
    """Answers with given logits, case after case."""

    def __init__(self, logits):
        super().__init__()
        self._logits = iter(logits)

    def forward(self, _channels):
        return next(self._logits)[None]


def graded_logits(example, seed):
    """High in the regions, with some doubt: probabilities spread over 0 to 1."""
    rng = np.random.default_rng(seed)
    drawn = np.stack(list(region_masks(example.labels).values()))
    return torch.from_numpy((3 * drawn - 1.5 + rng.normal(0, 1.5, drawn.shape)).astype(np.float32))


def test_measures_the_dice_at_the_best_threshold():
    logits = [graded_logits(example, seed) for seed, example in enumerate(EXAMPLES)]
    found = validate(Oracle(logits), to_device(EXAMPLES, CPU), "float32")
    for index, (region, value) in enumerate(found.dice.items()):
        means = {}
        for threshold in THRESHOLDS:
            scores = [
                dice_of_masks(
                    (each.sigmoid().numpy()[index] > threshold) & example.model_input.head,
                    region_masks(example.labels)[region],
                )
                for each, example in zip(logits, EXAMPLES, strict=True)
            ]
            means[threshold] = float(np.mean(scores))
        assert value == pytest.approx(means[found.thresholds[index]])
        assert value >= max(means.values()) - 0.002
    assert found.score == pytest.approx(np.mean(list(found.dice.values())))


def test_an_empty_answer_to_an_empty_region_is_right():
    healthy = tiny_example(0)
    healthy = type(healthy)(healthy.name, healthy.model_input, np.zeros_like(healthy.labels))
    found = validate(Oracle([torch.full((3, *healthy.labels.shape), -9.0)]), to_device([healthy], CPU), "float32")
    assert set(found.dice.values()) == {1.0}
    assert found.thresholds == (0.5, 0.5, 0.5), "among equals the middle one"


def test_refuses_to_measure_on_nothing():
    with pytest.raises(TrainingDataError, match="at least one held-out case"):
        validate(Oracle([]), [], "float32")


@pytest.mark.parametrize("variants", [0, 1])
def test_the_decision_is_among_the_candidates_and_repeats(variants):
    torch.manual_seed(0)
    weights = build_network(TINY_NETWORK).state_dict()
    first, second = (
        choose_decision(
            EXAMPLES,
            TINY_NETWORK,
            weights,
            spacing_mm=SPACING_MM,
            device=CPU,
            variants=variants,
            patch=(24, 24, 24),
            augmentation=MILD,
        )
        for _ in range(2)
    )
    assert first == second
    assert set(first.thresholds) <= set(THRESHOLDS)
    assert all(0.05 <= temperature <= 20 for temperature in first.temperatures)


class Copies(torch.nn.Module):
    """Answers with its first three channels."""

    def forward(self, channels):
        return channels[:, :3]


def test_small_wrong_pieces_are_dropped(monkeypatch):
    # Certain and right, but for a lone voxel as far from the tumour as can be.
    example = tiny_example(0)
    logits = np.where(np.stack(list(region_masks(example.labels).values())), 6.0, -6.0).astype(np.float32)
    outside = np.argwhere(example.model_input.head & (example.labels == 0))
    distance = np.abs(outside - np.argwhere(example.labels > 0).mean(0)).sum(1)
    logits[0][tuple(outside[distance.argmax()])] = 6.0
    told = replace(example, model_input=replace(example.model_input, channels=logits))
    monkeypatch.setattr("federated.validation.build_network", lambda _config: Copies())
    decision = choose_decision([told], TINY_NETWORK, {}, spacing_mm=SPACING_MM, device=CPU)
    # One voxel of 8 mm is 0.5 ml.
    assert decision.min_component_ml == 1.0
