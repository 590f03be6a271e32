from dataclasses import fields, replace

import pytest
import torch

from federated.augmentation import Augmentation, Batch, augment

STILL = Augmentation(
    rotation_rad=0, log_scale=0, shift_voxels=0, warp_voxels=0, transplant=0, coarse=0, noise=0, shell=0, drop=0
)


def rng(seed=0):
    return torch.Generator("cpu").manual_seed(seed)


@pytest.fixture
def batch():
    size = (24, 28, 20)
    axes = torch.meshgrid(*(torch.linspace(-1, 1, length) for length in size), indexing="ij")
    radius = sum(axis**2 for axis in axes).sqrt()
    head = (radius < 0.9).float().expand(4, 1, *size)
    lump = sum((axis - 0.3) ** 2 for axis in axes).sqrt()
    regions = torch.stack([(lump < limit).float() for limit in (0.45, 0.35, 0.25)]).expand(4, 3, *size) * head
    images = (torch.randn(4, 4, *size, generator=rng()) * 0.1 + 3 * regions[:, :1]) * head
    return Batch(images, head, regions, torch.ones(4, 4))


def test_the_same_seed_gives_the_same_variant(batch):
    first, second = (augment(batch, Augmentation(), rng(3)) for _ in range(2))
    for each in fields(Batch):
        assert torch.equal(getattr(first, each.name), getattr(second, each.name))


@pytest.mark.parametrize("seed", range(5))
def test_variants_are_valid_cases(batch, seed):
    found = augment(batch, replace(Augmentation(), shell=0.5, transplant=0.8, drop=0.4), rng(seed))
    whole, core, enhancing = found.regions.unbind(1)
    assert found.images.isfinite().all()
    assert set(found.regions.unique().tolist()) <= {0.0, 1.0}
    assert (enhancing <= core).all()
    assert (core <= whole).all()
    assert (whole <= found.head[:, 0]).all()
    assert not (found.images * (1 - found.head)).any()
    assert found.present[:, 1].all(), "T1ce is never dropped"


def test_regions_move_with_their_images(batch):
    found = augment(batch, replace(STILL, rotation_rad=0.6, shift_voxels=4, log_scale=0.2, warp_voxels=1), rng(1))
    inside = found.regions[:, 0] > 0
    outside = (found.head[:, 0] > 0) & ~inside
    for case in range(4):
        image = found.images[case, 1]
        assert image[inside[case]].mean() > image[outside[case]].mean() + 1


def test_a_transplant_adds_a_tumour(batch):
    # The donor is the case before: only the second case can get the first one's tumour.
    sick = torch.tensor([1.0, 0, 0, 0])[:, None, None, None, None]
    bare = Batch(batch.images * sick, batch.head, batch.regions * sick, batch.present)
    found = [augment(bare, replace(STILL, transplant=1.0), rng(seed)) for seed in range(6)]
    received = torch.stack([each.regions[:, 0].sum((1, 2, 3)) for each in found])
    assert (received[:, 1] > 0).any()
    assert not received[:, 2:].any()
    for each in found:
        tumour = each.regions[1, 0] > 0
        # A sliver at the rim is mixed with what it lies on.
        assert tumour.sum() < 50 or each.images[1, 1][tumour].mean() > 1


def test_an_absent_contrast_is_zeros_and_unflagged(batch):
    channels = augment(batch, replace(STILL, drop=1.0), rng()).channels()
    assert channels.shape[1] == 8
    assert not channels[:, [0, 2, 3]].any()
    assert channels[:, 4:, 0, 0, 0].tolist() == [[0, 1, 0, 0]] * 4
    assert channels[:, 1].any()


def test_a_shell_surrounds_the_brain(batch):
    found = augment(batch, replace(STILL, shell=1.0), rng())
    assert (found.head.sum((1, 2, 3, 4)) > batch.head.sum((1, 2, 3, 4)) * 1.2).all()


def test_the_batch_itself_is_left_alone(batch):
    before = batch.images.clone()
    augment(batch, Augmentation(), rng())
    assert torch.equal(batch.images, before)
