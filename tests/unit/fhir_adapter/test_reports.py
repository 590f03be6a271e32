import base64
import copy
import hashlib
import json
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import pytest

from fhir_adapter.errors import FhirConflictError
from fhir_adapter.imaging_study import parse_imaging_study
from fhir_adapter.ports import Resource
from fhir_adapter.reports import build_result_bundle, result_identifier, result_search_parameters
from tests.fakes.fhir_results import (
    KEY,
    SEG_SERIES_UID,
    SR_SERIES_UID,
    STUDY_UID,
    imaging_study_resource,
    result_content,
)
from tests.fakes.fhir_store import InMemoryFhirStore

HELD = imaging_study_resource(meta={"versionId": "7"})


def entries(bundle: Resource, resource_type: str) -> list[Resource]:
    return [entry for entry in bundle["entry"] if entry["resource"]["resourceType"] == resource_type]


def one(bundle: Resource, resource_type: str) -> Resource:
    (entry,) = entries(bundle, resource_type)
    return entry["resource"]


# The transaction


def test_every_create_is_conditional_on_something_of_our_own():
    for entry in build_result_bundle(result_content(None))["entry"]:
        resource = entry["resource"]
        condition = entry["request"]["ifNoneExist"]
        name, _, token = condition.partition("=")
        own = {
            "identifier": [(one.get("system"), one["value"]) for one in resource.get("identifier", [])],
            "_tag": [(tag["system"], tag["code"]) for tag in resource.get("meta", {}).get("tag", [])],
        }
        assert tuple(token.split("|")) in own[name]
        assert entry["fullUrl"].startswith("urn:uuid:")


def test_the_same_result_gives_the_same_bundle():
    assert build_result_bundle(result_content(HELD)) == build_result_bundle(result_content(copy.deepcopy(HELD)))


def test_another_result_shares_only_the_device():
    first = build_result_bundle(result_content(None))
    second = build_result_bundle(result_content(None, key="other", study_instance_uid="1.2.3"))

    conditions = [{entry["request"]["ifNoneExist"] for entry in bundle["entry"]} for bundle in (first, second)]
    (shared,) = conditions[0] & conditions[1]
    assert shared == entries(first, "Device")[0]["request"]["ifNoneExist"]


def test_references_inside_the_bundle_lead_to_its_entries():
    bundle = build_result_bundle(result_content(None))
    urls = {entry["fullUrl"] for entry in bundle["entry"]}
    text = json.dumps(bundle)

    named = {f"urn:uuid:{part[:36]}" for part in text.split('"reference": "urn:uuid:')[1:]}
    assert named <= urls
    assert len(urls) == len(bundle["entry"])


def test_report_is_found_by_its_identifier():
    system, value = result_identifier(KEY)

    assert result_search_parameters(KEY) == {"identifier": f"{system}|{value}"}
    assert one(build_result_bundle(result_content(HELD)), "DiagnosticReport")["identifier"] == [
        {"system": system, "value": value}
    ]


# DiagnosticReport


def test_report_is_preliminary_and_labelled_as_made_by_ai():
    report = one(build_result_bundle(result_content(HELD)), "DiagnosticReport")

    assert report["status"] == "preliminary"
    assert report["meta"]["security"][0]["code"] == "AIAST"
    assert "resultsInterpreter" not in report
    assert "Research use only" in report["conclusion"]
    assert "The T2 series has gaps." in report["conclusion"]
    assert "https://plugin.test/analyses/analysis-1" in report["conclusion"]


def test_report_presents_html_and_pdf_unharmed():
    content = result_content(HELD)
    html, pdf = one(build_result_bundle(content), "DiagnosticReport")["presentedForm"]

    for form, kind, data in ((html, "text/html", content.report_html), (pdf, "application/pdf", content.report_pdf)):
        assert form["contentType"] == kind
        assert base64.b64decode(form["data"]) == data
        assert form["size"] == len(data)
        assert base64.b64decode(form["hash"]) == hashlib.sha1(data).digest()


