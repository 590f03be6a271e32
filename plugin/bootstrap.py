"""The composition root: Settings to adapters to Services. The only place that names an adapter."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from celery import Celery

from dicom_ingest.adapters.dicomweb import BearerAuth, DicomWebArchives, Limits
from federated.errors import ProvisioningError
from federated.ports import Segmenter
from federated.quantum.job_sampler import JobSampler, Patience
from federated.quantum.jobs import JobStore, QuantumService
from federated.quantum.policy import Estimate
from federated.rounds.messages import Progress
from federated.rounds.ports import LocalResult
from federated.rounds.terms import RoundTerms
from fhir_adapter.adapters.rest import FhirRestStore
from governance.adapters.ledger_folder import LedgerFolder
from governance.adapters.sql_ledger import SqlLedger, create_ledger_tables
from governance.ledger.entries import keyed_digest
from governance.ports import Chain
from plugin.adapters import sql_engine
from plugin.adapters.celery_queue import CeleryWorkQueue, create_celery
from plugin.adapters.celery_site_worker import CelerySiteWorker
from plugin.adapters.child_processes import ChildProcesses, alone
from plugin.adapters.ledger_recorder import LedgerRecorder
from plugin.adapters.round_folder import RoundFolder
from plugin.adapters.round_secrets import RoundSecrets
from plugin.adapters.sql_coverage import SqlCoverage
from plugin.adapters.sql_evidence import SqlEvidence
from plugin.adapters.sql_governance import SqlGovernance
from plugin.adapters.sql_rounds import SqlRounds
from plugin.adapters.sql_store import SqlAnalysisStore
from plugin.adapters.sql_subjects import SqlSubjects
from plugin.adapters.training_folder import TrainingFolder
from plugin.errors import SettingsError
from plugin.services.federation import Engine
from plugin.services.federation_desk import FederationDesk, SiteDesk
from plugin.services.federation_folders import POLICY, Coordinator, installed_kit, load_site, read_address
from plugin.services.federation_runs import RunViews
from plugin.services.governance.coverage import Coverable, begin_recording
from plugin.services.governance.dates import read_dates
from plugin.services.governance.desk import GovernanceDesk, digest_key
from plugin.services.governance.journal import Journal
from plugin.services.governance.reporting_desk import ReportingDesk, read_card
from plugin.services.governance.round_journal import STORED, RoundJournal
from plugin.services.governance.subjects import SubjectStore
from plugin.services.ledger import Ledger
from plugin.services.local_run import Children
from plugin.services.policed_messages import within_policy
from plugin.services.policed_worker import PolicedWorker
from plugin.services.ports import Services, Site
from plugin.services.research_cohort import (
    Cohort,
    CohortSource,
    FolderCohort,
    PhantomCohort,
    cohort_key,
    parse_cohort_setting,
)
from plugin.services.round_work import Assignment, Perform, RoundWork
from plugin.services.secret_files import private_folder
from plugin.services.site_agent import HEALTH_FILE, Health, LoggedRecorder
from plugin.services.site_policy import read_policy
from plugin.services.site_rules import HospitalRules, allowed_device
from plugin.services.training_runs import TrainingStore
from plugin.settings import ConsortiumSettings, Quantum, Settings


def build_celery(settings: Settings) -> Celery:
    """Celery with the tasks' way to the services; each worker process builds its own on its first task."""
    app = create_celery(settings.work, settings.data_dir)
    app.qfl_services = cache(lambda: build_services(settings, app))
    app.qfl_reporting = cache(lambda: build_reporting(settings, app.qfl_services()))
    app.qfl_round_work = cache(lambda: build_round_work(settings, app.qfl_services))
    app.conf.imports = ("plugin.tasks",)
    # Two lines for each tick of the timer would bury what matters.
    for chatter in ("celery.worker.strategy", "celery.app.trace", "celery.beat"):
        logging.getLogger(chatter).setLevel(logging.WARNING)
    return app


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
        clock=_now,
        trainings=build_training_store(settings.data_dir / "training"),
        governance=build_governance(settings),
        federation=_federation_desk(settings),
    )


