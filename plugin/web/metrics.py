"""What /metrics tells. Labels name routes, states and statuses: never a person, a study or a UID."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from flask import Flask, Response, current_app, g, request
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from plugin.services.ports import AnalysisStore
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


def init_metrics(app: Flask) -> None:
    """Keep the app's metrics at app.extensions["qfl_metrics"], and time its requests."""
    registry = CollectorRegistry()
    registry.register(AnalysisCollector(app.extensions["qfl"].store))
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
