"""The Flask factory of the web process."""

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from plugin.bootstrap.services import build_services
from plugin.services.ports import Services
from plugin.settings import Settings, load_settings
from plugin.web.blueprints import register_web


def create_app(settings: Settings, services: Services | None = None) -> Flask:
    """The web application; services are built from the settings unless they are given."""
    app = Flask("plugin.web", static_folder=None)
    app.config.update(
        SECRET_KEY=settings.web.secret_key,
        PREFERRED_URL_SCHEME="https" if settings.web.is_https else "http",
    )
    app.extensions["qfl"] = services or build_services(settings)
    if settings.web.proxies:
        hops = settings.web.proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    register_web(app)
    return app


def create_app_from_environment() -> Flask:
    """What gunicorn calls."""
    return create_app(load_settings())
