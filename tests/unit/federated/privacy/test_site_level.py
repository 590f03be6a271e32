from datetime import UTC, datetime

import numpy as np
import pytest

from federated.errors import PrivacySettingsError, UpdateError
from federated.privacy.accounting import epsilon
from federated.privacy.randomness import SecretRandom
from federated.privacy.site_level import check_site_level, clip_and_noise, site_epsilon
from federated.rounds.terms import Aggregation, Privacy, RoundTerms

RANDOM = SecretRandom.unsafe_seeded(0)


def vector(length, size=1000):
    drawn = np.random.default_rng(0).normal(size=size)
    return (length * drawn / np.linalg.norm(drawn)).astype(np.float32)


@pytest.mark.parametrize(("length", "expected"), [(0.0, 0.0), (0.4, 0.4), (1.0, 1.0), (50.0, 1.0), (1e30, 1.0)])
def test_no_update_is_longer_than_the_norm_and_short_ones_stay(length, expected):
    found = clip_and_noise(vector(length), clip=1.0, noise=0.0, threshold=3, random=RANDOM)
    assert found.dtype == np.float32
    assert np.linalg.norm(found.astype(float)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("colluding", [0, 2])
def test_the_sum_of_the_survivors_has_the_noise_less_what_colluding_sites_know(colluding):
    threshold, clip, noise, size = 6, 2.0, 0.8, 40_000
    honest = [
        clip_and_noise(
            np.zeros(size, np.float32),
            clip=clip,
            noise=noise,
            threshold=threshold,
            random=RANDOM.child("site", site),
            colluding=colluding,
        )
        for site in range(threshold - colluding)
    ]
    assert np.sum(honest, axis=0).std() == pytest.approx(noise * clip, rel=5 / np.sqrt(2 * size))


def test_refuses_an_update_that_is_not_finite():
    broken = vector(1.0)
    broken[3] = np.nan
    with pytest.raises(UpdateError):
        clip_and_noise(broken, clip=1.0, noise=1.0, threshold=2, random=RANDOM)


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param({"clip": 0.0}, id="no-clip"),
        pytest.param({"clip": float("inf")}, id="endless-clip"),
        pytest.param({"noise": -1.0}, id="negative-noise"),
        pytest.param({"noise": float("nan")}, id="nan-noise"),
        pytest.param({"colluding": 2}, id="all-collude"),
        pytest.param({"threshold": 0}, id="no-site"),
    ],
)
def test_refuses_numbers_that_bound_nothing(numbers):
    with pytest.raises(PrivacySettingsError):
        clip_and_noise(vector(1.0), **{"clip": 1.0, "noise": 1.0, "threshold": 2, "random": RANDOM, **numbers})


def terms(noise=1.0, **aggregation):
    return RoundTerms(
        federation="f",
        run="r",
        round=1,
        rounds=1,
        participants=("a", "b", "c"),
        app="0",
        model="0",
        layout="0",
        network={},
        deadline=datetime(2026, 1, 1, tzinfo=UTC),
        privacy=Privacy(site_clip=1.0, site_noise=noise),
        aggregation=Aggregation(**{"threshold": 2, "weighting": "equal", **aggregation}),
    )


def test_accepts_one_masked_sum_of_equal_weights():
    check_site_level(terms())
    check_site_level(terms(noise=0.0, rule="median"))


@pytest.mark.parametrize(
    "aggregation", [{"rule": "mean"}, {"rule": "grouped-masked"}, {"weighting": "examples"}, {"compression": "sparse"}]
)
def test_refuses_terms_under_which_the_noise_does_not_protect(aggregation):
    with pytest.raises(PrivacySettingsError):
        check_site_level(terms(**aggregation))


def test_a_site_is_in_every_round():
    assert site_epsilon(4.0, 10, 1e-5) == epsilon(4.0, 1.0, 10, 1e-5)
