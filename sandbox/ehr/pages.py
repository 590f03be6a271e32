"""Pages that show a person what the EHR holds. They read the store as it is and change nothing."""

import base64
import binascii
from collections import Counter
from typing import Any

from flask import Blueprint, Response, abort, current_app, render_template

from sandbox.ehr.store import Resource
from sandbox.ehr.wiring import Ehr

pages = Blueprint("pages", __name__)

FORM_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
"""A presentedForm comes from outside: it may look as it likes and do nothing."""

_RECENT = 25


def _ehr() -> Ehr:
    ehr = current_app.extensions["ehr"]
    if not isinstance(ehr, Ehr):
        raise TypeError("the application was built without an Ehr")
    return ehr


def _find(resource_type: str, **criteria: str) -> list[Resource]:
    names = {name.replace("_", "-"): value for name, value in criteria.items()}
    return [stored.resource for stored in _ehr().search.find(resource_type, list(names.items())) if stored.resource]


def _read(reference: str | None) -> Resource | None:
    resource_type, _, resource_id = (reference or "").removeprefix(_ehr().base_url + "/").partition("/")
    stored = _ehr().store.current(resource_type, resource_id.split("/")[0])
    return stored.resource if stored else None


def _read_or_404(resource_type: str, resource_id: str) -> Resource:
    resource = _read(f"{resource_type}/{resource_id}")
    return resource if resource is not None else abort(404)


def reference_of(resource: Resource) -> str:
    """The relative reference to a resource."""
    return f"{resource['resourceType']}/{resource['id']}"


def text_of(concept: Any) -> str:
    """What a CodeableConcept, Coding or Reference is called."""
    if not isinstance(concept, dict):
        return str(concept or "")
    codings = concept.get("coding", [concept])
    named = next((coding.get("display") or coding.get("code") for coding in codings if isinstance(coding, dict)), None)
    return str(concept.get("text") or named or concept.get("reference") or "")


def name_of(resource: Resource | None) -> str:
    """What a Patient, Practitioner, Organization or Device is called."""
    if resource is None:
        return "unknown"
    if resource["resourceType"] == "Device":
        named = resource.get("deviceName", [{}])[0].get("name", "Device")
        versions = ", ".join(str(version.get("value", "")) for version in resource.get("version", []))
        return f"{named} {versions}".strip()
    name = resource.get("name", "")
    if isinstance(name, str):
        return name or reference_of(resource)
    first = name[0] if name else {}
    parts = [*first.get("given", []), first.get("family", "")]
    return first.get("text") or " ".join(parts).strip() or reference_of(resource)


def who(reference: Any) -> str:
    """What the target of a Reference is called."""
    if not isinstance(reference, dict):
        return ""
    if reference.get("display"):
        return str(reference["display"])
    target = _read(reference.get("reference"))
    if target is not None and target["resourceType"] in {"Patient", "Practitioner", "Organization", "Device"}:
        return name_of(target)
    return str(reference.get("reference") or reference.get("identifier", {}).get("value", ""))


def by_type(references: list[Resource]) -> list[tuple[str, int]]:
    """How many References lead to which resource type."""
    plain = [reference.get("reference", "").split("/_history/")[0] for reference in references]
    return sorted(Counter(text.split("/")[-2] for text in plain if "/" in text).items())


def value_of(observation: Resource) -> str:
    """An Observation's value, with its unit."""
    quantity = observation.get("valueQuantity")
    if quantity:
        return f"{quantity.get('value', '')} {quantity.get('unit', quantity.get('code', ''))}"
    plain = [observation[name] for name in observation if name.startswith("value")]
    return text_of(plain[0]) if plain else ""


pages.add_app_template_filter(reference_of, "reference_of")
pages.add_app_template_filter(text_of, "text_of")
pages.add_app_template_filter(name_of, "name_of")
pages.add_app_template_filter(who, "who")
pages.add_app_template_filter(value_of, "value_of")
pages.add_app_template_filter(by_type, "by_type")


