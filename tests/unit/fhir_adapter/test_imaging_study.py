import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_adapter.errors import MalformedResourceError, NoStudyUidError, ResourceError
from fhir_adapter.imaging_study import imaging_study_search_parameters, parse_imaging_study
from fhir_adapter.model import ImagingStudySeries
from tests.fakes.fhir_results import MR_SERIES_UID, STUDY_UID, imaging_study_resource


def test_reads_what_the_plugin_uses():
    resource = imaging_study_resource(
        meta={"versionId": "7"},
        endpoint=[{"reference": "Endpoint/e1"}],
        series=[
            {
                "uid": MR_SERIES_UID,
                "modality": {"code": "MR"},
                "numberOfInstances": 40,
                "endpoint": [{"reference": "Endpoint/e2"}],
            }
        ],
    )

    study = parse_imaging_study(resource)

    assert study.reference == "ImagingStudy/study-1"
    assert study.version_id == "7"
    assert study.status == "available"
    assert study.study_instance_uid == STUDY_UID
    assert study.patient_reference == "Patient/p-1"
    assert study.started == "2026-03-04T09:00:00+01:00"
    assert study.description == "MRI brain"
    assert study.accession_number == "A-100"
    assert study.based_on == ("ServiceRequest/order-1",)
    assert study.endpoint_references == ("Endpoint/e1",)
    assert study.series == (ImagingStudySeries(MR_SERIES_UID, "MR", 40, ("Endpoint/e2",)),)
    assert study.resource is resource


def test_reads_a_study_that_says_the_least():
    study = parse_imaging_study(
        {
            "resourceType": "ImagingStudy",
            "id": "1",
            "status": "registered",
            "identifier": [{"system": "urn:dicom:uid", "value": STUDY_UID}],
        }
    )

    assert study.study_instance_uid == STUDY_UID
    assert study.series == ()
    assert study.patient_reference is None
    assert study.version_id is None


@pytest.mark.parametrize("subject", [{"reference": "Device/phantom"}, {"reference": "#p"}, {"display": "unknown"}])
def test_subject_that_is_no_patient_is_none(subject: dict[str, str]):
    assert parse_imaging_study(imaging_study_resource(subject=subject)).patient_reference is None


@pytest.mark.parametrize("started", ["yesterday", "2026-03-04T09:00:00", "04.03.2026"])
def test_leaves_out_a_start_that_is_no_date_time(started: str):
    assert parse_imaging_study(imaging_study_resource(started=started)).started is None


def test_reads_series_as_r5_writes_them():
    series = {"uid": f"urn:oid:{MR_SERIES_UID}", "modality": {"coding": [{"code": "MR"}]}}

    (read,) = parse_imaging_study(imaging_study_resource(series=[series])).series

    assert (read.series_instance_uid, read.modality) == (MR_SERIES_UID, "MR")


@pytest.mark.parametrize(
    "identifier",
    [
        pytest.param([], id="none"),
        pytest.param([{"system": "urn:ietf:rfc:3986", "value": "urn:oid:1.2"}], id="of-another-system"),
        pytest.param([{"system": "urn:dicom:uid", "value": "A-100"}], id="that-is-no-uid"),
        pytest.param([{"system": "urn:dicom:uid"}], id="without-value"),
    ],
)
def test_refuses_a_study_without_its_uid(identifier: list[dict[str, str]]):
    with pytest.raises(NoStudyUidError, match="ImagingStudy/study-1"):
        parse_imaging_study(imaging_study_resource(identifier=identifier))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"resourceType": "Patient"}, id="another-resource"),
        pytest.param({"id": "../1"}, id="id-that-is-a-path"),
        pytest.param({"id": None}, id="no-id"),
        pytest.param({"status": "final"}, id="another-status"),
        pytest.param({"status": None}, id="no-status"),
        pytest.param({"series": {}}, id="series-that-are-no-list"),
        pytest.param({"series": [{}]}, id="series-without-uid"),
        pytest.param({"series": [{"uid": "x"}]}, id="series-uid-that-is-none"),
        pytest.param({"series": [{"uid": "1.2", "numberOfInstances": -1}]}, id="negative-number-of-instances"),
        pytest.param({"endpoint": [{"reference": 7}]}, id="endpoint-that-is-a-number"),
    ],
)
def test_refuses_what_it_cannot_use(changes: dict[str, Any]):
    with pytest.raises(MalformedResourceError, match="xpected"):
        parse_imaging_study(imaging_study_resource(**changes))


def test_searches_by_study_uid():
    assert imaging_study_search_parameters("1.2.3") == {"identifier": "urn:dicom:uid|urn:oid:1.2.3"}


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({})
PATHS = [
    *((name,) for name in imaging_study_resource()),
    *(("series", 0, name) for name in ("uid", "modality", "numberOfInstances", "endpoint")),
    *(("identifier", index, name) for index in (0, 1) for name in ("system", "value", "type")),
    ("series", 0),
    ("identifier", 1, "type", "coding"),
    ("identifier", 1, "type", "coding", 0),
    ("subject", "reference"),
    ("basedOn", 0),
]


@given(st.sampled_from(PATHS), VALUES)
@settings(max_examples=300, deadline=None)
def test_mutated_studies_raise_only_resource_errors(path: tuple[Any, ...], value: Any):
    resource: Any = copy.deepcopy(imaging_study_resource())
    place = resource
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value

    with suppress(ResourceError):
        parse_imaging_study(resource)
