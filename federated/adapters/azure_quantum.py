"""Azure Quantum, through Microsoft's SDK.

What the SDK raises is never chained to our errors, and its logs are silenced: both quote signed URLs of the storage,
with which anybody can read the program and the results of a job.
"""

import logging
import re
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from enum import Enum
from functools import cached_property
from typing import Any, Final, NoReturn

from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from azure.quantum._client import WorkspaceClient
from azure.quantum.job.job import Job
from azure.quantum.target.target import Target
from azure.quantum.workspace import Workspace

from federated.errors import QuantumJobError, QuantumServiceError
from federated.quantum.jobs import Outcome, TargetStatus
from federated.quantum.qasm import compile_qir

_MAY_PASS: Final = {408, 425, 429}
_CODE = re.compile(r"[\w.\- ]{1,80}")


class AzureQuantumService:
    """A QuantumService on one target of an Azure Quantum workspace."""

    def __init__(
        self,
        *,
        resource_id: str,
        target: str,
        location: str,
        key: str | None = None,
        endpoint: str | None = None,
        retries: int = 3,
        timeout_s: float = 60.0,
    ) -> None:
        """Contact nothing yet.

        Args:
            resource_id: "/subscriptions/.../resourceGroups/.../providers/Microsoft.Quantum/Workspaces/...".
            target: Name, e.g. "quantinuum.sim.h2-1e"; its part before the first dot is the provider.
            location: Azure region of the workspace, e.g. "eastus".
            key: An access key of the workspace; unless given, the machine's own identity (DefaultAzureCredential).
            endpoint: Of the workspace's API; unless given, that of the location for a key, and what Azure says for an
                identity.
            retries: After a fault that may pass, each time.
            timeout_s: For connecting, and for each wait for data.
        """
        self._resource_id = resource_id
        self._target = target
        self._location = location
        self._key = key
        self._endpoint = endpoint or (f"https://{location}.quantum.azure.com/" if key else None)
        self._limits = {"retry_total": retries, "connection_timeout": timeout_s, "read_timeout": timeout_s}
        for chatter, level in (("azure", "WARNING"), ("azure.identity", "ERROR"), ("urllib3", "WARNING")):
            logging.getLogger(chatter).setLevel(level)

    @property
    def provider(self) -> str:
        """See QuantumService."""
        return self._target.partition(".")[0]

    @property
    def target(self) -> str:
        """See QuantumService."""
        return self._target

    def prepare(self, program: str) -> Any:
        """See QuantumService."""
        return compile_qir(program)

    def submit(self, job_id: str, prepared: Any, shots: int) -> None:
        """See QuantumService."""
        with _translated("take a job"):
            try:
                self._azure_target.submit(
                    prepared,
                    f"qfl-{job_id}",
                    shots=shots,
                    target_profile="Base",
                    job_id=job_id,
                    # A blob is never overwritten, and an earlier try may have left one.
                    blob_name=f"inputData-{uuid.uuid4()}",
                )
            except HttpResponseError as error:
                # The first request was served, its answer got lost, and the SDK asked again.
                if error.status_code != 409 or not self.knows(job_id):
                    raise

    def knows(self, job_id: str) -> bool:
        """See QuantumService."""
        return self._job(job_id) is not None

    def outcome(self, job_id: str) -> Outcome | None:
        """See QuantumService."""
        job = self._job(job_id)
        if job is None:
            return Outcome(code="JobNotFound")
        if not job.has_completed():
            return None
        bill = job.details.cost_estimate
        cost = None if bill is None else Decimal(str(bill.estimated_total))
        currency = None if bill is None else str(bill.currency_code)
        if not job.has_succeeded():
            fault = job.details.error_data
            code = _clean(fault.code if fault is not None else job.details.status)
            return Outcome(code=code, cost=cost, currency=currency)
        with _translated("give a job's results"):
            try:
                return Outcome(_counts(job.get_results_histogram()), cost=cost, currency=currency)
            except (ValueError, KeyError, TypeError, AttributeError):  # what the SDK and we say about a wrong format
                return Outcome(code="UnreadableResults", cost=cost, currency=currency)

    def targets(self) -> Sequence[TargetStatus]:
        """See QuantumService."""
        with _translated("list its targets"):
            return [
                TargetStatus(
                    target.name,
                    target.provider_id,
                    _clean(target.current_availability),
                    None if target.average_queue_time is None else float(target.average_queue_time),
                )
                for target in self._workspace.get_targets()
            ]

    @cached_property
    def _workspace(self) -> Workspace:
        credential = AzureKeyCredential(self._key) if self._key else DefaultAzureCredential()
        try:
            return _PatientWorkspace(
                limits=self._limits,
                resource_id=self._resource_id,
                location=self._location,
                credential=credential,
                _quantum_endpoint=self._endpoint,
            )
        except ValueError as error:
            raise QuantumJobError(f"There is no such Azure Quantum workspace: {error}") from None
        except RuntimeError as error:  # in which the SDK wraps what keeps it from asking Azure where the workspace is
            kind = type(error.__cause__ or error).__name__
            raise QuantumServiceError(f"Azure could not be reached to find the workspace: {kind}.") from None

    @cached_property
    def _azure_target(self) -> Target:
        """The target, as the SDK knows how to speak to it."""
        target = self._workspace.get_targets(self._target)
        if not isinstance(target, Target):
            raise QuantumJobError(
                f"The workspace offers no target {self._target!r}. 'qfl quantum targets' lists what it offers."
            )
        if target.current_availability == "Unavailable":
            raise QuantumServiceError(f"The target {self._target} is not available now.")
        return target

    def _job(self, job_id: str) -> Job | None:
        with _translated("tell about a job"):
            try:
                return self._workspace.get_job(job_id)
            except ResourceNotFoundError:
                return None


