"""What every view needs: the services of this process, and who asks."""

from typing import cast

from flask import current_app, g
from flask_login import current_user

from plugin.services.ports import Services
from plugin.services.values import User


def current_services() -> Services:
    """The services that create_app keeps at app.extensions["qfl"]."""
    return cast("Services", current_app.extensions["qfl"])


def signed_in_user() -> User | None:
    """The person who asks: by API token, else by session; None for nobody."""
    by_token = cast("User | None", g.get("token_user"))
    if by_token is not None:
        return by_token
    return current_user.account if current_user.is_authenticated else None


def asking_user() -> User:
    """The person who asks, where the blueprint has already turned away everybody else."""
    user = signed_in_user()
    if user is None:
        raise RuntimeError("This view belongs to a blueprint that lets only signed-in people in.")
    return user
