"""Transaction Bundles: entries that may be sent twice."""

from collections.abc import Sequence

from fhir_adapter.elements import Element
from fhir_adapter.identifiers import derived_uuid
from fhir_adapter.ports import Resource


def full_url(key: str, *parts: str) -> str:
    """A urn:uuid for a resource of one transaction, the same on every run; references inside the bundle use it."""
    return derived_uuid(key, *parts).urn


def create_entry(url: str, resource: Resource, *, parameter: str, token: tuple[str, str]) -> Resource:
    """An entry that creates a resource unless the server already has one with this token (R4 http.html#ccreate).

    Args:
        url: The entry's fullUrl.
        parameter: identifier, or _tag for a type that has no identifier in R4.
        token: System and value, of our own making (UIDs, digests, UUIDs): nothing in them needs escaping.
    """
    condition = f"{parameter}={token[0]}|{token[1]}"
    request = {"method": "POST", "url": resource["resourceType"], "ifNoneExist": condition}
    return {"fullUrl": url, "resource": resource, "request": request}


def update_entry(resource: Resource, *, fhir_base_url: str) -> Resource:
    """An entry that replaces a resource, if it still is the version that was read (R4 http.html#concurrency).

    Raises:
        MalformedResourceError: Its meta is not what it should be.
    """
    local = f"{resource['resourceType']}/{resource['id']}"
    request = {"method": "PUT", "url": local}
    meta = Element.of(resource, local).child("meta")
    version = meta.text("versionId") if meta else None
    if version:
        request["ifMatch"] = f'W/"{version}"'
    return {"fullUrl": f"{fhir_base_url.rstrip('/')}/{local}", "resource": resource, "request": request}


def transaction(entries: Sequence[Resource]) -> Resource:
    """A transaction Bundle."""
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}


def identifier(system: str, value: str) -> Resource:
    """An Identifier."""
    return {"system": system, "value": value}
