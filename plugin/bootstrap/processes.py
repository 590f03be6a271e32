"""What is more than a set of services: the Celery worker, and the agent of a site in a federation."""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from celery import Celery

from federated.errors import ProvisioningError
from federated.rounds.messages import Progress
from federated.rounds.ports import LocalResult
from federated.rounds.terms import RoundTerms
from plugin.adapters import sql_engine
from plugin.adapters.celery_queue import CeleryWorkQueue, create_celery
from plugin.adapters.celery_site_worker import CelerySiteWorker
from plugin.adapters.ledger_recorder import LedgerRecorder
from plugin.adapters.round_folder import RoundFolder
from plugin.bootstrap import clock
from plugin.bootstrap.federation import (
    app_digest,
    build_cohort_source,
    build_site_records,
    build_site_rules,
    policy_file,
)
from plugin.bootstrap.governance import build_reporting
from plugin.bootstrap.ledger import build_ledger
from plugin.bootstrap.services import build_services
from plugin.errors import SettingsError
from plugin.services.federation_folders import installed_kit, load_site
from plugin.services.governance.round_journal import STORED
from plugin.services.policed_messages import within_policy
from plugin.services.policed_worker import PolicedWorker
from plugin.services.ports import Services
from plugin.services.research_cohort import Cohort
from plugin.services.round_work import Assignment, Perform, RoundWork
from plugin.services.site_agent import HEALTH_FILE, Health, LoggedRecorder
from plugin.services.site_policy import read_policy
from plugin.services.site_rules import allowed_device
from plugin.settings import Settings


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

    return RoundWork(RoundFolder(settings.federation.work), perform, clock.now, settings.work.max_attempts)


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
    work.sweep(clock.now())
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
        LoggedRecorder(LedgerRecorder(build_ledger(settings).record, clock.now, STORED)),
        clock.now,
    )
    health = Health(settings.federation.work / HEALTH_FILE, clock.now)

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
