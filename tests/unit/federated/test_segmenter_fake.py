import numpy as np
import pytest

from federated.errors import ModelInputError
from federated.ports import Image
from tests.fakes.segmenter import ThresholdSegmenter


def image(*values):
    return Image(np.array(values, np.float32).reshape(1, 1, -1), np.eye(4))


def ignore(_fraction):
    pass


def test_labels_by_brightness():
    prediction = ThresholdSegmenter().segment({"T1ce": image(0, 6, 8, 10)}, "T1ce", ignore)
    assert prediction.labels.ravel().tolist() == [0, 2, 1, 3]
    assert prediction.probabilities[:, 0, 0].tolist() == [[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]
    assert prediction.warnings == tuple(f"{c} missing: the result is less reliable." for c in ("T1", "T2", "FLAIR"))


def test_finds_nothing_in_the_healthy():
    assert not ThresholdSegmenter(healthy=True).segment({"T1ce": image(0, 10)}, "T1ce", ignore).labels.any()


@pytest.mark.parametrize("images", [{}, {"T1": image(1, 2)}, {"T1ce": image(3, 3)}, {"T1ce": image(1, np.nan)}])
def test_refuses_what_the_real_model_refuses(images):
    with pytest.raises(ModelInputError):
        ThresholdSegmenter().segment(images, "T1ce", ignore)
