"""Windows, supervoxels, attributions and their check, on a small hybrid network with real circuits."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from federated.decision import Decision
from federated.errors import TrainingDataError
from federated.explanation.attribution import attribute, check_sanity
from federated.explanation.case import explain_case
from federated.explanation.fidelity import interpretability, wilson_interval
from federated.explanation.lime_supervoxels import explain_window
from federated.explanation.supervoxels import cut_supervoxels
from federated.explanation.window import hold_norms, open_window, trained_network
from federated.inference import run_network
from federated.phantom import build_phantom
from federated.phantom_sites import SITES, phantom_cohort
from federated.preprocessing import Preprocessing, to_model_input
from tests.fakes.threshold_model import save_threshold_model
from tests.fakes.tiny_model import TINY_PREPROCESSING, build_tiny_model


@pytest.fixture(scope="module")
def model_input():
    phantom = build_phantom(np.random.default_rng(3), spacing_mm=4.0)
    return to_model_input(phantom.images, "T1ce", TINY_PREPROCESSING)


@pytest.fixture(scope="module")
def model():
    """With quantum neck and head, and fresh weights; its decision outlines nothing."""
    return replace(build_tiny_model(4), decision=Decision(thresholds=(0.999,) * 3))


@pytest.fixture(scope="module")
def window(model, model_input):
    return open_window(model, trained_network(model), model_input)


def test_held_norms_answer_on_the_whole_head_as_the_network_does(model, model_input):
    network, channels = trained_network(model), torch.from_numpy(model_input.channels)
    held = hold_norms(network, channels, model.network.stride)
    expected, found = (run_network(each, channels, model.network.stride) for each in (network, held))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert any(isinstance(module, torch.nn.InstanceNorm3d) for module in network.modules())
    assert not any(isinstance(module, torch.nn.InstanceNorm3d) for module in held.modules())


def test_a_window_answers_as_the_whole_head_does_and_a_crop_alone_does_not(model, model_input):
    network = trained_network(model)

    def miss(window):
        return abs(float(window.answer(window.images[None]).detach()) - window.answer_whole_head)

    narrow, wide, everything = (
        open_window(model, network, model_input, margin_mm=margin) for margin in (4.0, 40.0, 1000.0)
    )
    assert everything.head.shape == model_input.head.shape
    assert miss(everything) < 1e-4
    assert miss(wide) < 0.03
    assert miss(wide) < miss(narrow)
    assert miss(wide) < miss(replace(wide, network=network))


def test_without_an_outlined_tumour_the_likeliest_place_is_explained(window, model_input):
    assert (window.outlined, window.share) == (False, 0.0)
    # A ball of 8 mm is 2.1 ml; the head's border may cut it.
    assert 0.5 < int(window.region.sum()) * 0.064 < 2.6
    assert window.region.numpy()[~window.head].sum() == 0
    assert all(part.start % 4 == 0 for part in window.box)
    assert window.head.size < model_input.head.size


def test_a_window_holds_the_largest_piece_that_is_outlined(tmp_path, model_input):
    from federated.model_file import load_model

    save_threshold_model(tmp_path, spacing_mm=4.0)
    bright, _ = load_model(tmp_path)
    found = open_window(bright, trained_network(bright), model_input)
    assert found.outlined
    assert 0 < found.share <= 1
    assert found.answer_whole_head > 0
    assert found.grid.shape == tuple(found.region.shape) == found.head.shape


def test_supervoxels_cut_up_the_lesion_and_what_is_around_it_and_nothing_else(window):
    found = cut_supervoxels(window, count=12, around_mm=8.0)
    again = cut_supervoxels(window, count=12, around_mm=8.0)
    np.testing.assert_array_equal(found.labels, again.labels)
    assert sorted(np.unique(found.labels[found.labels > 0])) == list(range(1, found.count + 1))
    assert 2 < found.count <= 24
    assert (found.labels[window.region.numpy()] > 0).all()
    outside = ~window.head & ~window.region.numpy()
    assert (found.labels[outside] == 0).all()


def test_taking_every_piece_away_is_what_the_explanation_says_of_it(window):
    """The intercept predicts the answer without any piece; here against the network itself, asked directly."""
    pieces = cut_supervoxels(window, count=8, around_mm=8.0)
    local = explain_window(window, pieces, samples=60, seed=0)
    assert local.answer == pytest.approx(float(window.answer(window.images[None]).detach()), abs=1e-5)
    assert len(local.weights) == pieces.count
    emptied = window.images * torch.from_numpy(pieces.labels == 0)
    assert float(window.answer(emptied[None])) != pytest.approx(local.answer, abs=1e-4)


def test_integrated_gradients_add_up_to_the_difference_of_the_answers(window):
    found = attribute(window, steps=20)
    assert found.values.shape == tuple(window.images.shape)
    assert found.answer != pytest.approx(found.baseline, abs=1e-3)
    assert float(found.values.sum()) == pytest.approx(found.answer - found.baseline, rel=0.02)
    assert found.gap < 0.02
    assert attribute(window, steps=1).gap > found.gap


def test_integrated_gradients_of_a_linear_network_are_weight_times_input(window):
    """Closed form: where the answer is linear, each voxel contributes its gradient times its value."""
    weights = torch.randn(8, generator=torch.Generator().manual_seed(0))

    class Linear(torch.nn.Module):
        def forward(self, channels):
            return torch.einsum("c,bcxyz->bxyz", weights, channels)[:, None]

    linear = replace(window, network=Linear())
    found = attribute(linear, steps=3)
    inside = linear.region.numpy()
    expected = weights[:4].numpy()[:, None] * linear.images.numpy()[:, inside] / inside.sum() / linear.temperature
    np.testing.assert_allclose(found.values[:, inside], expected, rtol=1e-4, atol=1e-6)
    assert np.abs(found.values[:, ~inside]).max() == 0


def test_the_gradient_goes_through_the_circuits(model, window, model_input):
    """With other angles in the head's circuit alone, the attribution is another one."""
    turned = {name: tensor + 1.0 if "head.slot.body" in name else tensor for name, tensor in model.weights.items()}
    from federated.explanation.window import with_network

    other = with_network(window, trained_network(model, turned), model_input, model.network.stride)
    first, second = attribute(window, steps=4).values, attribute(other, steps=4).values
    assert np.abs(first - second).max() > 0.01 * np.abs(first).max()