def test_report_names_study_order_and_results():
    bundle = build_result_bundle(result_content(HELD))
    report = one(bundle, "DiagnosticReport")

    assert report["imagingStudy"] == [{"reference": "ImagingStudy/study-1"}]
    assert report["basedOn"] == [{"reference": "ServiceRequest/order-1"}]
    assert [result["reference"] for result in report["result"]] == [
        entry["fullUrl"] for entry in entries(bundle, "Observation")
    ]


def test_report_is_not_based_on_what_reports_cannot_be_based_on():
    held = imaging_study_resource(basedOn=[{"reference": "Appointment/1"}, {"reference": "#x"}])

    assert "basedOn" not in one(build_result_bundle(result_content(held)), "DiagnosticReport")


@pytest.mark.parametrize(
    ("resource", "started", "effective"),
    [
        pytest.param(HELD, None, "2026-03-04T09:00:00+01:00", id="as-the-ehr-says"),
        pytest.param(None, datetime(2026, 3, 4, 8), "2026-03-04", id="as-dicom-says-without-zone"),  # noqa: DTZ001
        pytest.param(None, date(2026, 3, 4), "2026-03-04", id="as-dicom-says-without-time"),
        pytest.param(None, None, "2026-03-04T10:30:15.250+00:00", id="as-the-report-was-made"),
    ],
)
def test_effective_time_is_when_the_images_were_taken(resource: Resource | None, started: Any, effective: str):
    bundle = build_result_bundle(result_content(resource, study_started=started))

    assert one(bundle, "DiagnosticReport")["effectiveDateTime"] == effective
    assert {entry["resource"]["effectiveDateTime"] for entry in entries(bundle, "Observation")} == {effective}


@pytest.mark.parametrize("found", [True, False])
def test_conclusion_is_coded_only_when_there_is_a_tumour(found: bool):
    report = one(build_result_bundle(result_content(HELD, tumour_found=found)), "DiagnosticReport")

    assert ("conclusionCode" in report) is found


def test_narrative_is_escaped():
    report = one(build_result_bundle(result_content(HELD, conclusion="<script>x</script> & more")), "DiagnosticReport")

    assert "<script>" not in report["text"]["div"]
    assert "&lt;script&gt;x&lt;/script&gt; &amp; more" in report["text"]["div"]


# Device


def test_device_is_the_model_in_its_version():
    content = result_content(HELD)
    device = one(build_result_bundle(content), "Device")

    assert device["version"][0]["value"] == content.model.version
    assert content.model.version in {identifier["value"] for identifier in device["identifier"]}
    assert device["manufacturer"] == content.model.manufacturer
    assert device["deviceName"][0]["name"] == content.model.name


def test_other_software_is_another_device():
    content = result_content(HELD)
    other = replace(content, model=replace(content.model, software_version="0.2.0"))

    conditions = {
        entries(build_result_bundle(each), "Device")[0]["request"]["ifNoneExist"] for each in (content, other)
    }
    assert len(conditions) == 2


# ImagingStudy


def test_ehrs_study_is_extended_in_the_version_that_was_read():
    (entry,) = entries(build_result_bundle(result_content(HELD)), "ImagingStudy")

    assert entry["request"] == {"method": "PUT", "url": "ImagingStudy/study-1", "ifMatch": 'W/"7"'}
    study = entry["resource"]
    assert study["series"][0] == HELD["series"][0]
    assert [series["uid"] for series in study["series"][1:]] == [SEG_SERIES_UID, SR_SERIES_UID]
    assert [modality["code"] for modality in study["modality"]] == ["MR", "SEG", "SR"]
    assert (study["numberOfSeries"], study["numberOfInstances"]) == (3, 42)
    assert study["basedOn"] == HELD["basedOn"]


def test_building_leaves_the_study_that_was_read_alone():
    before = copy.deepcopy(HELD)

    build_result_bundle(result_content(HELD))

    assert before == HELD


def test_study_that_holds_the_result_already_is_not_written():
    extended = entries(build_result_bundle(result_content(HELD)), "ImagingStudy")[0]["resource"]

    assert entries(build_result_bundle(result_content(extended)), "ImagingStudy") == []


