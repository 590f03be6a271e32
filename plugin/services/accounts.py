"""Who may sign in, and by which token a program may call the API."""

import hashlib
import re
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from plugin.errors import UserError
from plugin.services.ports import Services
from plugin.services.values import Role, User

_HASHER = PasswordHasher()
_USERNAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,78}")
MIN_PASSWORD_LENGTH = 12


def add_user(
    services: Services,
    *,
    username: str,
    display_name: str,
    role: Role,
    password: str,
    practitioner_reference: str | None = None,
) -> User:
    """Add a user, or give one a new name, role and password.

    Raises:
        UserError: The name or the password is not usable.
    """
    if not _USERNAME.fullmatch(username):
        raise UserError("A username is 2 to 79 lower-case letters, digits, dots, dashes or underscores.")
    if len(password) < MIN_PASSWORD_LENGTH:
        raise UserError(f"A password has at least {MIN_PASSWORD_LENGTH} characters.")
    user = User(username, display_name.strip() or username, role, practitioner_reference, _HASHER.hash(password))
    services.store.save_user(user, now=services.clock())
    return user


def sign_in(services: Services, *, username: str, password: str) -> User | None:
    """The user, if the password is theirs. An unknown name takes as long as a wrong password."""
    user = services.store.get_user(username)
    try:
        _HASHER.verify(user.password_hash if user else _nobodys_hash(), password)
    except (VerifyMismatchError, InvalidHashError):
        return None
    return user


def issue_token(services: Services, *, username: str) -> str:
    """A new API token of a user; only its digest is kept.

    Raises:
        UserError: There is no such user.
    """
    if services.store.get_user(username) is None:
        raise UserError(f"There is no user {username!r}. Add one with: qfl users add.")
    token = secrets.token_urlsafe(32)
    services.store.save_token(username, token_digest=_digest(token), now=services.clock())
    return token


def user_for_token(services: Services, *, token: str) -> User | None:
    """Whose API token it is. The token is random, so looking its digest up tells nothing about others."""
    return services.store.user_for_token(_digest(token))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _nobodys_hash() -> str:
    return _HASHER.hash(secrets.token_urlsafe(16))