def test_random_weights_change_the_attribution_and_the_trained_ones_do_not(model, window, model_input):
    found = check_sanity(model, window, model_input, seed=7, steps=3)
    assert [stage.share for stage in found.stages] == [0.5, 1.0]
    assert all(-1 <= stage.rank_correlation < 0.9 for stage in found.stages)
    from federated.explanation import attribution

    same = attribution._compare(*[attribute(window, steps=3).total] * 2, window.head, 1.0)
    assert (same.rank_correlation, same.similarity) == (pytest.approx(1.0), pytest.approx(1.0))


def test_a_map_that_ignores_the_weights_fails_the_check(model, window, model_input, monkeypatch):
    """As an edge detector would: the check must not pass whatever it is shown."""
    from federated.explanation import attribution

    class Edges:
        total = window.images.sum(dim=0).numpy()

    monkeypatch.setattr(attribution, "attribute", lambda *_, **__: Edges())
    assert not check_sanity(model, window, model_input, steps=3).passed


def test_a_case_is_explained_alike_twice(model, model_input):
    first, again = (explain_case(model, model_input, samples=20, seed=2) for _ in range(2))
    assert first.local == again.local
    np.testing.assert_array_equal(first.attribution.values, again.attribution.values)
    assert first.sanity == again.sanity
    assert set(first.seconds) == {"window", "local", "attribution", "check"}


def test_the_score_counts_the_cases_whose_explanation_is_faithful(tmp_path):
    from federated.model_file import load_model

    save_threshold_model(tmp_path, spacing_mm=4.0)
    bright, _ = load_model(tmp_path)
    cases = phantom_cohort(1, sites=SITES[:1], spacing_mm=4.0, split="validation")
    seen = []
    found = interpretability(bright, cases, samples=40, progress=seen.append)
    assert (found.n, len(found.r2), seen) == (2, 2, [0.5, 1.0])
    assert [name for name, _ in found.r2] == [case.name for case in cases]
    assert found.share_explained == sum(r2 >= 0.8 for _, r2 in found.r2) / 2
    assert found.low <= found.share_explained <= found.high
    strict = interpretability(bright, cases[:1], samples=40, local_fidelity=1.01)
    assert strict.share_explained == 0.0
    with pytest.raises(TrainingDataError, match="at least one case"):
        interpretability(bright, [])


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe (1998), table I, method 3.
        pytest.param(81, 263, 0.2553, 0.3662, id="81/263"),
        pytest.param(15, 148, 0.0624, 0.1605, id="15/148"),
        pytest.param(0, 20, 0.0000, 0.1611, id="0/20"),
        pytest.param(1, 29, 0.0061, 0.1718, id="1/29"),
    ],
)
def test_the_interval_of_a_share_is_the_published_one(successes, trials, low, high):
    np.testing.assert_allclose(wilson_interval(successes, trials), (low, high), atol=1e-4)


def test_preprocessing_of_the_model_is_used(model):
    assert model.preprocessing == Preprocessing(spacing_mm=4.0)
