"""Who may do what in the web process: sessions, CSRF, browser policies and the sign-in rate limit.

Everything here fails closed: a blueprint lets nobody in unless it says so.
"""

import hashlib
import hmac
from datetime import timedelta

from flask import Blueprint, Flask, Response, abort, g, redirect, request, session, url_for
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_login import LoginManager, current_user, login_user
from flask_talisman import Talisman
from flask_wtf import CSRFProtect
from werkzeug.wrappers import Response as AnyResponse

from plugin.services.values import Role, User
from plugin.web.context import asking_user, current_services, signed_in_user

SESSION_LIFETIME = timedelta(hours=8)
"""Counted from signing in: an open worklist that polls does not prolong it."""

_PAGE_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
_DOCUMENT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"


class SignedInUser:
    """A user as Flask-Login wants one.

    The session names the user and a fingerprint of their password hash, so a new password ends every older session.
    """

    is_authenticated = True
    is_active = True
    is_anonymous = False

    def __init__(self, account: User) -> None:
        self.account = account

    def get_id(self) -> str:
        """What the session keeps."""
        return f"{_fingerprint(self.account)}:{self.account.username}"


def init_security(app: Flask) -> None:
    """Give an app its sessions, CSRF protection, browser policies and login manager.

    The app must have its SECRET_KEY and its services; cookies are Secure where the public URL is https.
    """
    is_https = app.extensions["qfl"].site.public_url.startswith("https://")
    app.config.update(
        SESSION_COOKIE_NAME="qfl_session",
        SESSION_COOKIE_SECURE=is_https,
        PERMANENT_SESSION_LIFETIME=SESSION_LIFETIME,
        WTF_CSRF_TIME_LIMIT=None,  # a token lives as long as its session
    )
    app.after_request(_apply_document_policy)  # before Talisman's, so that it runs after it
    Talisman(
        app,
        force_https=app.config.get("QFL_FORCE_HTTPS", False),
        session_cookie_secure=is_https,
        session_cookie_samesite="Lax",
        content_security_policy=_PAGE_POLICY,
        frame_options="DENY",
        referrer_policy="same-origin",
    )
    CSRFProtect(app)
    manager = LoginManager(app)
    manager.user_loader(_load_user)
    manager.unauthorized_handler(_ask_to_sign_in)


def limit_guessing(app: Flask, *blueprints: Blueprint) -> None:
    """Slow down guessing: failed attempts count per address, and per address and username."""
    limiter = Limiter(get_remote_address, app=app, storage_uri="memory://")
    for rule, key in (("20 per minute", get_remote_address), ("5 per minute", _address_and_username)):
        for blueprint in blueprints:
            limiter.limit(rule, key_func=key, methods=["POST"], deduct_when=_has_failed)(blueprint)


def start_session(user: User) -> None:
    """Sign a user in, in a fresh session."""
    session.clear()  # nothing of an earlier, perhaps planted, session survives
    session.permanent = True
    session["signed_in_at"] = current_services().clock().timestamp()
    login_user(SignedInUser(user))


def require_sign_in() -> AnyResponse | None:
    """Turn away everybody who is not signed in; for Blueprint.before_request."""
    return None if current_user.is_authenticated else _ask_to_sign_in()


def require_role(role: Role) -> None:
    """Stop with 403 unless the person who asks has a role."""
    if asking_user().role is not role:
        abort(403, description=f"This needs the role {role.value}.")


def serve_as_document() -> None:
    """Let this response style itself, but neither run nor fetch anything: for stored reports."""
    g.is_document = True


def _apply_document_policy(response: Response) -> Response:
    if g.get("is_document"):
        response.headers["Content-Security-Policy"] = _DOCUMENT_POLICY
    return response


def _load_user(session_id: str) -> SignedInUser | None:
    fingerprint, _, username = session_id.partition(":")
    services = current_services()
    age_s = services.clock().timestamp() - session.get("signed_in_at", 0.0)
    user = services.store.get_user(username)
    if user is None or age_s > SESSION_LIFETIME.total_seconds():
        return None
    return SignedInUser(user) if hmac.compare_digest(fingerprint, _fingerprint(user)) else None


def _fingerprint(user: User) -> str:
    return hashlib.sha256(f"session:{user.password_hash}".encode()).hexdigest()[:32]


def _ask_to_sign_in() -> AnyResponse:
    # A page's own script cannot follow a redirect to a form; it is told plainly.
    if request.headers.get("X-Requested-With") == "fetch":
        abort(401)
    wanted = request.full_path.rstrip("?") if request.method == "GET" else None
    return redirect(url_for("account.sign_in", next=wanted))


def _has_failed(response: Response) -> bool:
    return response.status_code >= 400


def _address_and_username() -> str:
    account = signed_in_user()
    return f"{get_remote_address()} {account.username if account else request.form.get('username', '')[:80]}"
