"""Celery tasks: an id in, one service call.

The database says what is to be done, so a task that runs twice is harmless.
"""

import logging

from celery import Task, shared_task

from fhir_adapter.errors import FhirUnavailableError
from governance.errors import GovernanceError
from plugin.services import analysis, delivery, intake, round_work, subscriptions, training
from plugin.services.governance import consortium, model_use, monitoring, reports
from plugin.services.ports import Services

_log = logging.getLogger(__name__)
_LONGEST_TRAINING_S = 14 * 86400
"""Of one attempt; the timer has the next one go on from the last checkpoint."""


def _services(task: Task) -> Services:
    """What the worker's factory built; see plugin.bootstrap."""
    services: Services = task.app.qfl_services()
    return services


@shared_task(name="qfl.analyse", bind=True)
def analyse(self: Task, analysis_id: str) -> None:
    """Run one analysis."""
    analysis.analyse_study(_services(self), analysis_id=analysis_id)


@shared_task(name="qfl.deliver", bind=True)
def deliver(self: Task, analysis_id: str) -> None:
    """Send one analysis' due deliveries."""
    delivery.deliver_results(_services(self), analysis_id=analysis_id)


@shared_task(
    name="qfl.search_studies", bind=True, autoretry_for=(FhirUnavailableError,), retry_backoff=5, max_retries=8
)
def search_studies(self: Task, subscription: str) -> None:
    """Search the EHR for studies that no notification told."""
    intake.search_studies(_services(self), subscription=subscription)


# Acknowledged at once: a broker that waits hours for the acknowledgement would hand the message to a second worker, or
# close the connection. A run that lost its worker is found again by the timer.
@shared_task(name="qfl.train", bind=True, acks_late=False, time_limit=_LONGEST_TRAINING_S)
def train(self: Task, run_id: str) -> None:
    """Train one run to its end, from its last checkpoint."""
    training.continue_run(_services(self), run_id)


# As qfl.train; whoever lost its worker is found again by the site's agent.
@shared_task(name="qfl.work_round", bind=True, acks_late=False, time_limit=_LONGEST_TRAINING_S)
def work_round(self: Task, key: str) -> None:
    """Train, or measure, for a stage of a federated round."""
    round_work.do_round_work(self.app.qfl_round_work(), key)


@shared_task(name="qfl.requeue_stalled", bind=True)
def requeue_stalled(self: Task) -> None:
    """Queue the work that lost its worker, its message or its turn."""
    services = _services(self)
    now = services.clock()
    model_use.requeue_halted(services)
    for analysis_id in services.store.stalled(now=now):
        services.queue.analyse(analysis_id)
    for analysis_id in services.store.due_deliveries(now=now):
        services.queue.deliver(analysis_id)
    for run_id in training.find_stalled(services):
        services.queue.train(run_id)


@shared_task(name="qfl.sign_ledger", bind=True)
def sign_ledger(self: Task) -> None:
    """Sign what the ledger has got since the last time; says in the worker's log why it does not."""
    try:
        _services(self).governance.ledger.sign_new()
    except GovernanceError as error:
        _log.error("the ledger was not signed: %s", error)


@shared_task(name="qfl.watch_models", bind=True)
def watch_models(self: Task) -> None:
    """Judge the models in use, halt one that a rule speaks against, and keep up with the consortium."""
    services = _services(self)
    monitoring.watch_models(services)
    consortium.keep_up(services)  # last: a node may let it wait


@shared_task(name="qfl.issue_reports", bind=True)
def issue_reports(self: Task) -> None:
    """Issue the governance report that is due, once; says in the worker's log why it does not."""
    try:
        reports.issue_due(self.app.qfl_reporting())
    except GovernanceError as error:
        _log.error("no governance report was issued: %s", error)


@shared_task(name="qfl.recover_events", bind=True)
def recover_events(self: Task) -> None:
    """Re-activate subscriptions that the EHR gave up, and search for what they missed."""
    services = _services(self)
    for name in subscriptions.check_subscriptions(services):
        intake.search_studies(services, subscription=name)
