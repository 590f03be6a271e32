"""The plugin's own subscriptions at the EHR."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import (
    case,
    delete,
    func,
    select,
    update,
)

from plugin.adapters.sql_records import (
    subscription_of,
)
from plugin.adapters.sql_schema import subscriptions
from plugin.adapters.sql_session import SqlSession
from plugin.services.values import (
    SubscriptionRecord,
)


class SqlSubscriptions(SqlSession):
    """Subscriptions."""

    def get_subscription(self, name: str) -> SubscriptionRecord | None:
        """One subscription."""
        query = select(subscriptions).where(subscriptions.c.name == name)
        return next((subscription_of(row) for row in self._rows(query)), None)

    def list_subscriptions(self) -> Sequence[SubscriptionRecord]:
        """All subscriptions, by name."""
        return [subscription_of(row) for row in self._rows(select(subscriptions).order_by(subscriptions.c.name))]

    def save_subscription(self, subscription: SubscriptionRecord) -> None:
        """Add or replace a subscription."""
        self._replace(subscriptions, subscriptions.c.name == subscription.name, asdict(subscription))

    def note_subscription(
        self,
        name: str,
        *,
        now: datetime,
        status: str | None = None,
        event_number: int | None = None,
        error: str | None = None,
    ) -> int | None:
        """Record that the server spoke about a subscription."""
        this = subscriptions.c.name == name
        values: dict[str, Any] = {"last_seen_at": now, "last_error": error}
        if status:
            values["status"] = status
        if event_number is not None:
            seen = func.coalesce(subscriptions.c.last_event_number, 0)
            values["last_event_number"] = case((seen > event_number, seen), else_=event_number)
        with self._engine.begin() as connection:
            before = connection.execute(
                select(subscriptions.c.last_event_number).where(this).with_for_update()
            ).scalar()
            connection.execute(update(subscriptions).where(this).values(**values))
            return before

    def note_search(self, name: str, *, searched_until: datetime) -> None:
        """Record up to when the EHR was searched for missed events."""
        with self._engine.begin() as connection:
            connection.execute(
                update(subscriptions).where(subscriptions.c.name == name).values(searched_until=searched_until)
            )

    def remove_subscription(self, name: str) -> None:
        """Forget a subscription."""
        with self._engine.begin() as connection:
            connection.execute(delete(subscriptions).where(subscriptions.c.name == name))
