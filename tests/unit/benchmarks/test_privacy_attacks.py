import json
import math

import numpy as np
import pytest
import torch
from scipy import stats

from benchmarks.gradient_inversion import (
    PATCH,
    PROTECTIONS,
    Effort,
    Victim,
    _clip,
    _decode,
    _nearest,
    attack,
    scene,
)
from benchmarks.membership_inference import members, rates, scores, summarise
from benchmarks.privacy_attacks import proportion, shipped, summarise_trials
from benchmarks.privacy_plots import draw_examples, draw_rates
from federated.augmentation import Batch
from federated.models import build_network
from tests.fakes.tiny_model import TINY_NETWORK


@pytest.fixture(scope="module")
def heads():
    torch.manual_seed(0)
    depth = torch.zeros(12, 16, 16, 16, dtype=torch.uint8)
    depth[:, 2:14, 2:14, 2:14] = 1
    depth[:, 5:10, 6:11, 5:10] = 3
    return Batch(torch.randn(12, 4, 16, 16, 16), depth, torch.ones(12, 4))


@pytest.fixture(scope="module")
def victim():
    torch.manual_seed(1)
    return Victim(TINY_NETWORK, build_network(TINY_NETWORK).state_dict())


def test_a_scene_shows_the_same_place_of_every_head(heads):
    found = scene(heads, heads, trial=15)
    assert found.index == 3
    assert tuple(found.image.shape) == (4, *PATCH)
    assert torch.equal(found.gallery[found.index], found.image)
    assert tuple(found.regions.shape) == (3, *PATCH)
    assert torch.allclose(found.mean, found.gallery.mean(0))
    assert not torch.equal(scene(heads, heads, trial=3).image, found.image)


def test_the_attackers_gradients_are_those_of_the_network_in_use(heads, victim):
    torch.manual_seed(1)
    network = build_network(TINY_NETWORK)
    one = scene(heads, heads, 0)
    from federated.losses import region_loss

    channels = torch.cat([one.image, torch.ones_like(one.image)])[None]
    region_loss(network(channels), one.regions[None]).backward()
    expected = torch.cat([weight.grad.flatten() for weight in network.parameters()])
    found = victim.gradients(one.image[None], one.regions[None])[0]
    assert (found - expected).norm() < 1e-4 * expected.norm()


def test_attacks_a_group_and_finds_patients_in_the_gallery_without_protection(heads, victim):
    scenes = [scene(heads, heads, trial) for trial in range(3)]
    found, pictures = attack(victim, scenes, noise=1000.0, clip=1.0, effort=Effort(iterations=2), seed=0)
    assert all(each["none"]["gallery"] for each in found)
    assert set(found[0]) == {*PROTECTIONS, "prior"}
    assert {tuple(each.shape) for each in pictures.values()} == {(3, 4, *PATCH)}
    assert torch.equal(pictures["truth"][1], scenes[1].image)


def test_the_gallery_attack_picks_the_likeliest_and_takes_a_sum_apart():
    torch.manual_seed(0)
    candidates = torch.randn(5, 30, 400)
    truth = [3, 0, 29, 11, 7]
    exact = torch.stack([candidates[place, index] for place, index in enumerate(truth)])
    assert _nearest(exact + 0.1 * torch.randn_like(exact), candidates) == truth
    assert _decode(exact.sum(0), candidates) == truth


def test_clipping_shortens_long_gradients_only():
    long, short = torch.full((1, 4), 3.0), torch.full((1, 4), 0.1)
    assert _clip(long, 1.0).norm() == pytest.approx(1)
    assert torch.equal(_clip(short, 1.0), short)


def test_each_network_sees_a_random_half():
    chosen = np.array([members(24, model) for model in range(200)])
    assert (chosen.sum(1) == 12).all()
    assert (chosen.sum(0) == 100).all()
    assert np.array_equal(members(24, 5), chosen[5])


def lira(shift, models=64, patients=24):
    rng = np.random.default_rng(0)
    is_member = np.array([members(patients, model) for model in range(models)])
    return rng.normal(size=(models, patients)) + shift * is_member, is_member


def test_lira_finds_members_as_well_as_the_best_test_can():
    confidence, is_member = lira(2.0)
    found = rates(scores(confidence, is_member), is_member)
    # Two normal laws two standard deviations apart.
    assert found["auc"] == pytest.approx(stats.norm.cdf(2 / math.sqrt(2)), abs=0.03)
    assert found["tpr_at_0.01"] == pytest.approx(stats.norm.sf(stats.norm.isf(0.01) - 2), abs=0.12)


def test_lira_finds_nothing_where_there_is_nothing():
    found = summarise(*lira(0.0), resamples=100)
    assert found["auc"]["rate"] == pytest.approx(0.5, abs=0.05)
    assert found["tpr_at_0.01"]["rate"] < 0.05
    assert found["smallest_false_positive_rate"] == 1 / 768
    assert found["auc"]["interval"][0] < 0.5 < found["auc"]["interval"][1]


def test_rates_have_exact_intervals():
    assert proportion(0, 1000)["interval"] == [0.0, pytest.approx(1 - 0.025 ** (1 / 1000))]
    assert proportion(7, 7)["interval"][1] == 1.0
    low, high = proportion(30, 100)["interval"]
    exact = stats.binomtest(30, 100).proportion_ci(method="exact")
    assert (low, high) == (pytest.approx(exact.low), pytest.approx(exact.high))


def test_attacks_what_is_shipped():
    privacy, learning = shipped()
    assert privacy.record_noise > 1
    assert learning.preset == "tiny"


def test_a_success_needs_both_and_the_pictures_can_be_drawn(tmp_path):
    one = {"ssim": 0.6, "identified": False, "gallery": True}
    both, neither = {**one, "identified": True}, {**one, "ssim": 0.1}
    trials = [dict.fromkeys(PROTECTIONS, each) | {"prior": {"ssim": 0.2}} for each in (one, both, neither)]
    found = summarise_trials(trials)
    assert found["none"]["success"]["count"] == 1
    assert found["none"]["gallery"]["count"] == 3
    membership = summarise(*lira(0.5, models=8), resamples=20)
    results = {"inversion": found, "membership": {"none": membership, "record-dp": membership}}
    json.dumps(results)
    draw_rates(results, tmp_path / "rates.png")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "examples.npz", **{name: rng.random((6, 4, *PATCH)) for name in ("truth", *PROTECTIONS)})
    draw_examples(tmp_path / "examples.npz", tmp_path / "examples.png")
    assert (tmp_path / "rates.png").stat().st_size > 10_000
    assert (tmp_path / "examples.png").stat().st_size > 10_000
