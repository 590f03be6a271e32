"""Everything the plugin writes, before third-party validators and a real FHIR server.

Medplum checks structure, invariants and the profiles it can evaluate; npm fhir checks required bindings; fhir.resources
reads each resource; FHIRPath, run by fhirpathpy, states what none of them can (slices by a fixed CodeableConcept). Each
check is shown to see by a mutation that must fail.
"""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import fhirpathpy
import pytest
from fhir.resources.R4B import get_fhir_model_class
from fhirpathpy.models import models

from fhir_adapter import codes
from fhir_adapter.adapters.rest import FhirRestStore
from fhir_adapter.audit_events import AuditContext
from fhir_adapter.errors import FhirConflictError
from fhir_adapter.imaging_study import parse_imaging_study
from fhir_adapter.model import Coding, ReviewDecision
from fhir_adapter.ports import Resource
from fhir_adapter.reports import audit_bundle, build_result_bundle, result_search_parameters
from fhir_adapter.reviews import build_review_bundle, is_reviewed, result_references
from fhir_adapter.subscriptions import build_query_subscription, build_topic_subscription
from tests.fakes.fhir_results import EHR, KEY, imaging_study_resource, result_content, review
from tests.servers.medplum import MedplumServer, r4_definitions, running_medplum, validate

pytestmark = pytest.mark.server

STORED_STUDY = imaging_study_resource(meta={"versionId": "7"})
SITE = {"performer_name": "Example Hospital", "plugin_url": "https://plugin.test/analyses/analysis-1"}
AI = "http://hl7.org/fhir/uv/aitransparency/CodeSystem/AIdeviceTypeCS"


def as_stored(entry: Resource) -> Resource:
    return {**copy.deepcopy(entry["resource"]), "id": entry["fullUrl"][-36:], "meta": {"versionId": "1"}}


def of_type(bundle: Resource, resource_type: str) -> list[Resource]:
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == resource_type]


@cache
def bundles() -> dict[str, Resource]:
    result = build_result_bundle(result_content(STORED_STUDY))
    (report,) = [as_stored(e) for e in result["entry"] if e["resource"]["resourceType"] == "DiagnosticReport"]
    observations = [as_stored(e) for e in result["entry"] if e["resource"]["resourceType"] == "Observation"]
    accepted = build_review_bundle(review(practitioner_reference="Practitioner/9"), report, observations, **SITE)
    rejected = build_review_bundle(review(ReviewDecision.REJECTED), report, observations, **SITE)
    unknown = AuditContext("analysis-2", None, "Example Hospital", "https://plugin.test", EHR)
    return {
        "result": result,
        "result-of-unknown-study": build_result_bundle(result_content(None)),
        "no-tumour": build_result_bundle(result_content(STORED_STUDY, tumour_found=False, regions=())),
        "accepted": accepted,
        "rejected": rejected,
        "no-result": audit_bundle(unknown, result_content(None).accesses),
    }


def subscriptions() -> dict[str, Resource]:
    end = datetime(2027, 1, 1, tzinfo=UTC)
    topic = build_topic_subscription(
        "https://plugin.test/hook/a",
        "0123456789abcdef",
        "https://ehr.test/topics/imaging-study",
        ["ImagingStudy?status=available", "ImagingStudy?modality=MR"],
        "id-only",
        3600,
        reason="New brain MRI",
        timeout_s=30,
        max_count=10,
        end=end,
    )
    query = build_query_subscription(
        "https://plugin.test/hook/b", "0123456789abcdef", "ImagingStudy?modality=MR", False, "New brain MRI", end
    )
    return {"topic": topic, "query": query}


def resolved(bundle: Resource) -> Resource:
    """The bundle with references as a server would rewrite them: validators know types from "Type/id" only."""
    text = json.dumps(bundle)
    for entry in bundle["entry"]:
        url = entry["fullUrl"]
        if url.startswith("urn:uuid:"):
            text = text.replace(
                f'"reference": "{url}"', f'"reference": "{entry["resource"]["resourceType"]}/{url[-36:]}"'
            )
    return json.loads(text)


