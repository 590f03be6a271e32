import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save

from federated.checkpoints import CheckpointFolder
from federated.errors import CheckpointError, DivergedError, TrainingDataError, TrainingSettingsError
from federated.models import UNetConfig
from federated.sampling import Split
from federated.training import Started, Stepped, Validated, quiet, train
from federated.training_settings import TrainingSettings
from tests.fakes.tiny_model import TINY_NETWORK
from tests.fakes.tiny_training import CPU, tiny_example, tiny_settings, tiny_split


def trained(settings=None, *, split=None, report=quiet, checkpoints=None, network=TINY_NETWORK):
    return train(split or tiny_split(), network, settings or tiny_settings(), CPU, report, checkpoints)


def bits(weights):
    return save(dict(weights))


@pytest.fixture(scope="module")
def long_run():
    events = []
    settings = tiny_settings(steps=60, batch=2, validate_every=20)
    return trained(settings, report=events.append), events


def test_the_loss_falls(long_run):
    losses = long_run[0].losses
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.2


def test_tells_each_step_and_each_validation(long_run):
    result, events = long_run
    assert isinstance(events[0], Started)
    assert events[0].parameters == sum(weight.numel() for weight in result.weights.values())
    steps = [event for event in events if isinstance(event, Stepped)]
    assert [event.step for event in steps] == list(range(1, 61))
    assert [event.loss for event in steps] == list(result.losses)
    assert [event.step for event in events if isinstance(event, Validated)] == [20, 40, 60]


def test_the_learning_rate_warms_up_and_falls_as_a_cosine(long_run):
    rates = {event.step: event.learning_rate for event in long_run[1] if isinstance(event, Stepped)}
    assert rates[1] == pytest.approx(1e-2 / 20)
    assert rates[31] == pytest.approx(1e-2 / 2)
    assert rates[60] == pytest.approx(1e-2 / 2 * (1 + math.cos(math.pi * 59 / 60)))


def test_gives_the_weights_of_the_best_validation():
    split = tiny_split()
    seen = {}

    def report(event):
        if isinstance(event, Validated):
            seen[event.step] = (event.validation.score, event.is_best)

    result = trained(tiny_settings(steps=12, learning_rate=0.3), split=split, report=report)
    assert result.best_step == max(seen, key=lambda step: seen[step][0])
    shorter = trained(tiny_settings(steps=12, learning_rate=0.3, patience=1), split=split)
    assert shorter.best_step <= result.best_step


@pytest.mark.parametrize("network", [TINY_NETWORK, UNetConfig(filters=(4, 8), res_units=1)], ids=["hybrid", "unet"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_seed_gives_the_same_bits(network, precision):
    settings = tiny_settings(steps=3, batch=2, precision=precision)
    first, second = (trained(settings, network=network) for _ in range(2))
    assert bits(first.weights) == bits(second.weights)
    assert first.losses == second.losses
    assert (first.precision, first.threads) == (precision, 1)
    other = trained(replace(settings, seed=1), network=network)
    assert bits(other.weights) != bits(first.weights)


def test_leaves_torch_as_it_was():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    trained(tiny_settings(steps=1))
    assert torch.equal(torch.rand(3), expected)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


@pytest.mark.parametrize("stop_at", [0, 1, 2, 3, 5])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path, stop_at):
    settings = tiny_settings(steps=6, crops=True, patch=(16, 16, 16))
    whole = trained(settings)

    def interrupt(event):
        if getattr(event, "step", None) == stop_at and not isinstance(event, Started):
            raise KeyboardInterrupt

    if stop_at:
        with pytest.raises(KeyboardInterrupt):
            trained(settings, report=interrupt, checkpoints=CheckpointFolder(tmp_path))
    events = []
    rest = trained(settings, report=events.append, checkpoints=CheckpointFolder(tmp_path))
    assert events[0].step == stop_at
    assert bits(rest.weights) == bits(whole.weights)
    assert rest.losses == whole.losses
    assert rest.validations == whole.validations
    assert rest.best_step == whole.best_step


def test_each_stop_may_be_at_any_step(tmp_path):
    """A run that only ever gets one step further ends at the same bits."""
    settings = tiny_settings(steps=4)

    def interrupt(event):
        if isinstance(event, Stepped):
            raise KeyboardInterrupt

    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            trained(settings, report=interrupt, checkpoints=CheckpointFolder(tmp_path))
    assert bits(trained(settings, checkpoints=CheckpointFolder(tmp_path)).weights) == bits(trained(settings).weights)


def test_a_finished_run_is_not_trained_again(tmp_path):
    settings = tiny_settings(steps=3)
    first = trained(settings, checkpoints=CheckpointFolder(tmp_path))
    events = []
    again = trained(settings, report=events.append, checkpoints=CheckpointFolder(tmp_path))
    assert [type(event) for event in events] == [Started]
    assert bits(again.weights) == bits(first.weights)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"settings": tiny_settings(seed=1)}, id="settings"),
        pytest.param({"split": Split(real=[tiny_example(0)])}, id="data"),
        pytest.param({"network": replace(TINY_NETWORK, detail=6)}, id="network"),
    ],
)
def test_refuses_to_go_on_with_another_run(tmp_path, change):
    trained(checkpoints=CheckpointFolder(tmp_path))
    with pytest.raises(CheckpointError, match="expected a checkpoint of this run"):
        trained(checkpoints=CheckpointFolder(tmp_path), **change)


