import numpy as np
import pytest
from scipy import ndimage

from federated.brain_extraction import PLAUSIBLE_BRAIN_ML, extract_brain
from federated.phantom import build_phantom
from federated.resampling import Grid


@pytest.fixture(scope="module")
def phantom():
    return build_phantom(np.random.default_rng(1), skull=True)


def extract(phantom, contrast, values=None):
    image = phantom.images[contrast]
    voxels = image.voxels if values is None else values
    head = ndimage.binary_fill_holes(ndimage.gaussian_filter(image.voxels, 1.5) > 0.1 * np.percentile(image.voxels, 98))
    return extract_brain(voxels, head, Grid(voxels.shape, image.affine_lps))


def dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())


@pytest.mark.parametrize("contrast", ["T1", "T1ce", "FLAIR"])
def test_finds_the_brain_in_a_head(phantom, contrast):
    brain = extract(phantom, contrast)
    assert dice(brain, phantom.brain) > 0.95
    assert brain[phantom.labels > 0].mean() > 0.995


def test_fluid_around_the_brain_may_stay_where_it_is_bright(phantom):
    brain = extract(phantom, "T2")
    assert dice(brain, phantom.brain) > 0.88
    assert brain[phantom.brain].mean() > 0.97


def test_is_one_piece_without_holes(phantom):
    brain = extract(phantom, "T1ce")
    assert ndimage.label(brain)[1] == 1
    assert (ndimage.binary_fill_holes(brain) == brain).mean() > 0.9999


def test_forgets_the_scanners_units_and_bright_specks(phantom):
    voxels = phantom.images["T1ce"].voxels
    speckled = 0.013 * voxels
    speckled[::17, ::19, ::23] = 50 * speckled.max()
    assert dice(extract(phantom, "T1ce", speckled), extract(phantom, "T1ce")) > 0.98


def test_the_same_image_gives_the_same_brain(phantom):
    assert np.array_equal(extract(phantom, "T1"), extract(phantom, "T1"))


def test_a_nodding_head_is_still_found():
    # Turning the grid turns the head in the scanner.
    phantom = build_phantom(np.random.default_rng(5), skull=True)
    image, turn_deg = phantom.images["T1ce"], 12
    turned, brain = (
        ndimage.rotate(values, turn_deg, axes=(0, 1), reshape=False, order=order)
        for values, order in ((image.voxels, 1), (phantom.brain.astype(np.uint8), 0))
    )
    head = ndimage.binary_fill_holes(ndimage.gaussian_filter(turned, 1.5) > 0.1 * np.percentile(turned, 98))
    found = extract_brain(turned, head, Grid(turned.shape, image.affine_lps))
    assert dice(found, brain > 0) > 0.95


def test_a_head_of_a_child_of_dolls_size_has_no_brain(phantom):
    image = phantom.images["T1ce"]
    small = np.diag([0.5, 0.5, 0.5, 1.0]) @ image.affine_lps
    head = image.voxels > 0.1 * np.percentile(image.voxels, 98)
    found = extract_brain(image.voxels, head, Grid(image.voxels.shape, small))
    assert found is None
    assert phantom.brain.sum() / 1000 < PLAUSIBLE_BRAIN_ML[0] * 4


def test_noise_has_no_brain():
    rng = np.random.default_rng(0)
    shape = (60, 70, 60)
    affine = np.diag([3.0, 3.0, 3.0, 1.0])[[2, 1, 0, 3]]
    head = np.zeros(shape, bool)
    head[5:55, 5:65, 5:55] = True
    noise = rng.normal(100, 20, shape).astype(np.float32)
    found = extract_brain(noise, head, Grid(shape, affine))
    assert found is None or PLAUSIBLE_BRAIN_ML[0] <= found.sum() * 0.027 <= PLAUSIBLE_BRAIN_ML[1]
