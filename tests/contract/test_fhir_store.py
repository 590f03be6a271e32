"""What every FhirStore does: one suite on the fake and on the REST adapter in front of a real FHIR server."""

from collections.abc import Callable, Iterator

import pytest

from fhir_adapter.adapters.rest import FhirRestStore
from fhir_adapter.errors import (
    FhirConflictError,
    FhirNotFoundError,
    FhirRefusedError,
    FhirTooLargeError,
    FhirUnavailableError,
)
from fhir_adapter.ports import FhirStore, Resource
from tests.fakes.fhir_store import InMemoryFhirStore
from tests.servers.medplum import MedplumServer, running_medplum

TAG_SYSTEM = "urn:oid:2.25.133366744572599807383195433620241541111"


@pytest.fixture(scope="module")
def server() -> Iterator[MedplumServer]:
    with running_medplum() as running:
        yield running


@pytest.fixture(params=["in-memory", pytest.param("medplum", marks=pytest.mark.server)])
def store(request: pytest.FixtureRequest) -> Iterator[FhirStore]:
    if request.param == "in-memory":
        yield InMemoryFhirStore()
        return
    server = request.getfixturevalue("server")
    server.reset()
    rest = FhirRestStore(server.base_url, timeout_s=30)
    yield rest
    rest.close()


def observation(value: str = "1", **changes: object) -> Resource:
    return {
        "resourceType": "Observation",
        "identifier": [{"system": "urn:test", "value": value}],
        "status": "preliminary",
        "code": {"text": "test"},
        "subject": {"reference": "Patient/p1"},
        **changes,
    }


def bundle(*entries: Resource) -> Resource:
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}


def creation(
    resource: Resource, condition: str, url: str = "urn:uuid:0d1d1f6a-92e1-4dbd-9d0f-3f6f5d0d8a11"
) -> Resource:
    request = {"method": "POST", "url": resource["resourceType"], "ifNoneExist": condition}
    return {"fullUrl": url, "resource": resource, "request": request}


def replacement(resource: Resource, version: str) -> Resource:
    reference = f"{resource['resourceType']}/{resource['id']}"
    return {"resource": resource, "request": {"method": "PUT", "url": reference, "ifMatch": f'W/"{version}"'}}


def test_reads_what_it_created(store: FhirStore):
    created = store.create(observation())

    read = store.read(f"Observation/{created['id']}")

    assert read["identifier"] == [{"system": "urn:test", "value": "1"}]
    assert read["meta"]["versionId"] == created["meta"]["versionId"]


def test_reads_by_an_absolute_url_below_its_own_base(store: FhirStore):
    created = store.create(observation())
    base = store.base_url if isinstance(store, InMemoryFhirStore) else store._base

    assert store.read(f"{base}/Observation/{created['id']}")["id"] == created["id"]


@pytest.mark.parametrize(
    "reference",
    [
        "https://elsewhere.test/fhir/Patient/1",
        "//elsewhere.test/Patient/1",
        "Patient/..",
        "Patient",
        "../Patient/1",
        "",
    ],
)
def test_refuses_references_that_are_not_its_own(store: FhirStore, reference: str):
    with pytest.raises(FhirRefusedError):
        store.read(reference)


def test_says_when_there_is_no_such_resource(store: FhirStore):
    with pytest.raises(FhirNotFoundError):
        store.read("Observation/none")
    with pytest.raises(FhirNotFoundError):
        store.delete("Observation/none")


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        pytest.param({"identifier": "urn:test|b"}, {"b"}, id="identifier"),
        pytest.param({"identifier": "urn:other|b"}, set(), id="identifier-of-another-system"),
        pytest.param({"identifier": "urn:test|a,urn:test|b"}, {"a", "b"}, id="either-identifier"),
        pytest.param({"_tag": f"{TAG_SYSTEM}|t"}, {"c"}, id="tag"),
        pytest.param({"status": "final"}, {"c"}, id="status"),
        pytest.param({"subject": "Patient/p2"}, {"b"}, id="subject"),
        pytest.param({"status": "preliminary", "subject": "Patient/p1"}, {"a"}, id="both"),
        pytest.param({"_lastUpdated": "ge2000-01-01T00:00:00+00:00"}, {"a", "b", "c"}, id="changed-since-long-ago"),
        pytest.param({"_lastUpdated": "ge2999-01-01T00:00:00+00:00"}, set(), id="changed-in-the-future"),
    ],
)
def test_searches(store: FhirStore, parameters: dict[str, str], found: set[str]):
    store.create(observation("a"))
    store.create(observation("b", subject={"reference": "Patient/p2"}))
    store.create(observation("c", status="final", meta={"tag": [{"system": TAG_SYSTEM, "code": "t"}]}))

    assert {one["identifier"][0]["value"] for one in store.search("Observation", parameters)} == found


def test_searches_by_id(store: FhirStore):
    ids = [store.create(observation(value))["id"] for value in "ab"]

    assert [one["id"] for one in store.search("Observation", {"_id": ids[1]})] == [ids[1]]


def test_follows_pages_up_to_the_limit(store: FhirStore):
    for number in range(25):
        store.create(observation(str(number)))

    assert len(store.search("Observation", {"_count": "10"})) == 25
    assert len(store.search("Observation", {"_count": "10"}, limit=12)) == 12


