"""What every Sampler does: the simulator on this machine, and a quantum service that runs QIR."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from federated.adapters.azure_quantum import AzureQuantumService
from federated.adapters.job_folder import EgressFile, JobFolder
from federated.errors import CircuitInputError, ShotsError
from federated.quantum.job_sampler import JobSampler, Patience
from federated.quantum.policy import Price, QuantumPolicy
from federated.quantum.qasm import measured_program
from federated.quantum.sampler import LocalSampler, Sampler
from tests.servers.azure_quantum_loopback import KEY, LOCATION, RESOURCE_ID, TARGET, azure_quantum_loopback

# cos(0.5)^2 = 0.770: wire 0 is 1 so often as not, and wire 2 follows it; wire 1 stays 0.
ASYMMETRIC = measured_program(3, ["ry(1.0) q[0];", "cx q[0], q[2];"])
SHARE_OF_ZERO = 0.7701511529340699


@pytest.fixture(params=["local", "azure-loopback"])
def sampler(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sampler]:
    if request.param == "local":
        yield LocalSampler(seed=1)
        return
    with azure_quantum_loopback() as service:
        yield JobSampler(
            AzureQuantumService(
                resource_id=RESOURCE_ID, target=TARGET, location=LOCATION, key=KEY, endpoint=service.url
            ),
            JobFolder(tmp_path / "jobs"),
            QuantumPolicy({TARGET: Price(job=Decimal(1))}, egress_allowed=True, permission="test", max_cost=Decimal(9)),
            EgressFile(tmp_path / "egress.jsonl"),
            purpose="contract test",
            patience=Patience(first_s=0.05, timeout_s=60),
        )


def test_bits_stand_in_the_order_of_wires_and_counts_in_that_of_programs(sampler: Sampler) -> None:
    programs = [measured_program(3, ["x q[0];"]), measured_program(2, ["x q[1];"]), measured_program(3, ["x q[0];"])]
    assert [dict(counts) for counts in sampler.counts(programs, 7)] == [{"100": 7}, {"01": 7}, {"100": 7}]


def test_shares_are_those_of_quantum_mechanics(sampler: Sampler) -> None:
    (counts,) = sampler.counts([ASYMMETRIC], 2000)
    assert set(counts) == {"000", "101"}
    assert sum(counts.values()) == 2000
    error = (SHARE_OF_ZERO * (1 - SHARE_OF_ZERO) / 2000) ** 0.5
    assert abs(counts["000"] / 2000 - SHARE_OF_ZERO) < 5 * error


def test_no_programs_give_no_counts(sampler: Sampler) -> None:
    assert list(sampler.counts([], 10)) == []


def test_refuses_no_shots(sampler: Sampler) -> None:
    with pytest.raises(ShotsError, match="at least 1 shot"):
        sampler.counts([ASYMMETRIC], 0)


def test_refuses_a_program_that_is_none(sampler: Sampler) -> None:
    with pytest.raises(CircuitInputError):
        sampler.counts([measured_program(1, ["turn(0.5) q[0];"])], 10)
