import numpy as np
import pytest

from federated.balancing.cohort_table import (
    LARGE,
    SMALL,
    CohortCase,
    check_cohort,
    cross_table,
    group_sizes,
    groups_of,
    size_outcomes,
)
from federated.demographics import Demographics
from federated.errors import BalanceDataError
from tests.fakes.balance_cohorts import cohort


def test_a_person_belongs_to_the_bands_of_the_group_figures():
    found = [groups_of(Demographics("F", age, "asian"), "site-01")["age"] for age in (39, 40, 59, 60, 79, 80)]
    assert found == ["0-39", "40-59", "40-59", "60-79", "60-79", "80 and older"]
    assert groups_of(None, None) == {}
    assert groups_of(None, "site-01") == {"site": "site-01"}


def test_tumours_are_split_at_the_middle():
    assert size_outcomes([5, 1, 9, 7]) == (SMALL, SMALL, LARGE, LARGE)
    assert size_outcomes([2, 2, 2]) == (SMALL, SMALL, SMALL)
    assert size_outcomes([]) == ()


def test_small_and_unknown_groups_are_counted_but_not_compared():
    cases = cohort({("F", SMALL): 9, ("M", SMALL): 10, ("M", LARGE): 2, (None, LARGE): 5})
    assert group_sizes(cases, "sex") == {"F": 9, "M": 12}
    table = cross_table(cases, "sex", minimum=10)
    assert (table.groups, table.outcomes) == (("M",), (LARGE, SMALL))
    np.testing.assert_array_equal(table.weights, [[2, 10]])


def test_weights_take_the_place_of_counts():
    cases = cohort({("F", SMALL): 2, ("M", LARGE): 1})
    np.testing.assert_allclose(cross_table(cases, "sex", [0.5, 1.5, 3], minimum=1).weights, [[0, 2], [3, 0]])
    with pytest.raises(BalanceDataError, match="a weight for each of 3 cases, got 2"):
        cross_table(cases, "sex", [1, 1], minimum=1)


@pytest.mark.parametrize(
    ("cases", "attributes", "told"),
    [
        pytest.param([], ["sex"], "at least one case", id="no case"),
        pytest.param(cohort(), [], "got none", id="no attribute"),
        pytest.param(cohort(), ["sex", "sex"], "different attributes", id="twice"),
        pytest.param(cohort(), ["income"], "of sex, age, ethnicity, site, got income", id="unknown"),
        pytest.param([CohortCase("a", {}, SMALL)] * 2, ["sex"], "a name twice", id="same name"),
    ],
)
def test_refuses_what_is_no_cohort(cases, attributes, told):
    with pytest.raises(BalanceDataError, match=told):
        check_cohort(cases, attributes)
