"""The site's quantum target, under the site's policy."""

from collections.abc import Callable

from federated.quantum.job_sampler import JobSampler, Patience
from federated.quantum.jobs import JobStore, QuantumService
from federated.quantum.policy import Estimate
from plugin.errors import SettingsError
from plugin.settings import Quantum


def build_sampler(
    settings: Quantum, *, purpose: str, announce: Callable[[Estimate], None] = lambda _: None
) -> JobSampler:
    """The site's quantum target as a Sampler, under the site's policy. Nothing is connected yet.

    Args:
        settings: The part for quantum computers.
        purpose: Why circuits are run, for the record of what left the site; no name of a patient.
        announce: Told what each batch would cost, before it is charged.

    Raises:
        SettingsError: No workspace is configured.
    """
    from federated.adapters.job_folder import EgressFile
    from federated.quantum.sampler import LocalSampler

    return JobSampler(
        build_quantum_service(settings),
        build_job_store(settings),
        settings.policy,
        EgressFile(settings.folder / "egress.jsonl"),
        purpose=purpose,
        fallback=LocalSampler(),
        announce=announce,
        patience=Patience(timeout_s=settings.timeout_s),
    )


def build_quantum_service(settings: Quantum) -> QuantumService:
    """The site's quantum target. Nothing is connected yet.

    Raises:
        SettingsError: No workspace is configured.
    """
    from federated.adapters.azure_quantum import AzureQuantumService

    workspace = settings.workspace
    if workspace is None:
        raise SettingsError(
            "No quantum service is configured. Set QFL_AZURE_QUANTUM_RESOURCE_ID, _LOCATION, _TARGET and _KEY_FILE; "
            "docs/configuration.md lists them."
        )
    return AzureQuantumService(
        resource_id=workspace.resource_id,
        target=workspace.target,
        location=workspace.location,
        key=workspace.key,
        endpoint=workspace.endpoint,
    )


def build_job_store(settings: Quantum) -> JobStore:
    """The records of quantum jobs."""
    from federated.adapters.job_folder import JobFolder

    return JobFolder(settings.folder / "jobs")
