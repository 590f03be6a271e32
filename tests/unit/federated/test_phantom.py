import socket

import numpy as np
import pytest
from scipy import ndimage

from federated.phantom import build_phantom
from federated.phantom_anatomy import BRAIN_MM, build_anatomy, draw_pose, load_template
from federated.phantom_fields import FieldOfView
from federated.phantom_scanner import Scanner
from federated.phantom_tumour import TumourHabit, displace, grow, plan_tumour

COARSE = FieldOfView((36, 44, 36), 4.0)

# Range of the regions' means over six TCGA gliomas at 2 mm (sandbox/data/brats_tcga_2mm), after subtracting the brain's
# median and dividing by 1.4826 of its median absolute deviation: necrotic core, oedema, enhancing tumour.
TCGA_MEANS = {
    "T1": ((-1.24, -0.25), (0.23, 0.67), (-0.50, 0.28)),
    "T1ce": ((-1.68, 0.04), (0.02, 1.05), (-0.28, 4.18)),
    "T2": ((1.65, 5.84), (0.40, 3.37), (0.88, 4.43)),
    "FLAIR": ((2.41, 6.51), (1.38, 6.19), (2.50, 7.52)),
}


def coarse(seed, **how):
    return build_phantom(np.random.default_rng(seed), spacing_mm=4.0, **how)


def scaled(phantom, contrast):
    voxels = phantom.images[contrast].voxels
    middle = np.median(voxels[phantom.brain])
    return (voxels - middle) / (1.4826 * np.median(np.abs(voxels[phantom.brain] - middle)))


@pytest.fixture(scope="module")
def cohort():
    return [coarse(seed) for seed in range(16)]


def test_templates_come_from_the_package_without_a_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    load_template.cache_clear()
    assert load_template(4).channels.shape[0] == 5


@pytest.mark.parametrize("how", [{}, {"skull": True}, {"tumour": False}], ids=["brain", "head", "healthy"])
def test_the_same_seed_gives_the_same_head(how):
    first, second = (coarse(7, **how) for _ in range(2))
    np.testing.assert_array_equal(first.labels, second.labels)
    for contrast in ("T1", "T1ce", "T2", "FLAIR"):
        np.testing.assert_array_equal(first.images[contrast].voxels, second.images[contrast].voxels)


def test_the_same_seed_gives_the_same_head_on_a_finer_grid():
    fine, rough = build_phantom(np.random.default_rng(4), spacing_mm=2.0), coarse(4)
    whole = (fine.labels > 0).reshape(36, 2, 44, 2, 36, 2).mean(axis=(1, 3, 5)) > 0.5
    overlap = 2 * (whole & (rough.labels > 0)).sum() / (whole.sum() + (rough.labels > 0).sum())
    assert overlap > 0.8
    centres = [
        image.affine_lps[:3, :3] @ ndimage.center_of_mass(phantom.brain) + image.affine_lps[:3, 3]
        for phantom in (fine, rough)
        for image in [phantom.images["T1"]]
    ]
    assert np.abs(centres[0] - centres[1]).max() < 1.0


@pytest.fixture(scope="module")
def fine_cohort():
    return [build_phantom(np.random.default_rng(seed), spacing_mm=2.0) for seed in range(8)]


@pytest.mark.parametrize("contrast", TCGA_MEANS)
def test_regions_are_as_bright_as_in_real_gliomas(fine_cohort, contrast):
    for label, (low, high) in enumerate(TCGA_MEANS[contrast], start=1):
        means = [
            scaled(phantom, contrast)[phantom.labels == label].mean()
            for phantom in fine_cohort
            if (phantom.labels == label).sum() > 40
        ]
        assert low <= np.mean(means) <= high, f"label {label}"


def test_tumours_differ_in_size_and_kind(cohort):
    volumes = np.array([[(phantom.labels == label).sum() * 0.064 for label in (1, 2, 3)] for phantom in cohort])
    assert 15 < np.median(volumes[:, [0, 2]].sum(axis=1)) < 60
    assert volumes.sum(axis=1).max() > 4 * volumes.sum(axis=1).min()
    assert 0 < (volumes[:, 2] < 2).mean() < 0.6, "some do not enhance"


def test_brains_have_an_adults_volume(cohort):
    litres = [phantom.brain.sum() * 0.064e-3 for phantom in cohort]
    assert min(litres) > 1.15
    assert max(litres) < 1.85
    assert np.std(litres) > 0.05


def test_a_stripped_brain_has_an_exactly_empty_background():
    phantom = coarse(1)
    for image in phantom.images.values():
        assert not image.voxels[~phantom.brain].any()
    assert (~phantom.brain).mean() > 0.3


def test_a_head_shows_what_surrounds_the_same_brain():
    brain, head = coarse(1), coarse(1, skull=True)
    assert head.brain.sum() == pytest.approx(brain.brain.sum(), rel=0.02)
    around = ndimage.binary_dilation(head.brain, iterations=4) & ~head.brain
    t1 = head.images["T1"].voxels
    assert np.percentile(t1[around], 95) > np.median(t1[head.brain]), "fat is brighter than the brain"
    assert (t1 > 0).all(), "air is noise"
    assert head.brain[head.labels > 0].all()