@pages.get("/")
def show_overview() -> str:
    """What the EHR holds."""
    return render_template(
        "ehr/overview.html",
        counts=sorted(_ehr().store.count_by_type().items()),
        patients=_find("Patient"),
        studies=_find("ImagingStudy"),
        reports=_find("DiagnosticReport"),
        subscriptions=_find("Subscription"),
        event_totals={item["id"]: _ehr().subscriptions.total(item["id"]) for item in _find("Subscription")},
        audit_events=_find("AuditEvent")[:_RECENT],
        fhir_url=_ehr().base_url,
    )


@pages.get("/patients/<resource_id>")
def show_patient(resource_id: str) -> str:
    """One patient."""
    patient = _read_or_404("Patient", resource_id)
    reference = reference_of(patient)
    return render_template(
        "ehr/patient.html",
        patient=patient,
        orders=_find("ServiceRequest", patient=reference),
        studies=_find("ImagingStudy", patient=reference),
        reports=_find("DiagnosticReport", patient=reference),
    )


def _observations(report: Resource) -> list[tuple[int, Resource]]:
    """The report's Observations with their depth, members below their group."""
    found: list[tuple[int, Resource]] = []
    seen: set[str] = set()

    def add(reference: str | None, depth: int) -> None:
        observation = _read(reference)
        if observation is None or observation["id"] in seen:
            return
        seen.add(observation["id"])
        found.append((depth, observation))
        for member in observation.get("hasMember", []):
            add(member.get("reference"), depth + 1)

    for result in report.get("result", []):
        add(result.get("reference"), 0)
    return found


@pages.get("/reports/<resource_id>")
def show_report(resource_id: str) -> str:
    """One report, with its measurements and where it comes from."""
    report = _read_or_404("DiagnosticReport", resource_id)
    observations = _observations(report)
    targets = [reference_of(report), *(reference_of(observation) for _, observation in observations)]
    provenance = {item["id"]: item for target in targets for item in _find("Provenance", target=target)}
    return render_template(
        "ehr/report.html",
        report=report,
        patient=_read(report.get("subject", {}).get("reference")),
        observations=observations,
        provenance=sorted(provenance.values(), key=lambda item: str(item.get("recorded")), reverse=True),
        audit_events=_find("AuditEvent", entity=reference_of(report))[:_RECENT],
        versions=_ehr().store.history("DiagnosticReport", resource_id),
    )


@pages.get("/reports/<resource_id>/forms/<int:index>")
def show_form(resource_id: str, index: int) -> Response:
    """One presentedForm, as it was sent, unable to run anything."""
    forms = _read_or_404("DiagnosticReport", resource_id).get("presentedForm", [])
    if index >= len(forms) or "data" not in forms[index]:
        abort(404)
    try:
        content = base64.b64decode(forms[index]["data"], validate=True)
    except binascii.Error:
        abort(404)
    media_type = forms[index].get("contentType", "").partition(";")[0]
    if media_type == "application/pdf":
        # Browsers refuse to show a PDF under "sandbox"; their viewers run no script of the embedding site.
        return Response(content, mimetype=media_type, headers={"Content-Disposition": 'inline; filename="report.pdf"'})
    if media_type != "text/html":
        return Response(content, mimetype="application/octet-stream", headers={"Content-Disposition": "attachment"})
    return Response(content, mimetype="text/html", headers={"Content-Security-Policy": FORM_POLICY})


@pages.get("/resources/<resource_type>")
def list_resources(resource_type: str) -> str:
    """All resources of one type."""
    stored = _ehr().store.all_of(resource_type)
    return render_template("ehr/resources.html", resource_type=resource_type, stored=stored)


@pages.get("/resources/<resource_type>/<resource_id>")
def show_resource(resource_type: str, resource_id: str) -> str:
    """One resource as JSON, with its versions."""
    resource = _read_or_404(resource_type, resource_id)
    return render_template(
        "ehr/resource.html", resource=_shortened(resource), versions=_ehr().store.history(resource_type, resource_id)
    )


def _shortened(element: Any) -> Any:
    """Leave out what no one reads: base64 attachments, and the secrets of notification headers."""
    if isinstance(element, dict):
        return {
            key: f"({len(value)} characters of base64)"
            if key == "data" and isinstance(value, str)
            else ["(hidden)"]
            if key == "header"
            else _shortened(value)
            for key, value in element.items()
        }
    return [_shortened(item) for item in element] if isinstance(element, list) else element
