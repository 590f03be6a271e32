import math

import numpy as np
import pytest

from federated.errors import PrivacySettingsError
from federated.privacy.accounting import epsilon
from federated.privacy.randomness import SecretRandom
from federated.privacy.subgroups import noised_groups, sensitivity

REGIONS = ("whole-tumour",)


def cohort(**sizes):
    """Dice 0.8 for each; the values of one attribute, with how many patients have them."""
    names = {f"case-{value}-{index}": value for value, size in sizes.items() for index in range(size)}
    return {name: {"whole-tumour": 0.8} for name in names}, {name: {"sex": value} for name, value in names.items()}


def noised(dice, attributes, seed=0, **changes):
    settings = {
        "regions": REGIONS,
        "kinds": ("sex",),
        "minimum_count": 10,
        "epsilon": 2.0,
        "delta": 1e-5,
        "run": "run-1",
        "number": 1,
        "random": SecretRandom.unsafe_seeded(seed),
    }
    return noised_groups(dice, attributes, **{**settings, **changes})


def test_large_groups_leave_as_noised_sums_that_are_right_on_average():
    dice, attributes = cohort(female=200, male=150)
    found = [noised(dice, attributes, seed) for seed in range(40)]
    counts = np.array([each.groups["sex", "female"].count for each in found])
    sums = np.array([each.groups["sex", "male"].dice["whole-tumour"] for each in found])
    assert abs(counts.mean() - 200) < 4 * found[0].noise / math.sqrt(40)
    assert abs(sums.mean() - 120) < 4 * found[0].noise / math.sqrt(40)
    assert counts.std() == pytest.approx(found[0].noise, rel=0.4)


def test_groups_below_the_minimum_leave_nothing_whatever_the_noise():
    dice, attributes = cohort(female=9, male=300)
    for seed in range(200):
        groups = noised(dice, attributes, seed, epsilon=0.5).groups
        assert ("sex", "female") not in groups
        assert ("sex", "male") in groups


def test_a_group_that_would_vanish_without_one_patient_is_almost_never_shown():
    dice, attributes = cohort(female=10)
    shown = sum(bool(noised(dice, attributes, seed, delta=0.02, epsilon=4.0).groups) for seed in range(2000))
    # By chance delta / 2, 20 of 2,000; not more than five standard deviations above.
    assert 0 < shown < 20 + 5 * math.sqrt(20)


def test_costs_what_its_noise_costs():
    dice, attributes = cohort(female=50)
    found = noised(dice, attributes, kinds=("sex", "age"), regions=REGIONS)
    multiplier = found.noise / sensitivity(2, 1)
    assert found.spending.epsilon == epsilon(multiplier, 1.0, 1, 5e-6) <= 2.0
    assert (found.spending.delta, found.spending.what) == (pytest.approx(1e-5), "statistics")


def test_one_patient_moves_the_statistic_by_at_most_the_sensitivity():
    rng = np.random.default_rng(0)
    for _ in range(50):
        kinds, regions = int(rng.integers(1, 5)), int(rng.integers(1, 4))
        moved = [np.array([1.0, *rng.uniform(0, 1, regions)]) for _ in range(kinds)]
        assert np.linalg.norm(np.concatenate(moved)) <= sensitivity(kinds, regions) + 1e-12
    assert sensitivity(3, 1) == pytest.approx(math.sqrt(6))


def test_a_case_without_an_attribute_counts_in_none_of_its_groups():
    dice, attributes = cohort(female=100)
    dice["unknown"] = {"whole-tumour": 0.5}
    assert set(noised(dice, attributes, minimum_count=1).groups) == {("sex", "female")}
    assert not noised({}, {}).groups


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"minimum_count": 0}, id="no-minimum"),
        pytest.param({"epsilon": 0.0}, id="no-epsilon"),
        pytest.param({"delta": 0.0}, id="no-delta"),
        pytest.param({"kinds": ()}, id="no-attribute"),
        pytest.param({"kinds": ("sex", "sex")}, id="attribute-twice"),
        pytest.param({"regions": ("enhancing",)}, id="unknown-region"),
    ],
)
def test_refuses_what_cannot_be_accounted_for(changes):
    with pytest.raises(PrivacySettingsError):
        noised(*cohort(female=20), **changes)


@pytest.mark.parametrize("dice", [1.2, -0.1, float("nan")])
def test_refuses_a_dice_that_would_weigh_more_than_a_patient_may(dice):
    with pytest.raises(PrivacySettingsError):
        noised({"case": {"whole-tumour": dice}}, {})