@pytest.mark.parametrize("skull", [False, True])
def test_a_healthy_head_has_no_labels(skull):
    assert not coarse(1, tumour=False, skull=skull).labels.any()


def test_a_head_shrinks_into_a_field_of_view_that_is_too_small():
    phantom = build_phantom(np.random.default_rng(0), shape=(28, 32, 28))
    assert 0.2 < phantom.brain.mean() < 0.7
    assert set(np.unique(phantom.labels)) >= {0, 2}


def test_some_bright_spots_are_no_tumour():
    young, old = (coarse(7, age_years=age, tumour=False) for age in (25, 85))
    bright = [(scaled(phantom, "FLAIR")[ndimage.binary_erosion(phantom.brain)] > 2.5).sum() for phantom in (young, old)]
    assert bright[1] > bright[0] + 20, "white-matter lesions come with age"
    assert (scaled(old, "T1ce")[old.brain] > 3).sum() > 20, "vessels take up contrast"


def test_an_older_brain_holds_more_fluid():
    young, old = (
        build_anatomy(rng, draw_pose(rng, COARSE, room_mm=BRAIN_MM), age)
        for age in (25, 85)
        for rng in [np.random.default_rng(2)]
    )
    assert old.csf.sum() > 1.1 * young.csf.sum()


@pytest.fixture(scope="module")
def grown():
    found = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        pose = draw_pose(rng, COARSE, room_mm=BRAIN_MM)
        plan = plan_tumour(rng, pose, TumourHabit())
        anatomy = build_anatomy(rng, displace(pose, plan), 60)
        found.append((anatomy, plan, grow(rng, anatomy, plan)))
    return found


def test_volumes_are_those_of_the_plan(grown):
    for _, plan, tumour in grown:
        core = np.isin(tumour.labels, (1, 3)).sum() * 0.064
        assert core == pytest.approx(plan.core_ml, abs=0.2)
        assert (tumour.labels == 2).sum() * 0.064 == pytest.approx(plan.oedema_ml, rel=0.1, abs=0.2)


def test_oedema_prefers_white_matter_and_spares_fluid(grown):
    for anatomy, _, tumour in grown:
        oedema = tumour.labels == 2
        nearby = ndimage.binary_dilation(tumour.labels > 0, iterations=2) & anatomy.brain
        assert anatomy.white[oedema].mean() > anatomy.white[nearby].mean()
        assert anatomy.csf[oedema].mean() < anatomy.csf[anatomy.brain].mean()


def test_a_tumour_pushes_tissue_away():
    rng = np.random.default_rng(3)
    pose = draw_pose(rng, COARSE, room_mm=BRAIN_MM)
    plan = plan_tumour(rng, pose, TumourHabit(core_ml=60))
    pushed = displace(pose, plan)
    distance = COARSE.distance_mm(plan.centres_mm[0])
    shell = (distance > 18) & (distance < 24)
    origin = pose.template_mm[:, distance == distance.min()].mean(axis=1)[:, None]
    before, after = (np.linalg.norm(each.template_mm[:, shell] - origin, axis=0) for each in (pose, pushed))
    assert (before - after).mean() > 0.5, "what lies there now came from nearer the centre"
    far = distance > 100
    np.testing.assert_allclose(pushed.template_mm[:, far], pose.template_mm[:, far], atol=0.6)


def test_a_non_enhancing_habit_leaves_at_most_tiny_foci():
    habit = TumourHabit(non_enhancing=1.0)
    enhancing = [
        (labels == 3).sum() / np.isin(labels, (1, 3)).sum() for labels in (_labels(s, habit) for s in range(6))
    ]
    assert max(enhancing) < 0.15
    assert min(enhancing) == 0


def test_a_multifocal_habit_gives_two_cores():
    pieces = [ndimage.label(np.isin(_labels(seed, TumourHabit(multifocal=1.0)), (1, 3)))[1] for seed in range(6)]
    assert np.mean(np.array(pieces) >= 2) >= 0.5


def _labels(seed, habit):
    return coarse(seed, habit=habit).labels


def test_scanners_differ():
    usual, other = coarse(6), coarse(6, scanner=Scanner(gain=9000, gamma=1.3, noise=0.1, slice_mm=6))
    np.testing.assert_array_equal(usual.labels, other.labels)
    healthy = usual.brain & (usual.labels == 0)
    t1, shifted = (phantom.images["T1"].voxels[healthy] for phantom in (usual, other))
    assert np.median(shifted) > 5 * np.median(t1)
    assert 0.3 < np.corrcoef(t1, shifted)[0, 1] < 0.97


def test_noise_can_be_set():
    spread = []
    for noise in (0.005, 0.08):
        voxels = coarse(2, noise=noise, skull=True).images["T1"].voxels
        spread.append(voxels[-2:].std() / np.percentile(voxels, 99))
    assert spread[1] > 4 * spread[0]
