"""Signing in and out."""

from flask import Blueprint, redirect, render_template, request, url_for
from flask_login import logout_user
from werkzeug.wrappers import Response

from plugin.services import accounts
from plugin.web.context import current_services, signed_in_user
from plugin.web.security import start_session

blueprint = Blueprint("account", __name__)


@blueprint.get("/sign-in")
def sign_in() -> str | Response:
    """The form."""
    if signed_in_user() is not None:
        return redirect(_wanted_page())
    return render_template("sign_in.html", username="", failed=False)


@blueprint.post("/sign-in")
def check_sign_in() -> tuple[str, int] | Response:
    """Check name and password; which of the two is wrong stays untold."""
    username = request.form.get("username", "").strip()
    user = accounts.sign_in(current_services(), username=username, password=request.form.get("password", ""))
    if user is None:
        return render_template("sign_in.html", username=username, failed=True), 401
    start_session(user)
    return redirect(_wanted_page())


@blueprint.post("/sign-out")
def sign_out() -> Response:
    """End the session."""
    logout_user()
    return redirect(url_for("account.sign_in"))


def _wanted_page() -> str:
    """The page that asked to sign in, if it is one of ours; browsers read a backslash as a slash."""
    wanted = request.args.get("next", "")
    is_ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    return wanted if is_ours else url_for("pages.worklist")
