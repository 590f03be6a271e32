"""A site's rules for quantum services: closed by default, prices, budgets."""

from decimal import Decimal
from types import MappingProxyType

import pytest

from federated.errors import QuantumBudgetError, QuantumPermissionError, ShotsError
from federated.quantum.policy import GateCounts, Price, QuantumPolicy, Spent

GATES = GateCounts(one_qubit=10, two_qubit=4, measurements=3)
TARGET = "quantinuum.qpu.h2-1"
CREDITS = Price(job=Decimal(5), one_qubit=Decimal("0.0002"), two_qubit=Decimal("0.002"), measurement=Decimal("0.001"))


def test_the_default_lets_nothing_leave_and_says_how_to_allow_it() -> None:
    with pytest.raises(QuantumPermissionError, match="QFL_QUANTUM_ALLOW_EGRESS"):
        QuantumPolicy().check_egress(TARGET)


def test_a_target_without_a_price_is_not_allowed() -> None:
    policy = QuantumPolicy({"ionq.simulator": Price()}, egress_allowed=True, permission="board 7/2026")
    assert policy.allowed_targets == ("ionq.simulator",)
    policy.check_egress("ionq.simulator")
    with pytest.raises(
        QuantumPermissionError, match=r"\(ionq.simulator\), got 'quantinuum.qpu.h2-1'.*QFL_QUANTUM_PRICES"
    ):
        policy.check_egress(TARGET)


def test_egress_needs_somebody_who_permitted_it() -> None:
    with pytest.raises(QuantumPermissionError, match="QFL_QUANTUM_PERMISSION"):
        QuantumPolicy(egress_allowed=True, permission=" ")


@pytest.mark.parametrize(
    ("price", "shots", "cost"),
    [
        # Quantinuum's credits: 5 + shots / 5000 * (N1 + 10 N2 + 5 Nm), here (10 + 40 + 15) = 65.
        pytest.param(CREDITS, 1000, Decimal(5) + Decimal(65) / 5, id="credits"),
        pytest.param(Price(shot=Decimal("0.01"), least=Decimal(12)), 100, Decimal(12), id="least"),
        pytest.param(Price(shot=Decimal("0.01"), least=Decimal(12)), 5000, Decimal(50), id="above-least"),
        pytest.param(Price(), 5000, Decimal(0), id="free"),
    ],
)
def test_a_job_costs_what_the_contract_says(price: Price, shots: int, cost: Decimal) -> None:
    assert price.cost(GATES, shots) == cost


def test_an_estimate_says_what_is_new_and_what_is_left() -> None:
    policy = QuantumPolicy({TARGET: CREDITS}, max_shots=5000, max_cost=Decimal(100), currency="HQC")
    estimate = policy.estimate(TARGET, [GATES] * 2, 1000, cached=3, spent=Spent(2500, Decimal(30)))
    assert (estimate.circuits, estimate.cached, estimate.shots) == (5, 3, 2000)
    assert (estimate.cost, estimate.currency) == (Decimal(36), "HQC")
    assert estimate.left == Spent(2500, Decimal(70))
    policy.check_budget(estimate)
    assert "5 circuits on quantinuum.qpu.h2-1, 3 of them" in str(estimate)


@pytest.mark.parametrize(
    ("spent", "setting"),
    [
        pytest.param(Spent(3001, Decimal(0)), "QFL_QUANTUM_MAX_SHOTS", id="shots"),
        pytest.param(Spent(0, Decimal("64.01")), "QFL_QUANTUM_MAX_COST", id="cost"),
    ],
)
def test_a_budget_is_kept_to_the_last_shot_and_cent(spent: Spent, setting: str) -> None:
    policy = QuantumPolicy({TARGET: CREDITS}, max_shots=5000, max_cost=Decimal(100))
    policy.check_budget(policy.estimate(TARGET, [GATES] * 2, 1000, spent=Spent(3000, Decimal(64))))
    with pytest.raises(QuantumBudgetError, match=setting):
        policy.check_budget(policy.estimate(TARGET, [GATES] * 2, 1000, spent=spent))


def test_what_is_cached_costs_nothing_even_of_an_empty_budget() -> None:
    policy = QuantumPolicy({TARGET: CREDITS}, max_shots=1)
    policy.check_budget(policy.estimate(TARGET, [], 1000, cached=9, spent=Spent(5, Decimal(5))))


def test_refuses_a_budget_or_circuit_of_no_shots() -> None:
    with pytest.raises(ShotsError, match="a budget, got 0"):
        QuantumPolicy(max_shots=0)
    with pytest.raises(ShotsError, match="a circuit, got 0"):
        QuantumPolicy({TARGET: CREDITS}).estimate(TARGET, [GATES], 0)


@pytest.mark.parametrize("amount", [Decimal(-1), Decimal("NaN"), Decimal("Infinity"), 1.5])
def test_refuses_amounts_that_are_none(amount: Decimal) -> None:
    with pytest.raises(QuantumBudgetError, match="finite amount"):
        QuantumPolicy(max_cost=amount)
    with pytest.raises(QuantumBudgetError, match="'two_qubit'"):
        Price(two_qubit=amount)


def test_prices_cannot_change_afterwards() -> None:
    prices = {TARGET: CREDITS}
    policy = QuantumPolicy(prices)
    prices.clear()
    assert policy.allowed_targets == (TARGET,)
    assert isinstance(policy.prices, MappingProxyType)
