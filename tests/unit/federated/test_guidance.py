from dataclasses import replace

import pytest
import torch
from safetensors.torch import save

from federated.checkpoints import CheckpointFolder
from federated.errors import CheckpointError
from federated.guidance import Guide
from federated.models import build_network
from federated.training import Started, Stepped, train
from tests.fakes.tiny_model import TINY_NETWORK
from tests.fakes.tiny_training import CPU, tiny_settings, tiny_split

HEAD = ("head.inward.bias", "head.inward.weight", "head.outward.bias", "head.outward.weight")


def weight(value, gradient):
    parameter = torch.nn.Parameter(torch.tensor(value))
    parameter.grad = torch.tensor(gradient)
    return parameter


@pytest.fixture(scope="module")
def start():
    torch.manual_seed(5)
    return dict(build_network(TINY_NETWORK).state_dict())


def trained(start, guide, folder=None, report=lambda _event: None, **changes):
    settings = tiny_settings(**{"steps": 3, "average_decay": 0.0, **changes})
    split = replace(tiny_split(), validation=())
    checkpoints = CheckpointFolder(folder) if folder else None
    return train(split, TINY_NETWORK, settings, CPU, report, checkpoints, start, guide)


def scaffold(start, size=0.01):
    return Guide(correction={name: torch.full_like(each, size) for name, each in start.items()})


def test_without_arguments_it_changes_nothing(start):
    guided, plain = trained(start, Guide()), trained(start, None)
    assert save(dict(guided.weights)) == save(dict(plain.weights))
    assert Guide().describe() == {}


def test_pulls_towards_the_given_weights():
    each = weight([1.0, 5.0], [0.5, 0.5])
    Guide(pull=0.1, towards={"w": torch.tensor([1.0, 3.0])}).adjust({"w": each})
    torch.testing.assert_close(each.grad, torch.tensor([0.5, 0.7]))


def test_corrects_gradients_and_gives_their_mean_before_that():
    guide = Guide(correction={"w": torch.tensor([10.0])})
    for gradient in (1.0, 4.0):
        each = weight([0.0], [gradient])
        guide.adjust({"w": each})
        torch.testing.assert_close(each.grad, torch.tensor([gradient + 10]))
    assert guide.mean_gradient(2)["w"].tolist() == [2.5]


def test_weights_that_got_no_gradient_stay_as_they_are():
    parameter = torch.nn.Parameter(torch.ones(1))
    Guide(pull=1.0, towards={"w": torch.zeros(1)}).adjust({"w": parameter})
    assert parameter.grad is None


def test_only_the_chosen_weights_learn(start):
    found = trained(start, Guide(learns=HEAD)).weights
    changed = {name for name in start if not torch.equal(found[name], start[name])}
    assert changed == set(HEAD)


def test_a_strong_pull_holds_the_weights(start):
    # Adam's steps are as long as the learning rate, so the pull shows after some of them only.
    settings = {"steps": 12, "learning_rate": 0.05}
    free, held = (trained(start, guide, **settings).weights for guide in (None, Guide(pull=100.0, towards=dict(start))))
    distances = [sum(float((found[name] - start[name]).square().sum()) for name in start) for found in (free, held)]
    assert distances[1] < distances[0] / 4


def test_the_learning_rate_is_that_of_the_whole_run(start):
    rates = []

    def report(event):
        if isinstance(event, Stepped):
            rates.append(event.learning_rate)

    for done in (0, 3):
        trained(start, Guide(done=done, of=6), report=report)
    whole = []
    trained(start, None, steps=6, report=lambda event: whole.append(getattr(event, "learning_rate", None)))
    assert rates == [rate for rate in whole if rate is not None]


@pytest.mark.parametrize("stop_at", [1, 2])
def test_a_guided_run_that_was_stopped_goes_on_to_the_same_bits(start, tmp_path, stop_at):
    def interrupt(event):
        if isinstance(event, Stepped) and event.step == stop_at:
            raise KeyboardInterrupt

    reference = scaffold(start)
    whole = trained(start, reference)
    with pytest.raises(KeyboardInterrupt):
        trained(start, scaffold(start), tmp_path, interrupt)
    events, guide = [], scaffold(start)
    rest = trained(start, guide, tmp_path, events.append)
    assert [event.step for event in events if isinstance(event, Started)] == [stop_at]
    assert save(dict(rest.weights)) == save(dict(whole.weights))
    assert save(guide.mean_gradient(3)) == save(reference.mean_gradient(3))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda start: None, id="no guide"),
        pytest.param(lambda start: scaffold(start, 0.02), id="correction"),
        pytest.param(lambda start: Guide(learns=HEAD), id="what learns"),
        pytest.param(lambda start: Guide(pull=0.1, towards=start), id="pull"),
        pytest.param(lambda start: Guide(done=3, of=6), id="place"),
    ],
)
def test_another_guide_is_another_run(start, tmp_path, other):
    trained(start, scaffold(start), tmp_path, steps=1)
    with pytest.raises(CheckpointError, match="expected a checkpoint of this run"):
        trained(start, other(start), tmp_path, steps=1)
