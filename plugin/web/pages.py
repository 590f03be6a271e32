"""The pages for signed-in people: worklist, report, start form, intake log and stored files."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, abort, flash, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from fhir_adapter.model import ReviewDecision
from plugin.errors import AnalysisNotFoundError, DeliveryNotFoundError, InvalidStudyUidError, RequestError
from plugin.services import delivery, intake, review
from plugin.services.governance.overview import state_notice
from plugin.services.regions import BY_KEY
from plugin.services.values import Analysis, AnalysisResult, AnalysisState, DeliveryState, Measurement, Role
from plugin.web.context import asking_user, current_services
from plugin.web.presentation import label_of, view_steps
from plugin.web.security import require_role, require_sign_in, serve_as_document

PAGE_SIZE = 25
EVENT_LIMIT = 200

TABS: dict[str, tuple[str, tuple[AnalysisState, ...]]] = {
    # The EHR announces a study again when our results become part of it; such repeats have a tab of their own.
    "all": ("All studies", tuple(state for state in AnalysisState if state is not AnalysisState.DUPLICATE)),
    "review": ("Awaiting review", (AnalysisState.AWAITING_REVIEW,)),
    "open": ("In progress", (AnalysisState.QUEUED, AnalysisState.RUNNING, AnalysisState.PUBLISHING)),
    "attention": (
        "Needs attention",
        (AnalysisState.UNDELIVERED, AnalysisState.FAILED, AnalysisState.NOT_ANALYSABLE, AnalysisState.HALTED),
    ),
    "reviewed": ("Reviewed", (AnalysisState.ACCEPTED, AnalysisState.REJECTED)),
    "duplicate": ("Duplicates", (AnalysisState.DUPLICATE,)),
}
_DECISIONS = {"accept": ReviewDecision.ACCEPTED, "reject": ReviewDecision.REJECTED}
_RESTARTABLE = {AnalysisState.FAILED, AnalysisState.NOT_ANALYSABLE}
# Shown by the browser; everything else is only ever saved.
_INLINE_TYPES = {"image/png", "application/json", "text/html", "application/pdf"}

blueprint = Blueprint("pages", __name__)
blueprint.before_request(require_sign_in)


@blueprint.context_processor
def _who_asks() -> dict[str, Any]:
    services = current_services()
    return {"user": asking_user(), "now": services.clock(), "organisation": services.site.organisation}


# Worklist


@blueprint.get("/")
def worklist() -> str:
    """All analyses, the newest first."""
    return render_template("worklist.html", **_worklist_page())


@blueprint.get("/worklist/rows")
def worklist_rows() -> str:
    """The part of the worklist that changes by itself."""
    return render_template("_worklist_rows.html", **_worklist_page())


def _worklist_page() -> dict[str, Any]:
    tab = request.args.get("tab", "all")
    if tab not in TABS:
        abort(404, description="There is no such worklist.")
    text = request.args.get("text", "").strip()[:200]
    page = max(1, request.args.get("page", 1, type=int))
    store = current_services().store
    found = store.list_analyses(states=TABS[tab][1], limit=PAGE_SIZE + 1, offset=(page - 1) * PAGE_SIZE, text=text)
    by_state = store.count_by_state()
    counts = {name: sum(by_state.get(state, 0) for state in members) for name, (_, members) in TABS.items()}
    return {
        "analyses": found[:PAGE_SIZE],
        "has_more": len(found) > PAGE_SIZE,
        "tabs": {name: label for name, (label, _) in TABS.items()},
        "counts": counts,
        "tab": tab,
        "text": text,
        "page": page,
        "halted": state_notice(current_services().governance),
        "waiting": by_state.get(AnalysisState.HALTED, 0),
    }


# One analysis


@blueprint.get("/analyses/<analysis_id>")
def report(analysis_id: str) -> str:
    """Everything about one analysis."""
    analysis = _stored(analysis_id)
    return render_template(
        "report.html",
        **_live_parts(analysis),
        pictures=_key_pictures(analysis.result) if analysis.result else (),
        legend=_legend(analysis.result) if analysis.result else (),
        atlas=_atlas(analysis),
        reviewer=_reviewer(analysis),
        can_review=asking_user().role is Role.RADIOLOGIST,
    )


@blueprint.get("/analyses/<analysis_id>/live")
def report_live(analysis_id: str) -> str:
    """The parts of the report page that change by themselves."""
    return render_template("_report_live.html", **_live_parts(_stored(analysis_id)))


def _live_parts(analysis: Analysis) -> dict[str, Any]:
    store = current_services().store
    deliveries = store.deliveries(analysis.id)
    is_pending = any(one.state is DeliveryState.PENDING for one in deliveries)
    return {
        "analysis": analysis,
        "steps": view_steps(analysis, store.steps(analysis.id)),
        "deliveries": deliveries,
        "is_live": analysis.state.is_open or is_pending,
        "can_restart": analysis.state in _RESTARTABLE,
    }


@dataclass(frozen=True)
class _Picture:
    """A key image and what lies over it; their artefacts' names."""

    base: str
    overlay: str
    title: str