def build_governance(settings: Settings) -> GovernanceDesk:
    """What governs the site's models. Nothing is connected yet."""
    return GovernanceDesk(
        SqlGovernance(sql_engine.connect(settings.database_url)),
        _digest_key(settings),
        _now,
        build_ledger(settings),
        cache(lambda: build_chain(settings) if settings.consortium and settings.consortium.contract else None),
    )


def build_journal(settings: Settings) -> Journal:
    """What makes the ledger's entries of the clinical loop."""
    key = _digest_key(settings)
    return Journal(lambda what, name: keyed_digest(key(), f"{what}:{name}"))


def build_coverage(settings: Settings) -> Coverable:
    """The database, to be compared with the ledger in it. Nothing is connected yet."""
    engine = sql_engine.connect(settings.database_url)
    return SqlCoverage(engine, build_journal(settings), build_round_journal(settings))


def build_round_journal(settings: Settings) -> RoundJournal:
    """What makes the ledger's entries of what the site keeps of its federated rounds."""
    key, kit = _digest_key(settings), installed_kit(settings.federation.folder)
    return RoundJournal(lambda what, name: keyed_digest(key(), f"{what}:{name}"), kit.site if kit else "not joined")


def build_reporting(settings: Settings, services: Services | None = None) -> ReportingDesk:
    """What governance reports and evidence bundles are made with. Nothing is connected yet."""
    services = services or build_services(settings)
    return ReportingDesk(
        services=services,
        queries=SqlEvidence(sql_engine.connect(settings.database_url)),
        database=build_coverage(settings),
        dates=lambda: read_dates(settings.reporting.dates),
        card=lambda version: read_card(settings.model_dir, services.governance, version),
        schedule=settings.reporting.schedule,
    )


def build_subjects(settings: Settings) -> SubjectStore:
    """Where what is held on a patient is found and erased. Nothing is connected yet."""
    return SqlSubjects(sql_engine.connect(settings.database_url))


def _digest_key(settings: Settings) -> Callable[[], bytes]:
    folder = settings.data_dir / "governance"
    return cache(lambda: digest_key(folder))


def build_training_store(folder: Path) -> TrainingStore:
    """The trainings below a folder."""
    return TrainingFolder(folder)


def migrate_database(settings: Settings) -> None:
    """Bring the database's schema to this code's version, and open the ledger: nothing is done unrecorded."""
    sql_engine.migrate(sql_engine.connect(settings.database_url))
    ledger = build_ledger(settings)
    ledger.open()
    begin_recording(ledger, build_coverage(settings), now=_now())


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


def build_ledger(settings: Settings) -> Ledger:
    """The site's ledger: its rows in the database, its key and last checkpoint in a folder beside it."""
    store = SqlLedger(sql_engine.connect(settings.database_url))
    origin = f"{urlsplit(settings.web.public_url).netloc}/ledger"
    return Ledger(store, LedgerFolder(settings.data_dir / "ledger"), origin, _now)


def build_chain(settings: Settings) -> Chain:
    """The consortium's contract. Nothing is connected yet.

    Raises:
        SettingsError: No chain or no contract is configured.
    """
    from governance.adapters.ethereum import ConsortiumChain, http_provider

    consortium = _consortium(settings)
    if consortium.contract is None:
        raise SettingsError("QFL_CHAIN_CONTRACT is not set. Deploy one: qfl governance chain deploy.")
    return ConsortiumChain(http_provider(consortium.url), consortium.contract, _chain_account(consortium))