def written() -> dict[str, Resource]:
    named: dict[str, Resource] = dict(subscriptions())
    for name, bundle in bundles().items():
        named[name] = bundle
        for index, entry in enumerate(resolved(bundle)["entry"]):
            named[f"{name}-{index}-{entry['resource']['resourceType']}"] = entry["resource"]
    return named


def profile_of(resource: Resource) -> str | None:
    """The profile that a resource claims, as a file in profiles/."""
    (claimed,) = resource.get("meta", {}).get("profile", [""])
    name = claimed.rpartition("/")[2]
    return name if name.startswith(("AI-", "IHE.")) else None


def test_validators_find_nothing_in_what_we_write():
    resources = written()

    messages = validate([(resource, profile_of(resource)) for resource in resources.values()])

    assert {name: found for name, found in zip(resources, messages, strict=True) if found} == {}


def displays(system: str, concepts: list[Resource]) -> dict[tuple[str, str], str]:
    found = {(system, concept["code"]): concept.get("display", "") for concept in concepts}
    for concept in concepts:
        found |= displays(system, concept.get("concept", []))
    return found


def test_displays_are_those_of_r4_where_r4_has_them():
    defined: dict[tuple[str, str], str] = {}
    for file in ("valuesets.json", "v3-codesystems.json"):
        for resource in r4_definitions(file):
            if resource["resourceType"] == "CodeSystem":
                defined |= displays(resource["url"], resource.get("concept", []))
    ours = {(code.system, code.code): code.display for code in vars(codes).values() if isinstance(code, Coding)}
    # DICOM itself has another meaning for this one than R4's excerpt of it; see test_codes.
    del ours[codes.SEGMENTED_VOXELS.system, codes.SEGMENTED_VOXELS.code]

    shared = ours.keys() & defined.keys()

    assert len(shared) >= 20
    assert {key: ours[key] for key in shared} == {key: defined[key] for key in shared}


def test_every_profile_is_claimed_somewhere():
    claimed = {profile_of(resource) for resource in written().values()} - {None}

    assert claimed == {
        "AI-Device",
        "AI-Provenance",
        *(f"IHE.BasicAudit.{name}" for name in ("Create", "Read", "Query")),
        *(f"IHE.BasicAudit.Patient{name}" for name in ("Create", "Read", "Query", "Update")),
    }


@pytest.mark.parametrize("resource", written().values(), ids=written())
def test_fhir_resources_reads_what_we_write(resource: Resource):
    get_fhir_model_class(resource["resourceType"]).model_validate(copy.deepcopy(resource))


def first(resource_type: str, bundle: str = "result") -> Resource:
    return of_type(resolved(bundles()[bundle]), resource_type)[0]


def changed(resource: Resource, change: Callable[[Resource], Any]) -> Resource:
    change(resource)
    return resource


MUTATIONS = {
    "report-with-another-status": (first("DiagnosticReport"), lambda r: r.update(status="draft")),
    "report-without-code": (first("DiagnosticReport"), lambda r: r.pop("code")),
    "report-with-another-element": (first("DiagnosticReport"), lambda r: r.update(verdict="x")),
    "observation-with-another-status": (first("Observation"), lambda r: r.update(status="done")),
    "device-of-another-type": (first("Device"), lambda r: r.update(type={"text": "AI"})),
    "device-without-type": (first("Device"), lambda r: r.pop("type")),
    "provenance-without-reason": (first("Provenance"), lambda r: r.pop("reason")),
    "provenance-without-agent": (first("Provenance"), lambda r: r.pop("agent")),
    "audit-without-server": (first("AuditEvent"), lambda r: r["agent"].pop(1)),
    "audit-without-patient": (first("AuditEvent"), lambda r: r["entity"].pop(1)),
    "audit-with-another-action": (first("AuditEvent"), lambda r: r.update(action="D")),
    "audit-with-another-outcome": (first("AuditEvent"), lambda r: r.update(outcome="8")),
    "audit-with-roles-swapped": (first("AuditEvent"), lambda r: r["agent"][0].update(type=r["agent"][1]["type"])),
    "study-without-subject": (first("ImagingStudy"), lambda r: r.pop("subject")),
    "subscription-on-another-channel": (subscriptions()["topic"], lambda r: r["channel"].update(type="smoke")),
}


