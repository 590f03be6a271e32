import base64
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fhir_adapter.audit_events import AuditContext, audit_entries, build_audit_event
from fhir_adapter.model import AccessRecord
from fhir_adapter.reports import audit_bundle
from tests.fakes.fhir_results import EHR, KEY, PACS

AT = datetime(2026, 3, 4, 10, 0, tzinfo=UTC)
CONTEXT = AuditContext(KEY, "Patient/p-1", "Example Hospital", "https://plugin.test", EHR)
READ = AccessRecord("R", "ImagingStudy/1", None, EHR, AT)
SOURCE, DESTINATION = "110153", "110152"


@pytest.mark.parametrize(
    ("action", "profile", "interaction", "client", "server"),
    [
        ("C", "PatientCreate", "create", SOURCE, DESTINATION),
        ("R", "PatientRead", "read", DESTINATION, SOURCE),
        ("U", "PatientUpdate", "update", SOURCE, DESTINATION),
        ("E", "PatientQuery", "search", SOURCE, DESTINATION),
    ],
)
def test_each_action_follows_its_pattern(action: str, profile: str, interaction: str, client: str, server: str):
    access = AccessRecord(action, "ImagingStudy/1", "ImagingStudy?identifier=x", EHR, AT)

    event = build_audit_event(CONTEXT, access)

    assert event["meta"]["profile"] == [
        f"https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.{profile}"
    ]
    assert event["action"] == action
    assert event["subtype"][0]["code"] == interaction
    assert [agent["type"]["coding"][0]["code"] for agent in event["agent"]] == [client, server]
    assert [agent["network"]["address"] for agent in event["agent"]] == ["https://plugin.test", EHR]
    assert event["entity"][1]["what"] == {"reference": "Patient/p-1"}


def test_without_a_patient_the_plain_pattern_is_followed():
    event = build_audit_event(replace(CONTEXT, patient_reference=None), READ)

    assert event["meta"]["profile"][0].endswith("IHE.BasicAudit.Read")
    assert len(event["entity"]) == 1


def test_query_is_recorded_as_it_was_sent():
    query = "ImagingStudy?identifier=urn:dicom:uid|urn:oid:1.2"

    entity = build_audit_event(CONTEXT, AccessRecord("E", None, query, EHR, AT))["entity"][0]

    assert base64.b64decode(entity["query"]).decode() == query
    assert "what" not in entity


@pytest.mark.parametrize(
    ("what", "server", "written"),
    [
        pytest.param("Patient/1", EHR, {"reference": "Patient/1"}, id="at-the-ehr"),
        pytest.param("Patient/1", f"{EHR}/", {"reference": "Patient/1"}, id="at-the-ehr-with-a-slash"),
        pytest.param("Patient/1", "https://b.test", {"reference": "https://b.test/Patient/1"}, id="elsewhere"),
        pytest.param(
            "urn:oid:1.2.3", PACS, {"identifier": {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}}, id="dicom"
        ),
    ],
)
def test_what_was_accessed_is_named_so_that_the_ehr_understands_it(what: str, server: str, written: dict[str, object]):
    event = build_audit_event(CONTEXT, AccessRecord("R", what, None, server, AT))

    assert event["entity"][0]["what"] == written


def test_names_the_person_it_was_done_for():
    user = {"display": "Dr Rosa Radner"}

    agent = build_audit_event(replace(CONTEXT, user=user), READ)["agent"][2]

    assert agent["who"] == user
    assert agent["requestor"] is True


@pytest.mark.parametrize(
    "access",
    [
        pytest.param(replace(READ, action="D"), id="unknown-action"),
        pytest.param(replace(READ, what=None), id="read-of-nothing"),
        pytest.param(replace(READ, action="E", query=None), id="query-without-request"),
        pytest.param(replace(READ, at=datetime(2026, 3, 4)), id="time-without-zone"),  # noqa: DTZ001 - the very case
    ],
)
def test_refuses_an_access_that_tells_too_little(access: AccessRecord):
    with pytest.raises(ValueError, match="Expected"):
        build_audit_event(CONTEXT, access)


def test_the_same_access_is_recorded_once():
    later = replace(READ, at=AT.replace(hour=11))

    entries = audit_entries(CONTEXT, [READ, READ, later])

    assert len(entries) == 2
    for entry in entries:
        (tag,) = entry["resource"]["meta"]["tag"]
        assert entry["request"] == {
            "method": "POST",
            "url": "AuditEvent",
            "ifNoneExist": f"_tag={tag['system']}|{tag['code']}",
        }
        assert entry["fullUrl"] == f"urn:uuid:{tag['code']}"


def test_audit_bundle_holds_audit_events_only():
    bundle = audit_bundle(CONTEXT, [READ])

    assert bundle["type"] == "transaction"
    assert [entry["resource"]["resourceType"] for entry in bundle["entry"]] == ["AuditEvent"]


def test_refuses_an_empty_audit_bundle():
    with pytest.raises(ValueError, match="at least one"):
        audit_bundle(CONTEXT, [])
