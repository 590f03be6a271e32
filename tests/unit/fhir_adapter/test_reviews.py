from dataclasses import replace
from typing import Any

import pytest

from fhir_adapter.errors import FhirConflictError, MalformedResourceError
from fhir_adapter.model import Review, ReviewDecision
from fhir_adapter.ports import Resource
from fhir_adapter.reports import build_result_bundle
from fhir_adapter.reviews import build_review_bundle, is_reviewed, result_references
from tests.fakes.fhir_results import result_content, review
from tests.fakes.fhir_store import InMemoryFhirStore


@pytest.fixture
def store() -> InMemoryFhirStore:
    holding = InMemoryFhirStore()
    holding.transact(build_result_bundle(result_content(None)))
    return holding


def build(store: InMemoryFhirStore, made: Review, **changes: Any) -> Resource:
    (report,) = store.all("DiagnosticReport")
    observations = [store.read(reference) for reference in result_references(report)]
    return build_review_bundle(
        made,
        {**report, **changes},
        observations,
        performer_name="Example Hospital",
        plugin_url="https://plugin.test/analyses/analysis-1",
    )


@pytest.mark.parametrize("decision", ReviewDecision)
def test_decision_settles_report_and_observations(store: InMemoryFhirStore, decision: ReviewDecision):
    store.transact(build(store, review(decision)))

    (report,) = store.all("DiagnosticReport")
    assert is_reviewed(report, decision)
    assert {one["status"] for one in store.all("Observation")} == {decision.value}


@pytest.mark.parametrize(
    ("decision", "verdict"), [(ReviewDecision.ACCEPTED, "Accepted"), (ReviewDecision.REJECTED, "Rejected")]
)
def test_conclusion_keeps_the_ais_words_above_the_radiologists(
    store: InMemoryFhirStore, decision: ReviewDecision, verdict: str
):
    before = store.all("DiagnosticReport")[0]["conclusion"]

    store.transact(build(store, review(decision)))

    after = store.all("DiagnosticReport")[0]["conclusion"]
    assert after == f"{before}\n{verdict} by Dr Rosa Radner on 2026-03-05.\nAgrees with my reading."
    assert "not reviewed" not in after


def test_generated_narrative_does_not_outlive_the_decision(store: InMemoryFhirStore):
    store.transact(build(store, review()))

    assert "text" not in store.all("DiagnosticReport")[0]


def test_interpreter_is_the_practitioner_that_the_ehr_knows(store: InMemoryFhirStore):
    store.transact(build(store, review(practitioner_reference="Practitioner/9")))

    (report,) = store.all("DiagnosticReport")
    assert report["resultsInterpreter"] == [{"reference": "Practitioner/9", "display": "Dr Rosa Radner"}]
    assert [one["id"] for one in report["contained"]] == ["performer"]


def test_interpreter_whom_the_ehr_does_not_know_is_contained(store: InMemoryFhirStore):
    store.transact(build(store, review()))

    (report,) = store.all("DiagnosticReport")
    assert report["resultsInterpreter"][0]["reference"] == "#results-interpreter"
    (practitioner,) = [one for one in report["contained"] if one["resourceType"] == "Practitioner"]
    assert practitioner["identifier"][0]["value"] == "rad1"
    assert practitioner["name"] == [{"text": "Dr Rosa Radner"}]


def test_provenance_says_who_verified_what_the_ai_assembled(store: InMemoryFhirStore):
    store.transact(build(store, review(practitioner_reference="Practitioner/9")))

    provenance = store.all("Provenance")[1]
    agents = {agent["type"]["coding"][0]["code"]: agent["who"] for agent in provenance["agent"]}
    assert agents["verifier"]["reference"] == "Practitioner/9"
    assert agents["assembler"] == {"reference": f"Device/{store.all('Device')[0]['id']}"}
    assert agents["custodian"]["display"] == "Example Hospital"
    settled = [*store.all("DiagnosticReport"), *store.all("Observation")]
    assert {target["reference"] for target in provenance["target"]} == {
        f"{one['resourceType']}/{one['id']}" for one in settled
    }


def test_audit_event_names_the_radiologist(store: InMemoryFhirStore):
    bundle = build(store, review())

    (event,) = [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == "AuditEvent"]
    assert event["action"] == "U"
    assert event["agent"][2]["who"]["identifier"]["value"] == "rad1"
    assert event["entity"][1]["what"] == {"reference": "Patient/p-1"}


def test_second_sending_is_refused_and_changes_nothing(store: InMemoryFhirStore):
    bundle = build(store, review())
    store.transact(bundle)

    with pytest.raises(FhirConflictError):
        store.transact(bundle)
    assert store.all("DiagnosticReport")[0]["meta"]["versionId"] == "2"
    assert len(store.all("Provenance")) == 2


def test_report_that_changed_meanwhile_is_not_overwritten(store: InMemoryFhirStore):
    bundle = build(store, review())
    (report,) = store.all("DiagnosticReport")
    store.update({**report, "conclusion": "Changed in the EHR"})

    with pytest.raises(FhirConflictError):
        store.transact(bundle)
    assert {one["status"] for one in store.all("Observation")} == {"preliminary"}


@pytest.mark.parametrize("status", ["final", "entered-in-error", "amended", None])
def test_refuses_a_report_that_is_not_preliminary(store: InMemoryFhirStore, status: str | None):
    with pytest.raises(MalformedResourceError, match="preliminary"):
        build(store, review(), status=status)


@pytest.mark.parametrize(
    "changes", [{"resourceType": "Patient"}, {"id": None}, {"conclusion": 7}, {"contained": {}}, {"meta": []}]
)
def test_refuses_what_is_no_report(store: InMemoryFhirStore, changes: dict[str, Any]):
    with pytest.raises(MalformedResourceError):
        build(store, review(), **changes)


def test_comment_may_be_empty(store: InMemoryFhirStore):
    store.transact(build(store, replace(review(), comment="  ")))

    assert store.all("DiagnosticReport")[0]["conclusion"].endswith("Accepted by Dr Rosa Radner on 2026-03-05.")


@pytest.mark.parametrize(("status", "reviewed"), [("final", True), ("preliminary", False), ("entered-in-error", False)])
def test_report_is_reviewed_when_it_has_the_decisions_status(status: str, reviewed: bool):
    assert is_reviewed({"resourceType": "DiagnosticReport", "status": status}, ReviewDecision.ACCEPTED) is reviewed
