import numpy as np
import pytest

from federated.balancing.balance_settings import BalanceSettings
from federated.balancing.cohort_table import LARGE, SMALL
from federated.balancing.fairness_filter import effective_cases, filter_cohort
from federated.errors import BalanceDataError, TrainingSettingsError
from tests.fakes.balance_cohorts import PLANTED, cohort, crossed

SOLVERS = ("exact", "annealed", "greedy", "qaoa", "vqe", "reweighing", "equal-reweighing")


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_lessens_what_groups_tell(solver):
    cases = cohort()
    found = filter_cohort(cases, BalanceSettings(("sex",), solver))
    (sex,) = found.findings
    assert found.outcome == "balanced"
    assert len(found.weights) == len(cases)
    assert np.mean(found.weights) == pytest.approx(1)
    assert min(found.weights) > 0
    assert sex.before.cramers_v > 0.3
    assert sex.p_value < 0.01
    assert sex.after.cramers_v < 0.5 * sex.before.cramers_v
    assert found.effective_cases < len(cases)


def test_reweighing_takes_all_of_it_and_keeps_the_shares():
    (sex,) = filter_cohort(cohort(), BalanceSettings(("sex",), "reweighing")).findings
    assert sex.after.cramers_v == pytest.approx(0, abs=1e-9)
    assert sex.after.share_gap == pytest.approx(sex.before.share_gap)


@pytest.mark.parametrize("solver", ["exact", "equal-reweighing"])
def test_the_others_even_out_the_shares_too(solver):
    (sex,) = filter_cohort(cohort(), BalanceSettings(("sex",), solver)).findings
    assert sex.before.share_gap > 0.4
    assert sex.after.share_gap < 0.1


def test_cases_of_one_stratum_share_their_weight():
    cases = cohort()
    found = filter_cohort(cases, BalanceSettings(("sex",), "exact"))
    by_stratum = {}
    for case, weight in zip(cases, found.weights, strict=True):
        by_stratum.setdefault((case.groups["sex"], case.outcome), set()).add(weight)
    assert all(len(weights) == 1 for weights in by_stratum.values())
    assert found.solution.energy == pytest.approx(found.optimum)
    assert found.qubits == 12


def test_two_attributes_at_once():
    cells = {
        (("F", "40-59"), SMALL): 10,
        (("F", "60-79"), LARGE): 5,
        (("M", "40-59"), SMALL): 5,
        (("M", "40-59"), LARGE): 10,
        (("M", "60-79"), LARGE): 20,
    }
    found = filter_cohort(crossed(cells), BalanceSettings(("sex", "age"), "exact"))
    for each in found.findings:
        assert each.after.cramers_v < each.before.cramers_v, each.attribute


def test_unknown_and_small_groups_keep_their_say():
    cases = cohort({**PLANTED, (None, SMALL): 7})
    found = filter_cohort(cases, BalanceSettings(("sex",), "reweighing"))
    (sex,) = found.findings
    assert (sex.unknown, sex.left_out) == (7, ())
    assert len(set(found.weights[-7:])) == 1
    assert sex.after.cramers_v == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("solver", ["exact", "reweighing"])
@pytest.mark.parametrize(
    "cells",
    [
        pytest.param({("F", SMALL): 40}, id="one group"),
        pytest.param({("F", SMALL): 9, ("M", LARGE): 40}, id="small group"),
        pytest.param({(None, SMALL): 20, (None, LARGE): 20}, id="nothing known"),
    ],
)
def test_without_two_groups_it_says_insufficient_evidence_and_changes_nothing(solver, cells):
    found = filter_cohort(cohort(cells), BalanceSettings(("sex",), solver))
    assert found.outcome == "insufficient evidence"
    assert set(found.weights) == {1.0}
    (sex,) = found.findings
    assert sex.outcome == "insufficient evidence"
    assert (sex.before, sex.after, sex.p_value) == (None, None, None)


def test_one_measured_and_one_unknown_attribute():
    found = filter_cohort(cohort(), BalanceSettings(("sex", "age"), "exact"))
    assert [each.outcome for each in found.findings] == ["measured", "insufficient evidence"]
    assert found.outcome == "balanced"


def test_what_images_tell_is_measured_on_both_sides():
    cases = cohort({cell: 2 * count for cell, count in PLANTED.items()})
    rng = np.random.default_rng(0)
    features = rng.normal(size=(len(cases), 3))
    features[:, 0] += [8.0 * (case.outcome == LARGE) for case in cases]
    (sex,) = filter_cohort(cases, BalanceSettings(("sex",), "reweighing"), features).findings
    assert sex.leakage_before.finding == "leaks"
    assert sex.leakage_after.auc < sex.leakage_before.auc - 0.1


def test_equal_weights_are_worth_all_cases():
    assert effective_cases(np.full(7, 3.0)) == pytest.approx(7)
    assert effective_cases(np.array([1.0, 0.0])) == pytest.approx(1)


def test_refuses_no_case_and_unknown_names():
    with pytest.raises(BalanceDataError, match="at least one case"):
        filter_cohort([], BalanceSettings(("sex",)))
    with pytest.raises(TrainingSettingsError, match="of sex, age, ethnicity, site, got income"):
        BalanceSettings(("income",))
    with pytest.raises(TrainingSettingsError, match=r"a balance solver of exact, .*, got 'magic'"):
        BalanceSettings(("sex",), "magic")
    with pytest.raises(TrainingSettingsError, match="minimum group of 1 to"):
        BalanceSettings(("sex",), minimum_group=0)
