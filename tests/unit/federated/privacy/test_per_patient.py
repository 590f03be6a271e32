import copy

import pytest
import torch

from federated.losses import region_loss
from federated.models import ARMS, build_network
from federated.privacy.per_patient import clipped_sum, per_patient_gradients
from federated.quantum.layer import QuantumLayer
from tests.fakes.tiny_model import TINY_NETWORK

CASES = 3


@pytest.fixture(scope="module")
def batch():
    torch.manual_seed(1)
    channels = torch.randn(CASES, 8, 8, 8, 12)
    return channels, (torch.rand(CASES, 3, 8, 8, 12) > 0.7).float()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_network(TINY_NETWORK)


def learning(network, names=None):
    return {name: each for name, each in network.named_parameters() if names is None or name in names}


def one_by_one(network, batch):
    """The plain way: a backward pass for each case."""
    found = []
    for channels, regions in zip(*batch, strict=True):
        network.zero_grad()
        region_loss(network(channels[None]), regions[None]).backward()
        found.append({name: each.grad.clone() for name, each in network.named_parameters()})
    return {name: torch.stack([each[name] for each in found]) for name in found[0]}


def assert_alike(found, expected):
    """Up to what float32 loses: a weight before a norm has a gradient of zero, give or take that."""
    assert set(found) == set(expected)
    length = torch.cat([each.flatten() for each in expected.values()]).norm()
    for name, gradient in expected.items():
        apart = (found[name] - gradient).norm()
        assert apart <= 1e-5 * length, name
        assert apart <= 1e-3 * gradient.norm() + 1e-6 * length, name


def quantum_names(network):
    layers = [name for name, module in network.named_modules() if isinstance(module, QuantumLayer)]
    return [f"{name}.weights" for name in layers]


def test_are_those_of_the_loop_over_cases_for_every_weight(network, batch):
    assert_alike(per_patient_gradients(network, learning(network), *batch), one_by_one(network, batch))


def test_of_the_circuits_are_not_zero(network, batch):
    names = quantum_names(network)
    assert len(names) == 2
    found = per_patient_gradients(network, learning(network), *batch)
    for name in names:
        assert (found[name].flatten(1).abs().amax(1) > 1e-6).all(), name


@pytest.mark.filterwarnings("ignore")
def test_are_those_of_opacus(network, batch):
    from opacus import GradSampleModule

    wrapped = GradSampleModule(copy.deepcopy(network), loss_reduction="sum", strict=False)
    logits = wrapped(batch[0])
    sum(region_loss(logits[i : i + 1], batch[1][i : i + 1]) for i in range(CASES)).backward()
    found = per_patient_gradients(network, learning(network), *batch)
    assert_alike(found, {name: weight.grad_sample for name, weight in wrapped._module.named_parameters()})


def test_circuits_in_the_network_as_it_is_released_agree_too():
    torch.manual_seed(3)
    network = build_network(ARMS["hybrid"])
    batch = torch.randn(2, 8, 16, 16, 16), (torch.rand(2, 3, 16, 16, 16) > 0.7).float()
    names = [*quantum_names(network), "head.slot.gain", "head.outward.weight"]
    found = per_patient_gradients(network, learning(network, names), *batch)
    expected = one_by_one(network, batch)
    assert_alike(found, {name: expected[name] for name in names})


def test_only_the_weights_that_learn_have_gradients(network, batch):
    found = per_patient_gradients(network, learning(network, ["head.outward.weight"]), *batch)
    assert {name: tuple(each.shape) for name, each in found.items()} == {"head.outward.weight": (CASES, 3, 2, 1, 1, 1)}


def test_no_patient_moves_the_sum_by_more_than_the_norm():
    rng = torch.Generator().manual_seed(0)
    for scale in (1e-6, 0.1, 1.0, 1e20):
        one = {"a": scale * torch.randn(1, 4, 5, generator=rng), "b": scale * torch.randn(1, 7, generator=rng)}
        length = torch.cat([each.flatten() for each in one.values()]).double().norm()
        moved = clipped_sum(one, 0.5)
        assert moved.norm() <= 0.5 * (1 + 1e-12)
        assert moved.norm() == pytest.approx(min(0.5, float(length)), rel=1e-6)


def test_the_sum_is_that_of_the_clipped():
    gradients = {"a": torch.randn(6, 3), "b": torch.randn(6, 2, 2)}
    alone = [clipped_sum({name: each[i : i + 1] for name, each in gradients.items()}, 1.0) for i in range(6)]
    torch.testing.assert_close(clipped_sum(gradients, 1.0), torch.stack(alone).sum(0))


@pytest.mark.parametrize("fault", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_counts_as_zero(fault):
    gradients = {"a": torch.tensor([[3.0, 4.0], [fault, 1.0]])}
    torch.testing.assert_close(clipped_sum(gradients, 1.0), torch.tensor([0.6, 0.8], dtype=torch.float64))
