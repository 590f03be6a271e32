from dataclasses import replace

import numpy as np
import pytest
import torch

from federated.augmentation import Randomness
from federated.errors import TrainingDataError
from federated.sampling import CaseWeights, Pool, Split
from tests.fakes.tiny_training import CPU, tiny_example


def pool(split, patch=(24, 24, 24), *, share=0.25, crops=False):
    return Pool(split, patch, CPU, synthetic_share=share, crops=crops)


def test_a_case_keeps_its_voxels_and_its_nested_regions():
    example = tiny_example(0)
    size = example.labels.shape
    batch = pool(Split(real=[example]), size).batch
    np.testing.assert_allclose(batch.images[0], example.model_input.channels[:4], atol=4e-3)
    head, labels = example.model_input.head, example.labels
    expected = np.select([~head, labels == 3, labels == 1, labels == 2], [0, 4, 3, 2], 1)
    np.testing.assert_array_equal(batch.depth[0], expected)
    assert batch.present.tolist() == [[1, 1, 1, 1]]


def test_cases_are_cut_and_padded_around_their_middle():
    example = tiny_example(0)
    slices, rows, columns = example.labels.shape
    batch = pool(Split(real=[example]), (slices + 8, rows - 8, columns)).batch
    np.testing.assert_allclose(batch.images[0, :, 4:-4], example.model_input.channels[:4, :, 4:-4], atol=4e-3)
    assert not batch.images[0, :, :4].any()
    assert not batch.depth[0, -4:].any()


def test_draws_each_kind_with_its_share():
    real = tiny_example(0)
    # Marked by what is present.
    marked = replace(real, model_input=replace(real.model_input, channels=np.zeros_like(real.model_input.channels)))
    cases = pool(Split(real=[real, real], synthetic=[marked]), share=0.25)
    batch, centres = cases.draw(4000, Randomness(0, CPU))
    assert centres is None
    # Three standard errors of a share of a quarter among 4000.
    assert float((batch.present[:, 0] == 0).float().mean()) == pytest.approx(0.25, abs=0.021)


def test_without_real_cases_all_are_synthetic():
    batch, _ = pool(Split(synthetic=[tiny_example(0)]), share=0.0).draw(3, Randomness(0, CPU))
    assert len(batch.images) == 3


def test_case_weights_draw_within_each_kind():
    first, second, third = (
        replace(each, model_input=replace(each.model_input, channels=np.full_like(each.model_input.channels, mark)))
        for mark, each in enumerate([tiny_example(0)] * 3)
    )
    weights = CaseWeights((3.0, 1.0, 7.0))
    cases = pool(Split(real=[first, second], synthetic=[third], case_weights=weights), share=0.25)
    batch, _ = cases.draw(4000, Randomness(0, CPU))
    marks = batch.present[:, 0]
    # Three standard errors of shares among 4000.
    assert float((marks == 2).float().mean()) == pytest.approx(0.25, abs=0.021)
    assert float((marks == 0).float().mean()) == pytest.approx(0.75 * 0.75, abs=0.024)


def test_equal_weights_draw_what_no_weights_draw():
    split = Split(real=[tiny_example(0), tiny_example(1)], synthetic=[tiny_example(2)])
    weighed = replace(split, case_weights=CaseWeights((1.0, 1.0, 1.0)))
    first, second = (pool(each).draw(20, Randomness(0, CPU))[0].images for each in (split, weighed))
    assert torch.equal(first, second)
    assert split.digest() != weighed.digest(), "a run with other weights is another run"


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 0.0), (1.0, float("nan")), (1.0, float("inf"))], ids=str)
def test_refuses_weights_that_are_none(weights):
    with pytest.raises(TrainingDataError, match="a weight above 0 for each of 2 training cases"):
        pool(Split(real=[tiny_example(0), tiny_example(1)], case_weights=CaseWeights(weights)))


def test_crops_stay_inside_the_largest_case():
    example = tiny_example(0)
    cases = pool(Split(real=[example]), (16, 16, 16), crops=True)
    _, centres = cases.draw(200, Randomness(0, CPU))
    room = (torch.tensor(example.labels.shape) - 16) / 2
    assert (centres.abs() <= room).all()
    assert (centres.abs().amax(0) > 0.8 * room).all()


def test_refuses_no_case():
    with pytest.raises(TrainingDataError, match="at least one training case"):
        pool(Split(validation=[tiny_example(0)]))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(Split(real=[tiny_example(1)]), id="another case"),
        pytest.param(Split(synthetic=[tiny_example(0)]), id="another kind"),
        pytest.param(Split(real=[replace(tiny_example(0), labels=tiny_example(0).labels * 0)]), id="other labels"),
    ],
)
def test_the_digest_tells_data_apart(other):
    assert Split(real=[tiny_example(0)]).digest() == Split(real=[tiny_example(0)]).digest()
    assert Split(real=[tiny_example(0)]).digest() != other.digest()