def test_validators_see_each_mutation():
    mutated = [changed(copy.deepcopy(resource), change) for resource, change in MUTATIONS.values()]

    messages = validate([(resource, profile_of(resource)) for resource in mutated])

    assert [name for name, found in zip(MUTATIONS, messages, strict=True) if not found] == []


AI_AGENT = f"agent.where(role.coding.where(system='{AI}' and code='Artificial-Intelligence').exists())"
ASSERTIONS = {
    # AI-Provenance: slices that Medplum does not evaluate
    "ai-agent-is-author": ("Provenance", f"{AI_AGENT}.type.coding.where(code='author').count() = 1"),
    "ai-agent-is-a-device": ("Provenance", f"{AI_AGENT}.who.reference.exists()"),
    "role-is-the-fixed-concept": ("Provenance", f"{AI_AGENT}.role.all(text.empty() and coding.display.empty())"),
    "reason-is-aiast": ("Provenance", "reason.coding.where(code='AIAST').exists()"),
    "targets-the-report": ("Provenance", "target.reference.distinct().count() >= 4"),
    "names-its-source": ("Provenance", "entity.where(role='source').what.exists()"),
    # AI Transparency: the label
    "report-is-labelled": ("DiagnosticReport", "meta.security.where(code='AIAST').exists()"),
    "observation-is-labelled": ("Observation", "meta.security.where(code='AIAST').exists()"),
    # BALP: what Medplum overlooks
    "both-agents-have-a-network": ("AuditEvent", "agent.where(requestor = false).all(network.address.exists())"),
    # IHE IMR, as far as a report without a person can meet it
    "form-is-html-and-pdf": (
        "DiagnosticReport",
        "presentedForm.contentType contains 'text/html' and presentedForm.contentType contains 'application/pdf'",
    ),
    "each-form-has-size-and-hash": (
        "DiagnosticReport",
        "presentedForm.all(size > 0 and hash.exists() and data.exists())",
    ),
    "performer-is-an-organization": ("DiagnosticReport", "contained.where(id='performer').name.exists()"),
    # US Core DiagnosticReport Note, us-core-10 and category
    "effective-is-there": ("DiagnosticReport", "effectiveDateTime.exists()"),
    "category-is-radiology": ("DiagnosticReport", "category.coding.where(code='LP29684-5').exists()"),
    # Backport IG: content-level extensions
    "content-level-is-there": (
        "Subscription",
        "channel.payload.extension.where(url.endsWith('backport-payload-content')).value = 'id-only'",
    ),
}


def holds(resource: Resource, expression: str) -> bool:
    return fhirpathpy.evaluate(copy.deepcopy(resource), expression, None, models["r4"]) == [True]


@pytest.mark.parametrize(("resource_type", "expression"), ASSERTIONS.values(), ids=ASSERTIONS)
def test_states_what_profiles_ask_beyond_the_validators(resource_type: str, expression: str):
    if resource_type == "Subscription":
        assert holds(subscriptions()["topic"], expression)
        return
    for resource in of_type(bundles()["result"], resource_type):
        assert holds(resource, expression)


BLIND_SPOTS = {
    "ai-agent-is-author": (first("Provenance"), lambda r: r["agent"][0].update(type={"text": "author"})),
    "ai-agent-is-a-device": (first("Provenance"), lambda r: r["agent"][0].update(who={"display": "AI"})),
    "role-is-the-fixed-concept": (first("Provenance"), lambda r: r["agent"][0]["role"][0].update(text="AI")),
    "reason-is-aiast": (first("Provenance"), lambda r: r.update(reason=[{"text": "AI"}])),
    "targets-the-report": (first("Provenance"), lambda r: r.update(target=r["target"][:1])),
    "names-its-source": (first("Provenance"), lambda r: r.pop("entity")),
    "report-is-labelled": (first("DiagnosticReport"), lambda r: r.pop("meta")),
    "observation-is-labelled": (first("Observation"), lambda r: r.pop("meta")),
    "both-agents-have-a-network": (first("AuditEvent"), lambda r: r["agent"][1].pop("network")),
    "form-is-html-and-pdf": (first("DiagnosticReport"), lambda r: r["presentedForm"].pop()),
    "each-form-has-size-and-hash": (first("DiagnosticReport"), lambda r: r["presentedForm"][1].pop("hash")),
    "performer-is-an-organization": (first("DiagnosticReport"), lambda r: r.pop("contained")),
    "effective-is-there": (first("DiagnosticReport"), lambda r: r.pop("effectiveDateTime")),
    "category-is-radiology": (first("DiagnosticReport"), lambda r: r.pop("category")),
    "content-level-is-there": (subscriptions()["topic"], lambda r: r["channel"].pop("_payload")),
}


