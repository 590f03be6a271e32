"""Jobs on a quantum service: permitted, charged once, recorded first, found again; no socket is opened."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from federated.errors import (
    QuantumBudgetError,
    QuantumJobError,
    QuantumPermissionError,
    QuantumServiceError,
    ShotsError,
)
from federated.quantum.job_sampler import JobSampler, Patience
from federated.quantum.jobs import LOCAL, JobState, circuit_digest, spent_on
from federated.quantum.policy import Estimate, Price, QuantumPolicy
from federated.quantum.qasm import measured_program
from tests.fakes.quantum_service import Clock, InMemoryEgress, InMemoryJobStore, InMemoryQuantumService

TARGET = "quantinuum.sim.h2-1e"
POLICY = QuantumPolicy(
    {TARGET: Price(job=Decimal(5))}, egress_allowed=True, permission="board 7/2026", max_cost=Decimal(100)
)
PROGRAMS = [measured_program(2, [f"rx(0.{digit}) q[0];"]) for digit in range(1, 10)]


class Site:
    """One site's sampler with everything around it in memory."""

    def __init__(self, policy: QuantumPolicy = POLICY, **options: Any) -> None:
        self.service = InMemoryQuantumService()
        self.store = InMemoryJobStore()
        self.egress = InMemoryEgress(self.service.log)
        self.clock = Clock()
        self.estimates: list[Estimate] = []
        self.options = options
        self.sampler = self.restarted(policy)

    def restarted(self, policy: QuantumPolicy = POLICY) -> JobSampler:
        """A sampler of a new process over the same store and service."""
        return JobSampler(
            self.service,
            self.store,
            policy,
            self.egress,
            purpose="test",
            announce=self.estimates.append,
            now=self.clock.now,
            sleep=self.clock.sleep,
            **self.options,
        )

    @property
    def calls(self) -> list[str]:
        """What was done, without ids."""
        return [entry.split()[0] for entry in self.service.log]


