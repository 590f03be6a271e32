from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from federated.decision import Decision
from federated.errors import ModelFileError, ModelInputError
from federated.inference import load_segmenter, run_network
from federated.model_file import save_model
from federated.models import UNetConfig, build_network
from federated.phantom import build_phantom
from federated.ports import Image
from tests.fakes.lesion_scene import paint_scene
from tests.fakes.tiny_model import build_tiny_model


def saved(folder, decision=None, **how):
    save_model(folder, replace(build_tiny_model(**how), decision=decision or Decision()))
    return load_segmenter(folder)


def ignore(_fraction):
    pass


@cache
def head(**how):
    return build_phantom(np.random.default_rng(3), **{"shape": (40, 48, 40), "spacing_mm": 4.0, **how}).images


def test_answers_on_the_references_grid(tmp_path):
    segmenter = saved(tmp_path)
    images = dict(head())
    # The reference in another orientation than the others: sagittal slices from above.
    t1ce = images["T1ce"]
    images["T1ce"] = Image(np.ascontiguousarray(t1ce.voxels.transpose(2, 0, 1)[:, ::-1]), turned(t1ce))
    prediction = segmenter.segment(images, "T1ce", ignore)
    assert prediction.labels.shape == (40, 40, 48)
    assert prediction.labels.dtype == np.uint8
    assert prediction.probabilities.shape == (3, 40, 40, 48)
    assert prediction.probabilities.dtype == np.float32
    assert 0 <= prediction.probabilities.min() <= prediction.probabilities.max() <= 1
    straight = segmenter.segment(head(), "T1ce", ignore)
    back = prediction.probabilities[:, :, ::-1].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(back, straight.probabilities, atol=1e-4)


def turned(image):
    slices, rows, columns = image.affine_lps[:, :3].T
    affine = image.affine_lps.copy()
    affine[:, :3] = np.column_stack([columns, -slices, rows])
    affine[:3, 3] += slices[:3] * (image.voxels.shape[0] - 1)
    return affine


def test_the_same_images_give_the_same_answer(tmp_path):
    segmenter = saved(tmp_path)
    first, second = (segmenter.segment(head(), "T1ce", ignore) for _ in range(2))
    np.testing.assert_array_equal(first.probabilities, second.probabilities)
    np.testing.assert_array_equal(first.labels, second.labels)


def test_nothing_is_found_outside_the_head(tmp_path):
    images = head()
    labels = saved(tmp_path, logit=9.0).segment(images, "T1ce", ignore).labels
    brain = images["T1ce"].voxels != 0
    assert (labels[brain] > 0).mean() > 0.99
    # Linear interpolation reaches one voxel of the model's grid beyond the brain.
    assert (labels[~brain] > 0).mean() < 0.15


def test_progress_rises_from_nothing_to_all(tmp_path):
    steps = []
    saved(tmp_path).segment(head(), "T1ce", steps.append)
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (0.0, 1.0)
    assert len(steps) >= 6


def test_a_healthy_answer_has_no_warnings_about_the_tumour(tmp_path):
    prediction = saved(tmp_path, logit=-9.0).segment(head(), "T1ce", ignore)
    assert not prediction.labels.any()
    assert prediction.warnings == (
        "Thick slices (T1 4.0 mm, T1ce 4.0 mm, T2 4.0 mm, FLAIR 4.0 mm): volumes and diameters "
        "are coarse, small findings may be missed.",
    )


def test_thin_slices_of_a_stripped_brain_need_no_warning(tmp_path):
    affine_ras = np.diag([2.5, 2.5, 2.5, 1.0])
    affine_ras[:3, 3] = [-70, -85, -65]
    painted = Image(paint_scene((56, 68, 52), affine_ras), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_ras)
    images = dict.fromkeys(("T1", "T1ce", "T2", "FLAIR"), painted)
    assert saved(tmp_path, logit=-9.0).segment(images, "T1ce", ignore).warnings == ()


@pytest.mark.parametrize("contrast", ["T1", "T2", "FLAIR"])
def test_warns_of_each_missing_contrast(tmp_path, contrast):
    images = {name: image for name, image in head().items() if name != contrast}
    warnings = saved(tmp_path, logit=-9.0).segment(images, "T1ce", ignore).warnings
    assert warnings[0].startswith(f"{contrast} missing: ")


def test_warns_of_a_skull(tmp_path):
    warnings = saved(tmp_path, logit=-9.0).segment(head(skull=True), "T1ce", ignore).warnings
    assert any("The skull was removed here" in warning for warning in warnings)


def test_warns_of_a_tumour_at_the_border(tmp_path):
    images = {name: Image(image.voxels[12:28], shifted(image, 12)) for name, image in head().items()}
    warnings = saved(tmp_path, logit=9.0).segment(images, "T1ce", ignore).warnings
    assert any("border of the field of view" in warning for warning in warnings)


