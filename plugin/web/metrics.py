"""What /metrics tells. Labels name routes, states and statuses: never a person, a study or a UID."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from flask import Flask, Response, current_app, g, request
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from governance.errors import GovernanceError
from governance.monitoring.judging import Findings
from plugin.services.governance import monitoring
from plugin.services.governance.values import ModelState
from plugin.services.ports import AnalysisStore, Services
from plugin.services.values import AnalysisState


@dataclass(frozen=True)
class Metrics:
    """One app's metrics, in a registry of its own."""

    registry: CollectorRegistry
    requests: Histogram
    notifications: Counter


class AnalysisCollector(Collector):
    """Counts the analyses by state when somebody asks."""

    def __init__(self, store: AnalysisStore) -> None:
        self._store = store

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges; without the database only that it is down."""
        is_up = self._store.is_alive()
        yield GaugeMetricFamily("qfl_database_up", "Whether the database answers with the right schema.", int(is_up))
        if not is_up:
            return
        counts = self._store.count_by_state()
        gauge = GaugeMetricFamily("qfl_analyses", "Analyses by state.", labels=["state"])
        for state in AnalysisState:
            gauge.add_metric([state.value], counts.get(state, 0))
        yield gauge


class GovernanceCollector(Collector):
    """Tells of the models that governance knows when somebody asks."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges; nothing without the database."""
        services = self._services
        if not services.store.is_alive():
            return
        state = GaugeMetricFamily("qfl_model_state", "1 for the state of each model.", labels=["model", "state"])
        watched = GaugeMetricFamily("qfl_model_watched", "Whether the model in use can be judged.", labels=["model"])
        gauges = _watch_gauges()
        for status in services.governance.store.model_statuses():
            for each in ModelState:
                state.add_metric([status.model_version, each.value], int(each is status.state))
            if status.state is not ModelState.RELEASED:
                continue
            try:
                found = monitoring.look_at(services, status)
            except GovernanceError:
                watched.add_metric([status.model_version], 0)
                continue
            watched.add_metric([status.model_version], 1)
            _add_findings(gauges, status.model_version, found)
        yield from (state, watched, *gauges.values())


def _watch_gauges() -> dict[str, GaugeMetricFamily]:
    told = {
        "qfl_bias_score": (
            "How far groups lie apart, 0 to 1; and the ends of its interval.",
            ["attribute", "outcome", "end"],
        ),
        "qfl_reviewed_cases": ("Reviewed since the release.", []),
        "qfl_analysed_cases": ("Analysed since the release.", []),
        "qfl_rejection_rate": ("Share of results that were rejected; and the ends of its interval.", ["end"]),
        "qfl_failure_rate": ("Share of analyses that failed for the model's part; and the ends.", ["end"]),
        "qfl_drift_p": ("Of the newest comparison of the studies with the first ones.", []),
    }
    return {name: GaugeMetricFamily(name, words, labels=["model", *labels]) for name, (words, labels) in told.items()}


def _add_findings(gauges: dict[str, GaugeMetricFamily], model: str, found: Findings) -> None:
    """Add what is known; what there is insufficient evidence of is left out."""
    for score in found.scores:
        if score.score is not None:
            for end, value in (("score", score.score), ("low", score.low), ("high", score.high)):
                gauges["qfl_bias_score"].add_metric([model, score.attribute, score.outcome, end], value)
    gauges["qfl_reviewed_cases"].add_metric([model], found.reviewed)
    gauges["qfl_analysed_cases"].add_metric([model], found.analysed)
    for name, rate in (("qfl_rejection_rate", found.rejections), ("qfl_failure_rate", found.failures)):
        if rate.share is not None:
            for end, value in (("share", rate.share), ("low", rate.low), ("high", rate.high)):
                gauges[name].add_metric([model, end], value)
    if found.drift is not None and found.drift.looks:
        gauges["qfl_drift_p"].add_metric([model], found.drift.looks[-1].p)


def init_metrics(app: Flask) -> None:
    """Keep the app's metrics at app.extensions["qfl_metrics"], and time its requests."""
    registry = CollectorRegistry()
    registry.register(AnalysisCollector(app.extensions["qfl"].store))
    registry.register(GovernanceCollector(app.extensions["qfl"]))
    app.extensions["qfl_metrics"] = Metrics(
        registry,
        requests=Histogram(
            "qfl_http_request_seconds", "Time to answer.", ["method", "endpoint", "status"], registry=registry
        ),
        notifications=Counter("qfl_notifications", "FHIR notifications by answer.", ["status"], registry=registry),
    )
    app.before_request(_start_clock)
    app.after_request(_observe)


def current_metrics() -> Metrics:
    """This app's metrics."""
    return cast("Metrics", current_app.extensions["qfl_metrics"])


def count_notification(response: Response) -> Response:
    """Count a notification by its answer; for Blueprint.after_request."""
    current_metrics().notifications.labels(str(response.status_code)).inc()
    return response


def _start_clock() -> None:
    g.started_s = time.perf_counter()


def _observe(response: Response) -> Response:
    started_s = g.get("started_s")
    if started_s is not None:
        # The method is the caller's to invent; the routes allow only known ones.
        method = request.method if request.url_rule else "other"
        labels = (method, request.endpoint or "none", str(response.status_code))
        current_metrics().requests.labels(*labels).observe(time.perf_counter() - started_s)
    return response
