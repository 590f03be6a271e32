from dataclasses import replace

import numpy as np
import pytest

from federated.errors import ModelFileError, ModelInputError
from federated.inference import load_segmenter
from federated.model_file import save_model
from federated.models import NetworkConfig
from federated.phantom import build_phantom
from federated.ports import Image
from tests.fakes.tiny_model import build_tiny_model


def saved(folder, **how):
    save_model(folder, build_tiny_model(**how))
    return load_segmenter(folder)


def ignore(_fraction):
    pass


def head(**how):
    return build_phantom(np.random.default_rng(3), shape=(40, 48, 40), spacing_mm=4.0, **how).images


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
    images = build_phantom(np.random.default_rng(3)).images
    assert saved(tmp_path, logit=-9.0).segment(images, "T1ce", ignore).warnings == ()


@pytest.mark.parametrize("contrast", ["T1", "T2", "FLAIR"])
def test_warns_of_each_missing_contrast(tmp_path, contrast):
    images = {name: image for name, image in head().items() if name != contrast}
    warnings = saved(tmp_path, logit=-9.0).segment(images, "T1ce", ignore).warnings
    assert warnings[0].startswith(f"{contrast} missing: ")


def test_warns_of_a_skull(tmp_path):
    warnings = saved(tmp_path, logit=-9.0).segment(head(skull=True), "T1ce", ignore).warnings
    assert any("not skull-stripped" in warning for warning in warnings)


def test_warns_of_a_tumour_at_the_border(tmp_path):
    images = {name: Image(image.voxels[12:28], shifted(image, 12)) for name, image in head().items()}
    warnings = saved(tmp_path, logit=9.0).segment(images, "T1ce", ignore).warnings
    assert any("border of the field of view" in warning for warning in warnings)


def shifted(image, slices):
    affine = image.affine_lps.copy()
    affine[:, 3] += affine[:, 0] * slices
    return affine


def test_warns_of_low_confidence(tmp_path):
    warnings = saved(tmp_path, logit=0.1).segment(head(), "T1ce", ignore).warnings
    assert any(warning.startswith("Low confidence: ") for warning in warnings)


def test_refuses_a_case_without_its_reference(tmp_path):
    images = {name: image for name, image in head().items() if name != "T1ce"}
    with pytest.raises(ModelInputError, match="needs T1ce"):
        saved(tmp_path).segment(images, "T1ce", ignore)


def test_refuses_weights_of_another_network(tmp_path):
    save_model(tmp_path, replace(build_tiny_model(), network=NetworkConfig()))
    with pytest.raises(ModelFileError, match="do not fit"):
        load_segmenter(tmp_path)
