import numpy as np
import pytest

from federated.auditing.stress import STRESSES, noisy, other_contrast, shaded, thick_slices, without
from federated.phantom_scanner import CONTRASTS
from federated.ports import Image
from federated.preprocessing import background_value

RNG = np.random.default_rng


def grid(spacing_mm=2.0):
    affine = np.diag([spacing_mm] * 3 + [1.0])[[2, 1, 0, 3]]
    affine[:3, 3] = [-20, -30, -40]
    return affine


def head(values=None, shape=(40, 30, 30), spacing_mm=2.0):
    """A block of tissue on a background that is exactly 0."""
    voxels = np.zeros(shape, np.float32)
    inside = (slice(6, -6),) * 3
    block = voxels[inside].shape
    voxels[inside] = 100.0 if values is None else np.broadcast_to(values, block)
    return Image(voxels, grid(spacing_mm))


def z_mm(image):
    slices = np.arange(len(image.voxels))
    return image.affine_lps[2, 0] * slices + image.affine_lps[2, 3]


@pytest.mark.parametrize("thickness_mm", [3.0, 5.0, 7.0])
def test_thick_slices_lie_where_their_tissue_is(thickness_mm):
    ramp = np.arange(28, dtype=np.float32)[:, None, None] + 10
    image = head(ramp)
    found = thick_slices({"T1ce": image}, thickness_mm, RNG(0))["T1ce"]
    assert found.affine_lps[2, 0] == pytest.approx(thickness_mm)
    assert np.linalg.norm(found.affine_lps[:3, 1:3], axis=0) == pytest.approx([2.0, 2.0])
    assert len(found.voxels) == int(80 / thickness_mm)
    # In the middle, far from the ends, the ramp is a ramp of the place in millimetres.
    middle = (z_mm(found) > -20) & (z_mm(found) < 20)
    expected = np.interp(z_mm(found), z_mm(image), image.voxels[:, 15, 15])
    np.testing.assert_allclose(found.voxels[middle, 15, 15], expected[middle], rtol=1e-3)


def test_thick_slices_average():
    stripes = np.where(np.arange(28) % 2, 50.0, 150.0)[:, None, None]
    found = thick_slices({"T1ce": head(stripes)}, 8.0, RNG(0))["T1ce"]
    np.testing.assert_allclose(found.voxels[3:7, 15, 15], 100, atol=8)


@pytest.mark.parametrize("thickness_mm", [1.0, 2.0])
def test_slices_are_not_made_thinner(thickness_mm):
    assert thick_slices({"T1ce": head()}, thickness_mm, RNG(0)) is None


def test_noise_is_rician_of_the_stated_size():
    found = noisy({"T1": head()}, 0.2, RNG(0))["T1"].voxels
    inside = found[6:-6, 6:-6, 6:-6]
    # Of a Rician of signal 100 and spread 20: variance is that of the square less that of the mean.
    assert (inside.astype(float) ** 2).mean() == pytest.approx(100**2 + 2 * 20**2, rel=0.01)
    assert inside.std() == pytest.approx(20, rel=0.05)


def test_a_receive_field_is_smooth_and_of_the_stated_size():
    image = head(shape=(80, 80, 80), spacing_mm=3.0)
    logs = []
    for seed in range(6):
        found = shaded({"T1": image}, 0.3, RNG(seed))["T1"].voxels
        logs.append(np.log(found[6:-6, 6:-6, 6:-6] / 100))
    assert np.concatenate([each.ravel() for each in logs]).std() == pytest.approx(0.3, rel=0.2)
    assert max(np.abs(np.diff(each, axis=0)).max() for each in logs) < 0.1


def test_gamma_keeps_order_and_the_brightest():
    values = RNG(1).uniform(1, 100, (28, 18, 18)).astype(np.float32)
    image = head(values)
    found = other_contrast({"T1": image}, 1.8, RNG(0))["T1"].voxels
    inside = (slice(6, -6),) * 3
    before, after = image.voxels[inside].ravel(), found[inside].ravel()
    order = np.argsort(before)
    assert (np.diff(after[order]) >= 0).all()
    assert np.median(after) < np.median(before)
    brightest = np.percentile(image.voxels, 99.5)
    np.testing.assert_allclose(after, brightest * (before / brightest) ** 1.8, rtol=1e-4)


@pytest.mark.parametrize("stress", STRESSES, ids=lambda each: each.name)
def test_every_stress_keeps_the_background_and_the_original(stress):
    values = RNG(2).uniform(50, 150, (28, 18, 18)).astype(np.float32)
    images = {contrast: head(values) for contrast in CONTRASTS}
    before = {contrast: image.voxels.copy() for contrast, image in images.items()}
    assert list(stress.severities) == sorted(stress.severities, reverse=stress.name == "bright-contrast")
    for severity in stress.severities:
        found = stress.apply(images, severity, RNG(3))
        assert found
        for contrast, image in found.items():
            assert image.voxels.dtype == np.float32
            assert background_value(image.voxels) == 0
            assert np.isfinite(image.voxels).all()
            np.testing.assert_array_equal(images[contrast].voxels, before[contrast])
        changed = set(found) != set(images) or any(
            found[each].voxels.shape != before[each].shape or (found[each].voxels != before[each]).any()
            for each in found
        )
        assert changed


def test_measured_air_is_no_background():
    air = RNG(4).rayleigh(3, (20, 20, 20)).astype(np.float32)
    air[5:15, 5:15, 5:15] += 100
    found = other_contrast({"T1": Image(air, grid())}, 1.3, RNG(0))["T1"].voxels
    assert (found != air).mean() > 0.9


def test_what_is_missing_cannot_be_left_out():
    images = {"T1ce": head(), "T2": head()}
    assert set(without("T2")(images, 1, RNG(0))) == {"T1ce"}
    assert without("FLAIR")(images, 1, RNG(0)) is None
