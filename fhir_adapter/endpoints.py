"""Which DICOMweb address holds which series, after the EHR's Endpoint resources."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from fhir_adapter.elements import Element
from fhir_adapter.errors import MalformedResourceError, NoEndpointError
from fhir_adapter.model import ImagingStudy
from fhir_adapter.ports import Resource

# The services share one base in every archive we know of; the retrieve service is what we need first.
_CONNECTION_TYPES = ("dicom-wado-rs", "dicom-qido-rs", "dicom-stow-rs")
_UID = r"[0-9.]{1,64}"
# PS3.18 10.1: /studies/{study}[/series/{series}[/instances/{instance}...]]; published examples also say /study/{uid}.
_RESOURCE_PATH = re.compile(rf"/(?:studies|study/{_UID}|studies/{_UID})(?:/series(?:/{_UID}(?:/instances.*)?)?)?/*$")


def dicomweb_base(address: str) -> str:
    """Find the base of the DICOMweb services in an Endpoint's address.

    Args:
        address: The base itself, the base with /studies, or the full URL of a study or series.

    Returns:
        The base, without a trailing slash.

    Raises:
        MalformedResourceError: Not an http or https URL, or one with a user, a query or a fragment.
    """
    try:
        parts = urlsplit(address.strip())
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise MalformedResourceError("Expected the http(s) address of a DICOMweb service, got another text.") from error
    if not usable or "@" in parts.netloc or parts.query or parts.fragment:
        raise MalformedResourceError("Expected an http(s) address without user, query and fragment, got another one.")
    path = _RESOURCE_PATH.sub("", parts.path.rstrip("/")).rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


def choose_addresses(imaging_study: ImagingStudy, endpoints: Mapping[str, Resource]) -> Mapping[str, str]:
    """Choose where to fetch each series.

    A series' own endpoints go before the study's. An endpoint is usable when it is active, DICOMweb and has an address.
    Whether its host may be contacted is not decided here.

    Args:
        endpoints: The Endpoint resources that the study names, by the reference as it stands there; contained ones
            (#id) are found in the study itself.

    Returns:
        DICOMweb base by series instance UID; a series without a usable endpoint is left out. A study that lists no
        series stands under its study instance UID. Empty when the study names no endpoint: then the site's default
        archive is meant.

    Raises:
        NoEndpointError: Endpoints are named, but none is usable; the message says why for each.
    """
    known = {**endpoints, **_contained(imaging_study.resource)}
    reasons: dict[str, str] = {}
    addresses: dict[str, str] = {}
    wanted = [(series.series_instance_uid, series.endpoint_references) for series in imaging_study.series]
    for uid, references in wanted or [(imaging_study.study_instance_uid, ())]:
        base = _best(references, known, reasons) or _best(imaging_study.endpoint_references, known, reasons)
        if base:
            addresses[uid] = base
    if reasons and not addresses:
        told = "; ".join(f"{reference}: {reason}" for reference, reason in sorted(reasons.items()))
        raise NoEndpointError(f"{imaging_study.reference}: expected a usable DICOMweb Endpoint, got none. {told}")
    return addresses


def _contained(resource: Resource) -> dict[str, Resource]:
    contained = Element.of(resource, "ImagingStudy").children("contained")
    return {f"#{own_id}": one.fields for one in contained if (own_id := one.text("id"))}


def _best(references: Sequence[str], known: Mapping[str, Resource], reasons: dict[str, str]) -> str | None:
    candidates: list[tuple[int, str]] = []
    for reference in references:
        try:
            candidates.append(_usable(reference, known))
        except MalformedResourceError as error:
            reasons[reference] = str(error)
    return min(candidates, key=lambda candidate: candidate[0])[1] if candidates else None


def _usable(reference: str, known: Mapping[str, Resource]) -> tuple[int, str]:
    """Rank (0 is best) and base of one endpoint, or MalformedResourceError with the reason why it is not usable."""
    if reference not in known:
        raise MalformedResourceError("expected the Endpoint, got nothing.")
    endpoint = Element.of(known[reference], "Endpoint")
    if endpoint.text("resourceType") != "Endpoint":
        raise MalformedResourceError("expected an Endpoint, got another resource.")
    if endpoint.text("status") != "active":
        raise MalformedResourceError("expected status active, got another one.")
    codes = _connection_codes(endpoint)
    ranks = [rank for rank, code in enumerate(_CONNECTION_TYPES) if code in codes]
    if not ranks:
        raise MalformedResourceError(f"expected a connection type of {', '.join(_CONNECTION_TYPES)}, got another one.")
    return ranks[0], dicomweb_base(endpoint.required_text("address"))


def _connection_codes(endpoint: Element) -> set[str]:
    """R4 has one Coding, R5 a list of CodeableConcept."""
    if isinstance(endpoint.fields.get("connectionType"), list):
        codings = [coding for one in endpoint.children("connectionType") for coding in one.children("coding")]
        return {coding.text("code") or "" for coding in codings}
    return {endpoint.code("connectionType") or ""}
