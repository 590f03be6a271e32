"""The pages about federated rounds: the runs that this installation coordinates, and this hospital's own part."""

from typing import Any

from flask import Blueprint, Response, abort, make_response, render_template

from federated.rounds.run_view import RunView
from plugin.services.federation_desk import site_overview
from plugin.services.federation_report import REPORT
from plugin.services.federation_runs import RunViews, find_run
from plugin.services.values import User
from plugin.web.charts import draw_charts
from plugin.web.context import asking_user, current_services
from plugin.web.security import require_sign_in, serve_as_document

MOST_RUNS = 20
MOST_TROUBLES = 50

blueprint = Blueprint("federation", __name__, url_prefix="/federation")
blueprint.before_request(require_sign_in)


@blueprint.context_processor
def _who_asks() -> dict[str, Any]:
    services = current_services()
    user: User = asking_user()
    return {"user": user, "now": services.clock(), "organisation": services.site.organisation}


@blueprint.get("")
def overview() -> str:
    """The runs of the coordinator that is here, and what this hospital's own records say."""
    services = current_services()
    site = services.federation.site()
    own = site_overview(site, now=services.clock()) if site is not None else None
    return render_template("federation.html", own=own, **_runs_part())


@blueprint.get("/runs")
def runs() -> str:
    """The part of the overview that changes by itself."""
    return render_template("_federation_runs.html", **_runs_part())


@blueprint.get("/runs/<run>")
def show_run(run: str) -> str:
    """One run."""
    return render_template("federation_run.html", **_run_part(run))


@blueprint.get("/runs/<run>/live")
def run_live(run: str) -> str:
    """The parts of a run's page that change by themselves."""
    return render_template("_federation_run.html", **_run_part(run))


@blueprint.get("/runs/<run>/report")
def report(run: str) -> Response:
    """The report that was written at the run's end."""
    path = find_run(_coordinated().coordinator, run) / REPORT
    if not path.exists():
        abort(404, description="No report was written of this run yet: qfl federation report.")
    serve_as_document()
    return make_response(path.read_bytes(), {"Content-Type": "text/html; charset=utf-8"})


def _coordinated() -> RunViews:
    found = current_services().federation.runs
    if found is None:
        abort(404, description="This installation coordinates no federation.")
    return found


def _runs_part() -> dict[str, Any]:
    desk = current_services().federation
    if desk.runs is None:
        return {"is_coordinator": False, "runs": []}
    views: list[tuple[str, RunView]] = [(name, desk.runs.view(name)[0]) for name in desk.runs.names()[:MOST_RUNS]]
    return {"is_coordinator": True, "runs": views}


def _run_part(run: str) -> dict[str, Any]:
    runs = _coordinated()
    view, offset = runs.view(run)
    return {
        "run": run,
        "view": view,
        "offset": offset,
        "charts": draw_charts(view),
        "troubles": view.troubles[: -MOST_TROUBLES - 1 : -1],
        "has_report": (find_run(runs.coordinator, run) / REPORT).exists(),
        "tones": {"working": "active", "done": "good", "refused": "bad", "late": "caution", "lost": "bad"},
    }