def shifted(image, slices):
    affine = image.affine_lps.copy()
    affine[:, 3] += affine[:, 0] * slices
    return affine


def test_warns_of_low_confidence(tmp_path):
    prediction = saved(tmp_path, logit=0.1).segment(head(), "T1ce", ignore)
    # All of the head is outlined at a probability of 0.525: 2 * 0.525 / (1 + 0.525).
    assert prediction.confidence == pytest.approx(0.69, abs=0.01)
    assert "expected overlap with a reader's (Dice) is 69%" in prediction.warnings[-1]


def test_warns_when_nothing_is_outlined_but_a_tumour_not_ruled_out(tmp_path):
    prediction = saved(tmp_path, logit=-0.1).segment(head(), "T1ce", ignore)
    assert not prediction.labels.any()
    assert prediction.confidence < 0.01
    assert prediction.warnings[-1].startswith("Low confidence: nothing was outlined")


def test_a_sure_answer_is_confident_and_certain(tmp_path):
    healthy = saved(tmp_path, logit=-20.0).segment(head(), "T1ce", ignore)
    assert (healthy.confidence, healthy.uncertainty.max()) == (1.0, 0.0)
    full = saved(tmp_path, logit=20.0).segment(head(), "T1ce", ignore)
    assert full.confidence > 0.9
    assert full.uncertainty.shape == full.labels.shape
    # Only the brain's edge, which is interpolated, is in doubt.
    assert (full.uncertainty > 0.05).mean() < 0.15


def test_logits_are_divided_by_the_regions_temperatures(tmp_path):
    decision = Decision(temperatures=(2.0, 4.0, 0.5))
    probabilities = saved(tmp_path, decision, logit=1.0).segment(head(), "T1ce", ignore).probabilities
    inside = probabilities[:, 20, 24, 20]
    assert inside == pytest.approx(1 / (1 + np.exp(-1 / np.array([2.0, 4.0, 0.5]))), abs=1e-3)


class Convolution(torch.nn.Module):
    """A network that sees so many voxels around, and remembers the shapes it was given."""

    def __init__(self, reach, padding_mode="zeros"):
        super().__init__()
        torch.manual_seed(0)
        self.convolution = torch.nn.Conv3d(2, 3, 2 * reach + 1, padding=reach, padding_mode=padding_mode)
        self.seen = []

    def forward(self, channels):
        self.seen.append(tuple(channels.shape))
        return self.convolution(channels)


def run(network, channels, **how):
    with torch.inference_mode():
        return run_network(network, channels, **how)


def test_input_of_any_size_is_padded_to_the_stride_and_cropped_again():
    network, channels = Convolution(1, "replicate"), torch.randn(2, 13, 9, 16)
    answer = run(network, channels, stride=8)
    assert network.seen == [(1, 2, 16, 16, 16)]
    torch.testing.assert_close(answer, run(network, channels, stride=1))


@pytest.mark.parametrize(
    ("reach", "tolerance"),
    [
        pytest.param(0, 1e-6, id="a network that sees one voxel"),
        # At its own edge a window sees padding instead of its neighbours.
        pytest.param(1, 0.05, id="a network that sees its neighbours"),
    ],
)
def test_large_input_is_answered_window_by_window_as_if_at_once(reach, tolerance):
    network, channels = Convolution(reach), torch.randn(2, 40, 33, 48)
    whole = run(network, channels, stride=4)
    network.seen.clear()
    windowed = run(network, channels, stride=4, at_once=20**3, window=24)
    assert (windowed - whole).abs().mean() < tolerance * whole.abs().mean()
    assert len(network.seen) > 8
    assert set(network.seen) == {(1, 2, 24, 24, 24)}


def test_memory_is_bounded_whatever_the_input():
    model = build_tiny_model()
    network = build_network(model.network).eval()
    largest = 0

    def measure(_module, _inputs, output):
        nonlocal largest
        largest = max(largest, output.numel() * output.element_size())

    for module in network.modules():
        module.register_forward_hook(measure)
    run(network, torch.randn(8, 56, 56, 56), stride=model.network.stride, at_once=32**3, window=32)
    # No feature map of a window has more than 8 channels at full resolution.
    assert 0 < largest <= 8 * 32**3 * 4


def test_refuses_a_case_without_its_reference(tmp_path):
    images = {name: image for name, image in head().items() if name != "T1ce"}
    with pytest.raises(ModelInputError, match="needs T1ce"):
        saved(tmp_path).segment(images, "T1ce", ignore)


def test_refuses_weights_of_another_network(tmp_path):
    save_model(tmp_path, replace(build_tiny_model(), network=UNetConfig()))
    with pytest.raises(ModelFileError, match="do not fit"):
        load_segmenter(tmp_path)
