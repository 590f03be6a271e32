"""The pages about governance: a model's state, its audit, the watch over it, and what officers do about it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast

from flask import (
    Blueprint,
    Response,
    abort,
    current_app,
    flash,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from flask.blueprints import BlueprintSetupState
from werkzeug.wrappers import Response as AnyResponse

from governance.audit import AuditOutcome, parse_audit
from governance.errors import GovernanceError, MonitoringDataError, PolicyError
from governance.policy import Act
from plugin.errors import remedy
from plugin.services.governance import overview as views
from plugin.services.governance import release
from plugin.services.governance.officers import Signer
from plugin.services.governance.overview import Overview
from plugin.services.governance.release import Signed
from plugin.services.governance.values import ModelState, ModelStatus
from plugin.services.ports import Services
from plugin.services.values import User
from plugin.web.charts import Chart
from plugin.web.context import asking_user, current_services
from plugin.web.governance_charts import draw_course
from plugin.web.security import require_sign_in, serve_as_document

_KEPT: Final = "qfl_governance_charts"
_ACTS: Final[Mapping[ModelState, tuple[Act, ...]]] = {
    ModelState.UNRELEASED: (Act.RELEASE, Act.OVERRIDE),
    ModelState.RELEASED: (Act.HALT,),
    ModelState.HALTED: (Act.RESUME, Act.OVERRIDE),
}
"""What can be done to a model in a state."""
_NEED_REASON: Final = (Act.HALT, Act.RESUME, Act.OVERRIDE)
_STATE_TONES: Final = {"released": "good", "halted": "bad", "unreleased": "caution"}
_OUTCOME_TONES: Final = {
    "passed": "good",
    "allow": "good",
    "failed": "bad",
    "halt": "bad",
    "refuse": "bad",
    "insufficient-evidence": "caution",
}

blueprint = Blueprint("governance", __name__, url_prefix="/governance")
blueprint.before_request(require_sign_in)


@blueprint.record_once
def _make_room(state: BlueprintSetupState) -> None:
    state.app.extensions[_KEPT] = {}


@blueprint.context_processor
def _who_asks() -> dict[str, Any]:
    services = current_services()
    user: User = asking_user()
    return {"user": user, "now": services.clock(), "organisation": services.site.organisation}


@blueprint.get("")
def show() -> str:
    """A model's governance: the one whose state changed last, or the one that is asked for."""
    return _page()


@blueprint.get("/live")
def live() -> str:
    """The parts of the page that change by themselves."""
    return render_template("_governance_live.html", **_parts())


@blueprint.get("/audits/<digest>")
def audit_report(digest: str) -> Response:
    """The report of an audit."""
    from plugin.services.governance.audit_report import build_audit_page

    record = current_services().governance.store.audit(digest)
    if record is None:
        abort(404, description="There is no such audit.")
    page = build_audit_page(parse_audit(record.document))
    serve_as_document()
    return make_response(page, {"Content-Type": "text/html; charset=utf-8"})


@blueprint.post("/<model>/<act>")
def do(model: str, act: str) -> AnyResponse | tuple[str, int]:
    """Release, override, halt or resume a model, signed with the officer's own passphrase."""
    perform = _PERFORM.get(act)
    if perform is None:
        abort(404, description="A model can be released, overridden, halted or resumed.")
    by = Signer(asking_user().username, request.form.get("passphrase", ""))
    reason = request.form.get("reason", "").strip()
    try:
        signed = perform(current_services(), model, by, reason)
    except GovernanceError as error:
        # The form again, with a status that counts against whoever guesses passphrases.
        return _page(fault=str(error), reason=reason, tried=act), max(400, remedy(error).http_status)
    flash(_told(signed), "good")
    return redirect(url_for("governance.show", model=model))


def _halt(services: Services, model: str, by: Signer, reason: str) -> Signed:
    return release.halt(services, model_version=model, by=by, reason=reason)


def _release(services: Services, model: str, by: Signer, reason: str) -> Signed:  # noqa: ARG001  all acts take one
    return release.release(services, model_version=model, by=by)


def _resume(services: Services, model: str, by: Signer, reason: str) -> Signed:
    return release.resume(services, model_version=model, by=by, reason=reason)


def _override(services: Services, model: str, by: Signer, reason: str) -> Signed:
    return release.override(services, model_version=model, by=by, reason=reason)


_PERFORM: Final[Mapping[str, Callable[[Services, str, Signer, str], Signed]]] = {
    Act.HALT.value: _halt,
    Act.RELEASE.value: _release,
    Act.RESUME.value: _resume,
    Act.OVERRIDE.value: _override,
}


def _told(signed: Signed) -> str:
    if not signed.is_done:
        return f"Signed. {signed.given} of {signed.needed} officers have; it takes effect when all have."
    queued = f" {len(signed.queued)} studies that waited are queued." if signed.queued else ""
    return f"Signed: the model is {signed.status.state}.{queued}"


def _page(fault: str = "", reason: str = "", tried: str = "") -> str:
    return render_template("governance.html", form_fault=fault, form_reason=reason, tried=tried, **_parts())


def _parts() -> dict[str, Any]:
    services = current_services()
    known = views.models(services.governance)
    # A form is posted to its model's own address.
    wanted = (request.view_args or {}).get("model") or request.args.get("model") or (known[0] if known else None)
    if wanted is None:
        return {"view": None, "models": ()}
    if wanted not in known:
        abort(404, description="Governance knows no such model.")
    view = views.overview(services, wanted)
    user = asking_user()
    possible = _possible(view, services.clock())
    return {
        "view": view,
        "models": known,
        "charts": _charts(services, view.standing.status),
        "acts": [each.value for each in possible if view.policy.may(user.role, each)],
        "need_reason": [each.value for each in _NEED_REASON],
        "has_key": services.governance.store.officer(user.username) is not None,
        "state_tones": _STATE_TONES,
        "tones": _OUTCOME_TONES,
    }


def _possible(view: Overview, now: datetime) -> Sequence[Act]:
    """What can be done to the model now: an audit that passed and holds is not overridden, another one not followed."""
    until = view.standing.until
    holds = view.audit is not None and view.audit.outcome is AuditOutcome.PASSED and (until is None or until >= now)
    useless = Act.OVERRIDE if holds or view.audit is None else Act.RELEASE
    return [act for act in _ACTS[view.standing.status.state] if act is not useless]


def _charts(services: Services, status: ModelStatus) -> tuple[Chart, ...]:
    """Drawn anew only when something came."""
    kept = cast("dict[str, tuple[Any, tuple[Chart, ...]]]", current_app.extensions[_KEPT])
    try:
        stamp = views.stamp(services, status)
        if kept.get(status.model_version, (None, ()))[0] != stamp:
            kept[status.model_version] = (
                stamp,
                draw_course(views.course(services, status), services.governance.policy()),
            )
    except (MonitoringDataError, PolicyError):
        return ()
    return kept[status.model_version][1]