@pytest.mark.parametrize("name", ASSERTIONS)
def test_each_statement_fails_where_it_should(name: str):
    resource, change = BLIND_SPOTS[name]

    assert not holds(changed(copy.deepcopy(resource), change), ASSERTIONS[name][1])


@pytest.fixture(scope="module")
def server() -> Iterator[MedplumServer]:
    with running_medplum() as running:
        yield running


@pytest.fixture
def store(server: MedplumServer) -> Iterator[FhirRestStore]:
    server.reset()
    rest = FhirRestStore(server.base_url)
    yield rest
    rest.close()


WRITTEN_TYPES = ("Device", "ImagingStudy", "Observation", "DiagnosticReport", "Provenance", "AuditEvent")


def counts(server: MedplumServer) -> dict[str, int]:
    return {resource_type: len(server.resources(resource_type)) for resource_type in WRITTEN_TYPES}


def test_result_of_an_unknown_study_arrives_once(server: MedplumServer, store: FhirRestStore):
    content = result_content(None, fhir_base_url=server.base_url)

    for _ in range(2):
        store.transact(build_result_bundle(content))

    expected = {
        "Device": 1,
        "ImagingStudy": 1,
        "Observation": 3,
        "DiagnosticReport": 1,
        "Provenance": 1,
        "AuditEvent": 5,
    }
    assert counts(server) == expected
    (report,) = store.search("DiagnosticReport", result_search_parameters(KEY))
    assert report["imagingStudy"] == [{"reference": f"ImagingStudy/{server.resources('ImagingStudy')[0]['id']}"}]
    assert "urn:uuid" not in str([server.resources(resource_type) for resource_type in WRITTEN_TYPES])


def test_result_of_the_ehrs_study_arrives_once(server: MedplumServer, store: FhirRestStore):
    held = store.create({name: value for name, value in imaging_study_resource().items() if name != "id"})
    content = result_content(held, fhir_base_url=server.base_url)
    store.transact(build_result_bundle(content))

    with pytest.raises(FhirConflictError):
        store.transact(build_result_bundle(content))  # the study has changed: by ourselves
    fresh = parse_imaging_study(store.read(content.imaging_study.reference))
    store.transact(build_result_bundle(replace(content, imaging_study=fresh)))

    expected = {
        "Device": 1,
        "ImagingStudy": 1,
        "Observation": 3,
        "DiagnosticReport": 1,
        "Provenance": 1,
        "AuditEvent": 5,
    }
    assert counts(server) == expected
    (study,) = server.resources("ImagingStudy")
    assert [series["modality"]["code"] for series in study["series"]] == ["MR", "SEG", "SR"]
    assert (study["numberOfSeries"], study["numberOfInstances"]) == (3, 42)


@pytest.mark.parametrize("decision", ReviewDecision)
def test_review_settles_the_report(server: MedplumServer, store: FhirRestStore, decision: ReviewDecision):
    store.transact(build_result_bundle(result_content(None, fhir_base_url=server.base_url)))
    (report,) = store.search("DiagnosticReport", result_search_parameters(KEY))
    observations = [store.read(reference) for reference in result_references(report)]
    decided = build_review_bundle(review(decision, fhir_base_url=server.base_url), report, observations, **SITE)

    store.transact(decided)

    (settled,) = store.search("DiagnosticReport", result_search_parameters(KEY))
    assert is_reviewed(settled, decision)
    assert {one["status"] for one in server.resources("Observation")} == {decision.value}
    assert len(server.resources("Provenance")) == 2
    with pytest.raises(FhirConflictError):
        store.transact(decided)
    assert len(server.resources("Provenance")) == 2


def test_accesses_without_a_result_are_recorded_once(server: MedplumServer, store: FhirRestStore):
    for _ in range(2):
        store.transact(bundles()["no-result"])

    assert len(server.resources("AuditEvent")) == 4
