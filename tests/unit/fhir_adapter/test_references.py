import pytest

from fhir_adapter.references import LiteralReference, parse_reference


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        pytest.param("ImagingStudy/1", LiteralReference(None, "ImagingStudy", "1", None), id="relative"),
        pytest.param(
            "https://ehr.test/fhir/ImagingStudy/a-b.c",
            LiteralReference("https://ehr.test/fhir", "ImagingStudy", "a-b.c", None),
            id="absolute",
        ),
        pytest.param("Patient/1/_history/7", LiteralReference(None, "Patient", "1", "7"), id="versioned"),
    ],
)
def test_takes_literal_references_apart(text: str, parsed: LiteralReference):
    assert parse_reference(text) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "#contained",
        "urn:uuid:0d1d1f6a-92e1-4dbd-9d0f-3f6f5d0d8a11",
        "Patient?identifier=1",
        "Patient/" + "x" * 65,
        "Patient/..",
        "Patient/.",
        "Patient/1/_history/..",
        "Patient/1/../2",
        "patient/1",
        "/Patient/1",
        "https://user@ehr.test/fhir/Patient/1",
        "https://ehr.test\\@evil.test/Patient/1",
        "ftp://ehr.test/Patient/1",
        "Patient/1\n",
    ],
)
def test_leaves_everything_else(text: str):
    assert parse_reference(text) is None


def test_local_form_names_type_and_id():
    reference = parse_reference("https://ehr.test/fhir/Patient/1/_history/2")

    assert reference is not None
    assert reference.local == "Patient/1"