def test_updates_only_the_version_that_was_read(store: FhirStore):
    first = store.create(observation())
    second = store.update({**first, "status": "final"}, if_match=first["meta"]["versionId"])

    assert second["status"] == "final"
    with pytest.raises(FhirConflictError):
        store.update({**first, "status": "amended"}, if_match=first["meta"]["versionId"])
    assert store.read(f"Observation/{first['id']}")["status"] == "final"


def test_deletes(store: FhirStore):
    reference = f"Observation/{store.create(observation())['id']}"

    store.delete(reference)

    with pytest.raises(FhirNotFoundError):
        store.read(reference)


def test_transaction_resolves_references_between_its_entries(store: FhirStore):
    url = "urn:uuid:8a3c6d5e-4b63-4f4e-b6b7-2f3f8a0f1c22"
    device = {"resourceType": "Device", "identifier": [{"system": "urn:test", "value": "d"}]}

    store.transact(
        bundle(
            creation(observation(device={"reference": url}), "identifier=urn:test|1"),
            creation(device, "identifier=urn:test|d", url),
        )
    )

    (stored,) = store.search("Observation", {"identifier": "urn:test|1"})
    (held,) = store.search("Device", {"identifier": "urn:test|d"})
    assert stored["device"]["reference"] == f"Device/{held['id']}"


def test_conditional_create_happens_once_and_resolves_to_what_is_there(store: FhirStore):
    url = "urn:uuid:8a3c6d5e-4b63-4f4e-b6b7-2f3f8a0f1c22"
    device = {"resourceType": "Device", "identifier": [{"system": "urn:test", "value": "d"}]}
    store.transact(bundle(creation(device, "identifier=urn:test|d", url)))

    for _ in range(2):
        store.transact(
            bundle(
                creation(device, "identifier=urn:test|d", url),
                creation(observation(device={"reference": url}), "identifier=urn:test|1"),
            )
        )

    (held,) = store.search("Device", {"identifier": "urn:test|d"})
    (stored,) = store.search("Observation", {"identifier": "urn:test|1"})
    assert stored["device"]["reference"] == f"Device/{held['id']}"


def test_conditional_create_by_tag_happens_once(store: FhirStore):
    tagged = observation(meta={"tag": [{"system": TAG_SYSTEM, "code": "once"}]})
    for _ in range(2):
        store.transact(bundle(creation(tagged, f"_tag={TAG_SYSTEM}|once")))

    assert len(store.search("Observation", {"_tag": f"{TAG_SYSTEM}|once"})) == 1


def test_conditional_create_refuses_to_choose_among_several(store: FhirStore):
    store.create(observation())
    store.create(observation())

    with pytest.raises(FhirConflictError):
        store.transact(bundle(creation(observation(), "identifier=urn:test|1")))


def test_transaction_is_all_or_nothing(store: FhirStore):
    stale = store.create(observation("old"))
    store.update({**stale, "status": "final"})

    with pytest.raises(FhirConflictError):
        store.transact(
            bundle(
                creation(observation("new"), "identifier=urn:test|new"),
                replacement({**stale, "status": "amended"}, stale["meta"]["versionId"]),
            )
        )

    assert store.search("Observation", {"identifier": "urn:test|new"}) == []
    assert store.read(f"Observation/{stale['id']}")["status"] == "final"


def test_transaction_answers_entry_by_entry(store: FhirStore):
    held = store.create(observation("old"))

    answer = store.transact(
        bundle(
            creation(observation("new"), "identifier=urn:test|new"),
            replacement({**held, "status": "final"}, held["meta"]["versionId"]),
        )
    )

    statuses = [entry["response"]["status"][:3] for entry in answer["entry"]]
    assert statuses == ["201", "200"]
    assert answer["entry"][1]["response"]["location"].startswith(f"Observation/{held['id']}")


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda store: store.search("Patient", {}), id="search"),
        pytest.param(lambda store: store.read("Patient/1"), id="read"),
        pytest.param(lambda store: store.create(observation()), id="create"),
        pytest.param(lambda store: store.transact(bundle(creation(observation(), "identifier=x|1"))), id="transact"),
    ],
)
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (500, FhirUnavailableError),
        (503, FhirUnavailableError),
        (429, FhirUnavailableError),
        (410, FhirNotFoundError),
        (409, FhirConflictError),
        (401, FhirRefusedError),
        (422, FhirRefusedError),
    ],
)
@pytest.mark.server
def test_rest_store_says_what_the_server_answered(
    server: MedplumServer, call: Callable[[FhirStore], object], status: int, error: type[Exception]
):
    server.reset()
    store = FhirRestStore(server.base_url)
    server.fail(count=1, status=status, retry_after=7)

    with pytest.raises(error) as raised:
        call(store)

    assert f"HTTP {status}" in str(raised.value)
    if isinstance(raised.value, FhirUnavailableError):
        assert raised.value.retry_after_s == 7
    store.close()


@pytest.mark.server
def test_rest_store_stops_reading_an_answer_above_its_limit(server: MedplumServer):
    server.reset()
    store = FhirRestStore(server.base_url, max_bytes=10_000)
    for number in range(4):
        store.create(observation(str(number), note=[{"text": "x" * 4_000}]))

    with pytest.raises(FhirTooLargeError):
        store.search("Observation", {})
    store.close()


@pytest.mark.server
def test_rest_store_calls_operations(server: MedplumServer):
    store = FhirRestStore(server.base_url)

    assert store.operation("metadata")["fhirVersion"] == "4.0.1"
    with pytest.raises(FhirNotFoundError):
        store.operation("Subscription/none/$status")
    store.close()
