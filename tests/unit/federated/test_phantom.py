import numpy as np
import pytest

from federated.phantom import build_phantom


def test_the_same_seed_gives_the_same_head():
    first, second = (build_phantom(np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.images["FLAIR"].voxels, second.images["FLAIR"].voxels)


def test_contrasts_show_the_tumour_as_they_should():
    phantom = build_phantom(np.random.default_rng(3), noise=0.01)
    healthy = (phantom.labels == 0) & (phantom.images["T1ce"].voxels > 0)
    mean = {
        (contrast, label): image.voxels[phantom.labels == label].mean() / np.median(image.voxels[healthy])
        for contrast, image in phantom.images.items()
        for label in (1, 2, 3)
    }
    assert mean["T1ce", 3] > 1.2
    assert mean["FLAIR", 2] > 1.3
    assert mean["T1", 1] < 0.8


def test_a_stripped_head_has_an_exactly_empty_background():
    assert (build_phantom(np.random.default_rng(1)).images["T1"].voxels == 0).mean() > 0.3


def test_a_head_with_skull_has_noise_around_it():
    assert (build_phantom(np.random.default_rng(1), skull=True).images["T1"].voxels > 0).all()


@pytest.mark.parametrize("skull", [False, True])
def test_a_healthy_head_has_no_labels(skull):
    assert not build_phantom(np.random.default_rng(1), tumour=False, skull=skull).labels.any()
