"""The EHR's resources and their history, in one SQLite file."""

import json
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Resource = dict[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS version (
    type TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, last_updated TEXT NOT NULL,
    method TEXT NOT NULL, content TEXT, current INTEGER NOT NULL,
    PRIMARY KEY (type, id, version)
);
CREATE INDEX IF NOT EXISTS version_current ON version (type, current, id);
CREATE TABLE IF NOT EXISTS event (
    subscription_id TEXT NOT NULL, number INTEGER NOT NULL, timestamp TEXT NOT NULL,
    focus TEXT NOT NULL, method TEXT NOT NULL, PRIMARY KEY (subscription_id, number)
);
CREATE TABLE IF NOT EXISTS delivery (
    id INTEGER PRIMARY KEY, subscription_id TEXT NOT NULL, kind TEXT NOT NULL, event_number INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS contact (subscription_id TEXT PRIMARY KEY, last_sent REAL NOT NULL);
"""


@dataclass(frozen=True)
class StoredVersion:
    """One version of one resource.

    Attributes:
        method: The interaction that made it: POST, PUT or DELETE.
        resource: None when this version is a deletion.
    """

    resource_type: str
    id: str
    version: int
    last_updated: str
    method: str
    resource: Resource | None

    @property
    def reference(self) -> str:
        """The relative reference, "Type/id"."""
        return f"{self.resource_type}/{self.id}"

    @property
    def last_updated_at(self) -> datetime:
        """last_updated, parsed."""
        return datetime.fromisoformat(self.last_updated)


def now_instant() -> str:
    """The time now as a FHIR instant, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Store:
    """Versioned resources. One connection, one writer at a time; transactions nest by joining the outer one."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.executescript(_SCHEMA)
        self._lock = threading.RLock()
        self._depth = 0

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the store: everything inside commits together, or nothing does."""
        with self._lock:
            outermost = self._depth == 0
            if outermost:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield self._connection
            except BaseException:
                if outermost:
                    self._connection.execute("ROLLBACK")
                raise
            else:
                if outermost:
                    self._connection.execute("COMMIT")
            finally:
                self._depth -= 1

    def _rows(self, where: str, values: tuple[Any, ...]) -> list[StoredVersion]:
        query = "SELECT * FROM version WHERE " + where  # noqa: S608  # every where is a literal of this module
        with self._lock:
            rows = self._connection.execute(query, values).fetchall()
        return [
            StoredVersion(
                resource_type=row["type"],
                id=row["id"],
                version=row["version"],
                last_updated=row["last_updated"],
                method=row["method"],
                resource=json.loads(row["content"]) if row["content"] is not None else None,
            )
            for row in rows
        ]

    def current(self, resource_type: str, resource_id: str) -> StoredVersion | None:
        """The newest version, which may be a deletion; None when there never was one."""
        rows = self._rows("type = ? AND id = ? AND current = 1", (resource_type, resource_id))
        return rows[0] if rows else None

    def version(self, resource_type: str, resource_id: str, version: int) -> StoredVersion | None:
        """One version."""
        rows = self._rows("type = ? AND id = ? AND version = ?", (resource_type, resource_id, version))
        return rows[0] if rows else None

    def history(self, resource_type: str, resource_id: str) -> list[StoredVersion]:
        """All versions, the newest first."""
        return self._rows("type = ? AND id = ? ORDER BY version DESC", (resource_type, resource_id))

    def all_of(self, resource_type: str) -> list[StoredVersion]:
        """The resources of a type that are not deleted, the newest first."""
        where = "type = ? AND current = 1 AND content IS NOT NULL ORDER BY last_updated DESC, id"
        return self._rows(where, (resource_type,))

    def count_by_type(self) -> dict[str, int]:
        """How many resources of each type there are."""
        query = "SELECT type, COUNT(*) FROM version WHERE current = 1 AND content IS NOT NULL GROUP BY type"
        with self._lock:
            return dict(self._connection.execute(query).fetchall())

    def save(self, resource: Resource, resource_id: str | None, method: str) -> StoredVersion:
        """Store a new version; the server sets id, meta.versionId and meta.lastUpdated.

        Args:
            resource: Checked before.
            resource_id: None makes a new id.
            method: POST or PUT, as the history is to tell it.
        """
        resource_type = resource["resourceType"]
        new_id = resource_id or str(uuid.uuid4())
        with self.transaction():
            before = self.current(resource_type, new_id)
            number = before.version + 1 if before else 1
            instant = now_instant()
            meta = {**resource.get("meta", {}), "versionId": str(number), "lastUpdated": instant}
            rest = {name: value for name, value in resource.items() if name not in {"resourceType", "id", "meta"}}
            stored = {"resourceType": resource_type, "id": new_id, "meta": meta, **rest}
            return self._append(StoredVersion(resource_type, new_id, number, instant, method, stored))

    def delete(self, resource_type: str, resource_id: str) -> StoredVersion | None:
        """Store a deletion; None when there was nothing to delete."""
        with self.transaction():
            before = self.current(resource_type, resource_id)
            if before is None or before.resource is None:
                return None
            after = StoredVersion(resource_type, resource_id, before.version + 1, now_instant(), "DELETE", None)
            return self._append(after)

    def _append(self, new: StoredVersion) -> StoredVersion:
        content = json.dumps(new.resource) if new.resource is not None else None
        with self.transaction() as connection:
            connection.execute("UPDATE version SET current = 0 WHERE type = ? AND id = ?", (new.resource_type, new.id))
            connection.execute(
                "INSERT INTO version (type, id, version, last_updated, method, content, current)"
                " VALUES (?, ?, ?, ?, ?, ?, 1)",
                (new.resource_type, new.id, new.version, new.last_updated, new.method, content),
            )
        return new
