from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from federated.errors import PrivacyBudgetError, PrivacySettingsError
from federated.privacy.accounting import Release, epsilon
from federated.privacy.budget import (
    Entry,
    PrivacyLedger,
    Spending,
    cost_of_training,
    spending_of_round,
    total,
    total_epsilon,
)
from federated.rounds.terms import Learning, Privacy, RoundTerms

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DELTA = 1e-5
PRIVACY = Privacy(record_noise=4.0, record_epsilon=3.0, delta=DELTA)


def spending(number=1, **changes):
    return replace(Spending.of("run-1", number, Release(4.0, 0.25, 20), DELTA), **changes)


def terms(**privacy):
    return RoundTerms(
        federation="f",
        run="run-1",
        round=3,
        rounds=10,
        participants=("a", "b"),
        app="0",
        model="0",
        layout="0",
        network={},
        deadline=NOW,
        learning=Learning(steps=20, batch=2),
        privacy=replace(PRIVACY, **privacy),
    )


def test_a_round_costs_what_its_steps_over_poisson_samples_cost():
    found = spending_of_round(terms(), patients=8)
    assert (found.run, found.round, found.sample_rate, found.steps) == ("run-1", 3, 0.25, 20)
    assert found.epsilon == epsilon(4.0, 0.25, 20, DELTA)


def test_a_batch_of_all_patients_or_more_is_no_sampling():
    assert cost_of_training(PRIVACY, steps=5, batch=9, patients=8).sample_rate == 1


def test_refuses_a_round_that_costs_more_than_its_terms_promise():
    with pytest.raises(PrivacyBudgetError, match=r"at most epsilon 0\.5"):
        spending_of_round(terms(record_epsilon=0.5), patients=8)


@pytest.mark.parametrize(
    ("privacy", "patients"),
    [
        pytest.param(PRIVACY, 0, id="no-patient"),
        pytest.param(replace(PRIVACY, delta=0.05), 20, id="delta-of-one-patient"),
        pytest.param(replace(PRIVACY, record_noise=0.0), 20, id="no-noise"),
    ],
)
def test_refuses_settings_that_protect_nobody(privacy, patients):
    with pytest.raises(PrivacySettingsError):
        cost_of_training(privacy, steps=20, batch=2, patients=patients)


def test_rounds_compose_below_their_sum():
    together = total_epsilon([spending(number) for number in range(1, 6)], DELTA)
    assert spending().epsilon < together < 5 * spending().epsilon
    assert together == pytest.approx(epsilon(4.0, 0.25, 100, DELTA))


def test_what_is_known_by_its_epsilon_only_is_added_as_it_stands():
    unknown = Spending("run-0", 1, 0.0, 1.0, 1, 1e-6, 0.7)
    found = total([spending(), unknown, unknown], DELTA)
    assert found.epsilon == pytest.approx(spending().epsilon + 1.4)
    assert found.delta == pytest.approx(DELTA + 2e-6)


def test_only_the_window_counts_and_a_charge_of_the_future_does():
    ledger = PrivacyLedger(
        [
            Entry(NOW - timedelta(days=366), spending(1)),
            Entry(NOW - timedelta(days=364), spending(2)),
            Entry(NOW + timedelta(days=3), spending(3)),
        ]
    )
    assert [each.round for each in ledger.within(NOW)] == [2, 3]
    assert ledger.total(NOW).epsilon == total_epsilon([spending(2), spending(3)], DELTA)
    assert PrivacyLedger().total(NOW).epsilon == 0


def test_refuses_at_the_limit_and_says_what_to_do():
    ledger = PrivacyLedger([Entry(NOW, spending(number)) for number in range(1, 5)])
    after = ledger.after(spending(5), NOW).epsilon
    assert not ledger.would_exceed(spending(5), after, NOW)
    assert ledger.check(spending(5), after, NOW).epsilon == after
    assert ledger.would_exceed(spending(5), after - 1e-3, NOW)
    with pytest.raises(PrivacyBudgetError, match="round 5: expected at most"):
        ledger.check(spending(5), after - 1e-3, NOW)


@pytest.mark.parametrize("changes", [{"epsilon": -1.0}, {"epsilon": float("nan")}, {"delta": 0.0}, {"steps": 0}])
def test_refuses_entries_that_mean_nothing(changes):
    with pytest.raises(PrivacySettingsError):
        spending(**changes)


def test_accounting_needs_no_torch():
    import subprocess
    import sys

    code = "import sys, federated.privacy.budget as b; b.spending_of_round; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
