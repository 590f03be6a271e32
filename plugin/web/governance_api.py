"""A model's governance for programs: its state, what the rules say, and the ledger's size."""

from typing import Any

from flask import Blueprint, Response, abort, jsonify, request

from governance.monitoring.fairness import Score
from governance.monitoring.rates import Rate
from plugin.services.governance import overview as views
from plugin.services.governance.overview import Overview
from plugin.web import api
from plugin.web.context import current_services

blueprint = Blueprint("governance_api", __name__, url_prefix="/api/governance")
blueprint.before_request(api.authenticate)


@blueprint.get("")
def get_governance() -> Response:
    """The model whose state changed last, or the one that is asked for with ?model=."""
    services = current_services()
    known = views.models(services.governance)
    wanted = request.args.get("model") or (known[0] if known else None)
    if wanted is None or wanted not in known:
        abort(404, description="Governance knows no such model.")
    return jsonify(_described(views.overview(services, wanted)))


def _described(view: Overview) -> dict[str, Any]:
    status, findings = view.standing.status, view.findings
    return {
        "model": status.model_version,
        "state": status.state,
        "reason_code": status.reason_code,
        "reason": status.reason,
        "since": status.since.isoformat(),
        "may_be_used": not view.standing.why_not,
        "why_not": view.standing.why_not or None,
        "until": view.standing.until.isoformat() if view.standing.until else None,
        "audit": view.audit_digest,
        "audit_outcome": view.audit.outcome if view.audit else None,
        "studies_waiting": view.waiting,
        "reviewed_cases": findings.reviewed if findings else None,
        "analysed_cases": findings.analysed if findings else None,
        "monitoring_fault": view.fault or None,
        "bias_scores": [_score(each) for each in findings.scores] if findings else [],
        "rejections": _rate(findings.rejections) if findings else None,
        "failures": _rate(findings.failures) if findings else None,
        "drift_p": findings.drift.looks[-1].p if findings and findings.drift and findings.drift.looks else None,
        "decisions": [
            {
                "rule": each.rule,
                "attribute": each.inputs.get("attribute"),
                "outcome": each.outcome,
                "reason": each.reason,
            }
            for each in (findings.decisions if findings else ())
        ],
        "ledger_entries": view.ledger_size,
        "ledger_entries_signed": view.signed_size,
        "policy": view.policy.digest,
    }


def _score(found: Score) -> dict[str, Any]:
    return {
        "attribute": found.attribute,
        "outcome": found.outcome,
        "cases": found.cases,
        "score": found.score,
        "low": found.low if found.score is not None else None,
        "high": found.high if found.score is not None else None,
        "groups": [{"name": each.name, "cases": each.cases, "mean": each.mean} for each in found.groups],
    }


def _rate(found: Rate) -> dict[str, Any]:
    return {"cases": found.cases, "hits": found.hits, "share": found.share, "low": found.low, "high": found.high}