class _PatientWorkspace(Workspace):  # type: ignore[misc]  # the SDK has no types
    """A workspace whose requests end in minutes; the SDK's limits add up to hours and cannot be set from outside."""

    def __init__(self, *, limits: Mapping[str, float], **parameters: Any) -> None:
        self._limits = limits
        super().__init__(**parameters)

    def _create_client(self) -> WorkspaceClient:
        parameters = self._connection_params
        return WorkspaceClient(
            endpoint=parameters.quantum_endpoint,
            credential=parameters.get_credential_or_default(),
            credential_scopes=["https://quantum.microsoft.com/.default"],
            authentication_policy=parameters.get_auth_policy(),
            user_agent=parameters.get_full_user_agent(),
            retry_backoff_max=8,
            **self._limits,
        )


@contextmanager
def _translated(task: str) -> Iterator[None]:
    """Turn the SDK's errors into ours; from None, because theirs hold signed URLs."""
    try:
        yield
    except ClientAuthenticationError as error:
        if error.status_code is None:
            raise QuantumJobError(
                "There are no credentials for Azure Quantum: expected QFL_AZURE_QUANTUM_KEY_FILE, or an identity of "
                "this machine that DefaultAzureCredential finds."
            ) from None
        _raise_refused(task, error)
    except HttpResponseError as error:
        _raise_refused(task, error)
    except AzureError as error:
        raise QuantumServiceError(f"Azure Quantum could not be reached to {task}: {type(error).__name__}.") from None


def _raise_refused(task: str, error: HttpResponseError) -> NoReturn:
    code = _clean(error.error.code) if error.error is not None else ""
    status = f"HTTP {error.status_code} {code}".strip()
    if error.status_code is None or error.status_code in _MAY_PASS or error.status_code >= 500:
        raise QuantumServiceError(f"Azure Quantum could not {task} now: {status}. Try again later.") from None
    raise QuantumJobError(f"Azure Quantum refused to {task}: {status}.") from None


def _clean(text: Any) -> str:
    """A code word of the service; anything longer or stranger is not repeated in our messages."""
    word = text.value if isinstance(text, Enum) else text
    return word if isinstance(word, str) and _CODE.fullmatch(word) else "Unknown"


def _counts(histogram: Any) -> Mapping[str, int]:
    counts: Counter[str] = Counter()
    for entry in histogram.values():
        bits, count = entry["outcome"], entry["count"]
        if not bits or not set(bits) <= {0, 1} or isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"Expected lists of 0 and 1 with whole counts, got {bits!r}.")
        counts["".join(str(bit) for bit in bits)] += count
    if not counts:
        raise ValueError("Expected the outcomes of at least one shot, got none.")
    return dict(counts)
