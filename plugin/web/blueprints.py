"""Puts the web process together."""

from flask import Blueprint, Flask, Response, request

from plugin.web import (
    api,
    federation,
    federation_feed,
    governance,
    governance_api,
    health,
    hooks,
    pages,
    sign_in,
)
from plugin.web.errors import init_errors
from plugin.web.metrics import init_metrics
from plugin.web.presentation import init_templates
from plugin.web.security import init_security, limit_guessing

_MAX_FORM_BYTES = 64 * 1024

_assets = Blueprint("assets", __name__, template_folder="templates", static_folder="static", static_url_path="/assets")


def register_web(app: Flask) -> None:
    """Give an app the FHIR hooks, the pages, the API, health and metrics.

    The app must already have its SECRET_KEY, and its Services at app.extensions["qfl"]. Templates and static files come
    with these blueprints.
    """
    app.config["MAX_CONTENT_LENGTH"] = _MAX_FORM_BYTES  # the FHIR hook takes more, and says so itself
    init_metrics(app)
    init_security(app)
    init_errors(app)
    init_templates(app)
    app.register_blueprint(_assets)
    for module in (hooks, api, federation_feed, governance_api, health, pages, federation, governance, sign_in):
        app.register_blueprint(module.blueprint)
    limit_guessing(app, sign_in.blueprint, governance.blueprint)
    # A notification proves itself by its secret; the API checks by itself, for sessions only.
    app.extensions["csrf"].exempt(hooks.blueprint)
    app.extensions["csrf"].exempt(api.blueprint)
    app.after_request(_keep_out_of_caches)


def _keep_out_of_caches(response: Response) -> Response:
    """Pages and answers speak of patients: only what says otherwise itself may be kept."""
    if "Cache-Control" not in response.headers and request.endpoint != "assets.static":
        response.headers["Cache-Control"] = "no-store"
    return response