class FairCoin:
    """A Sampler for the fallback."""

    def counts(self, programs: Sequence[str], shots: int) -> Sequence[Mapping[str, int]]:
        return [{"00": shots - shots // 2, "11": shots // 2}] * len(programs)


def test_counts_come_in_the_order_of_the_programs() -> None:
    wide = measured_program(3, [])
    assert Site().sampler.counts([PROGRAMS[0], wide, PROGRAMS[0]], 10) == [{"10": 10}, {"100": 10}, {"10": 10}]


def test_provenance_names_the_job() -> None:
    site = Site()
    site.sampler.counts(PROGRAMS[:1], 10)
    (record,) = site.sampler.used
    assert (record.provider, record.target, record.shots) == ("quantinuum", TARGET, 10)
    assert record.digest == circuit_digest(PROGRAMS[0], TARGET, 10)
    assert record.job_id in site.service.jobs
    assert (record.cost, record.currency, record.state) == (Decimal(5), "USD", JobState.SUCCEEDED)
    assert site.store.records() == [record]


def test_the_default_policy_sends_nothing() -> None:
    site = Site(QuantumPolicy())
    with pytest.raises(QuantumPermissionError, match="QFL_QUANTUM_ALLOW_EGRESS"):
        site.sampler.counts(PROGRAMS[:1], 10)
    assert site.service.log == []
    assert site.store.records() == []


def test_an_egress_is_recorded_before_it_happens_without_any_angle() -> None:
    site = Site()
    site.sampler.counts(PROGRAMS[:3], 10)
    assert site.calls[:2] == ["egress", "submit"]
    assert site.calls.count("egress") == 1
    (egress,) = site.egress.found
    assert (egress.target, egress.circuits, egress.shots) == (TARGET, 3, 10)
    assert (egress.purpose, egress.permission, egress.when) == ("test", "board 7/2026", Clock().time)
    assert "0.1" not in str(egress)


def test_nothing_is_sent_when_the_egress_cannot_be_recorded() -> None:
    class FullDisk:
        def record(self, egress: object) -> None:
            raise OSError("No space left on device")

    site = Site()
    site.egress = FullDisk()  # type: ignore[assignment]
    with pytest.raises(OSError, match="No space"):
        site.restarted().counts(PROGRAMS[:1], 10)
    assert site.service.log == []


def test_the_estimate_comes_before_the_charge() -> None:
    site = Site()
    site.sampler.counts(PROGRAMS[:2], 10)
    site.sampler.counts(PROGRAMS[:3], 10)
    first, second = site.estimates
    assert (first.circuits, first.cached, first.shots, first.cost) == (2, 0, 20, Decimal(10))
    assert (second.circuits, second.cached, second.shots, second.cost) == (3, 2, 10, Decimal(5))
    assert second.left.cost == Decimal(90)


def test_what_ran_before_is_neither_run_nor_charged_again() -> None:
    site = Site()
    once = site.sampler.counts(PROGRAMS[:2], 10)
    log = list(site.service.log)
    again = site.restarted(QuantumPolicy(POLICY.prices)).counts(PROGRAMS[:2], 10)  # even without permission
    assert again == once
    assert site.service.log == log
    assert spent_on(site.store.records()).shots == 20
    site.sampler.counts(PROGRAMS[:2], 11)  # another number of shots is another execution
    assert spent_on(site.store.records()).shots == 42


def test_a_batch_over_the_budget_is_refused_whole() -> None:
    site = Site(replace(POLICY, max_cost=Decimal(14)))
    with pytest.raises(QuantumBudgetError, match="expected at most 14 USD, got 15 USD for 3 new circuits"):
        site.sampler.counts(PROGRAMS[:3], 10)
    assert site.service.log == []
    assert len(site.estimates) == 1
    site.sampler.counts(PROGRAMS[:2], 10)


def test_another_process_that_takes_the_rest_of_the_budget_leaves_none() -> None:
    site = Site(replace(POLICY, max_cost=Decimal(14)))
    other = Site(replace(POLICY, max_cost=Decimal(14)))
    other.store = site.store

    def spend_meanwhile(_: float) -> None:
        other.restarted(replace(POLICY, max_cost=Decimal(14))).counts(PROGRAMS[5:6], 10)

    site.service.polls = 1
    site.options = {"in_flight": 1}
    site.clock.sleep = spend_meanwhile  # type: ignore[method-assign]
    with pytest.raises(QuantumBudgetError):
        site.restarted(replace(POLICY, max_cost=Decimal(14))).counts(PROGRAMS[:2], 10)
    assert spent_on(site.store.records()).cost == 10


@pytest.mark.parametrize(
    ("bill", "cost"),
    [
        pytest.param((Decimal(7), "USD"), Decimal(7), id="more-than-estimated"),
        pytest.param((Decimal(3), "USD"), Decimal(5), id="less-than-estimated"),
        pytest.param((Decimal(7), "EUR"), Decimal(5), id="another-currency"),
    ],
)
def test_the_budget_counts_the_bill_where_it_is_higher(bill: tuple[Decimal, str], cost: Decimal) -> None:
    site = Site()
    site.service.bill = bill
    site.sampler.counts(PROGRAMS[:1], 10)
    assert spent_on(site.store.records()).cost == cost


def test_only_so_many_jobs_are_open_at_a_time() -> None:
    site = Site(in_flight=4)
    site.service.polls = 2
    site.sampler.counts(PROGRAMS, 10)
    assert len(site.service.jobs) == 9
    assert site.service.most_open == 4


def test_polls_come_ever_more_slowly_up_to_a_limit() -> None:
    site = Site(patience=Patience(first_s=1, growth=2, longest_s=5, timeout_s=100))
    site.service.polls = 5
    site.sampler.counts(PROGRAMS[:1], 10)
    assert site.clock.pauses == [1, 2, 4, 5, 5]


def test_a_job_that_takes_too_long_is_fetched_by_the_next_run() -> None:
    site = Site(patience=Patience(timeout_s=20))
    site.service.polls = 12
    with pytest.raises(QuantumServiceError, match="not finished 1 jobs within 20 s"):
        site.sampler.counts(PROGRAMS[:1], 10)
    assert site.restarted().counts(PROGRAMS[:1], 10) == [{"10": 10}]
    assert site.calls.count("submit") == 1
    assert site.calls.count("egress") == 1
    assert spent_on(site.store.records()).shots == 10


def test_a_submission_whose_answer_got_lost_is_found_not_repeated() -> None:
    site = Site()
    site.service.fault, site.service.lose_answers = QuantumServiceError("The connection broke."), 1
    with pytest.raises(QuantumServiceError):
        site.sampler.counts(PROGRAMS[:1], 10)
    (record,) = site.store.records()
    assert record.state is JobState.SUBMITTING
    site.service.fault = None
    assert site.restarted().counts(PROGRAMS[:1], 10) == [{"10": 10}]
    assert site.calls.count("submit") == 1
    assert spent_on(site.store.records()).shots == 10


def test_a_submission_that_never_arrived_is_repeated_under_its_id_and_charged_once() -> None:
    site = Site()
    site.service.fault = QuantumServiceError("Nobody answers.")
    with pytest.raises(QuantumServiceError):
        site.sampler.counts(PROGRAMS[:1], 10)
    site.service.fault = None
    site.restarted().counts(PROGRAMS[:1], 10)
    assert len({entry for entry in site.service.log if entry.startswith("submit")}) == 1
    assert site.calls == ["egress", "submit", "knows", "egress", "submit", "outcome"]  # it was sent twice
    assert spent_on(site.store.records()).shots == 10


def test_a_job_that_the_service_does_not_take_is_not_charged() -> None:
    site = Site()
    site.service.fault = QuantumJobError("HTTP 400 TooManyShots")
    with pytest.raises(QuantumJobError, match="TooManyShots"):
        site.sampler.counts(PROGRAMS[:1], 10)
    assert [record.state for record in site.store.records()] == [JobState.REFUSED]
    assert spent_on(site.store.records()).shots == 0
    site.service.fault = None
    assert site.restarted().counts(PROGRAMS[:1], 10) == [{"10": 10}]
    assert spent_on(site.store.records()).shots == 10


def test_a_failed_job_is_named_by_its_code_and_a_new_one_is_charged_anew() -> None:
    site = Site()
    site.service.code = "InsufficientCredits"
    with pytest.raises(QuantumJobError, match="code is InsufficientCredits"):
        site.sampler.counts(PROGRAMS[:1], 10)
    assert [record.code for record in site.store.records()] == ["InsufficientCredits"]
    site.service.code = None
    assert site.restarted().counts(PROGRAMS[:1], 10) == [{"10": 10}]
    assert sorted(record.state for record in site.store.records()) == [JobState.FAILED, JobState.SUCCEEDED]
    assert spent_on(site.store.records()).shots == 20
    assert len(site.egress.found) == 2


def test_a_late_witness_of_a_failure_does_not_displace_the_new_job() -> None:
    site = Site()
    site.service.polls = 1

    def replaced_meanwhile(_: float) -> None:
        (record,) = site.store.records()
        site.store.save(replace(record, job_id="another", state=JobState.SUBMITTED))
        site.service.code = "Timeout"

    site.clock.sleep = replaced_meanwhile  # type: ignore[method-assign]
    with pytest.raises(QuantumJobError):
        site.restarted().counts(PROGRAMS[:1], 10)
    current = site.store.find(circuit_digest(PROGRAMS[0], TARGET, 10))
    assert current is not None
    assert (current.job_id, current.state) == ("another", JobState.SUBMITTED)


def test_no_simulator_stands_in_unless_the_policy_allows_it() -> None:
    site = Site(fallback=FairCoin())
    site.service.fault = QuantumServiceError("Nobody answers.")
    with pytest.raises(QuantumServiceError, match="Nobody answers"):
        site.sampler.counts(PROGRAMS[:1], 10)


def test_a_simulator_that_stands_in_is_recorded_as_such_and_never_taken_for_the_target() -> None:
    policy = replace(POLICY, fallback_allowed=True)
    site = Site(policy, fallback=FairCoin())
    site.service.fault = QuantumServiceError("Nobody answers.")
    assert site.sampler.counts(PROGRAMS[:1], 10) == [{"00": 5, "11": 5}]
    (used,) = site.sampler.used
    assert (used.provider, used.target, used.cost) == (LOCAL, LOCAL, Decimal(0))
    site.service.fault = None
    assert site.restarted(policy).counts(PROGRAMS[:1], 10) == [{"10": 10}]


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        pytest.param(QuantumPolicy(fallback_allowed=True), QuantumPermissionError, id="permission"),
        pytest.param(replace(POLICY, fallback_allowed=True, max_cost=Decimal(1)), QuantumBudgetError, id="budget"),
    ],
)
def test_no_simulator_hides_a_refusal(policy: QuantumPolicy, error: type[Exception]) -> None:
    with pytest.raises(error):
        Site(policy, fallback=FairCoin()).sampler.counts(PROGRAMS[:1], 10)


def test_refuses_no_shots() -> None:
    with pytest.raises(ShotsError):
        Site().sampler.counts(PROGRAMS[:1], 0)
