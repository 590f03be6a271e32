"""Hints to the workers through Celery, and Celery's own configuration.

The broker may be away: the timer then finds the work in the database.
"""

import logging
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from celery import Celery
from kombu.exceptions import OperationalError

from plugin.settings import Work

_log = logging.getLogger(__name__)

INFERENCE = "inference"
DELIVERY = "delivery"
TRAINING = "training"
_HARD_LIMIT_S = 3600
_SIGNING = timedelta(minutes=1)
"""How long an entry of the ledger may wait for a signed checkpoint."""
_REPORTING = timedelta(hours=1)
"""How long after a period its report may come."""
_WATCH: Final = timedelta(minutes=1)
"""How often the models in use are judged, beside each review."""


def create_celery(work: Work, data_dir: Path) -> Celery:
    """Celery on the filesystem (default), Redis or RabbitMQ. Nothing is connected yet."""
    app = Celery("qfl", broker=work.broker_url, set_as_current=True)
    app.conf.update(
        # The database holds the state, a message only an id.
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        task_time_limit=_HARD_LIMIT_S,
        task_default_queue=DELIVERY,
        task_routes={
            "qfl.analyse": {"queue": INFERENCE},
            "qfl.train": {"queue": TRAINING},
            "qfl.work_round": {"queue": TRAINING},
        },
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0.1, "interval_max": 0.1},
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=5,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        # Nothing is kept between two starts of the timer, so that no pickle lies on the disk.
        beat_scheduler="celery.beat:Scheduler",
        beat_max_loop_interval=1,
        beat_schedule={
            "requeue stalled work": {
                "task": "qfl.requeue_stalled",
                "schedule": work.tick,
                "options": {"expires": work.tick.total_seconds()},
            },
            "sign the ledger": {
                "task": "qfl.sign_ledger",
                "schedule": _SIGNING,
                "options": {"expires": _SIGNING.total_seconds()},
            },
            "watch the models": {
                "task": "qfl.watch_models",
                "schedule": _WATCH,
                "options": {"expires": _WATCH.total_seconds()},
            },
            "issue governance reports": {
                "task": "qfl.issue_reports",
                "schedule": _REPORTING,
                "options": {"expires": _REPORTING.total_seconds()},
            },
            "recover missed events": {
                "task": "qfl.recover_events",
                "schedule": work.recovery,
                "options": {"expires": work.recovery.total_seconds()},
            },
        },
    )
    if work.broker_url.startswith("filesystem:"):
        app.conf.broker_transport_options = _folders(data_dir / "queue")
    return app


def _folders(root: Path) -> dict[str, str | float]:
    for name in ("messages", "control"):
        (root / name).mkdir(parents=True, exist_ok=True)
    messages = str(root / "messages")
    return {
        "data_folder_in": messages,
        "data_folder_out": messages,
        "control_folder": str(root / "control"),
        # Seconds between two looks; the default of 1 would add up in a federated round.
        "polling_interval": 0.2,
    }


class CeleryWorkQueue:
    """WorkQueue by Celery messages that carry an id and nothing else."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def analyse(self, analysis_id: str) -> None:
        """Have an analysis run."""
        self._send("qfl.analyse", analysis_id)

    def deliver(self, analysis_id: str) -> None:
        """Have an analysis' pending deliveries sent."""
        self._send("qfl.deliver", analysis_id)

    def search_studies(self, subscription: str) -> None:
        """Have the EHR searched for studies that changed since the last search."""
        self._send("qfl.search_studies", subscription)

    def train(self, run_id: str) -> None:
        """Have a training run."""
        self._send("qfl.train", run_id)

    def work_round(self, key: str, *, expires_s: float) -> None:
        """Have an assignment of a federated round done; the hint is of no use after a while, when it is repeated."""
        self._send("qfl.work_round", key, expires=expires_s)

    def _send(self, task: str, argument: str, **options: Any) -> None:
        try:
            self._app.send_task(task, args=[argument], **options)
        except (OperationalError, OSError) as error:
            _log.warning("broker away (%s): %s %s will be found and sent again", type(error).__name__, task, argument)
