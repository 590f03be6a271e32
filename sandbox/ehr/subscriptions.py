"""Subscriptions and their events; what is to be sent is written down together with the change that caused it."""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sandbox.ehr.channels import Channel, check_conditions, parse_channel
from sandbox.ehr.errors import FhirError
from sandbox.ehr.notifications import Event
from sandbox.ehr.search import Search
from sandbox.ehr.store import Resource, Store, StoredVersion

_log = logging.getLogger(__name__)

HANDSHAKE = "handshake"
HEARTBEAT = "heartbeat"
EVENT = "event-notification"


@dataclass(frozen=True)
class Due:
    """A notification that is to be sent now.

    Attributes:
        delivery_ids: The rows that it settles.
        attempts: Failed so far.
    """

    channel: Channel
    kind: str
    delivery_ids: tuple[int, ...]
    attempts: int
    events: tuple[Event, ...]
    total: int


class Subscriptions:
    """The subscriptions of one server.

    Args:
        store: Where the Subscription resources are.
        search: Over the same store.
        topics: Canonical URLs of the topics that can be subscribed to.
    """

    def __init__(self, store: Store, search: Search, topics: frozenset[str]) -> None:
        self._store = store
        self._search = search
        self.topics = topics
        self.work_waits = threading.Event()

    # A Watcher of the interactions

    def check(self, resource: Resource, before: StoredVersion | None) -> Resource:
        """Refuse what cannot be done, and let only the server itself make a Subscription active."""
        if resource["resourceType"] != "Subscription":
            return resource
        channel = parse_channel(resource, self.topics)
        check_conditions(channel, self._search)
        if channel.status == "error":
            raise FhirError(
                422, "value", "status error is the server's; ask for requested or off", "Subscription.status"
            )
        if channel.status == "off" or self._is_unchanged(channel, before):
            return resource
        return {name: value for name, value in resource.items() if name != "error"} | {"status": "requested"}

    def _is_unchanged(self, channel: Channel, before: StoredVersion | None) -> bool:
        if before is None or before.resource is None or channel.status != "active":
            return False
        return replace(parse_channel(before.resource, self.topics), subscription_id=channel.subscription_id) == channel

    def changed(self, stored: StoredVersion) -> None:
        """Take note of a change, inside its transaction."""
        if stored.resource_type == "Subscription":
            self._subscription_changed(stored)
        elif stored.resource is not None:
            for channel in self.channels():
                is_match = channel.resource_type == stored.resource_type
                if is_match and self._search.matches(stored.resource, channel.conditions):
                    self._record_event(channel, stored)

    def _subscription_changed(self, stored: StoredVersion) -> None:
        with self._store.transaction() as connection:
            if stored.resource is None:
                for table in ("delivery", "event", "contact"):
                    statement = f"DELETE FROM {table} WHERE subscription_id = ?"  # noqa: S608  # three literals
                    connection.execute(statement, (stored.id,))
                return
            if stored.resource["status"] == "active":
                return
            connection.execute("DELETE FROM delivery WHERE subscription_id = ?", (stored.id,))
            if stored.resource["status"] != "requested":
                return
            if parse_channel(stored.resource, self.topics).topic is None:
                self.set_status(stored.id, "active", None)  # R4 rest-hooks have no handshake
                return
            self._enqueue(stored.id, HANDSHAKE, None)

    def _record_event(self, channel: Channel, stored: StoredVersion) -> None:
        if channel.status not in {"active", "error"}:
            return
        number = self.total(channel.subscription_id) + 1
        with self._store.transaction() as connection:
            connection.execute(
                "INSERT INTO event (subscription_id, number, timestamp, focus, method) VALUES (?, ?, ?, ?, ?)",
                (channel.subscription_id, number, stored.last_updated, stored.reference, stored.method),
            )
            if channel.status == "active":
                self._enqueue(channel.subscription_id, EVENT, number)

    def _enqueue(self, subscription_id: str, kind: str, number: int | None) -> None:
        with self._store.transaction() as connection:
            connection.execute(
                "INSERT INTO delivery (subscription_id, kind, event_number, due) VALUES (?, ?, ?, ?)",
                (subscription_id, kind, number, time.time()),
            )
        self.work_waits.set()

    # Reading

    def channels(self) -> list[Channel]:
        """All subscriptions, read."""
        found = [self._read(stored) for stored in self._store.all_of("Subscription")]
        return [channel for channel in found if channel is not None]

    def channel(self, subscription_id: str) -> Channel | None:
        """One subscription, None when it is gone."""
        stored = self._store.current("Subscription", subscription_id)
        return self._read(stored) if stored else None

    def _read(self, stored: StoredVersion) -> Channel | None:
        if stored.resource is None:
            return None
        try:
            return parse_channel(stored.resource, self.topics)
        except FhirError as error:  # taken by an earlier start that knew more topics
            _log.warning("%s is left alone: %s", stored.reference, error)
            return None

    def total(self, subscription_id: str) -> int:
        """Number of events since the subscription started."""
        with self._store.transaction() as connection:
            query = "SELECT COALESCE(MAX(number), 0) FROM event WHERE subscription_id = ?"
            return int(connection.execute(query, (subscription_id,)).fetchone()[0])

    def events(self, subscription_id: str, since: int, until: int | None) -> tuple[Event, ...]:
        """The events numbered since to until, both inclusive."""
        with self._store.transaction() as connection:
            rows = connection.execute(
                "SELECT * FROM event WHERE subscription_id = ? AND number BETWEEN ? AND ? ORDER BY number",
                (subscription_id, since, 2**62 if until is None else until),
            ).fetchall()
        return tuple(
            Event(row["number"], row["timestamp"], row["focus"], row["method"], self._resource(row["focus"]))
            for row in rows
        )

    def _resource(self, reference: str) -> Resource | None:
        stored = self._store.current(*reference.split("/", 1))
        return stored.resource if stored else None

    # Sending

    def next_due(self, subscription_id: str, now: float) -> Due | None:
        """The next notification of a subscription whose time has come, in the order of the events."""
        channel = self.channel(subscription_id)
        if channel is None:
            return None
        with self._store.transaction() as connection:
            rows = connection.execute(
                "SELECT * FROM delivery WHERE subscription_id = ? ORDER BY id LIMIT ?",
                (subscription_id, channel.max_count),
            ).fetchall()
            if not rows or rows[0]["due"] > now:
                return None
            first = rows[0]
            batch = [row for row in rows if row["kind"] == EVENT] if first["kind"] == EVENT else [first]
            numbers = [row["event_number"] for row in batch if row["kind"] == EVENT]
            events = self.events(subscription_id, min(numbers), max(numbers)) if numbers else ()
        ids = tuple(row["id"] for row in batch)
        return Due(channel, first["kind"], ids, first["attempts"], events, self.total(subscription_id))

    def settle(self, due: Due) -> None:
        """Note that a notification arrived."""
        with self._store.transaction() as connection:
            connection.executemany("DELETE FROM delivery WHERE id = ?", [(row,) for row in due.delivery_ids])
            connection.execute(
                "INSERT OR REPLACE INTO contact (subscription_id, last_sent) VALUES (?, ?)",
                (due.channel.subscription_id, time.time()),
            )
            if due.kind == HANDSHAKE:
                self.set_status(due.channel.subscription_id, "active", None)

    def postpone(self, due: Due, until: float) -> None:
        """Note that a notification failed and is to be sent again later; later events wait behind it."""
        with self._store.transaction() as connection:
            connection.executemany(
                "UPDATE delivery SET attempts = attempts + 1, due = ? WHERE id = ?",
                [(until, row) for row in due.delivery_ids],
            )

    def give_up(self, due: Due, reason: str) -> None:
        """Put the subscription into error; its events stay countable and can be asked for by $events."""
        with self._store.transaction() as connection:
            connection.execute("DELETE FROM delivery WHERE subscription_id = ?", (due.channel.subscription_id,))
            self.set_status(due.channel.subscription_id, "error", reason)

    def add_heartbeats(self, now: float) -> None:
        """Queue a heartbeat for every subscription that asked for them and has been silent too long."""
        with self._store.transaction() as connection:
            for channel in self.channels():
                if channel.status != "active" or not channel.heartbeat_s or channel.topic is None:
                    continue
                query = (
                    "SELECT (SELECT last_sent FROM contact WHERE subscription_id = ?1),"
                    " (SELECT COUNT(*) FROM delivery WHERE subscription_id = ?1)"
                )
                last_sent, waiting = connection.execute(query, (channel.subscription_id,)).fetchone()
                if not waiting and now - (last_sent or 0.0) >= channel.heartbeat_s:
                    self._enqueue(channel.subscription_id, HEARTBEAT, None)

    def set_status(self, subscription_id: str, status: str, error: str | None) -> None:
        """Let the server change a Subscription's status."""
        with self._store.transaction():
            stored = self._store.current("Subscription", subscription_id)
            if stored is None or stored.resource is None or stored.resource["status"] == status:
                return
            resource: Resource = {name: value for name, value in stored.resource.items() if name != "error"}
            resource |= {"status": status} | ({"error": error} if error else {})
            self._store.save(resource, subscription_id, "PUT")

    def waiting(self) -> Sequence[str]:
        """Subscriptions with something to send, now or later."""
        with self._store.transaction() as connection:
            rows = connection.execute("SELECT DISTINCT subscription_id FROM delivery").fetchall()
        return [row[0] for row in rows]
