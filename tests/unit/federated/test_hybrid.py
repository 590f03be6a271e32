"""The hybrid network: shapes, what its slots change and what they do not."""

from dataclasses import replace

import pytest
import torch

from federated.models import ARMS, HybridConfig, build_network
from federated.quantum.slot import SlotConfig

SMALL = HybridConfig(
    in_channels=3, filters=(4, 8), detail=4, neck=SlotConfig(wires=3, layers=1), head=SlotConfig(wires=2, layers=1)
)


def small(kind: str) -> HybridConfig:
    return replace(SMALL, neck=SlotConfig(kind, wires=3, layers=1), head=SlotConfig(kind, wires=2, layers=1))


@pytest.mark.parametrize("kind", ["quantum", "no-entangler", "frozen", "mlp", "wide-mlp", "identity"])
def test_each_kind_answers_at_full_resolution(kind: str) -> None:
    logits = build_network(small(kind))(torch.randn(2, 3, 8, 12, 4))
    assert logits.shape == (2, 3, 8, 12, 4)


@pytest.mark.parametrize("missing", ["neck", "head"])
def test_works_without_a_slot(missing: str) -> None:
    network = build_network(replace(SMALL, **{missing: None}))
    assert network(torch.randn(1, 3, 4, 4, 8)).shape == (1, 3, 4, 4, 8)


def test_the_head_sees_single_voxels() -> None:
    """A rim one voxel thin must be visible: the answer next to a changed voxel differs from the one far from it."""
    torch.manual_seed(0)
    network = build_network(SMALL).eval()
    image = torch.randn(1, 3, 16, 16, 16)
    changed = image.clone()
    changed[0, :, 8, 8, 8] += 5
    difference = (network(changed) - network(image)).abs().amax((0, 1))
    assert difference[8, 8, 8] > 2 * difference[0, 0, 0]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_every_learning_weight_gets_a_gradient(precision: torch.dtype) -> None:
    torch.manual_seed(0)
    network = build_network(SMALL)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
        logits = network(torch.randn(1, 3, 8, 8, 8))
    logits.float().square().sum().backward()
    silent = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    # The last rotation about Z of a layer that is measured in Z turns nothing, so its angles have no gradient.
    assert all("slot.body.weights" in name for name in silent)


def test_the_frozen_circuit_does_not_learn() -> None:
    network = build_network(small("frozen"))
    learning = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert not any("slot.body" in name for name in learning)


def test_the_matched_control_has_as_many_weights() -> None:
    counts = {arm: sum(parameter.numel() for parameter in build_network(ARMS[arm]).parameters()) for arm in ARMS}
    assert abs(counts["hybrid"] - counts["mlp"]) <= 17
    assert counts["hybrid"] - counts["identity"] == 8 * 2 * 3 + 4 * 2 * 3
    assert counts["wide-mlp"] > counts["hybrid"]
    assert counts["no-entangler"] == counts["hybrid"]


def test_all_arms_but_the_baselines_share_their_convolutions() -> None:
    def convolutions(arm: str) -> dict[str, torch.Size]:
        return {
            name: parameter.shape
            for name, parameter in build_network(ARMS[arm]).named_parameters()
            if "slot.body" not in name
        }

    assert convolutions("hybrid") == convolutions("mlp") == convolutions("identity") == convolutions("frozen")
