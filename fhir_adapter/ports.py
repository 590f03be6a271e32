"""What this package needs from the world."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Resource = dict[str, Any]
"""A FHIR resource as parsed JSON, checked by the parser that takes it in."""


class FhirStore(Protocol):
    """One FHIR server.

    Every method raises FhirUnavailableError (worth another try), FhirRefusedError, FhirConflictError or
    FhirTooLargeError; read and delete also FhirNotFoundError.
    """

    def read(self, reference: str) -> Resource:
        """Read by "Type/id", or by an absolute URL below this server's own base; no other host is asked."""

    def search(self, resource_type: str, parameters: Mapping[str, str], *, limit: int = 200) -> Sequence[Resource]:
        """Search by POST-safe parameters, following next links on this server, to at most limit matches."""

    def create(self, resource: Resource) -> Resource:
        """Create, and give back what the server stored."""

    def update(self, resource: Resource, *, if_match: str | None = None) -> Resource:
        """Update by the resource's id; if_match is a version id."""

    def delete(self, reference: str) -> None:
        """Delete by "Type/id"."""

    def transact(self, bundle: Resource) -> Resource:
        """Send a transaction Bundle, all or nothing; gives the response Bundle."""

    def operation(self, path: str) -> Resource:
        """Call a read-only operation by GET, e.g. "Subscription/1/$status"."""