def test_goes_on_with_the_threads_it_began_with(tmp_path):
    trained(tiny_settings(threads=1), checkpoints=CheckpointFolder(tmp_path))
    assert trained(tiny_settings(threads=2), checkpoints=CheckpointFolder(tmp_path)).threads == 1


def test_stops_early_when_nothing_gets_better():
    # Without learning the score stays what it is.
    result = trained(tiny_settings(steps=40, learning_rate=1e-8, validate_every=2, patience=3, average_decay=0.0))
    assert result.steps < 40
    assert len([step for step in result.validations if step > result.best_step]) == 3


def test_without_held_out_cases_the_last_weights_are_the_model():
    result = trained(split=Split(synthetic=[tiny_example(0)]))
    assert (result.best_step, result.validations) == (6, {})


def test_without_augmentation_cases_are_shown_as_they_are():
    result = trained(tiny_settings(steps=30, augmentation=None), split=Split(real=[tiny_example(0)]))
    assert result.losses[-1] < result.losses[0] - 0.2


def test_a_loss_that_is_not_finite_ends_the_run():
    broken = tiny_example(0)
    channels = np.where(broken.model_input.head, np.float32(np.nan), broken.model_input.channels)
    split = Split(real=[replace(broken, model_input=replace(broken.model_input, channels=channels))])
    with pytest.raises(DivergedError, match="Step 1: expected a finite loss"):
        trained(tiny_settings(augmentation=None), split=split)


def test_starts_from_given_weights(tmp_path):
    given = trained().weights
    settings = tiny_settings(steps=1, learning_rate=1e-8, average_decay=0.0)
    first = train(tiny_split(), TINY_NETWORK, settings, CPU, initial=given)
    for name, weight in given.items():
        torch.testing.assert_close(first.weights[name], weight, atol=1e-6, rtol=0)
    train(tiny_split(), TINY_NETWORK, settings, CPU, checkpoints=CheckpointFolder(tmp_path), initial=given)
    with pytest.raises(CheckpointError, match="expected a checkpoint of this run"):
        train(tiny_split(), TINY_NETWORK, settings, CPU, checkpoints=CheckpointFolder(tmp_path))


def test_refuses_to_start_from_the_weights_of_another_network():
    other = UNetConfig(filters=(4, 8), res_units=1)
    with pytest.raises(TrainingSettingsError, match="initial weights do not fit the network"):
        train(tiny_split(), other, tiny_settings(), CPU, initial=trained(tiny_settings(steps=1)).weights)


def test_refuses_to_train_on_nothing():
    with pytest.raises(TrainingDataError, match="at least one training case"):
        trained(split=Split(validation=[tiny_example(0)]))


def test_refuses_a_patch_that_does_not_fit_the_network():
    with pytest.raises(TrainingSettingsError, match="multiples of the network's stride, 4, got"):
        trained(tiny_settings(patch=(24, 22, 24)))


def test_refuses_held_out_cases_that_do_not_fit_the_network():
    network = UNetConfig(filters=(2, 2, 2, 2, 2, 2))
    with pytest.raises(TrainingDataError, match="phantom-3: expected a grid in multiples"):
        trained(tiny_settings(patch=(32, 32, 32)), network=network)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param({"steps": 0}, "steps as whole numbers from 1", id="no steps"),
        pytest.param({"batch": 1.5}, "batch as whole numbers", id="half a case"),
        pytest.param({"patch": (64, 64, 4)}, "patch as whole numbers from 8 to 512", id="flat patch"),
        pytest.param({"learning_rate": 0.0}, "learning_rate as numbers from 1e-08", id="no learning"),
        pytest.param({"learning_rate": math.nan}, "learning_rate", id="NaN"),
        pytest.param({"patience": 0}, "patience", id="no patience"),
        pytest.param({"threads": 0}, "threads", id="no thread"),
        pytest.param({"precision": "float64"}, "auto, float32 or bfloat16, got 'float64'", id="precision"),
        pytest.param({"synthetic_share": 2.0}, "synthetic_share", id="share"),
    ],
)
def test_refuses_settings_out_of_range(change, told):
    with pytest.raises(TrainingSettingsError, match=told):
        TrainingSettings(**change)


def test_random_crops_need_an_augmentation():
    with pytest.raises(TrainingSettingsError, match="Random crops"):
        trained(tiny_settings(crops=True, augmentation=None))