def deploy_contract(settings: Settings, institutions: Sequence[str], threshold: int) -> str:
    """Put the consortium's contract on its chain; returns its address.

    Raises:
        SettingsError: No chain is configured.
        AnchorError: The chain does not answer, or refuses.
    """
    from governance.adapters.ethereum import deploy, http_provider

    consortium = _consortium(settings)
    return deploy(http_provider(consortium.url), _chain_account(consortium)(), institutions, threshold)


def _consortium(settings: Settings) -> ConsortiumSettings:
    if settings.consortium is None:
        raise SettingsError(
            "No chain is configured: set QFL_CHAIN_URL, QFL_CHAIN_KEYSTORE and QFL_CHAIN_PASSPHRASE_FILE. The ledger "
            "stands alone without one."
        )
    return settings.consortium


def _chain_account(consortium: ConsortiumSettings) -> Callable[[], Any]:
    from governance.adapters.ethereum import open_account

    return cache(lambda: open_account(consortium.keystore, consortium.passphrase))


def build_coordinator_ledger(folder: Path) -> Ledger:
    """The ledger of a federation's coordinator, in its own folder.

    Args:
        folder: That `qfl federation init` made.

    Raises:
        ProvisioningError: It is none.
    """
    hosts, _ = read_address(folder)
    own = private_folder(folder / "ledger")
    engine = sql_engine.connect(f"sqlite:///{own / 'ledger.db'}")
    create_ledger_tables(engine)
    return Ledger(SqlLedger(engine), LedgerFolder(own), f"{hosts[0]}/coordinator", _now)


def build_site_records(settings: Settings) -> SqlRounds:
    """The hospital's records of its federated rounds; the budget's limits are those of its policy."""
    secrets = RoundSecrets(settings.data_dir / "round-secrets")
    engine = sql_engine.connect(settings.database_url)
    return SqlRounds(engine, secrets, lambda: read_policy(policy_file(settings)).privacy, build_round_journal(settings))


def build_cohort_source(settings: Settings, services: Callable[[], Services]) -> CohortSource:
    """Where the hospital's training cases come from.

    Args:
        settings: Of the site.
        services: Gives them, where the cases are the site's own reviewed studies.
    """
    wanted = parse_cohort_setting(settings.federation.cohort)
    key = cohort_key(settings.data_dir / "cohort")
    if wanted.phantom is not None:
        return PhantomCohort(key, wanted.phantom, wanted.cases)
    if wanted.folder is not None:
        return FolderCohort(key, wanted.folder)
    # Imported by whoever trains on them: it reads DICOM, which takes much memory.
    from plugin.services.reviewed_studies import ReviewedCohort

    return ReviewedCohort(services(), lambda: read_policy(policy_file(settings)).cohort.use, key)


def build_site_rules(settings: Settings, records: SqlRounds, cohort: CohortSource) -> HospitalRules:
    """What the hospital allows."""
    return HospitalRules(policy_file(settings), records, cohort, device=settings.federation.device)


def build_agent(settings: Settings, should_stop: Callable[[], bool]) -> Callable[[], None]:
    """A site's agent: what it returns answers the coordinator until told to stop. Nothing is connected yet.

    Args:
        settings: Of the site.
        should_stop: Asked several times a second.

    Raises:
        ProvisioningError: The site's folder cannot be used.
        SettingsError: The database does not have this version's schema.
    """
    from federated.engine.site_connection import serve_site
    from federated.rounds.site import SiteRounds

    site = load_site(settings.federation.folder)
    if not sql_engine.is_current(sql_engine.connect(settings.database_url)):
        raise SettingsError("The database does not have this version's schema. Run `qfl migrate` first.")
    queue, hint_s = CeleryWorkQueue(create_celery(settings.work, settings.data_dir)), settings.federation.hint_s
    work = RoundFolder(settings.federation.work)
    work.sweep(_now())
    worker = CelerySiteWorker(work, lambda key: queue.work_round(key, expires_s=4 * hint_s), repeat_s=hint_s)
    records = build_site_records(settings)
    cohort = build_cohort_source(settings, lambda: build_services(settings))
    rounds = SiteRounds(
        site.name,
        app_digest(),
        site.signing,
        site.roster,
        PolicedWorker(worker, policy_file(settings)),
        build_site_rules(settings, records, cohort),
        records,
        LoggedRecorder(LedgerRecorder(build_ledger(settings).record, _now, STORED)),
        _now,
    )
    health = Health(settings.federation.work / HEALTH_FILE, _now)

    def is_over() -> bool:
        health.beat()
        return should_stop()

    return lambda: serve_site(
        site.address,
        site.ca_file,
        site.node_key_file,
        app_digest(),
        within_policy(rounds.handle, policy_file(settings)),
        is_over,
        settings.federation.poll_s,
        number_file=settings.federation.work / "node-number",
    )