def test_new_study_lists_what_was_stored():
    content = result_content(None, endpoint_reference="Endpoint/pacs")
    study = one(build_result_bundle(content), "ImagingStudy")

    assert study["identifier"][0] == {"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY_UID}"}
    assert study["identifier"][1]["value"] == "A-100"
    assert study["endpoint"] == [{"reference": "Endpoint/pacs"}]
    seg = study["series"][0]
    assert (seg["uid"], seg["modality"]["code"], seg["number"], seg["numberOfInstances"]) == (
        SEG_SERIES_UID,
        "SEG",
        990,
        1,
    )
    assert seg["instance"][0]["sopClass"]["code"] == "urn:oid:1.2.840.10008.5.1.4.1.1.66.4"
    assert parse_imaging_study({**study, "id": "1"}).study_instance_uid == STUDY_UID


# Provenance


def test_provenance_speaks_of_the_results_series_not_of_the_whole_study():
    bundle = build_result_bundle(result_content(HELD))
    provenance = one(bundle, "Provenance")
    (study,) = [target for target in provenance["target"] if target["reference"] == "ImagingStudy/study-1"]
    written = {series.get("id") for series in one(bundle, "ImagingStudy")["series"]} - {None}

    assert {extension["valueUri"] for extension in study["extension"]} == written
    assert len(written) == 2


def test_provenance_targets_report_and_observations():
    bundle = build_result_bundle(result_content(HELD))
    targets = {target["reference"] for target in one(bundle, "Provenance")["target"]}

    for resource_type in ("DiagnosticReport", "Observation"):
        assert {entry["fullUrl"] for entry in entries(bundle, resource_type)} <= targets


@pytest.mark.parametrize(
    ("resource", "source"),
    [
        pytest.param(HELD, {"reference": "ImagingStudy/study-1/_history/7"}, id="the-version-that-was-read"),
        pytest.param(imaging_study_resource(), {"reference": "ImagingStudy/study-1"}, id="no-version"),
        pytest.param(
            None,
            {"type": "ImagingStudy", "identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY_UID}"}},
            id="not-at-the-ehr",
        ),
    ],
)
def test_provenance_names_what_the_ai_read(resource: Resource | None, source: dict[str, Any]):
    assert one(build_result_bundle(result_content(resource)), "Provenance")["entity"] == [
        {"role": "source", "what": source}
    ]


def test_provenance_names_device_and_custodian():
    bundle = build_result_bundle(result_content(HELD))
    author, custodian = one(bundle, "Provenance")["agent"]

    assert author["who"] == {"reference": entries(bundle, "Device")[0]["fullUrl"]}
    assert author["type"]["coding"][0]["code"] == "author"
    assert custodian["type"]["coding"][0]["code"] == "custodian"
    assert custodian["who"]["display"] == "Example Hospital"


# AuditEvents


def test_every_access_is_audited_and_the_reports_creation_with_them():
    content = result_content(HELD)
    bundle = build_result_bundle(content)
    events = [entry["resource"] for entry in entries(bundle, "AuditEvent")]

    assert [event["action"] for event in events] == [*(access.action for access in content.accesses), "C"]
    assert events[-1]["entity"][0]["what"] == {"reference": entries(bundle, "DiagnosticReport")[0]["fullUrl"]}


# The whole, at a server


def test_arrives_once_however_often_it_is_sent():
    store = InMemoryFhirStore()
    for _ in range(3):
        store.transact(build_result_bundle(result_content(None)))

    found = {
        name: len(store.all(name))
        for name in ("Device", "ImagingStudy", "Observation", "DiagnosticReport", "Provenance")
    }
    assert found == {"Device": 1, "ImagingStudy": 1, "Observation": 3, "DiagnosticReport": 1, "Provenance": 1}


def test_study_that_changed_meanwhile_is_not_overwritten():
    store = InMemoryFhirStore([imaging_study_resource()])
    content = result_content(store.read("ImagingStudy/study-1"))
    store.update({**store.read("ImagingStudy/study-1"), "description": "MRI head"})

    with pytest.raises(FhirConflictError):
        store.transact(build_result_bundle(content))
    assert store.all("DiagnosticReport") == []

    store.transact(build_result_bundle(result_content(store.read("ImagingStudy/study-1"))))
    assert store.read("ImagingStudy/study-1")["description"] == "MRI head"
    assert len(store.read("ImagingStudy/study-1")["series"]) == 3
