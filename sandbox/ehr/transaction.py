"""Transaction Bundles: all entries or none (http://hl7.org/fhir/R4/http.html#transaction)."""

import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sandbox.ehr.errors import FhirError
from sandbox.ehr.interactions import Interactions, Outcome
from sandbox.ehr.store import Resource, StoredVersion
from sandbox.ehr.validation import check_references, check_type, references_in

_ORDER = ("DELETE", "POST", "PUT", "GET")


@dataclass
class _Entry:
    """One entry on its way through the transaction.

    Attributes:
        target_id: The id that it will have; known before anything is stored, so that others can refer to it.
        existing: What a conditional create found.
    """

    method: str
    resource_type: str
    resource_id: str
    query: str
    full_url: str | None
    resource: Resource
    if_match: str | None
    if_none_exist: str | None
    target_id: str = ""
    existing: StoredVersion | None = None


def run_transaction(interactions: Interactions, bundle: Any, *, representation: bool) -> Resource:
    """Carry out a transaction Bundle.

    Args:
        interactions: Of the server.
        bundle: Untrusted JSON.
        representation: Whether the answer holds the stored resources (Prefer: return=representation).

    Returns:
        The transaction-response Bundle, its entries in the order of the request.

    Raises:
        FhirError: Nothing was stored.
    """
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle" or bundle.get("type") != "transaction":
        raise FhirError(400, "not-supported", "expected a Bundle of type transaction")
    entries = [_parse_entry(entry, index) for index, entry in enumerate(bundle.get("entry", []))]
    answers: dict[int, Resource] = {}
    with interactions.store.transaction():
        identities = _assign_identities(interactions, entries)
        for entry in entries:
            entry.resource = _rewritten(entry.resource, identities)
            _resolve_conditional_references(interactions, entry.resource)
        written: list[Resource] = []
        for index in sorted(range(len(entries)), key=lambda position: _ORDER.index(entries[position].method)):
            outcome = _carry_out(interactions, entries[index])
            answers[index] = _answer(entries[index], outcome, representation=representation)
            if outcome.stored is not None and outcome.stored.resource is not None:
                written.append(outcome.stored.resource)
        for resource in written:
            check_references(resource, interactions.base_url, interactions.exists)
    return {
        "resourceType": "Bundle",
        "type": "transaction-response",
        "entry": [answers[index] for index in range(len(entries))],
    }


def _parse_entry(entry: Any, index: int) -> _Entry:
    request = entry.get("request") if isinstance(entry, dict) else None
    if not isinstance(request, dict) or request.get("method") not in _ORDER or not isinstance(request.get("url"), str):
        allowed = ", ".join(_ORDER)
        raise FhirError(400, "required", f"Bundle.entry[{index}].request needs a url and a method of {allowed}")
    url = urlsplit(request["url"])
    resource_type, _, resource_id = url.path.strip("/").partition("/")
    resource = entry.get("resource", {})
    if request["method"] in {"POST", "PUT"} and resource.get("resourceType") != resource_type:
        raise FhirError(400, "invalid", f"Bundle.entry[{index}]: resource and request.url name different types")
    return _Entry(
        method=request["method"],
        resource_type=check_type(resource_type),
        resource_id=resource_id,
        query=url.query,
        full_url=entry.get("fullUrl"),
        resource=resource,
        if_match=request.get("ifMatch"),
        if_none_exist=request.get("ifNoneExist"),
    )


def _assign_identities(interactions: Interactions, entries: list[_Entry]) -> dict[str, str]:
    """Give every entry its id before anything is stored; maps fullUrl to "Type/id"."""
    identities: dict[str, str] = {}
    for entry in entries:
        if entry.method == "POST":
            if entry.if_none_exist is not None:
                entry.existing = interactions.find_one(entry.resource_type, entry.if_none_exist)
            entry.target_id = entry.existing.id if entry.existing else str(uuid.uuid4())
        elif entry.method == "PUT" and entry.query:
            found = interactions.find_one(entry.resource_type, entry.query)
            entry.target_id = found.id if found else entry.resource.get("id", str(uuid.uuid4()))
        else:
            entry.target_id = entry.resource_id
        if entry.full_url and entry.method in {"POST", "PUT"}:
            if entry.full_url in identities:
                raise FhirError(400, "duplicate", f"fullUrl {entry.full_url} stands twice in the transaction")
            identities[entry.full_url] = f"{entry.resource_type}/{entry.target_id}"
    return identities


def _rewritten(element: Any, identities: dict[str, str], name: str = "") -> Any:
    """Replace fullUrls of the Bundle in references, URIs and narrative; identifiers stay as they are."""
    if isinstance(element, dict):
        return {key: _rewritten(value, identities, key) for key, value in element.items()}
    if isinstance(element, list):
        return [_rewritten(item, identities, name) for item in element]
    if not isinstance(element, str):
        return element
    if name == "reference" or name.lower().endswith(("url", "uri")):
        return identities.get(element, element)
    if name == "div":
        for full_url, reference in identities.items():
            element = element.replace(full_url, reference)
    return element


def _resolve_conditional_references(interactions: Interactions, resource: Resource) -> None:
    """Replace references such as Patient?identifier=... by the one resource that they find."""
    for element in references_in(resource):
        resource_type, mark, query = element["reference"].partition("?")
        if not mark or resource_type.startswith(("http:", "https:", "urn:", "#")):
            continue
        found = interactions.find_one(resource_type, query)
        if found is None:
            raise FhirError(412, "not-found", f"conditional reference to {resource_type}: nothing matches")
        element["reference"] = found.reference


def _carry_out(interactions: Interactions, entry: _Entry) -> Outcome:
    if entry.method == "DELETE":
        return interactions.delete(entry.resource_type, entry.target_id, entry.if_match)
    if entry.method == "GET":
        return Outcome(200, interactions.read(entry.resource_type, entry.target_id))
    if entry.existing is not None:
        return Outcome(200, entry.existing)
    if entry.method == "PUT":
        interactions.check_version(entry.resource_type, entry.target_id, entry.if_match)
    return interactions.write(entry.resource, entry.target_id, entry.method, refer=False)


def _answer(entry: _Entry, outcome: Outcome, *, representation: bool) -> Resource:
    words = {200: "200 OK", 201: "201 Created", 204: "204 No Content"}
    answer: Resource = {"response": {"status": words[outcome.status]}}
    stored = outcome.stored
    if stored is None:
        return answer
    answer["response"] |= {
        "location": f"{stored.reference}/_history/{stored.version}",
        "etag": f'W/"{stored.version}"',
        "lastModified": stored.last_updated,
    }
    if representation or entry.method == "GET":
        answer["resource"] = stored.resource
    return answer