def build_round_work(settings: Settings, services: Callable[[], Services]) -> RoundWork:
    """What a worker needs for federated rounds; torch is imported with the first of them.

    Raises:
        ProvisioningError: The site has not joined a federation.
    """
    kit = installed_kit(settings.federation.folder)
    if kit is None:
        raise ProvisioningError(
            f"{settings.federation.folder}: has not joined a federation; QFL_FEDERATION_DIR says where it has."
        )
    training = cache(lambda: _build_round_training(settings, kit.site, services))

    def perform(
        assignment: Assignment, *, state: Path, checkpoints: Path, report: Callable[[Progress], None]
    ) -> LocalResult | Mapping[str, Any]:
        return training()(assignment, state=state, checkpoints=checkpoints, report=report)

    return RoundWork(RoundFolder(settings.federation.work), perform, _now, settings.work.max_attempts)


def _build_round_training(settings: Settings, site: str, services: Callable[[], Services]) -> Perform:
    from plugin.services.round_training import RoundTraining
    from plugin.services.site_cohort import CohortKeeper, preprocessing_of

    source = build_cohort_source(settings, services)

    def draw(terms: RoundTerms) -> Cohort:
        zone = read_policy(policy_file(settings)).hours.zone
        return source.draw(now=datetime.now(zone), spacing_mm=preprocessing_of(terms).spacing_mm)

    def machine() -> tuple[str, int]:
        policy = read_policy(policy_file(settings))
        return allowed_device(policy, settings.federation.device), policy.machine.cpu_threads

    return RoundTraining(site, CohortKeeper(draw), machine)


def policy_file(settings: Settings) -> Path:
    """Where the site's policy is."""
    return settings.federation.folder / POLICY


def build_engine(folder: Path, coordinator: Coordinator, listen: str) -> AbstractContextManager[Engine]:
    """A coordinator's engine, as long as the block lasts.

    Args:
        folder: The coordinator's.
        coordinator: Its keys.
        listen: Address of the door for sites.
    """
    from plugin.adapters.flower_engine import FlowerEngine

    return FlowerEngine(folder / "engine", coordinator, listen)


def build_children(folder: Path) -> Children:
    """Processes of this one; those that an earlier, killed one left in this folder are ended."""
    children = ChildProcesses(folder)
    children.end_leftovers()
    return children


def hold_folder(folder: Path) -> AbstractContextManager[None]:
    """Be the only process of its kind over a folder, as long as the block lasts."""
    return alone(folder)


def app_digest() -> str:
    """Of the app that a run's sites must have installed."""
    from federated.engine import app_bundle

    return app_bundle.app_digest()


def _federation_desk(settings: Settings) -> FederationDesk:
    records, coordinator = cache(lambda: build_site_records(settings)), settings.federation.coordinator

    def site() -> SiteDesk | None:
        kit = installed_kit(settings.federation.folder)
        if kit is None:
            return None
        return SiteDesk(kit.site, kit.roster.federation, records(), lambda: read_policy(policy_file(settings)).privacy)

    return FederationDesk(RunViews(coordinator) if coordinator else None, site)


def _now() -> datetime:
    return datetime.now(UTC)


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
