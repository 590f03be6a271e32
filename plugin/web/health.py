"""What the cluster asks: is the process up, can it work, how is it doing."""

from flask import Blueprint, Response, jsonify
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from plugin.web.context import current_services
from plugin.web.metrics import current_metrics

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """The process answers; nothing else is asked, so a database outage restarts nobody."""
    return jsonify(status="up")


@blueprint.get("/readyz")
def readyz() -> tuple[Response, int]:
    """Whether requests can be served: the database answers and its schema is current."""
    if current_services().store.is_alive():
        return jsonify(status="ready", checks={"database": "ready"}), 200
    missing = "The database does not answer, or its schema is not the one this version needs."
    return jsonify(status="not ready", checks={"database": missing}), 503


@blueprint.get("/metrics")
def metrics() -> Response:
    """Metrics in the Prometheus text format."""
    return Response(generate_latest(current_metrics().registry), content_type=CONTENT_TYPE_LATEST)
