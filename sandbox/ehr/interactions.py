"""RESTful interactions on one resource: read, create, update, delete, and their conditional forms."""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl

from sandbox.ehr.errors import FhirError, not_found
from sandbox.ehr.search import Search
from sandbox.ehr.store import Resource, Store, StoredVersion
from sandbox.ehr.validation import check_references, check_structure, check_type


@dataclass(frozen=True)
class Outcome:
    """What an interaction did.

    Attributes:
        status: HTTP status: 201 created, 200 updated or found, 204 deleted.
        stored: None after a deletion.
    """

    status: int
    stored: StoredVersion | None


@dataclass(frozen=True)
class Watcher:
    """Who hears of changes inside their transaction: check may refuse or alter a resource, changed is told after."""

    check: Callable[[Resource, StoredVersion | None], Resource]
    changed: Callable[[StoredVersion], None]


def parse_query(query: str) -> list[tuple[str, str]]:
    """Split a search URL's query."""
    return parse_qsl(query, keep_blank_values=True)


class Interactions:
    """The interactions of one server.

    Args:
        store: Where the resources are.
        search: Over the same store.
        base_url: The server's own.
        watcher: Told of every change.
    """

    def __init__(self, store: Store, search: Search, base_url: str, watcher: Watcher) -> None:
        self.store = store
        self.search = search
        self.base_url = base_url
        self._watcher = watcher

    def read(self, resource_type: str, resource_id: str) -> StoredVersion:
        """Read the current version.

        Raises:
            FhirError: 404 for one that never was, 410 for a deleted one.
        """
        stored = self.store.current(check_type(resource_type), resource_id)
        if stored is None:
            raise not_found(f"{resource_type}/{resource_id}")
        if stored.resource is None:
            raise FhirError(410, "deleted", f"{stored.reference} was deleted")
        return stored

    def find_one(self, resource_type: str, query: str) -> StoredVersion | None:
        """The one match of a conditional interaction.

        Raises:
            FhirError: 412 when there are several (http://hl7.org/fhir/R4/http.html#ccreate).
        """
        criteria = parse_query(query)
        if not criteria:
            raise FhirError(412, "required", f"a conditional interaction on {resource_type} needs search parameters")
        matches = self.search.find(check_type(resource_type), criteria)
        if len(matches) > 1:
            raise FhirError(412, "multiple-matches", f"expected at most one {resource_type}, {len(matches)} match")
        return matches[0] if matches else None

    def create(self, resource: Resource, if_none_exist: str | None = None) -> Outcome:
        """Create, unless if_none_exist (a search query) already finds one."""
        with self.store.transaction():
            if if_none_exist is not None:
                existing = self.find_one(resource["resourceType"], if_none_exist)
                if existing is not None:
                    return Outcome(200, existing)
            return self.write(resource, None, "POST")

    def update(self, resource_type: str, resource_id: str, resource: Resource, if_match: str | None = None) -> Outcome:
        """Update, or create with the client's id.

        Raises:
            FhirError: 400 when body and URL disagree, 412 when if_match is not the current version.
        """
        if resource.get("resourceType") != resource_type or resource.get("id") != resource_id:
            raise FhirError(400, "invalid", f"the body must be a {resource_type} with the id of the URL, {resource_id}")
        with self.store.transaction():
            self.check_version(resource_type, resource_id, if_match)
            return self.write(resource, resource_id, "PUT")

    def delete(self, resource_type: str, resource_id: str, if_match: str | None = None) -> Outcome:
        """Delete; deleting what is not there is harmless."""
        with self.store.transaction():
            self.check_version(check_type(resource_type), resource_id, if_match)
            deleted = self.store.delete(resource_type, resource_id)
            if deleted is not None:
                self._watcher.changed(deleted)
            return Outcome(204, None)

    def write(self, resource: Resource, resource_id: str | None, method: str, *, refer: bool = True) -> Outcome:
        """Check and store one resource.

        Args:
            resource: As the client sent it.
            resource_id: None makes a new id.
            method: POST or PUT.
            refer: Whether its references are checked now; a transaction checks them at its end.
        """
        checked = check_structure(resource)
        with self.store.transaction():
            before = self.store.current(checked["resourceType"], resource_id) if resource_id else None
            stored = self.store.save(self._watcher.check(checked, before), resource_id, method)
            if refer and stored.resource is not None:
                check_references(stored.resource, self.base_url, self.exists)
            self._watcher.changed(stored)
        is_new = before is None or before.resource is None
        return Outcome(201 if is_new else 200, stored)

    def exists(self, resource_type: str, resource_id: str) -> bool:
        """Whether a resource is there and not deleted."""
        stored = self.store.current(resource_type, resource_id)
        return stored is not None and stored.resource is not None

    def check_version(self, resource_type: str, resource_id: str, if_match: str | None) -> None:
        """Refuse with 412 when if_match, an ETag or bare version, is not the current version."""
        if if_match is None:
            return
        stored = self.store.current(resource_type, resource_id)
        wanted = if_match.strip().removeprefix("W/").strip('"')
        if stored is None or wanted != str(stored.version):
            has = stored.version if stored else "none"
            raise FhirError(
                412, "conflict", f"{resource_type}/{resource_id} has version {has}, not {wanted}: read again"
            )
