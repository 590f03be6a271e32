from dataclasses import fields, replace

import pytest
import torch

from federated.augmentation import Augmentation, Batch, Randomness, augment, plain
from federated.errors import TrainingSettingsError

STILL = Augmentation(
    rotation_rad=0,
    log_scale=0,
    shift_mm=0,
    warp_mm=0,
    transplant=0,
    coarse=0,
    sharpness=0,
    noise=0,
    shell=0,
    drop=0,
)
SIZE = (24, 28, 20)


def rng(seed=0):
    return Randomness(seed, torch.device("cpu"))


@pytest.fixture
def batch():
    axes = torch.meshgrid(*(torch.linspace(-1, 1, length) for length in SIZE), indexing="ij")
    head = sum(axis**2 for axis in axes).sqrt() < 0.9
    lump = sum((axis - 0.3) ** 2 for axis in axes).sqrt()
    depth = head * (1 + sum((lump < limit).to(torch.uint8) for limit in (0.45, 0.35, 0.25)))
    depth = depth.to(torch.uint8).expand(4, *SIZE).contiguous()
    noise = torch.randn(4, 4, *SIZE, generator=torch.Generator().manual_seed(0))
    images = (noise * 0.1 + 3 * (depth > 1)[:, None]) * head
    return Batch(images, depth, torch.ones(4, 4))


def test_the_same_seed_gives_the_same_variant(batch):
    first, second = (augment(batch, Augmentation(), rng(3)) for _ in range(2))
    for each in fields(Batch):
        assert torch.equal(getattr(first, each.name), getattr(second, each.name))
    other = augment(batch, Augmentation(), rng(4))
    assert not torch.equal(first.images, other.images)


@pytest.mark.parametrize("seed", range(5))
def test_variants_are_valid_cases(batch, seed):
    found = augment(batch, replace(Augmentation(), shell=0.5, transplant=0.8, drop=0.4), rng(seed))
    whole, core, enhancing = found.regions().unbind(1)
    assert found.images.isfinite().all()
    assert found.images.abs().max() <= 8
    assert found.depth.max() <= 4
    assert (enhancing <= core).all()
    assert (core <= whole).all()
    assert (whole <= found.head()[:, 0]).all()
    assert not (found.images * (1 - found.head())).any()
    assert found.present[:, 1].all(), "T1ce is never dropped"


def test_regions_move_with_their_images(batch):
    found = augment(batch, replace(STILL, rotation_rad=0.6, shift_mm=8, log_scale=0.2, warp_mm=2), rng(1))
    inside = found.depth > 1
    outside = found.depth == 1
    for case in range(4):
        image = found.images[case, 1]
        assert inside[case].any()
        assert image[inside[case]].mean() > image[outside[case]].mean() + 1


def test_a_turn_by_a_known_angle_puts_a_landmark_where_geometry_says():
    # One bright voxel off the centre; each variant is mirrored at random, so the place is known but for its signs.
    place, middle = torch.tensor([15.0, 11.0, 13.0]), torch.tensor([10.0, 10.0, 10.0])
    images = torch.zeros(1, 1, 21, 21, 21)
    images[0, 0, 15, 11, 13] = 50.0
    depth = torch.ones(1, 21, 21, 21, dtype=torch.uint8)
    seen = set()
    for seed in range(12):
        found = augment(Batch(images, depth, torch.ones(1, 1)), replace(STILL, droppable=()), rng(seed))
        where = torch.tensor(torch.unravel_index(found.images[0, 0].argmax(), (21, 21, 21)))
        assert (where - middle).abs().tolist() == (place - middle).abs().tolist()
        seen.add(tuple((where - middle).sign().tolist()))
    assert len(seen) > 3, "it is mirrored along every axis"


