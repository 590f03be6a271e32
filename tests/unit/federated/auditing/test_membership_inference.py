import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from federated.auditing.membership_inference import (
    FALSE_POSITIVES,
    MembershipReport,
    Shadow,
    attack_rates,
    case_losses,
    likelihood_ratios,
    logit_confidence,
    membership_inference,
)
from federated.errors import EvaluationError
from federated.evaluation import area_under_roc
from federated.losses import region_loss
from federated.metrics import region_masks
from tests.fakes.audited import TRAINED_ON, audited_network, trained_network
from tests.fakes.tiny_training import tiny_example

MEMBERS = [tiny_example(seed) for seed in TRAINED_ON]
OTHERS = [tiny_example(seed) for seed in range(len(TRAINED_ON), 9)]


def test_the_area_and_the_rates_of_scores():
    rng = np.random.default_rng(1)
    score = np.concatenate([rng.normal(1.5, 1, 80), rng.normal(0, 1, 200)])
    is_member = np.arange(280) < 80
    found = attack_rates(score, is_member, rng)
    assert found.auc == pytest.approx(area_under_roc(score, is_member))
    assert found.auc_low < found.auc < found.auc_high
    assert found.false_positives.count == int(FALSE_POSITIVES * 200)
    threshold = np.sort(score[80:])[-3]
    assert found.true_positives.count == (score[:80] > threshold).sum()
    assert found.rate_low <= found.true_positives.rate <= found.rate_high


def test_scores_that_tell_nothing_have_an_area_of_a_half():
    rng = np.random.default_rng(2)
    found = attack_rates(rng.normal(size=400), np.arange(400) < 200, rng)
    assert found.auc_low < 0.5 < found.auc_high
    assert found.true_positives.rate < 0.05


def test_likelihood_ratios_are_those_of_two_normals():
    rng = np.random.default_rng(3)
    target, shadows = rng.normal(size=3), rng.normal(size=(8, 3))
    is_in = np.stack([rng.permutation([True] * 4 + [False] * 4) for _ in range(3)], 1)
    found = likelihood_ratios(target, shadows, is_in)
    for case in range(3):
        inside, outside = (shadows[mask, case] for mask in (is_in[:, case], ~is_in[:, case]))
        expected = norm.logpdf(target[case], inside.mean(), inside.std(ddof=1)) - norm.logpdf(
            target[case], outside.mean(), outside.std(ddof=1)
        )
        assert found[case] == pytest.approx(expected)


def test_confidence_is_the_logit_of_the_likelihood():
    losses = np.array([0.1, 0.7, 3.0])
    shares = np.exp(-losses)
    np.testing.assert_allclose(logit_confidence(losses), np.log(shares / (1 - shares)))
    assert math.isfinite(logit_confidence(np.array([0.0]))[0])


def test_losses_are_those_of_the_training():
    model = audited_network()
    example = OTHERS[0]
    regions = torch.from_numpy(np.stack(list(region_masks(example.labels).values()))).float()
    expected = region_loss(model.logits(torch.from_numpy(example.model_input.channels))[None], regions[None])
    assert case_losses(model.network, 4, [example], lambda _done: None)[0] == pytest.approx(float(expected), rel=1e-5)


def test_a_network_that_has_learnt_by_heart_gives_its_cases_away():
    # The same images, with labels that it has never seen with them.
    others = [replace(each, name=f"other {each.name}", labels=each.labels[::-1].copy()) for each in MEMBERS]
    told = []
    found = membership_inference(trained_network(), MEMBERS, others, progress=told.append)
    assert (found.members, found.others) == (2, 2)
    assert found.loss_gap > 0.005
    assert found.by_loss.auc == 1.0
    assert found.by_shadows is None
    assert told[-1] == 1.0
    # Two others cannot show one false positive in a hundred.
    assert not found.resolved
    assert found.judge(0.05) == "insufficient-evidence"


def test_shadow_models_say_what_a_case_does_to_its_own_confidence():
    names = [each.name for each in [*MEMBERS, *OTHERS]]
    trained, fresh = trained_network(), audited_network()
    rng = np.random.default_rng(4)
    inside = frozenset(names[:2])
    shadows = [
        *(Shadow(trained.model, inside if n % 2 else inside | {str(n)}) for n in range(3)),
        *(Shadow(fresh.model, frozenset(names[2:])) for n in range(3)),
    ]
    found = membership_inference(trained, MEMBERS, OTHERS, shadows=shadows, seed=int(rng.integers(9)))
    assert found.shadows == 6
    assert found.by_shadows.auc > 0.9


@pytest.mark.parametrize(
    ("found", "others", "outcome"),
    [(0, 100, "passed"), (30, 100, "failed"), (4, 100, "insufficient-evidence"), (0, 99, "insufficient-evidence")],
)
def test_the_rate_is_judged_where_the_others_resolve_it(found, others, outcome):
    score = np.concatenate([np.full(found, 2.0), np.full(100 - found, -1.0), np.linspace(0, 1, others)])
    rates = attack_rates(score, np.arange(100 + others) < 100, np.random.default_rng(5))
    report = MembershipReport(100, others, others >= 100, 0.0, rates, None, 0)
    assert report.judge(0.05) == outcome


def test_refuses_cases_that_are_both_and_shadows_that_do_not_fit():
    model = audited_network()
    with pytest.raises(EvaluationError, match="either trained on or not"):
        membership_inference(model, MEMBERS, MEMBERS)
    with pytest.raises(EvaluationError, match="at least 1 cases"):
        membership_inference(model, [], OTHERS)
    with pytest.raises(EvaluationError, match="in and out"):
        membership_inference(model, MEMBERS, OTHERS, shadows=[Shadow(model.model, frozenset())] * 4)