def _key_pictures(result: AnalysisResult) -> tuple[_Picture, ...]:
    bases = [name for name in result.images if name.startswith("key-") and not name.endswith("-overlay.png")]
    return tuple(
        _Picture(name, name.replace(".png", "-overlay.png"), name[4:-4].replace("-", ", ", 1)) for name in bases
    )


def _legend(result: AnalysisResult) -> tuple[Measurement, ...]:
    """The regions that are drawn: segments, not their unions."""
    return tuple(item for item in result.measurements if item.key in BY_KEY and BY_KEY[item.key].segment)


def _reviewer(analysis: Analysis) -> str:
    if analysis.review is None:
        return ""
    known = current_services().store.get_user(analysis.review.reviewer)
    return known.display_name if known else analysis.review.reviewer


def _atlas(analysis: Analysis) -> dict[str, Any] | None:
    found = current_services().store.artefact(analysis.id, "atlas.json") if analysis.result else None
    facts: dict[str, Any] | None = json.loads(found.content) if found else None
    return facts


@blueprint.get("/analyses/<analysis_id>/artefacts/<name>")
def artefact(analysis_id: str, name: str) -> Response:
    """A stored file; kept by the browser only to be asked for again, so signing out ends access."""
    found = current_services().store.artefact(analysis_id, name)
    if found is None:
        abort(404, description="This analysis has no such file.")
    response = make_response(found.content)
    response.mimetype = found.media_type
    response.headers["Cache-Control"] = "private, no-cache"
    response.set_etag(hashlib.sha256(found.content).hexdigest())
    if found.media_type not in _INLINE_TYPES or "download" in request.args:
        response.headers.set("Content-Disposition", "attachment", filename=f"qfl-{analysis_id}-{name}")
    if found.media_type == "text/html":
        serve_as_document()
    response.make_conditional(request)
    return response


@blueprint.post("/analyses/<analysis_id>/review")
def decide(analysis_id: str) -> AnyResponse:
    """Take a radiologist's decision."""
    require_role(Role.RADIOLOGIST)
    decision = _DECISIONS.get(request.form.get("decision", ""))
    if decision is None:
        abort(400, description="Expected the decision accept or reject.")
    try:
        review.review_result(
            current_services(),
            analysis_id=analysis_id,
            decision=decision,
            reviewer=asking_user(),
            comment=request.form.get("comment", ""),
        )
    except AnalysisNotFoundError:
        raise
    except RequestError as error:
        flash(str(error), "bad")
    else:
        flash(f"{label_of(decision)}. The EHR is being told.", "good")
    return redirect(url_for("pages.report", analysis_id=analysis_id))


@blueprint.post("/analyses/<analysis_id>/restart")
def restart(analysis_id: str) -> AnyResponse:
    """Run a study again that ended without a result."""
    try:
        new_id = intake.restart_analysis(
            current_services(), analysis_id=analysis_id, requested_by=asking_user().username
        )
    except AnalysisNotFoundError:
        raise
    except RequestError as error:
        flash(str(error), "bad")
        return redirect(url_for("pages.report", analysis_id=analysis_id))
    flash("The study runs again; this is its new analysis.", "good")
    return redirect(url_for("pages.report", analysis_id=new_id))


@blueprint.post("/analyses/<analysis_id>/deliveries/<int:delivery_id>/replay")
def replay(analysis_id: str, delivery_id: int) -> AnyResponse:
    """Have a dead delivery sent again."""
    try:
        delivery.replay_delivery(current_services(), delivery_id=delivery_id)
    except DeliveryNotFoundError as error:
        flash(str(error), "bad")
    else:
        flash("The delivery is being sent again.", "good")
    return redirect(url_for("pages.report", analysis_id=analysis_id))


# Asking for an analysis


@blueprint.get("/start")
def start() -> str:
    """The form that asks for an analysis."""
    return render_template("start.html", uid=request.args.get("study_instance_uid", ""), error=None)


@blueprint.post("/start")
def start_analysis() -> AnyResponse | tuple[str, int]:
    """Start the analysis that somebody asked for."""
    uid = request.form.get("study_instance_uid", "").strip()
    try:
        analysis_id = intake.request_analysis(
            current_services(), study_instance_uid=uid, requested_by=asking_user().username
        )
    except InvalidStudyUidError as error:
        return render_template("start.html", uid=uid, error=str(error)), 400
    return redirect(url_for("pages.report", analysis_id=analysis_id))


# Intake log


@blueprint.get("/intake")
def intake_log() -> str:
    """What the EHR announced, and what became of it."""
    events = current_services().store.list_events(limit=EVENT_LIMIT)
    return render_template("intake.html", events=events, limit=EVENT_LIMIT)


def _stored(analysis_id: str) -> Analysis:
    analysis = current_services().store.get(analysis_id)
    if analysis is None:
        raise AnalysisNotFoundError("There is no analysis of this id.")
    return analysis