def test_a_crop_shows_the_place_that_is_asked_for(batch):
    centres = torch.tensor([[3.0, -4.0, 2.0]] * 4)
    found = augment(batch, STILL, rng(2), patch=(8, 12, 8), centres=centres)
    assert found.images.shape == (4, 4, 8, 12, 8)
    whole = augment(batch, STILL, rng(2))
    # Mirrored alike: the crop is a window of the whole, about the asked place.
    for case in range(4):
        windows = [
            whole.depth[case][a : a + 8, b : b + 12, c : c + 8] for a in (5, 11) for b in (4, 12) for c in (4, 8)
        ]
        assert any(torch.equal(found.depth[case], window) for window in windows)


def test_a_transplant_adds_a_tumour(batch):
    # The donor is the case before: only the second case can get the first one's tumour.
    sick = torch.tensor([1, 0, 0, 0], dtype=torch.uint8)[:, None, None, None]
    healthy = (batch.depth > 0).to(torch.uint8)
    depth = torch.where(sick > 0, batch.depth, healthy)
    bare = Batch(batch.images * (depth > 1)[:, None], depth, batch.present)
    found = [augment(bare, replace(STILL, transplant=1.0), rng(seed)) for seed in range(6)]
    received = torch.stack([(each.depth > 1).sum((1, 2, 3)) for each in found])
    assert (received[:, 1] > 0).any()
    for each in found:
        tumour = each.depth[1] > 1
        # A sliver at the rim is mixed with what it lies on.
        assert tumour.sum() < 50 or each.images[1, 1][tumour].mean() > 1


def test_a_tumour_that_the_image_s_edge_cuts_thin_is_transplanted(batch):
    # The donor's tumour lies in one slice at the edge, so a shift leaves one or two slices of it and its margin.
    depth = (batch.depth > 0).to(torch.uint8)
    depth[0, :1, 10:14, 10:14] = 2
    flat = Batch(batch.images, depth, batch.present)
    found = [augment(flat, replace(STILL, transplant=1.0), rng(seed)) for seed in range(40)]
    slices = {len((each.depth[1] > 1).sum((1, 2)).nonzero()) for each in found}
    assert slices == {0, 1}


def test_an_absent_contrast_is_zeros_and_unflagged(batch):
    channels = augment(batch, replace(STILL, drop=1.0), rng()).channels()
    assert channels.shape[1] == 8
    assert not channels[:, [0, 2, 3]].any()
    assert channels[:, 4:, 0, 0, 0].tolist() == [[0, 1, 0, 0]] * 4
    assert channels[:, 1].any()


def test_a_contrast_that_a_case_lacks_stays_absent(batch):
    present = batch.present.clone()
    present[2, 3] = 0
    found = augment(replace(batch, present=present), replace(STILL, drop=0.0), rng())
    assert found.present.tolist() == present.tolist()
    assert not found.channels()[2, 3].any()


def test_a_shell_surrounds_the_brain(batch):
    found = augment(batch, replace(STILL, shell=1.0), rng())
    assert (found.head().sum((1, 2, 3, 4)) > (batch.depth > 0).sum((1, 2, 3)) * 1.2).all()
    assert ((found.depth > 1).sum((1, 2, 3)) == (batch.depth > 1).sum((1, 2, 3))).all()


def test_the_batch_itself_is_left_alone(batch):
    before = batch.images.clone(), batch.depth.clone(), batch.present.clone()
    augment(batch, replace(Augmentation(), transplant=1.0, shell=1.0, drop=1.0), rng())
    assert torch.equal(batch.images, before[0])
    assert torch.equal(batch.depth, before[1])
    assert torch.equal(batch.present, before[2])


def test_a_plain_case_is_itself_in_single_precision(batch):
    half = replace(batch, images=batch.images.half())
    assert torch.equal(plain(half).images, batch.images.half().float())


@pytest.mark.parametrize(
    "change",
    [{"spacing_mm": 0.0}, {"rotation_rad": -1.0}, {"drop": 1.5}, {"shift_mm": float("nan")}],
    ids=str,
)
def test_refuses_numbers_out_of_range(change):
    with pytest.raises(TrainingSettingsError, match=next(iter(change))):
        replace(Augmentation(), **change)
