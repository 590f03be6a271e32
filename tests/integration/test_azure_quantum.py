"""Circuits on Azure Quantum: against a loopback service that runs QIR, and against a real workspace where one is given.

For the real one set QFL_TEST_AZURE_RESOURCE_ID, QFL_TEST_AZURE_LOCATION and QFL_TEST_AZURE_TARGET (a free simulator;
every run is charged by the contract), and QFL_TEST_AZURE_KEY and QFL_TEST_AZURE_ENDPOINT unless the machine has an
identity of its own.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from federated.adapters.azure_quantum import AzureQuantumService
from federated.adapters.job_folder import EgressFile, JobFolder
from federated.errors import (
    CircuitInputError,
    QuantumBudgetError,
    QuantumError,
    QuantumJobError,
    QuantumPermissionError,
    QuantumServiceError,
)
from federated.quantum.circuit import Circuit
from federated.quantum.fused import FusedBackend
from federated.quantum.hardware import HardwareBackend
from federated.quantum.job_sampler import JobSampler, Patience
from federated.quantum.jobs import JobState, spent_on
from federated.quantum.policy import Price, QuantumPolicy
from federated.quantum.qasm import measured_program
from federated.quantum.sampler import LocalSampler
from plugin.bootstrap.quantum import build_sampler
from plugin.cli.hardware import jobs, targets
from plugin.settings import load_quantum_settings
from tests.servers.azure_quantum_loopback import (
    KEY,
    LOCATION,
    RESOURCE_ID,
    SIGNATURE,
    TARGET,
    AzureQuantumLoopback,
    Fault,
    azure_quantum_loopback,
)
from tests.servers.processes import wait_until

ROOT = Path(__file__).parents[2]
QUICK = Patience(first_s=0.05, longest_s=0.2, timeout_s=60)
PROGRAM = measured_program(2, ["ry(1.0) q[0];"])
NEEDED = ("QFL_TEST_AZURE_RESOURCE_ID", "QFL_TEST_AZURE_LOCATION", "QFL_TEST_AZURE_TARGET")


@dataclass(frozen=True)
class Site:
    """A site's folder, and the way from it to a service."""

    folder: Path
    service: AzureQuantumService
    patience: Patience = QUICK

    def sampler(self, policy: QuantumPolicy | None = None, patience: Patience | None = None) -> JobSampler:
        """A sampler as a new process has it."""
        return JobSampler(
            self.service,
            self.store,
            policy or allowing(self.service.target),
            EgressFile(self.folder / "egress.jsonl"),
            purpose="integration test",
            fallback=LocalSampler(seed=3),
            patience=patience or self.patience,
        )

    @property
    def store(self) -> JobFolder:
        """Its records."""
        return JobFolder(self.folder / "jobs")


def allowing(target: str, **changes: object) -> QuantumPolicy:
    price = {target: Price(job=Decimal(1))}
    rules = {"egress_allowed": True, "permission": "test", "max_cost": Decimal(50), **changes}
    return QuantumPolicy(price, **rules)  # type: ignore[arg-type]


def site_at(loopback: AzureQuantumLoopback, folder: Path, **changes: str) -> Site:
    parameters = {"resource_id": RESOURCE_ID, "target": TARGET, "location": LOCATION, "key": KEY, **changes}
    return Site(folder, AzureQuantumService(**parameters, endpoint=loopback.url, retries=1, timeout_s=2))  # type: ignore[arg-type]


@pytest.fixture
def loopback() -> Iterator[AzureQuantumLoopback]:
    with azure_quantum_loopback() as running:
        yield running


@pytest.fixture
def site(loopback: AzureQuantumLoopback, tmp_path: Path) -> Site:
    return site_at(loopback, tmp_path)


