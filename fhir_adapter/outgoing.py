"""The last look at what is about to be written to the EHR: each new resource against its R4B class.

R4 has no classes of its own in fhir.resources; what the plugin writes is the same in R4 and R4B. A resource that the
EHR made and the plugin extends is not checked: a quirk of its own is the EHR's to keep.
"""

from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError

from fhir_adapter.errors import MalformedResourceError
from fhir_adapter.ports import Resource


def check_created(bundle: Resource) -> None:
    """Check the resources that a transaction creates.

    Raises:
        MalformedResourceError: One does not fit its class; the message names the element and never its content.
    """
    for entry in bundle["entry"]:
        if entry["request"]["method"] == "POST":
            _check(entry["resource"])


def _check(resource: Resource) -> None:
    resource_type = resource["resourceType"]
    try:
        get_fhir_model_class(resource_type).model_validate(resource)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise MalformedResourceError(
            f"Expected a valid {resource_type} to write, got a fault at {place or 'its root'} ({first['type']}). "
            "This is the plugin's own fault: report it with its version."
        ) from None
