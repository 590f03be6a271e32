import math
from statistics import NormalDist

import pytest

from federated.errors import PrivacySettingsError
from federated.privacy.accounting import Release, compose, epsilon, noise_for

DELTA = 1e-5


def gaussian_delta(sensitivity_over_noise: float, spent: float) -> float:
    """Exact delta of one Gaussian mechanism; Balle & Wang (2018), arXiv:1805.06530, theorem 8."""
    normal, mu = NormalDist().cdf, sensitivity_over_noise
    return normal(mu / 2 - spent / mu) - math.exp(spent) * normal(-mu / 2 - spent / mu)


@pytest.mark.parametrize(
    ("noise", "rate", "steps"),
    [
        pytest.param(1.1, 0.02, 2000, id="large-cohort"),
        pytest.param(4.0, 0.25, 200, id="small-site"),
        pytest.param(0.8, 0.1, 20, id="little-noise"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_agrees_with_the_prv_accountant_of_opacus(noise, rate, steps):
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [(noise, rate, steps)]
    assert epsilon(noise, rate, steps, DELTA) == pytest.approx(accountant.get_epsilon(DELTA, eps_error=0.01), abs=0.021)


def test_gives_the_published_value():
    # TensorFlow Privacy's and Opacus' documentation example, by PLD: 4.698.
    assert epsilon(1.1, 0.02, 2000, DELTA) == pytest.approx(4.698, abs=0.002)


@pytest.mark.parametrize("noise", [0.7, 2.0, 20.0])
def test_without_sampling_it_is_the_exact_gaussian_mechanism(noise):
    spent = epsilon(noise, 1.0, 1, DELTA)
    assert gaussian_delta(1 / noise, spent) == pytest.approx(DELTA, rel=0.02)
    assert gaussian_delta(1 / noise, spent) <= DELTA


def test_steps_without_sampling_compose_as_one_gaussian_of_less_noise():
    assert epsilon(6.0, 1.0, 9, DELTA) == pytest.approx(epsilon(2.0, 1.0, 1, DELTA))


def test_rounds_of_different_settings_cost_more_than_each_and_less_than_their_sum():
    first, second = Release(3.0, 0.25, 20), Release(5.0, 1.0, 10)
    alone = [epsilon(each.noise, each.sample_rate, each.steps, DELTA) for each in (first, second)]
    assert max(alone) < compose([first, second], DELTA) < sum(alone)


def test_rounds_of_the_same_settings_cost_what_their_steps_cost_together():
    assert compose([Release(3.0, 0.25, 20)] * 4, DELTA) == pytest.approx(epsilon(3.0, 0.25, 80, DELTA))


def test_sampling_lowers_the_cost_and_nothing_costs_nothing():
    assert epsilon(2.0, 0.1, 20, DELTA) < epsilon(2.0, 0.5, 20, DELTA) < epsilon(2.0, 1.0, 20, DELTA)
    assert compose([], DELTA) == 0


@pytest.mark.parametrize(("target", "rate", "steps"), [(1.0, 0.02, 2000), (8.0, 0.25, 200), (3.0, 1.0, 1)])
def test_noise_for_a_target_is_just_enough(target, rate, steps):
    noise = noise_for(target, rate, steps, DELTA)
    assert epsilon(noise, rate, steps, DELTA) <= target < epsilon(noise * 0.998, rate, steps, DELTA)


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param((0.0, 0.1, 10, DELTA), id="no-noise"),
        pytest.param((-1.0, 0.1, 10, DELTA), id="negative-noise"),
        pytest.param((math.nan, 0.1, 10, DELTA), id="nan-noise"),
        pytest.param((1.0, 0.0, 10, DELTA), id="nobody-sampled"),
        pytest.param((1.0, 1.5, 10, DELTA), id="rate-above-1"),
        pytest.param((1.0, 0.1, 0, DELTA), id="no-step"),
        pytest.param((1.0, 0.1, 2.5, DELTA), id="half-a-step"),
        pytest.param((1.0, 0.1, 10, 0.0), id="no-delta"),
        pytest.param((1.0, 0.1, 10, 0.5), id="delta-too-large"),
        pytest.param((0.3, 1.0, 1000, DELTA), id="not-worth-computing"),
    ],
)
def test_refuses_what_cannot_be_accounted_for(numbers):
    with pytest.raises(PrivacySettingsError):
        epsilon(*numbers)


def test_refuses_a_target_that_no_noise_reaches():
    with pytest.raises(PrivacySettingsError, match="needs more"):
        noise_for(1e-9, 1.0, 1, 1e-12)


def test_a_tiny_query_keeps_the_bound_for_each_pair_of_neighbours():
    """By brute force: the law of one step over three patients, with and without each of them."""
    import numpy as np

    noise, rate, spent = 1.0, 0.5, epsilon(1.0, 0.5, 1, DELTA)
    contributions = np.array([1.0, -0.7, 0.4])
    grid = np.linspace(-14, 14, 200_001)

    def law(values):
        """Of sum(drawn) + noise, on the grid."""
        density = np.zeros_like(grid)
        for drawn in np.ndindex(*(2,) * len(values)):
            chance = np.prod([rate if each else 1 - rate for each in drawn])
            density += chance * np.exp(-((grid - np.dot(drawn, values)) ** 2) / (2 * noise**2))
        return density / (noise * math.sqrt(2 * math.pi))

    everyone, step = law(contributions), grid[1] - grid[0]
    for patient in range(3):
        without = law(np.where(np.arange(3) == patient, 0.0, contributions))
        for first, second in ((everyone, without), (without, everyone)):
            assert np.maximum(first - math.exp(spent) * second, 0).sum() * step <= DELTA * 1.0001
