"""The composition root: Settings to adapters to Services. The only place that names an adapter."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import httpx
from celery import Celery

from dicom_ingest.adapters.dicomweb import BearerAuth, DicomWebArchives, Limits
from federated.ports import Segmenter
from federated.quantum.job_sampler import JobSampler, Patience
from federated.quantum.jobs import JobStore, QuantumService
from federated.quantum.policy import Estimate
from fhir_adapter.adapters.rest import FhirRestStore
from plugin.adapters import sql_engine
from plugin.adapters.celery_queue import CeleryWorkQueue, create_celery
from plugin.adapters.sql_store import SqlAnalysisStore
from plugin.adapters.training_folder import TrainingFolder
from plugin.errors import SettingsError
from plugin.services.ports import Services, Site
from plugin.services.training_runs import TrainingStore
from plugin.settings import Quantum, Settings


def build_celery(settings: Settings) -> Celery:
    """Celery with the tasks' way to the services; each worker process builds its own on its first task."""
    app = create_celery(settings.work, settings.data_dir)
    app.qfl_services = cache(lambda: build_services(settings, app))
    app.conf.imports = ("plugin.tasks",)
    # Two lines for each tick of the timer would bury what matters.
    for chatter in ("celery.worker.strategy", "celery.app.trace", "celery.beat"):
        logging.getLogger(chatter).setLevel(logging.WARNING)
    return app


def build_services(settings: Settings, celery: Celery | None = None) -> Services:
    """Everything the use cases work with. Nothing is connected and no model is loaded yet."""
    # It logs whole URLs at INFO, and a search's URL can name a patient.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return Services(
        site=_site(settings),
        store=SqlAnalysisStore(sql_engine.connect(settings.database_url), hint_interval=settings.work.lease),
        queue=CeleryWorkQueue(celery or create_celery(settings.work, settings.data_dir)),
        fhir=_fhir(settings),
        archives=_archives(settings),
        segmenter=cache(lambda: _load_segmenter(settings)),
        clock=lambda: datetime.now(UTC),
        trainings=build_training_store(settings.data_dir / "training"),
    )


def build_training_store(folder: Path) -> TrainingStore:
    """The trainings below a folder."""
    return TrainingFolder(folder)


def migrate_database(settings: Settings) -> None:
    """Bring the database's schema to this code's version."""
    sql_engine.migrate(sql_engine.connect(settings.database_url))


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


def _site(settings: Settings) -> Site:
    work = settings.work
    return Site(
        organisation=settings.organisation,
        public_url=settings.web.public_url,
        notification_url=f"{settings.web.notification_url}/fhir/notifications",
        fhir_base_url=settings.fhir.base_url,
        archive_url=settings.archive.url,
        lease=work.lease,
        max_attempts=work.max_attempts,
        max_delivery_attempts=work.max_delivery_attempts,
        retry_base=work.retry_base,
    )


def _load_segmenter(settings: Settings) -> Segmenter:
    from federated.inference import load_segmenter

    return load_segmenter(settings.model_dir)


def _fhir(settings: Settings) -> FhirRestStore:
    fhir = settings.fhir
    return FhirRestStore(fhir.base_url, auth=_auth(fhir.user, fhir.password, fhir.token), timeout_s=fhir.timeout_s)


def _archives(settings: Settings) -> DicomWebArchives:
    archive = settings.archive
    auth = _auth(archive.user, archive.password, None)
    allowed: dict[str, httpx.Auth | None] = dict.fromkeys(archive.allowed_urls)
    return DicomWebArchives(archive.url, {**allowed, archive.url: auth}, Limits(read_s=archive.timeout_s))


def _auth(user: str | None, password: str | None, token: str | None) -> httpx.Auth | None:
    if token:
        return BearerAuth(token)
    return httpx.BasicAuth(user, password or "") if user else None