@pytest.fixture(params=["loopback", "workspace"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """The loopback service; a real workspace where the environment names one."""
    if request.param == "loopback":
        return site_at(request.getfixturevalue("loopback"), tmp_path)
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        pytest.skip(f"No real Azure Quantum workspace is given: {', '.join(missing)} not set.")
    service = AzureQuantumService(
        resource_id=os.environ["QFL_TEST_AZURE_RESOURCE_ID"],
        location=os.environ["QFL_TEST_AZURE_LOCATION"],
        target=os.environ["QFL_TEST_AZURE_TARGET"],
        key=os.environ.get("QFL_TEST_AZURE_KEY"),
        endpoint=os.environ.get("QFL_TEST_AZURE_ENDPOINT"),
    )
    return Site(tmp_path, service, Patience(timeout_s=1800))


@pytest.mark.timeout(2000)
def test_a_layer_on_the_service_agrees_with_exact_simulation(either: Site) -> None:
    circuit = Circuit(3, 1, 1, "ry", "rot", "cnot", ((0,), (1,), (2,), (0, 2)))
    generator = torch.Generator().manual_seed(5)
    angles = torch.rand(2, 3, generator=generator, dtype=torch.float64) * 3
    weights = torch.randn(circuit.weight_shape, generator=generator, dtype=torch.float64)
    sampler = either.sampler()
    found = HardwareBackend(sampler, 1000).expectations(circuit, angles, weights)
    exact = FusedBackend().expectations(circuit, angles, weights)
    errors = ((1 - exact**2).clamp(min=0) / 1000).sqrt() + 1 / 1000
    assert ((found - exact).abs() / errors).max() < 5
    records = sampler.used
    assert {(record.target, record.shots, record.state) for record in records} == {
        (either.service.target, 1000, JobState.SUCCEEDED)
    }
    assert spent_on(either.store.records()).shots == 2000
    (egress,) = map(json.loads, (either.folder / "egress.jsonl").read_text().splitlines())
    assert (egress["circuits"], egress["shots"], egress["target"]) == (2, 1000, either.service.target)


@pytest.mark.timeout(2000)
def test_the_workspace_says_what_it_offers(either: Site) -> None:
    assert either.service.target in {target.name for target in either.service.targets()}


def test_nothing_is_asked_without_permission(loopback: AzureQuantumLoopback, site: Site) -> None:
    with pytest.raises(QuantumPermissionError):
        site.sampler(QuantumPolicy()).counts([PROGRAM], 10)
    assert loopback.requests == []


def test_a_second_run_asks_nothing(loopback: AzureQuantumLoopback, site: Site) -> None:
    once = site.sampler().counts([PROGRAM], 10)
    asked = len(loopback.requests)
    assert site.sampler().counts([PROGRAM], 10) == once
    assert len(loopback.requests) == asked
    assert loopback.unsigned == []


@pytest.mark.parametrize("status", [503, 429])
@pytest.mark.parametrize("fragment", ["/providerStatus", "/storage/sasUri", "/jobs/"])
def test_a_fault_that_passes_is_ridden_out(
    loopback: AzureQuantumLoopback, site: Site, status: int, fragment: str
) -> None:
    method = "POST" if fragment == "/storage/sasUri" else "GET"
    loopback.faults.append(Fault(method, fragment, status))
    (counts,) = site.sampler().counts([PROGRAM], 10)
    assert sum(counts.values()) == 10


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault("GET", "/providerStatus", 503, times=99), id="targets"),
        pytest.param(Fault("PUT", "/jobs/", 429, times=99), id="submission"),
        pytest.param(Fault("GET", "/jobs/", 500, times=99), id="polls"),
        pytest.param(Fault("GET", "/providerStatus", None, lose_answer=True, times=99), id="silence"),
    ],
)
def test_a_fault_that_stays_is_named_and_the_next_run_goes_on(
    loopback: AzureQuantumLoopback, site: Site, fault: Fault
) -> None:
    loopback.faults.append(fault)
    with pytest.raises(QuantumServiceError):
        site.sampler().counts([PROGRAM], 10)
    fault.times = 0
    site.sampler().counts([PROGRAM], 10)
    assert len(loopback.jobs) == 1
    assert spent_on(site.store.records()).shots == 10


def test_nobody_there_is_named(tmp_path: Path) -> None:
    service = AzureQuantumService(
        resource_id=RESOURCE_ID,
        target=TARGET,
        location=LOCATION,
        key=KEY,
        endpoint="http://127.0.0.1:1/",
        retries=0,
    )
    with pytest.raises(QuantumServiceError, match="could not be reached to list its targets: ServiceRequestError"):
        service.targets()


