import functools

import numpy as np
import pytest
from scipy import ndimage

from federated.brain_extraction import extract_brain
from federated.phantom import build_phantom
from federated.resampling import Grid


@functools.cache
def phantom():
    return build_phantom(np.random.default_rng(1), skull=True)


def head_of(voxels):
    return ndimage.binary_fill_holes(ndimage.gaussian_filter(voxels, 1.5) > 0.1 * np.percentile(voxels, 98))


@functools.cache
def extracted(contrast):
    image = phantom().images[contrast]
    return extract_brain(image.voxels, head_of(image.voxels), Grid(image.voxels.shape, image.affine_lps))


def dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())


@pytest.mark.parametrize("contrast", ["T1", "T1ce", "FLAIR"])
def test_finds_the_brain_in_a_head(contrast):
    assert dice(extracted(contrast), phantom().brain) > 0.95
    assert extracted(contrast)[phantom().labels > 0].mean() > 0.995


def test_fluid_around_the_brain_may_stay_where_it_is_bright():
    assert dice(extracted("T2"), phantom().brain) > 0.88
    assert extracted("T2")[phantom().brain].mean() > 0.97


def test_is_one_piece_without_holes():
    brain = extracted("T1ce")
    assert ndimage.label(brain)[1] == 1
    assert (ndimage.binary_fill_holes(brain) == brain).mean() > 0.9999


def test_the_same_image_gives_the_same_brain():
    assert np.array_equal(extracted.__wrapped__("T1"), extracted("T1"))


def test_forgets_the_scanners_units_and_bright_specks():
    image = phantom().images["T1ce"]
    speckled = 0.013 * image.voxels
    speckled[::17, ::19, ::23] = 50 * speckled.max()
    found = extract_brain(speckled, head_of(image.voxels), Grid(speckled.shape, image.affine_lps))
    assert dice(found, extracted("T1ce")) > 0.98


def test_finds_the_brain_of_a_nodding_head():
    image = phantom().images["T1ce"]
    turned = ndimage.rotate(image.voxels, 12, axes=(0, 1), reshape=False, order=1)
    brain = ndimage.rotate(phantom().brain.astype(np.uint8), 12, axes=(0, 1), reshape=False, order=0) > 0
    found = extract_brain(turned, head_of(turned), Grid(turned.shape, image.affine_lps))
    assert dice(found, brain) > 0.95


def test_a_head_of_half_the_length_has_no_brain():
    image = phantom().images["T1ce"]
    small = Grid(image.voxels.shape, np.diag([0.5, 0.5, 0.5, 1.0]) @ image.affine_lps)
    assert extract_brain(image.voxels, head_of(image.voxels), small) is None


def test_an_image_without_contrast_has_no_brain():
    affine = np.diag([3.0, 3.0, 3.0, 1.0])[[2, 1, 0, 3]]
    flat = np.full((60, 70, 60), 7, np.float32)
    head = np.zeros(flat.shape, bool)
    head[5:55, 5:65, 5:55] = True
    assert extract_brain(flat, head, Grid(flat.shape, affine)) is None
