import logging
import math

import pytest

from governance.errors import AuditDataError
from governance.fairness.classification import (
    CLEARED,
    RECOGNISED,
    FoundCase,
    classification_fairness,
    outcomes_of,
)
from governance.fairness.groups import GroupedCase


def found(group, *, tp=0, fn=0, fp=0, tn=0):
    kinds = [(True, True)] * tp + [(True, False)] * fn + [(False, True)] * fp + [(False, False)] * tn
    return [FoundCase(GroupedCase(f"{group}-{n}", {"sex": group}), *kind) for n, kind in enumerate(kinds)]


WOMEN = found("F", tp=6, fn=4, fp=1, tn=9)
MEN = found("M", tp=9, fn=1, fp=3, tn=7)


@pytest.fixture(scope="module")
def measured():
    return classification_fairness([*WOMEN, *MEN], "glioma", "sex", minimum_group=10)


def test_aif360_agrees_with_the_definitions(measured):
    women = next(each for each in measured.rest if each.group == "F")
    assert women.statistical_parity_difference == pytest.approx(7 / 20 - 12 / 20)
    assert women.disparate_impact == pytest.approx((7 / 20) / (12 / 20))
    assert women.equal_opportunity_difference == pytest.approx(6 / 10 - 9 / 10)
    assert women.average_odds_difference == pytest.approx(((1 / 10 - 3 / 10) + (6 / 10 - 9 / 10)) / 2)
    men = next(each for each in measured.rest if each.group == "M")
    assert men.statistical_parity_difference == pytest.approx(-women.statistical_parity_difference)


def test_theils_index_agrees_with_its_definition(measured):
    # Benefits b = predicted - truth + 1: 2 for a wrong alarm, 0 for a miss, 1 otherwise.
    benefits = [2.0] * 4 + [0.0] * 5 + [1.0] * 31
    mean = sum(benefits) / len(benefits)
    by_hand = sum(b / mean * math.log(b / mean) for b in benefits if b) / len(benefits)
    assert measured.theil == pytest.approx(by_hand)


def test_fairlearn_agrees_with_the_definitions(measured):
    women = next(each for each in measured.rates if each.group == "F")
    assert (women.cases, women.selection_rate, women.true_positive_rate, women.false_positive_rate, women.accuracy) == (
        20,
        pytest.approx(7 / 20),
        pytest.approx(6 / 10),
        pytest.approx(1 / 10),
        pytest.approx(15 / 20),
    )
    assert measured.demographic_parity_difference == pytest.approx(5 / 20)
    assert measured.equalized_odds_difference == pytest.approx(3 / 10)


def test_a_rate_over_no_case_is_nothing():
    cases = [*found("F", tp=8, fn=2), *found("M", tp=5, fn=5)]
    measured = classification_fairness(cases, "glioma", "sex", minimum_group=10)
    assert all(each.false_positive_rate is None for each in measured.rates)
    assert measured.equalized_odds_difference is None
    assert all(each.average_odds_difference is None for each in measured.rest)
    assert measured.rest[0].equal_opportunity_difference == pytest.approx(0.3)


def test_nobody_is_called_positive():
    cases = [*found("F", fn=5, tn=5), *found("M", fn=5, tn=5)]
    measured = classification_fairness(cases, "glioma", "sex", minimum_group=10)
    assert measured.rest[0].disparate_impact is None
    assert measured.rest[0].statistical_parity_difference == 0


def test_small_groups_and_unknown_ones_are_left_out():
    nobody = FoundCase(GroupedCase("unknown", {}), truth=True, predicted=True)
    cases = [*WOMEN, *MEN, *found("X", tp=3), nobody]
    assert classification_fairness(cases, "glioma", "sex", minimum_group=10).rest == pytest.approx(
        classification_fairness([*WOMEN, *MEN], "glioma", "sex", minimum_group=10).rest
    )


def test_one_group_is_compared_with_nothing():
    measured = classification_fairness(WOMEN, "glioma", "sex", minimum_group=10)
    assert "fewer than two groups" in measured.missing
    assert measured.rest == ()


def test_refuses_no_case():
    with pytest.raises(AuditDataError, match="expected cases, got none"):
        classification_fairness([], "glioma", "sex", minimum_group=10)


def test_the_libraries_leave_logging_as_it_was():
    before = list(logging.getLogger().handlers)
    classification_fairness([*WOMEN, *MEN], "glioma", "sex", minimum_group=10)
    assert logging.getLogger().handlers == before
    assert logging.getLogger().filters == []


@pytest.mark.parametrize(
    ("truth", "predicted", "outcome"),
    [(True, True, {RECOGNISED: 1.0}), (True, False, {RECOGNISED: 0.0}), (False, True, {CLEARED: 0.0})],
)
def test_who_has_the_finding_is_served_by_being_recognised(truth, predicted, outcome):
    assert outcomes_of(FoundCase(GroupedCase("a", {}), truth, predicted)).outcomes == outcome
