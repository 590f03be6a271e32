from typing import Any

import pytest

from fhir_adapter.endpoints import choose_addresses, dicomweb_base
from fhir_adapter.errors import MalformedResourceError, NoEndpointError
from fhir_adapter.imaging_study import parse_imaging_study
from fhir_adapter.model import ImagingStudy
from tests.fakes.fhir_results import MR_SERIES_UID, STUDY_UID, imaging_study_resource

OTHER_SERIES_UID = f"{STUDY_UID}.2"
BASE = "https://pacs.test/dicom-web"


@pytest.mark.parametrize(
    "address",
    [
        BASE,
        f"{BASE}/",
        f"  {BASE}\n",
        f"{BASE}/studies",
        f"{BASE}/studies/",
        f"{BASE}/studies/{STUDY_UID}",
        f"{BASE}/study/{STUDY_UID}",
        f"{BASE}/studies/{STUDY_UID}/series",
        f"{BASE}/studies/{STUDY_UID}/series/{MR_SERIES_UID}",
        f"{BASE}/study/{STUDY_UID}/series/{MR_SERIES_UID}/",
        f"{BASE}/studies/{STUDY_UID}/series/{MR_SERIES_UID}/instances/1.2.3",
    ],
)
def test_finds_the_base_in_every_published_form(address: str):
    assert dicomweb_base(address) == BASE


@pytest.mark.parametrize(
    ("address", "base"),
    [
        ("http://pacs:8042", "http://pacs:8042"),
        ("http://pacs:8042/studies/1.2", "http://pacs:8042"),
        ("https://pacs.test/a/study/rs", "https://pacs.test/a/study/rs"),
        ("https://pacs.test/studies/rs", "https://pacs.test/studies/rs"),
    ],
)
def test_leaves_paths_that_only_look_like_a_study(address: str, base: str):
    assert dicomweb_base(address) == base


@pytest.mark.parametrize(
    "address",
    [
        "",
        "pacs.test/dicom-web",
        "ftp://pacs.test",
        "https://",
        "https://user:secret@pacs.test/dicom-web",
        "https://pacs.test/wado?requestType=WADO",
        "https://pacs.test/#x",
        "https://pacs.test:99999/",
        "https://[::1/",
    ],
)
def test_refuses_addresses_that_are_no_plain_web_address(address: str):
    with pytest.raises(MalformedResourceError) as raised:
        dicomweb_base(address)

    assert "secret" not in str(raised.value)


def endpoint(address: str = BASE, *, code: str = "dicom-wado-rs", **changes: Any) -> dict[str, Any]:
    connection = {"system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type", "code": code}
    resource = {"resourceType": "Endpoint", "status": "active", "connectionType": connection, "address": address}
    return {**resource, **changes}


def study(*, of_study: tuple[str, ...] = (), of_first_series: tuple[str, ...] = (), **changes: Any) -> ImagingStudy:
    def references(names: tuple[str, ...]) -> list[dict[str, str]]:
        return [{"reference": name} for name in names]

    series = [
        {"uid": MR_SERIES_UID, "modality": {"code": "MR"}, "endpoint": references(of_first_series)},
        {"uid": OTHER_SERIES_UID, "modality": {"code": "MR"}},
    ]
    return parse_imaging_study(
        imaging_study_resource(**{"endpoint": references(of_study), "series": series, **changes})
    )


def test_study_without_endpoint_leaves_the_choice_to_the_site():
    assert choose_addresses(study(), {}) == {}


def test_series_endpoint_goes_before_the_studys():
    chosen = choose_addresses(
        study(of_study=("Endpoint/s",), of_first_series=("Endpoint/x",)),
        {"Endpoint/s": endpoint("https://pacs.test/study-rs"), "Endpoint/x": endpoint("https://pacs.test/series-rs")},
    )

    assert chosen == {MR_SERIES_UID: "https://pacs.test/series-rs", OTHER_SERIES_UID: "https://pacs.test/study-rs"}


def test_even_when_the_studys_is_of_a_better_kind():
    chosen = choose_addresses(
        study(of_study=("Endpoint/s",), of_first_series=("Endpoint/x",)),
        {
            "Endpoint/s": endpoint("https://pacs.test/study-rs"),
            "Endpoint/x": endpoint("https://pacs.test/series-rs", code="dicom-qido-rs"),
        },
    )

    assert chosen[MR_SERIES_UID] == "https://pacs.test/series-rs"


def test_unusable_series_endpoint_falls_back_to_the_studys():
    chosen = choose_addresses(
        study(of_study=("Endpoint/s",), of_first_series=("Endpoint/x",)),
        {"Endpoint/s": endpoint(), "Endpoint/x": endpoint(status="off")},
    )

    assert chosen == {MR_SERIES_UID: BASE, OTHER_SERIES_UID: BASE}


def test_retrieve_service_goes_before_search_and_store():
    chosen = choose_addresses(
        study(of_study=("Endpoint/q", "Endpoint/w")),
        {"Endpoint/q": endpoint("https://q.test", code="dicom-qido-rs"), "Endpoint/w": endpoint("https://w.test")},
    )

    assert set(chosen.values()) == {"https://w.test"}


@pytest.mark.parametrize("code", ["dicom-qido-rs", "dicom-stow-rs"])
def test_other_dicomweb_services_serve_when_there_is_no_better(code: str):
    assert set(choose_addresses(study(of_study=("Endpoint/s",)), {"Endpoint/s": endpoint(code=code)}).values()) == {
        BASE
    }


def test_reads_connection_types_as_r5_writes_them():
    held = endpoint(connectionType=[{"coding": [{"code": "dicom-wado-rs"}]}])

    assert set(choose_addresses(study(of_study=("Endpoint/s",)), {"Endpoint/s": held}).values()) == {BASE}


def test_finds_contained_endpoints():
    holding = study(of_study=("#archive",), contained=[{**endpoint(), "id": "archive"}])

    assert set(choose_addresses(holding, {}).values()) == {BASE}


def test_study_that_lists_no_series_stands_under_its_own_uid():
    holding = study(of_study=("Endpoint/s",), series=[])

    assert choose_addresses(holding, {"Endpoint/s": endpoint()}) == {STUDY_UID: BASE}


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        pytest.param({}, "nothing", id="not-there"),
        pytest.param({"Endpoint/s": endpoint(status="suspended")}, "active", id="not-active"),
        pytest.param({"Endpoint/s": endpoint(code="hl7-fhir-rest")}, "dicom-wado-rs", id="not-dicomweb"),
        pytest.param({"Endpoint/s": endpoint("nowhere")}, "address", id="no-address"),
        pytest.param({"Endpoint/s": endpoint(address=None)}, "address", id="address-that-is-none"),
        pytest.param({"Endpoint/s": {"resourceType": "Patient"}}, "Endpoint", id="not-an-endpoint"),
        pytest.param({"Endpoint/s": endpoint(connectionType=7)}, "connectionType", id="connection-type-that-is-none"),
    ],
)
def test_refuses_a_study_whose_endpoints_are_all_unusable(held: dict[str, Any], reason: str):
    with pytest.raises(NoEndpointError, match=reason) as raised:
        choose_addresses(study(of_study=("Endpoint/s",)), held)

    assert "Endpoint/s" in str(raised.value)
