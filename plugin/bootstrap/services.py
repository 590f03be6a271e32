"""Everything that the use cases of one process work with."""

import logging
from functools import cache
from pathlib import Path

import httpx
from celery import Celery

from dicom_ingest.adapters.dicomweb import BearerAuth, DicomWebArchives, Limits
from federated.ports import Segmenter
from fhir_adapter.adapters.rest import FhirRestStore
from plugin.adapters import sql_engine
from plugin.adapters.celery_queue import CeleryWorkQueue, create_celery
from plugin.adapters.sql_store import SqlAnalysisStore
from plugin.adapters.training_folder import TrainingFolder
from plugin.bootstrap import clock
from plugin.bootstrap.federation import build_federation_desk
from plugin.bootstrap.governance import build_governance
from plugin.bootstrap.ledger import build_journal
from plugin.services.ports import Services, Site
from plugin.services.training_runs import TrainingStore
from plugin.settings import Settings


def build_services(settings: Settings, celery: Celery | None = None) -> Services:
    """Everything the use cases work with. Nothing is connected and no model is loaded yet."""
    # It logs whole URLs at INFO, and a search's URL can name a patient.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    engine = sql_engine.connect(settings.database_url)
    return Services(
        site=_site(settings),
        store=SqlAnalysisStore(engine, hint_interval=settings.work.lease, journal=build_journal(settings)),
        queue=CeleryWorkQueue(celery or create_celery(settings.work, settings.data_dir)),
        fhir=_fhir(settings),
        archives=_archives(settings),
        segmenter=cache(lambda: _load_segmenter(settings)),
        clock=clock.now,
        trainings=build_training_store(settings.data_dir / "training"),
        governance=build_governance(settings),
        federation=build_federation_desk(settings),
    )


def build_training_store(folder: Path) -> TrainingStore:
    """The trainings below a folder."""
    return TrainingFolder(folder)


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
