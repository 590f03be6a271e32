"""The JSON API, for programs with a token and for the pages' own scripts with a session."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, abort, current_app, g, jsonify, request, url_for

from plugin.errors import AnalysisNotFoundError
from plugin.services import accounts, delivery, intake
from plugin.services.ports import AnalysisStore
from plugin.services.values import Analysis, AnalysisState, Delivery, Measurement, StepRecord
from plugin.web.context import asking_user, current_services, signed_in_user

MAX_LIMIT = 500

blueprint = Blueprint("api", __name__, url_prefix="/api")


@blueprint.before_request
def authenticate() -> None:
    """Let a valid token in, or a session; a session's writes must carry the CSRF token too."""
    authorization = request.authorization
    if authorization is not None:
        token = authorization.token if authorization.type == "bearer" else None
        g.token_user = accounts.user_for_token(current_services(), token=token) if token else None
        if g.token_user is None:
            abort(401, description="The API token is not valid.")
    elif signed_in_user() is None:
        abort(401, description="Send an API token: Authorization: Bearer <token>.")
    else:
        current_app.extensions["csrf"].protect()


@blueprint.get("/analyses")
def list_analyses() -> Response:
    """The newest analyses, optionally of one study or in one state."""
    uid = request.args.get("study_instance_uid", "")
    limit = min(request.args.get("limit", 100, type=int), MAX_LIMIT)
    offset = request.args.get("offset", 0, type=int)
    if limit < 1 or offset < 0:
        abort(400, description="limit must be from 1, offset from 0.")
    store = current_services().store
    found = store.list_analyses(states=_asked_states(), limit=limit, offset=offset, text=uid)
    exact = [analysis for analysis in found if uid in {"", analysis.study_instance_uid}]
    return jsonify(analyses=[_analysis_json(store, analysis) for analysis in exact])


@blueprint.get("/analyses/<analysis_id>")
def get_analysis(analysis_id: str) -> Response:
    """One analysis."""
    store = current_services().store
    return jsonify(_analysis_json(store, _stored(store, analysis_id)))


@blueprint.post("/analyses")
def start_analysis() -> tuple[Response, int, Mapping[str, str]]:
    """Start an analysis of a study."""
    body = request.get_json()
    uid = body.get("study_instance_uid") if isinstance(body, dict) else None
    if not isinstance(uid, str):
        abort(400, description='Expected {"study_instance_uid": "1.2.3"}.')
    services = current_services()
    analysis_id = intake.request_analysis(services, study_instance_uid=uid, requested_by=asking_user().username)
    answer = jsonify(_analysis_json(services.store, _stored(services.store, analysis_id)))
    return answer, 202, {"Location": url_for("api.get_analysis", analysis_id=analysis_id)}


@blueprint.post("/deliveries/<int:delivery_id>/replay")
def replay_delivery(delivery_id: int) -> tuple[Response, int]:
    """Have a dead delivery sent again."""
    delivery.replay_delivery(current_services(), delivery_id=delivery_id)
    return jsonify(id=delivery_id, state="pending"), 202


def _asked_states() -> list[AnalysisState] | None:
    asked = request.args.getlist("state")
    try:
        return [AnalysisState(name) for name in asked if name] or None
    except ValueError:
        known = ", ".join(AnalysisState)
        abort(400, description=f"Expected a state out of: {known}.")


def _stored(store: AnalysisStore, analysis_id: str) -> Analysis:
    analysis = store.get(analysis_id)
    if analysis is None:
        raise AnalysisNotFoundError("There is no analysis of this id.")
    return analysis


def _analysis_json(store: AnalysisStore, analysis: Analysis) -> dict[str, Any]:
    result = analysis.result
    return {
        "id": analysis.id,
        "state": analysis.state,
        "step": analysis.step,
        "progress": analysis.progress,
        "attempt": analysis.attempt,
        "reason_code": analysis.reason_code,
        "reason": analysis.reason,
        "study_instance_uid": analysis.study_instance_uid,
        "imaging_study_reference": analysis.imaging_study_reference,
        "model_version": analysis.model_version,
        "duplicate_of": analysis.duplicate_of,
        "created_at": analysis.created_at.isoformat(),
        "finished_at": analysis.finished_at.isoformat() if analysis.finished_at else None,
        "steps": [_step_json(record) for record in store.steps(analysis.id)],
        "deliveries": [_delivery_json(record) for record in store.deliveries(analysis.id)],
        "tumour_found": result.tumour_found if result else None,
        "measurements": [_measurement_json(item) for item in result.measurements] if result else [],
        "warnings": list(result.warnings) if result else [],
    }


def _step_json(record: StepRecord) -> dict[str, Any]:
    seconds = (record.finished_at - record.started_at).total_seconds() if record.finished_at else None
    return {"step": record.step, "attempt": record.attempt, "seconds": seconds}


def _delivery_json(record: Delivery) -> dict[str, Any]:
    return {
        "id": record.id,
        "kind": record.kind,
        "state": record.state,
        "destination": record.destination,
        "attempts": record.attempts,
        "last_error": record.last_error,
        "sent_at": record.sent_at.isoformat() if record.sent_at else None,
        "receipt": record.receipt,
    }


def _measurement_json(item: Measurement) -> dict[str, Any]:
    return {
        "key": item.key,
        "label": item.label,
        "volume_ml": item.volume_ml,
        "long_axis_mm": item.long_axis_mm,
        "short_axis_mm": item.short_axis_mm,
        "confidence": item.confidence,
    }
