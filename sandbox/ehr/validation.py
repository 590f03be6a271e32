"""Whether a resource may be stored: its structure, its required codes and where its references lead."""

from collections.abc import Callable, Iterator
from typing import Any

from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError

from sandbox.ehr.definitions import PARAMETERS, REQUIRED_CODES
from sandbox.ehr.errors import FhirError
from sandbox.ehr.search import values_at
from sandbox.ehr.store import Resource


def check_type(resource_type: object) -> str:
    """Give back a resource type that this server holds.

    Raises:
        FhirError: 404, as FHIR asks for an unknown type.
    """
    if not isinstance(resource_type, str) or resource_type not in PARAMETERS:
        raise FhirError(404, "not-supported", f"resource type {resource_type!r} is not supported here")
    return resource_type


def check_structure(resource: Any) -> Resource:
    """Give back a resource whose elements, cardinalities, data types and required codes are right.

    Raises:
        FhirError: 400; R4 is checked with R4B's classes, which differ in none of the types held here.
    """
    if not isinstance(resource, dict):
        raise FhirError(400, "structure", "expected a JSON object with a resourceType")
    resource_type = check_type(resource.get("resourceType"))
    try:
        get_fhir_model_class(resource_type).model_validate(resource)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in (resource_type, *first["loc"]))
        # The message of a value error may quote the value, which may be a name: only its kind is told.
        raise FhirError(400, "structure", f"{path}: {first['type']}", path) from error
    for (of_type, element), codes in REQUIRED_CODES.items():
        for value in values_at(resource, element) if of_type == resource_type else ():
            if value not in codes:
                path = f"{resource_type}.{element}"
                raise FhirError(400, "code-invalid", f"{path}: expected one of {', '.join(sorted(codes))}", path)
    return resource


def references_in(element: Any) -> Iterator[dict[str, Any]]:
    """Every Reference with a literal reference, at any depth."""
    if isinstance(element, list):
        for item in element:
            yield from references_in(item)
    elif isinstance(element, dict):
        if isinstance(element.get("reference"), str):
            yield element
        for value in element.values():
            yield from references_in(value)


def check_references(resource: Resource, base_url: str, exists: Callable[[str, str], bool]) -> None:
    """Refuse references that lead nowhere on this server; other servers are not asked.

    Raises:
        FhirError: 422 for a target that does not exist, 400 for an unresolved urn:uuid.
    """
    contained = {f"#{item.get('id')}" for item in resource.get("contained", [])} | {"#"}
    for element in references_in(resource):
        reference = element["reference"].removeprefix(base_url + "/")
        if reference in contained or reference.startswith(("http://", "https://")):
            continue
        if reference.startswith("urn:"):
            raise FhirError(400, "invalid", f"reference {reference} is not the fullUrl of an entry of the transaction")
        resource_type, _, rest = reference.split("/_history/")[0].partition("/")
        if not exists(resource_type, rest):
            raise FhirError(422, "not-found", f"{resource['resourceType']} refers to {reference}, which is not here")
