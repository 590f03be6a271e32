"""What leaves is checked against fhir.resources, and a fault is named without its content."""

import pytest

from fhir_adapter.errors import MalformedResourceError
from fhir_adapter.outgoing import check_created
from fhir_adapter.ports import Resource
from fhir_adapter.reports import build_result_bundle
from tests.fakes.fhir_results import result_content


def test_a_result_may_leave() -> None:
    check_created(build_result_bundle(result_content()))


def test_a_fault_is_named_by_its_place_and_not_by_its_content() -> None:
    bundle = build_result_bundle(result_content())
    report = next(
        entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == "DiagnosticReport"
    )
    report["issued"] = "Doe^Jane was here"
    with pytest.raises(MalformedResourceError, match=r"DiagnosticReport.*issued") as caught:
        check_created(bundle)
    assert "Doe" not in str(caught.value)


def test_the_ehrs_own_resource_is_left_to_the_ehr() -> None:
    theirs: Resource = {"resourceType": "ImagingStudy", "id": "1", "quirk": True}
    check_created({"entry": [{"resource": theirs, "request": {"method": "PUT", "url": "ImagingStudy/1"}}]})
