"""People who may sign in, and the tokens of their programs."""

from dataclasses import asdict
from datetime import datetime

from sqlalchemy import (
    insert,
    select,
)

from plugin.adapters.sql_journal import record_within
from plugin.adapters.sql_records import (
    user_of,
)
from plugin.adapters.sql_schema import tokens, users
from plugin.adapters.sql_session import SqlSession
from plugin.services.values import (
    User,
)


class SqlAccounts(SqlSession):
    """Users and API tokens."""

    def get_user(self, username: str) -> User | None:
        """One user."""
        return next((user_of(row) for row in self._rows(select(users).where(users.c.username == username))), None)

    def save_user(self, user: User, *, now: datetime) -> None:
        """Add or replace a user."""
        self._replace(users, users.c.username == user.username, asdict(user), self._journal.account(user, at=now))

    def save_token(self, username: str, *, token_digest: str, now: datetime) -> None:
        """Add an API token of a user, by the SHA-256 of the token."""
        with self._engine.begin() as connection:
            connection.execute(insert(tokens).values(digest=token_digest, username=username, created_at=now))
            record_within(connection, [self._journal.token(username, token_digest, at=now)])

    def user_for_token(self, token_digest: str) -> User | None:
        """Whose API token it is."""
        query = select(users).join(tokens).where(tokens.c.digest == token_digest)
        return next((user_of(row) for row in self._rows(query)), None)