def test_an_endless_answer_is_a_timeout(loopback: AzureQuantumLoopback, tmp_path: Path) -> None:
    loopback.faults.append(Fault("GET", "/providerStatus", None, delay_s=3, times=9))
    parameters = {"resource_id": RESOURCE_ID, "target": TARGET, "location": LOCATION, "key": KEY}
    service = AzureQuantumService(**parameters, endpoint=loopback.url, retries=0, timeout_s=0.2)  # type: ignore[arg-type]
    with pytest.raises(QuantumServiceError, match="ServiceResponse"):
        service.targets()


def test_an_answer_lost_after_the_job_was_created_makes_no_second_job(
    loopback: AzureQuantumLoopback, site: Site
) -> None:
    loopback.faults.append(Fault("PUT", "/jobs/", None, lose_answer=True))
    site.sampler().counts([PROGRAM], 10)
    assert loopback.count("PUT", "/jobs/") == 2  # the SDK asked again, and was told that the job exists
    assert len(loopback.jobs) == 1


def test_an_unreachable_service_is_replaced_by_a_simulator_only_where_allowed(
    loopback: AzureQuantumLoopback, site: Site
) -> None:
    loopback.availability = "Unavailable"
    with pytest.raises(QuantumServiceError, match="not available"):
        site.sampler().counts([PROGRAM], 10)
    sampler = site.sampler(allowing(TARGET, fallback_allowed=True))
    (counts,) = sampler.counts([PROGRAM], 10)
    assert sum(counts.values()) == 10
    assert [record.provider for record in sampler.used] == ["local"]


@pytest.mark.parametrize(
    ("status", "code"), [("Failed", "CalibrationLost"), ("Cancelled", "Cancelled")], ids=["failed", "cancelled"]
)
def test_a_job_without_a_result_is_named_by_its_code(
    loopback: AzureQuantumLoopback, site: Site, status: str, code: str
) -> None:
    loopback.failure, loopback.final_status = "CalibrationLost", status
    with pytest.raises(QuantumJobError, match=f"code is {code}"):
        site.sampler().counts([PROGRAM], 10)
    (record,) = site.store.records()
    assert (record.state, record.code) == (JobState.FAILED, code)


def test_results_in_another_format_are_a_failed_job(loopback: AzureQuantumLoopback, site: Site) -> None:
    loopback.results = b'{"DataFormat": "microsoft.quantum-results.v2", "Results": [{"Histogram": [{"Outcome": "x"}]}]}'
    with pytest.raises(QuantumJobError, match="UnreadableResults"):
        site.sampler().counts([PROGRAM], 10)


def test_the_bill_is_recorded(loopback: AzureQuantumLoopback, site: Site) -> None:
    loopback.bill = {"currencyCode": "USD", "estimatedTotal": 1.75, "events": []}
    site.sampler().counts([PROGRAM], 10)
    assert [record.cost for record in site.store.records()] == [Decimal("1.75")]


def test_the_budget_holds_at_the_service(loopback: AzureQuantumLoopback, site: Site) -> None:
    with pytest.raises(QuantumBudgetError):
        site.sampler(allowing(TARGET, max_shots=9)).counts([PROGRAM], 10)
    assert loopback.requests == []


def test_a_program_that_does_not_compile_is_not_charged(loopback: AzureQuantumLoopback, site: Site) -> None:
    with pytest.raises(CircuitInputError):
        site.sampler().counts([measured_program(1, ["turn(0.5) q[0];"])], 10)
    assert list(site.store.records()) == []
    assert loopback.requests == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"key": "wrong-s3cret"}, "refused to .*: HTTP 401 Unauthorized", id="key"),
        pytest.param({"target": "quantinuum.qpu.h9-9"}, "no target 'quantinuum.qpu.h9-9'", id="target"),
        pytest.param({"location": "atlantis"}, "Location must be", id="location"),
    ],
)
def test_a_wrong_configuration_is_refused_without_showing_the_key(
    loopback: AzureQuantumLoopback, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    site = site_at(loopback, tmp_path, **changes)
    with pytest.raises(QuantumJobError, match=message) as caught:
        site.sampler().counts([PROGRAM], 10)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value)).replace('"wrong-s3cret"', "")


