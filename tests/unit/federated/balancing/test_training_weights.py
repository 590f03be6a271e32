import json

import numpy as np
import pytest

from federated.balancing.balance_settings import BalanceSettings
from federated.balancing.image_features import feature_names, image_features
from federated.balancing.training_weights import weigh_cases
from federated.errors import BalanceDataError
from tests.fakes.tiny_training import tiny_example


def examples(count=12):
    return [tiny_example(place % 4) for place in range(count)]


def sexes(women, men):
    return [{"sex": "F"}] * women + [{"sex": "M"}] * men


def test_training_cases_get_weights_and_the_card_says_why():
    settings = BalanceSettings(("sex",), "equal-reweighing", minimum_group=3)
    found = weigh_cases(examples(), sexes(3, 9), settings)
    assert len(found.values) == 12
    assert sum(found.values[:3]) == pytest.approx(6, abs=0.5), "a quarter of the cases, half of the training"
    card = json.loads(json.dumps(found.origin))
    assert card["settings"]["attributes"] == ["sex"]
    assert card["cases"] == 12
    assert card["effective_cases"] < 12
    assert card["attributes"]["sex"]["after"]["share_gap"] < 0.1
    assert "F" not in json.dumps(card), "sizes of groups stay at the site"


def test_refuses_to_train_on_a_guess():
    with pytest.raises(BalanceDataError, match=r"Insufficient evidence: .* got sex: F 3, M 9"):
        weigh_cases(examples(), sexes(3, 9), BalanceSettings(("sex",)))
    with pytest.raises(BalanceDataError, match="sex: unknown of all"):
        weigh_cases(examples(), [{}] * 12, BalanceSettings(("sex",)))


def test_features_are_named_and_finite():
    example = tiny_example(0)
    found = image_features(example)
    names = feature_names(("T1", "T1ce", "T2", "FLAIR"))
    assert len(found) == len(names) == len(set(names))
    assert np.isfinite(found).all()
    by_name = dict(zip(names, found, strict=True))
    inside = example.model_input.channels[0][example.model_input.head]
    assert by_name["T1 q50"] == pytest.approx(float(np.median(inside)), abs=1e-5)
    assert by_name["whole tumour"] == pytest.approx(np.log1p((example.labels > 0).sum()))


def test_noise_and_missing_contrasts_show_in_the_features():
    from dataclasses import replace

    example = tiny_example(0)
    channels = example.model_input.channels.copy()
    channels[1] += np.random.default_rng(0).normal(0, 1, channels[1].shape) * example.model_input.head
    channels[2], channels[6] = 0, 0
    noisy = replace(example, model_input=replace(example.model_input, channels=channels))
    names = feature_names(("T1", "T1ce", "T2", "FLAIR"))
    before, after = (dict(zip(names, image_features(each), strict=True)) for each in (example, noisy))
    assert after["T1ce noise"] > 2 * before["T1ce noise"]
    assert after["T1 noise"] == before["T1 noise"]
    assert {after[name] for name in names if name.startswith("T2")} == {0.0}
