import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from federated.auditing import gradient_inversion
from federated.auditing.gradient_inversion import (
    InversionSettings,
    best_match,
    inversion_trials,
    parse_stored_trials,
    similarity,
)
from federated.auditing.proportion import judge_share
from federated.errors import EvaluationError
from federated.losses import region_loss
from federated.metrics import region_masks
from federated.models import UNetConfig, build_network
from tests.fakes.audited import audited_network
from tests.fakes.tiny_training import tiny_example

HEADS = [tiny_example(seed) for seed in range(9)]


def naive_ssim(found, truth):
    values = []
    for first, second in zip(found, truth, strict=True):
        low, span = second.min(), second.max() - second.min()
        x, y = ((each - low) / span for each in (first, second))
        windows = [sliding_window_view(each, (5, 5, 5)).reshape(-1, 125) for each in (x, y)]
        (mx, my), (vx, vy) = ([each.mean(1) for each in windows], [each.var(1) for each in windows])
        both = ((windows[0] - mx[:, None]) * (windows[1] - my[:, None])).mean(1)
        c1, c2 = 0.01**2, 0.03**2
        values.append(((2 * mx * my + c1) * (2 * both + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())
    return np.mean(values)


def test_similarity_is_the_structural_one():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(4, 8, 8, 8)).astype(np.float32)
    found = (truth + 0.5 * rng.normal(size=truth.shape)).astype(np.float32)
    assert similarity(torch.from_numpy(found), torch.from_numpy(truth)) == pytest.approx(
        naive_ssim(found, truth), abs=1e-3
    )
    assert similarity(torch.from_numpy(truth), torch.from_numpy(truth)) == pytest.approx(1, abs=1e-5)


def test_the_best_match_is_by_correlation():
    rng = torch.Generator().manual_seed(0)
    gallery = torch.randn((6, 2, 4, 4, 4), generator=rng)
    noise = torch.randn((2, 4, 4, 4), generator=rng)
    assert best_match(3 * gallery[4] + 100 + noise, gallery) == 4
    assert best_match(-gallery[4], gallery) != 4


class Revealing(torch.nn.Module):
    """A network whose gradient by its weights is the image itself, times what the labels say."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(8 * 8**3, 3)

    def forward(self, channels):
        return self.head(channels.flatten(1))[:, :, None, None, None].expand(-1, -1, 8, 8, 8)


@pytest.mark.parametrize(("noise", "found"), [(0.0, 3), (30.0, 0)], ids=["plain", "noised"])
def test_an_update_that_reveals_the_image_is_inverted_and_noise_hides_it(monkeypatch, noise, found):
    torch.manual_seed(0)
    network = Revealing()
    monkeypatch.setattr(gradient_inversion, "plain_network", lambda _model: network)
    settings = InversionSettings(iterations=120, noise=noise)
    report = inversion_trials(audited_network(), HEADS, trials=3, settings=settings)
    assert report.success.count == found
    assert report.weights == 3 * (8 * 8**3 + 1)
    assert (report.ssim_median > report.prior_ssim_median + 0.2) == (noise == 0)
    assert report.prior_success.count == 0


@pytest.mark.parametrize("visible", ["all", "head"])
def test_the_report_says_what_was_attacked(visible):
    model = audited_network()
    found = inversion_trials(model, HEADS, trials=2, settings=InversionSettings(visible, iterations=2))
    part = model.network if visible == "all" else model.network.head
    assert found.weights == sum(each.numel() for each in part.parameters())
    assert (found.edge, found.heads) == (8, 9)
    assert found.success.of == found.identified.of == found.prior_success.of == 2
    assert found.success.count <= found.identified.count
    # Two trials cannot show a rate of half a percent.
    assert judge_share(found.success, 0.005) == "insufficient-evidence"


def test_gradients_are_those_of_a_training_step():
    model, example = audited_network(), HEADS[0]
    victim = gradient_inversion._Victim(model, "all")
    patch = (slice(4, 12),) * 3
    image = torch.from_numpy(example.model_input.channels[(slice(0, 4), *patch)].copy())
    regions = torch.from_numpy(np.stack(list(region_masks(example.labels[patch]).values()))).float()
    trained = build_network(model.model.network)
    trained.load_state_dict(dict(model.model.weights))
    region_loss(trained(torch.cat([image, torch.ones_like(image)])[None]), regions[None]).backward()
    expected = torch.cat([each.grad.flatten() for each in trained.parameters()])
    torch.testing.assert_close(victim.gradient(image, regions), expected, atol=1e-5, rtol=1e-3)


def test_the_attacked_network_is_not_the_audited_one():
    model = audited_network()
    inversion_trials(model, HEADS, trials=1, settings=InversionSettings(iterations=1))
    assert not any(each.requires_grad for each in model.network.parameters())


def test_refuses_too_few_heads_and_wrong_settings():
    model = audited_network()
    with pytest.raises(EvaluationError, match="at least 8 heads"):
        inversion_trials(model, HEADS[:7])
    with pytest.raises(EvaluationError, match="at least 1 trial"):
        inversion_trials(model, HEADS, trials=0)
    with pytest.raises(EvaluationError, match='"all" or "head"'):
        InversionSettings(visible="tail")
    with pytest.raises(EvaluationError, match="no negative number"):
        InversionSettings(noise=-1)
    with pytest.raises(EvaluationError, match='named "head"'):
        inversion_trials(audited_network(UNetConfig(filters=(4, 8))), HEADS, settings=InversionSettings("head"))


def test_stored_trials_are_read():
    document = {"inversion": {"none": {"success": {"count": 2, "of": 1000}}}}
    found = parse_stored_trials(document)
    assert (found.count, found.of) == (2, 1000)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"inversion": None},
        {"inversion": {"none": {"success": {"count": 0}}}},
        {"inversion": {"none": {"success": {"count": 1.5, "of": 10}}}},
        {"inversion": {"none": {"success": {"count": 11, "of": 10}}}},
    ],
)
def test_refuses_what_are_no_stored_trials(document):
    with pytest.raises(EvaluationError, match="Expected"):
        parse_stored_trials(document)