def test_neither_logs_nor_errors_hold_a_secret(
    loopback: AzureQuantumLoopback, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    site.sampler().counts([PROGRAM], 10)
    loopback.faults.append(Fault("GET", "/outputData", 403, times=9))
    with pytest.raises(QuantumError) as caught:
        site.sampler().counts([PROGRAM], 11)
    told = caplog.text + "".join(traceback.format_exception(caught.value)) + repr(site.service)
    told += "".join(path.read_text() for path in site.folder.rglob("*") if path.is_file())
    assert SIGNATURE.removeprefix("sig=") not in told
    assert KEY not in told


def test_a_killed_process_is_continued_by_the_next_without_paying_twice(
    loopback: AzureQuantumLoopback, site: Site
) -> None:
    loopback.running.clear()  # the job waits in the service's queue
    script = textwrap.dedent(
        f"""
        from decimal import Decimal
        from pathlib import Path
        from federated.adapters.azure_quantum import AzureQuantumService
        from federated.adapters.job_folder import EgressFile, JobFolder
        from federated.quantum.job_sampler import JobSampler, Patience
        from federated.quantum.policy import Price, QuantumPolicy
        folder = Path({str(site.folder)!r})
        workspace = dict(resource_id={RESOURCE_ID!r}, location={LOCATION!r}, endpoint={loopback.url!r})
        service = AzureQuantumService(target={TARGET!r}, key={KEY!r}, **workspace)
        policy = QuantumPolicy({{{TARGET!r}: Price(job=Decimal(1))}}, True, "test", max_cost=Decimal(50))
        recorder = EgressFile(folder / "egress.jsonl")
        JobSampler(service, JobFolder(folder / "jobs"), policy, recorder, purpose="a run that dies").counts(
            [{PROGRAM!r}], 10
        )
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    try:
        wait_until(lambda: loopback.count("GET", "/jobs/") >= 1, 60, process=process)
    finally:
        process.kill()
        assert process.wait() == -signal.SIGKILL
    (left,) = site.store.records()
    assert left.state is JobState.SUBMITTED
    loopback.running.set()
    (counts,) = site.sampler().counts([PROGRAM], 10)
    assert sum(counts.values()) == 10
    assert list(loopback.jobs) == [left.job_id]
    assert spent_on(site.store.records()).shots == 10
    assert len((site.folder / "egress.jsonl").read_text().splitlines()) == 1


def test_the_commands_show_targets_and_jobs(loopback: AzureQuantumLoopback, site: Site) -> None:
    environ = {
        "QFL_DATA_DIR": str(site.folder.parent),
        "QFL_AZURE_QUANTUM_RESOURCE_ID": RESOURCE_ID,
        "QFL_AZURE_QUANTUM_LOCATION": LOCATION,
        "QFL_AZURE_QUANTUM_TARGET": TARGET,
        "QFL_AZURE_QUANTUM_KEY": KEY,
        "QFL_AZURE_QUANTUM_ENDPOINT": loopback.url,
        "QFL_QUANTUM_PRICES": f"{TARGET}=job:1",
        "QFL_QUANTUM_ALLOW_EGRESS": "yes",
        "QFL_QUANTUM_PERMISSION": "board 7/2026",
        "QFL_QUANTUM_MAX_COST": "3",
    }
    offered = CliRunner().invoke(targets, env=environ)
    assert offered.exit_code == 0
    assert f"{TARGET}: Available, queue 3 s, allowed here\n" in offered.output
    assert "quantinuum.qpu.h2-1: Available, queue 86400 s, no price in QFL_QUANTUM_PRICES\n" in offered.output
    sampler = build_sampler(load_quantum_settings(environ), purpose="test")
    sampler.counts([PROGRAM], 10)
    listed = CliRunner().invoke(jobs, env=environ)
    assert listed.exit_code == 0
    assert f"{sampler.used[0].job_id} {TARGET}: succeeded, 10 shots, 1 USD" in listed.output
    assert "1 jobs. Left: 99990 of 100000 shots, 2 of 3 USD" in listed.output
