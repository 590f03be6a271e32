from dataclasses import replace

import numpy as np
import pytest
import torch

from federated.auditing import adversarial
from federated.auditing.adversarial import AttackSettings, attack_model
from federated.errors import EvaluationError
from federated.losses import region_loss
from federated.metrics import dice_of_masks
from federated.models import UNetConfig
from federated.quantum.layer import QuantumLayer
from federated.quantum.pennylane_backend import PennyLaneBackend
from federated.quantum.slot import SlotConfig
from tests.fakes.audited import audited_network, trained_network
from tests.fakes.tiny_model import TINY_NETWORK
from tests.fakes.tiny_training import tiny_example

CLASSICAL = replace(TINY_NETWORK, neck=SlotConfig("mlp", wires=2, layers=1), head=SlotConfig("mlp", wires=2, layers=1))
CASES = [tiny_example(0), tiny_example(1)]


class Watch:
    """Keeps what a module is given."""

    def __init__(self, module):
        self.seen = []
        # After the attack's own hook: hooks run in the order they were registered, so this wraps the module itself.
        self._forward, module.forward = module.forward, self.keep

    def keep(self, given):
        self.seen.append(given.detach().clone())
        return self._forward(given)


def test_images_change_within_the_bound_and_inside_the_head_only():
    model = audited_network()
    watch = Watch(model.network)
    attack_model(model, CASES[:1], settings=AttackSettings((0.25,), (), steps=2))
    example = CASES[0]
    slices, rows, columns = example.labels.shape
    clean = torch.from_numpy(example.model_input.channels)
    head = torch.from_numpy(example.model_input.head)
    changes = [each[0, :, :slices, :rows, :columns] - clean for each in watch.seen]
    assert max(float(change.abs().max()) for change in changes) == pytest.approx(0.25, abs=1e-5)
    for change in changes:
        assert not change[4:].any()
        assert not change[:, ~head].any()
    assert max(float((clean + change)[:4].abs().max()) for change in changes) <= 8
    # Unchanged twice (shapes, gradient) or thrice (Dice), then random, fgsm, and pgd's steps and answer.
    moved = [change for change in changes if change.any()]
    assert len(moved) == 2 + 2 + 1
    # Random signs are as large as the bound allows, where the clip lets them.
    inner = (clean[:4].abs() < 7.7) & head
    assert (moved[0][:4][inner].abs() > 0.2499).all()


def test_absent_contrasts_stay_absent():
    example = CASES[0]
    channels = example.model_input.channels.copy()
    channels[[0, 4]] = 0
    model = audited_network()
    watch = Watch(model.network)
    bare = replace(example, model_input=replace(example.model_input, channels=channels))
    attack_model(model, [bare], settings=AttackSettings((0.5,), (), steps=1))
    assert all(not each[0, 0].any() for each in watch.seen)
    assert any(each[0, 1].ne(watch.seen[0][0, 1]).any() for each in watch.seen)


@pytest.mark.parametrize(("config", "scale"), [(TINY_NETWORK, 1.0), (CLASSICAL, 2 / np.pi)], ids=["circuit", "mlp"])
def test_angles_change_within_the_bound(config, scale):
    model = audited_network(config)
    bodies = {name: Watch(slot.body) for name, slot in model.slots()}
    images = Watch(model.network)
    attack_model(model, CASES[:1], settings=AttackSettings((), (0.2,), steps=2))
    assert set(bodies) == {"neck.slot", "head.slot"}
    assert all(torch.equal(each, images.seen[0]) for each in images.seen)
    # The neck comes first: what enters it otherwise is the same each time.
    apart = [float((each - bodies["neck.slot"].seen[0]).abs().max()) for each in bodies["neck.slot"].seen]
    assert max(apart) == pytest.approx(0.2 * scale, abs=1e-5)
    assert any(not torch.equal(each, bodies["head.slot"].seen[0]) for each in bodies["head.slot"].seen)


def test_gradients_by_angles_are_those_of_pennylane():
    model = audited_network()
    victim = adversarial._Victim(model, CASES[0], None)
    fused = victim.gradients(victim.unchanged())
    for module in model.network.modules():
        if isinstance(module, QuantumLayer):
            module.backend = PennyLaneBackend()
    exact = adversarial._Victim(model, CASES[0], None).gradients(victim.unchanged())
    assert set(fused) == {"image", "neck.slot", "head.slot"}
    for name, gradient in exact.items():
        torch.testing.assert_close(fused[name], gradient, atol=1e-6, rtol=1e-3)


