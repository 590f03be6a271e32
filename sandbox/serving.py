"""How both sandbox servers run: loopback only, one gunicorn process with threads, one password each."""

import base64
import binascii
import hmac
import json
import secrets
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flask import Flask, Response, request
from gunicorn.app.base import BaseApplication

THREADS = 8
LOOPBACK = "127.0.0.1"
TRUSTED_HOSTS = [LOOPBACK, "localhost"]
"""Host headers that are answered: a page on another name cannot reach the sandbox through a browser (DNS rebinding)."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)


@dataclass(frozen=True)
class Access:
    """The one account of a sandbox server.

    Attributes:
        realm: What a browser shows when it asks for the password.
        secret: The password, which is also accepted as a bearer token.
    """

    realm: str
    username: str
    secret: str = field(repr=False)

    def is_granted(self, authorization: str | None) -> bool:
        """Whether an Authorization header holds the secret, as Bearer (RFC 6750) or Basic (RFC 7617)."""
        scheme, _, credentials = (authorization or "").partition(" ")
        if scheme.lower() == "bearer":
            return hmac.compare_digest(credentials.strip().encode(), self.secret.encode())
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(credentials.strip(), validate=True)
            except (binascii.Error, ValueError):
                return False
            return hmac.compare_digest(given, f"{self.username}:{self.secret}".encode())
        return False


def read_or_create_secret(path: Path) -> str:
    """Read a secret file; if there is none, make one that only its owner can read."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(12))
    secret = path.read_text().strip()
    if not secret:
        raise ValueError(f"expected a secret in {path}, got an empty file: delete it or write one")
    return secret


def protect(app: Flask, access: Access) -> None:
    """Ask every request for the password, and send headers that keep pages from running anything."""
    app.config["TRUSTED_HOSTS"] = TRUSTED_HOSTS

    @app.before_request
    def check_access() -> Response | None:
        if access.is_granted(request.headers.get("Authorization")):
            return None
        refusal = Response("Sign in with the sandbox's user and password.\n", 401, mimetype="text/plain")
        refusal.headers.add("WWW-Authenticate", f'Basic realm="{access.realm}", charset="UTF-8"')
        refusal.headers.add("WWW-Authenticate", f'Bearer realm="{access.realm}"')
        return refusal

    @app.after_request
    def set_headers(response: Response) -> Response:
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "no-referrer")
        response.headers.setdefault("Cache-Control", "no-store")
        return response


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn carries no types
    """One gunicorn worker on a socket that is already bound, so that port 0 can be told."""

    def __init__(self, build_app: Callable[[str], Flask], bound: socket.socket) -> None:
        self._build_app = build_app
        self._fd = bound.fileno()
        self._port = bound.getsockname()[1]
        super().__init__()

    def load_config(self) -> None:
        port = self._port

        def tell_ready(worker: Any) -> None:  # noqa: ARG001  # gunicorn calls it by name
            print(json.dumps({"ready": True, "port": port, "url": f"http://{LOOPBACK}:{port}"}), flush=True)

        settings = {
            "bind": f"fd://{self._fd}",
            "worker_class": "gthread",
            "workers": 1,
            "threads": THREADS,
            "timeout": 120,
            "graceful_timeout": 5,
            "control_socket_disable": True,
            "errorlog": "-",
            "loglevel": "warning",
            "post_worker_init": tell_ready,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return self._build_app(f"http://{LOOPBACK}:{self._port}")


def serve(build_app: Callable[[str], Flask], port: int) -> None:
    """Serve until SIGTERM or SIGINT; one JSON line on stdout says when and where.

    Args:
        build_app: Builds the application, given the server's own base URL; called in the serving process.
        port: On 127.0.0.1; 0 takes a free one.
    """
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((LOOPBACK, port))
    except OSError as error:
        sys.exit(f"cannot listen on {LOOPBACK}:{port}: {error.strerror}; choose another --port")
    bound.listen(64)
    _Server(build_app, bound).run()