def test_gradients_by_the_image_are_slopes():
    victim = adversarial._Victim(audited_network(UNetConfig(filters=(4, 8))), CASES[0], None)
    found = victim.gradients(victim.unchanged())["image"]
    direction = torch.randn(found.shape, generator=torch.Generator().manual_seed(0)) * victim._head

    def loss(change):
        logits = victim._logits({"image": change})
        return region_loss((logits * victim._head - 30 * ~victim._head)[None], victim._regions[None])

    # Clipped voxels have no slope towards one side: a step that is small, yet seen in float32.
    slope = (loss(0.01 * direction) - loss(-0.01 * direction)) / 0.02
    assert float(slope) == pytest.approx(float((found * direction).sum()), rel=0.05, abs=2e-4)


def test_a_trained_network_loses_more_to_an_attack_than_to_noise():
    found = attack_model(trained_network(), CASES, settings=AttackSettings((0.5,), (0.5,), steps=3))
    assert found.cases == 2
    assert found.model.clean > 0.6
    by = {(each.target, each.method): each for each in found.model.attacks}
    assert set(by) == {(target, method) for target in ("image", "angles") for method in ("random", "fgsm", "pgd")}
    for target in ("image", "angles"):
        assert by[target, "fgsm"].drop > by[target, "random"].drop
        assert max(by[target, "pgd"].drop, by[target, "fgsm"].drop) > 0.02
    assert found.model.worst_drop == max(each.drop for each in found.model.attacks)
    for each in found.model.attacks:
        assert each.dice == pytest.approx(found.model.clean - each.drop)
        assert each.drop_low <= each.drop <= each.drop_high
        assert each.largest_drop >= each.drop


def test_unchanged_cases_have_the_dice_of_the_decision():
    model = trained_network()
    found = attack_model(model, CASES, settings=AttackSettings((), ()))
    expected = [dice_of_masks(model.labels(case.model_input) > 0, case.labels > 0) for case in CASES]
    assert found.model.clean == pytest.approx(np.mean(expected))
    assert found.model.attacks == ()
    assert found.model.worst_drop == 0


def test_the_same_seed_gives_the_same_report_and_nothing_stays_hooked():
    model, settings = trained_network(), AttackSettings((0.3,), (0.3,), steps=2)
    first, second = (attack_model(model, CASES[:1], settings=settings) for _ in range(2))
    assert first == second
    assert not any(module._forward_pre_hooks for module in model.network.modules())


def test_the_twin_is_attacked_on_the_same_cases():
    told = []
    found = attack_model(
        audited_network(),
        CASES,
        twin=audited_network(CLASSICAL),
        settings=AttackSettings((0.1,), (0.1,), steps=1),
        limit=1,
        progress=told.append,
    )
    assert found.cases == 1
    assert set(found.model.kinds.values()) == {"circuit"}
    assert set(found.twin.kinds.values()) == {"Sequential"}
    assert told == [0.5, 1.0]


def test_a_network_without_slots_is_attacked_by_images_only():
    found = attack_model(
        audited_network(UNetConfig(filters=(4, 8))), CASES[:1], settings=AttackSettings((0.1,), (0.1,), steps=1)
    )
    assert {each.target for each in found.model.attacks} == {"image"}


def test_a_patch_lies_about_the_tumour():
    model = audited_network()
    watch = Watch(model.network)
    attack_model(model, CASES[:1], settings=AttackSettings((), (), patch=(8, 12, 8)))
    labels = CASES[0].labels
    middle = np.argwhere(labels > 0).mean(0)
    assert watch.seen[0].shape[2:] == (8, 12, 8)
    window = adversarial._window(CASES[0], (8, 12, 8), 4)
    assert all(each.start <= place < each.stop for each, place in zip(window, middle, strict=True))


@pytest.mark.parametrize(
    "wrong", [{"image_epsilons": (0.0,)}, {"angle_epsilons": (float("inf"),)}, {"steps": 0}], ids=str
)
def test_refuses_settings_out_of_range(wrong):
    with pytest.raises(EvaluationError, match="Expected"):
        AttackSettings(**wrong)


def test_refuses_a_patch_that_does_not_fit_and_no_case():
    with pytest.raises(EvaluationError, match="multiples of 4"):
        attack_model(audited_network(), CASES, settings=AttackSettings(patch=(6, 8, 8)))
    with pytest.raises(EvaluationError, match="at least 1 cases"):
        attack_model(audited_network(), [])
