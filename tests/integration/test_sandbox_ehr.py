"""The sandbox EHR over HTTP: what a FHIR R4 server with subscriptions must do."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.servers.sandbox import SandboxServer, sandbox_ehr

BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
TOPIC = "http://sandbox-ehr.example/SubscriptionTopic/imaging-study-available"
FHIR_JSON = {"Content-Type": "application/fhir+json"}


@pytest.fixture
def ehr(tmp_path) -> Iterator[SandboxServer]:
    with sandbox_ehr(tmp_path, "--retry-first-s", "0.1", "--retry-attempts", "3") as server:
        yield server


@pytest.fixture
def client(ehr) -> Iterator[httpx.Client]:
    with ehr.client() as client:
        yield client


def post(client, resource, **headers):
    return client.post(resource["resourceType"], content=json.dumps(resource), headers={**FHIR_JSON, **headers})


def put(client, resource, **headers):
    reference = f"{resource['resourceType']}/{resource['id']}"
    return client.put(reference, content=json.dumps(resource), headers={**FHIR_JSON, **headers})


def transact(client, *entries):
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}
    return client.post("", content=json.dumps(bundle), headers=FHIR_JSON)


def patient(mrn="P1", **more):
    return {"resourceType": "Patient", "identifier": [{"system": "urn:mrn", "value": mrn}], **more}


def study(patient_reference, status="available", **more):
    return {
        "resourceType": "ImagingStudy",
        "status": status,
        "subject": {"reference": patient_reference},
        "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}],
        **more,
    }


def saved(answer):
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()


def wait_for(condition, timeout_s=8.0):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


class TestAccess:
    def test_refuses_without_password(self, ehr):
        answer = httpx.get(ehr.url + "/Patient", trust_env=False)
        assert answer.status_code == 401
        assert "Bearer" in answer.headers["www-authenticate"]

    def test_takes_the_password_as_bearer_token(self, ehr):
        headers = {"Authorization": f"Bearer {ehr.password}"}
        assert httpx.get(ehr.url + "/metadata", headers=headers, trust_env=False).status_code == 200

    @pytest.mark.parametrize("header", ["Bearer wrong", "Basic !!", "Basic ZWhyOndyb25n", "Digest x", ""])
    def test_refuses_wrong_credentials(self, ehr, header):
        answer = httpx.get(ehr.url + "/Patient", headers={"Authorization": header}, trust_env=False)
        assert answer.status_code == 401

    def test_refuses_another_host_name(self, client):
        assert client.get("Patient", headers={"Host": "attacker.example"}).status_code == 400


class TestOneResource:
    def test_create_gives_id_version_and_location(self, client, ehr):
        answer = post(client, patient())
        assert answer.status_code == 201
        resource = answer.json()
        assert resource["meta"]["versionId"] == "1"
        assert answer.headers["location"] == f"{ehr.url}/Patient/{resource['id']}/_history/1"
        assert answer.headers["etag"] == 'W/"1"'

    def test_update_makes_a_new_version_and_keeps_the_old(self, client):
        resource = saved(post(client, patient(gender="male")))
        after = saved(put(client, {**resource, "gender": "female"}, **{"If-Match": 'W/"1"'}))
        assert after["meta"]["versionId"] == "2"
        assert client.get(f"Patient/{resource['id']}/_history/1").json()["gender"] == "male"
        history = client.get(f"Patient/{resource['id']}/_history").json()
        assert [entry["request"]["method"] for entry in history["entry"]] == ["PUT", "POST"]

    def test_stale_if_match_is_refused(self, client):
        resource = saved(post(client, patient()))
        saved(put(client, resource))
        answer = put(client, resource, **{"If-Match": 'W/"1"'})
        assert answer.status_code == 412
        assert answer.json()["resourceType"] == "OperationOutcome"

    def test_update_creates_with_the_clients_id(self, client):
        answer = put(client, patient() | {"id": "mine"})
        assert answer.status_code == 201
        assert client.get("Patient/mine").status_code == 200

    def test_deleted_is_gone_and_unknown_is_not_found(self, client):
        resource = saved(post(client, patient()))
        assert client.delete(f"Patient/{resource['id']}").status_code == 204
        assert client.get(f"Patient/{resource['id']}").status_code == 410
        assert client.get("Patient/never").status_code == 404
        assert client.get("Patient").json()["total"] == 0

    def test_conditional_create_makes_one(self, client):
        condition = {"If-None-Exist": "identifier=urn:mrn|P1"}
        first, second = post(client, patient(), **condition), post(client, patient(), **condition)
        assert (first.status_code, second.status_code) == (201, 200)
        assert first.json()["id"] == second.json()["id"]

    def test_conditional_create_refuses_several_matches(self, client):
        saved(post(client, patient()))
        saved(post(client, patient()))
        assert post(client, patient(), **{"If-None-Exist": "identifier=urn:mrn|P1"}).status_code == 412

    @pytest.mark.parametrize(
        ("resource", "status"),
        [
            pytest.param(patient(birthDate="1990-13-01"), 400, id="impossible date"),
            pytest.param(patient(favouriteColour="red"), 400, id="unknown element"),
            pytest.param(patient(gender="m"), 400, id="code outside a required binding"),
            pytest.param({"resourceType": "DiagnosticReport", "status": "final"}, 400, id="missing code"),
            pytest.param(study("Patient/never"), 422, id="dangling reference"),
            pytest.param(study("urn:uuid:11111111-1111-1111-1111-111111111111"), 400, id="unresolved urn:uuid"),
            pytest.param({"resourceType": "Medication"}, 404, id="type not held"),
        ],
    )
    def test_refuses_invalid_resources_and_stores_nothing(self, client, resource, status):
        answer = post(client, resource)
        assert answer.status_code == status
        assert answer.json()["issue"][0]["severity"] == "error"
        assert client.get("ImagingStudy").json()["total"] == client.get("Patient").json()["total"] == 0

    def test_refuses_other_media_types_and_broken_json(self, client):
        assert client.post("Patient", content="<Patient/>", headers={"Content-Type": "text/xml"}).status_code == 415
        assert client.post("Patient", content="{", headers=FHIR_JSON).status_code == 400

    def test_error_does_not_repeat_the_value(self, client):
        assert "Secret" not in post(client, patient(birthDate="Secret")).text


class TestSearch:
    @pytest.fixture(scope="class")
    @classmethod
    def ehr(cls, tmp_path_factory):
        with sandbox_ehr(tmp_path_factory.mktemp("search")) as server:
            yield server

    @pytest.fixture(scope="class")
    @classmethod
    def client(cls, ehr):
        with ehr.client() as client:
            yield client

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _resources(cls, client):
        saved(put(client, patient("P1", name=[{"family": "Ng"}]) | {"id": "p1"}))
        saved(put(client, patient("P2") | {"id": "p2"}))
        tag = {"meta": {"tag": [{"system": "urn:t", "code": "ai"}]}}
        saved(put(client, study("Patient/p1", started="2026-03-01T10:00:00Z", **tag) | {"id": "s1"}))
        saved(put(client, study("Patient/p2", "registered", started="2026-03-02T10:00:00+02:00") | {"id": "s2"}))

    @pytest.mark.parametrize(
        ("query", "ids"),
        [
            pytest.param("ImagingStudy?patient=p1", {"s1"}, id="reference by id"),
            pytest.param("ImagingStudy?subject=Patient/p2", {"s2"}, id="reference by type and id"),
            pytest.param("ImagingStudy?patient.identifier=urn:mrn|P2", {"s2"}, id="chained"),
            pytest.param("ImagingStudy?status=available", {"s1"}, id="code"),
            pytest.param("ImagingStudy?status=available,registered", {"s1", "s2"}, id="or"),
            pytest.param("ImagingStudy?status:not=available", {"s2"}, id="not"),
            pytest.param("ImagingStudy?status=available&patient=p2", set(), id="and"),
            pytest.param("ImagingStudy?_tag=urn:t|ai", {"s1"}, id="tag"),
            pytest.param("ImagingStudy?_tag=urn:other|ai", set(), id="tag of another system"),
            pytest.param("ImagingStudy?identifier=urn:dicom:uid|urn:oid:1.2.3", {"s1", "s2"}, id="identifier"),
            pytest.param("ImagingStudy?started=ge2026-03-02", {"s2"}, id="ge day"),
            pytest.param("ImagingStudy?started=gt2026-03-01T10:00:00Z", {"s2"}, id="gt excludes the same second"),
            pytest.param("ImagingStudy?started=2026-03", {"s1", "s2"}, id="within a month"),
            pytest.param("ImagingStudy?started=lt2026-03-02T08:30:00Z", {"s1", "s2"}, id="lt across zones"),
            pytest.param("Patient?family=n", {"p1"}, id="string by its beginning"),
            pytest.param("Patient?_id=p2", {"p2"}, id="id"),
            pytest.param("ImagingStudy?basedon:missing=true", {"s1", "s2"}, id="missing"),
            pytest.param("ImagingStudy?_lastUpdated=ge2020-01-01T00:00:00.000Z", {"s1", "s2"}, id="lastUpdated ge"),
            pytest.param("ImagingStudy?_lastUpdated=gt2199-01-01", set(), id="lastUpdated gt"),
        ],
    )
    def test_finds(self, client, query, ids):
        answer = client.get(query)
        assert {entry["resource"]["id"] for entry in answer.json().get("entry", [])} == ids, answer.text

    def test_last_updated_of_a_read_resource_finds_only_later_ones(self, client):
        instant = client.get("ImagingStudy/s1").json()["meta"]["lastUpdated"]
        found = client.get("ImagingStudy", params={"_lastUpdated": f"gt{instant}"}).json()
        assert [entry["resource"]["id"] for entry in found["entry"]] == ["s2"]

    def test_search_by_post(self, client):
        assert client.post("ImagingStudy/_search", data={"patient": "p1"}).json()["total"] == 1

    @pytest.mark.parametrize("query", ["Patient?colour=red", "Patient?_lastUpdated=yesterday", "Patient?_count=x"])
    def test_refuses_what_it_does_not_understand(self, client, query):
        assert client.get(query).status_code == 400

    def test_pages_by_next_links(self, client, ehr):
        for number in range(5):
            saved(put(client, patient("P1") | {"id": f"n{number}"}))
        seen, url = [], "Patient?identifier=urn:mrn|P1&_count=2"
        while url:
            bundle = client.get(url).json()
            assert bundle["total"] == 6
            seen += [entry["resource"]["id"] for entry in bundle["entry"]]
            url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), None)
        assert len(seen) == len(set(seen)) == 6

    def test_includes(self, client):
        bundle = client.get("ImagingStudy?patient=p1&_include=ImagingStudy:patient").json()
        assert [entry["search"]["mode"] for entry in bundle["entry"]] == ["match", "include"]


def entry(method, resource, url=None, **more):
    request = {"method": method, "url": url or resource["resourceType"], **more.pop("request", {})}
    return {"resource": resource, "request": request, **more}


class TestTransaction:
    URN = "urn:uuid:9d0c0a2e-0000-4000-8000-000000000001"

    def test_rewrites_urn_uuid_in_any_order(self, client):
        answer = transact(client, entry("POST", study(self.URN)), entry("POST", patient(), fullUrl=self.URN))
        assert answer.status_code == 200, answer.text
        locations = [item["response"]["location"] for item in answer.json()["entry"]]
        stored = client.get(locations[0].split("/_history")[0]).json()
        assert stored["subject"]["reference"] == locations[1].split("/_history")[0]

    def test_stores_nothing_when_one_entry_fails(self, client):
        answer = transact(client, entry("POST", patient()), entry("POST", study("Patient/never")))
        assert answer.status_code == 422
        assert client.get("Patient").json()["total"] == 0

    def test_if_none_exist_uses_the_existing_one(self, client):
        condition = {"ifNoneExist": "identifier=urn:mrn|P1"}
        bundle = [
            entry("POST", patient(), fullUrl=self.URN, request=condition),
            entry("POST", study(self.URN), request={"ifNoneExist": "identifier=urn:dicom:uid|urn:oid:1.2.3"}),
        ]
        first, second = transact(client, *bundle), transact(client, *bundle)
        assert [item["response"]["status"][:3] for item in first.json()["entry"]] == ["201", "201"]
        assert [item["response"]["status"][:3] for item in second.json()["entry"]] == ["200", "200"]
        assert client.get("ImagingStudy").json()["total"] == 1

    def test_stale_if_match_undoes_everything(self, client):
        resource = saved(post(client, patient()))
        saved(put(client, resource))
        reference = f"Patient/{resource['id']}"
        answer = transact(
            client,
            entry("POST", study(reference)),
            entry("PUT", {**resource, "gender": "other"}, reference, request={"ifMatch": 'W/"1"'}),
        )
        assert answer.status_code == 412
        assert client.get("ImagingStudy").json()["total"] == 0

    def test_resolves_conditional_references(self, client):
        resource = saved(post(client, patient()))
        answer = transact(client, entry("POST", study("Patient?identifier=urn:mrn|P1")))
        location = answer.json()["entry"][0]["response"]["location"].split("/_history")[0]
        assert client.get(location).json()["subject"]["reference"] == f"Patient/{resource['id']}"

    def test_provenance_is_found_by_its_target(self, client):
        provenance = {
            "resourceType": "Provenance",
            "target": [{"reference": self.URN}],
            "recorded": "2026-03-01T10:00:00Z",
            "agent": [{"who": {"display": "someone"}}],
        }
        answer = transact(client, entry("POST", patient(), fullUrl=self.URN), entry("POST", provenance))
        reference = answer.json()["entry"][0]["response"]["location"].split("/_history")[0]
        assert client.get(f"Provenance?target={reference}").json()["total"] == 1

    def test_refuses_other_bundles(self, client):
        bundle = {"resourceType": "Bundle", "type": "batch", "entry": []}
        assert client.post("", content=json.dumps(bundle), headers=FHIR_JSON).status_code == 400


class TestCapability:
    def test_says_what_it_does(self, client):
        statement = client.get("metadata").json()
        assert statement["fhirVersion"] == "4.0.1"
        by_type = {resource["type"]: resource for resource in statement["rest"][0]["resource"]}
        assert TOPIC in [extension["valueCanonical"] for extension in by_type["Subscription"]["extension"]]
        assert "target" in {parameter["name"] for parameter in by_type["Provenance"]["searchParam"]}


class Endpoint:
    """A subscriber that records what it gets and answers as it is told."""

    def __init__(self):
        self.received = []
        self.answers = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.received.append((self.command, self.path, dict(self.headers), json.loads(body) if body else None))
                self.send_response(outer.answers.pop(0) if outer.answers else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_PUT = handle_any

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def notifications(self, kind):
        return [body for _, _, _, body in list(self.received) if body and status_of(body).get("type") == kind]


def status_of(bundle):
    """The Parameters of a notification, one value a name."""
    if bundle["resourceType"] != "Bundle":
        return {}
    found = {}
    for parameter in bundle["entry"][0]["resource"]["parameter"]:
        values = [value for name, value in parameter.items() if name.startswith("value")]
        found[parameter["name"]] = values[0] if values else parameter["part"]
    return found


@contextmanager
def listening():
    endpoint = Endpoint()
    thread = threading.Thread(target=endpoint.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.server.shutdown()
        endpoint.server.server_close()
        thread.join()


@pytest.fixture
def endpoint():
    with listening() as endpoint:
        yield endpoint


def topic_subscription(url, content="id-only", filters=(), **extensions):
    return {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "test",
        "criteria": TOPIC,
        "_criteria": {
            "extension": [{"url": BACKPORT + "backport-filter-criteria", "valueString": text} for text in filters]
        }
        if filters
        else None,
        "channel": {
            "type": "rest-hook",
            "endpoint": url,
            "header": ["X-Secret: s3"],
            "payload": "application/fhir+json",
            "_payload": {"extension": [{"url": BACKPORT + "backport-payload-content", "valueCode": content}]},
            "extension": [
                {"url": f"{BACKPORT}backport-{name.replace('_', '-')}", kind: value}
                for name, (kind, value) in extensions.items()
            ]
            or None,
        },
    }


def without_none(element):
    if isinstance(element, dict):
        return {key: without_none(value) for key, value in element.items() if value is not None}
    return [without_none(item) for item in element] if isinstance(element, list) else element


def subscribe(client, *args, **kwargs):
    return saved(post(client, without_none(topic_subscription(*args, **kwargs))))["id"]


def status(client, subscription_id):
    return client.get(f"Subscription/{subscription_id}").json()["status"]


class TestTopicSubscription:
    @pytest.fixture(autouse=True)
    def _patient(self, client):
        saved(put(client, patient() | {"id": "p1"}))

    def test_handshake_makes_it_active(self, client, endpoint, ehr):
        subscription_id = subscribe(client, endpoint.url)
        wait_for(lambda: status(client, subscription_id) == "active")
        command, path, headers, body = endpoint.received[0]
        assert (command, path, headers["X-Secret"]) == ("POST", "/hook", "s3")
        assert headers["Content-Type"] == "application/fhir+json"
        told = status_of(body)
        assert (told["type"], told["status"], told["topic"]) == ("handshake", "requested", TOPIC)
        assert told["subscription"]["reference"] == f"{ehr.url}/Subscription/{subscription_id}"
        assert told["events-since-subscription-start"] == "0"
        assert body["type"] == "history"
        assert body["entry"][0]["request"]["url"] == f"Subscription/{subscription_id}/$status"

    def test_failed_handshake_is_an_error_and_the_client_can_ask_again(self, client, endpoint):
        endpoint.answers = [500]
        subscription_id = subscribe(client, endpoint.url)
        wait_for(lambda: status(client, subscription_id) == "error")
        resource = client.get(f"Subscription/{subscription_id}").json()
        assert "500" in resource["error"]
        saved(put(client, resource | {"status": "requested"}))
        wait_for(lambda: status(client, subscription_id) == "active")
        assert "error" not in client.get(f"Subscription/{subscription_id}").json()

    @pytest.mark.parametrize(
        ("content", "entries", "has_resource"),
        [("empty", 1, False), ("id-only", 2, False), ("full-resource", 2, True)],
    )
    def test_event_holds_what_was_asked_for(self, client, endpoint, ehr, content, entries, has_resource):
        subscription_id = subscribe(client, endpoint.url, content)
        wait_for(lambda: status(client, subscription_id) == "active")
        stored = saved(post(client, study("Patient/p1")))
        (bundle,) = wait_for(lambda: endpoint.notifications("event-notification"))
        assert len(bundle["entry"]) == entries
        assert ("resource" in bundle["entry"][-1] and entries == 2) == has_resource
        parts = {part["name"]: part for part in status_of(bundle)["notification-event"]}
        assert parts["event-number"]["valueString"] == "1"
        expected = {"reference": f"{ehr.url}/ImagingStudy/{stored['id']}"} if content != "empty" else None
        assert parts.get("focus", {}).get("valueReference") == expected

    def test_events_are_numbered_and_filtered(self, client, endpoint):
        subscription_id = subscribe(client, endpoint.url, filters=["ImagingStudy?modality=MR"])
        wait_for(lambda: status(client, subscription_id) == "active")
        for number, modality in enumerate(["MR", "CT", "MR"]):
            series = [{"uid": f"1.2.{number}", "modality": {"code": modality}}]
            saved(post(client, study("Patient/p1", series=series)))
        saved(post(client, study("Patient/p1", "registered")))
        bundles = wait_for(lambda: len(endpoint.notifications("event-notification")) == 2 and endpoint.received[1:])
        numbers = [status_of(body)["notification-event"][0]["valueString"] for _, _, _, body in bundles]
        assert numbers == ["1", "2"]

    def test_failed_delivery_is_repeated_in_order(self, client, endpoint):
        subscription_id = subscribe(client, endpoint.url)
        wait_for(lambda: status(client, subscription_id) == "active")
        endpoint.answers = [503, 503]
        saved(post(client, study("Patient/p1")))
        saved(post(client, study("Patient/p1")))
        wait_for(lambda: len(endpoint.notifications("event-notification")) == 4)
        numbers = [
            status_of(body)["notification-event"][0]["valueString"]
            for body in endpoint.notifications("event-notification")
        ]
        assert numbers == ["1", "1", "1", "2"]
        assert status(client, subscription_id) == "active"

    def test_too_many_failures_are_an_error_and_missed_events_can_be_asked_for(self, client, endpoint):
        subscription_id = subscribe(client, endpoint.url)
        wait_for(lambda: status(client, subscription_id) == "active")
        endpoint.answers = [503] * 3
        missed = [saved(post(client, study("Patient/p1")))["id"]]
        wait_for(lambda: status(client, subscription_id) == "error")
        missed.append(saved(post(client, study("Patient/p1")))["id"])

        told = status_of(client.get(f"Subscription/{subscription_id}/$status").json())
        assert (told["type"], told["status"], told["events-since-subscription-start"]) == ("query-status", "error", "2")
        assert "error" in told
        bundle = client.get(f"Subscription/{subscription_id}/$events?eventsSinceNumber=2").json()
        assert [item["fullUrl"].rpartition("/")[2] for item in bundle["entry"][1:]] == missed[1:]

        resource = client.get(f"Subscription/{subscription_id}").json()
        saved(put(client, resource | {"status": "requested"}))
        wait_for(lambda: status(client, subscription_id) == "active")
        saved(post(client, study("Patient/p1")))
        bundle = wait_for(lambda: endpoint.notifications("event-notification")[3:])[0]
        assert status_of(bundle)["notification-event"][0]["valueString"] == "3"

    def test_max_count_puts_waiting_events_together(self, client, endpoint):
        subscription_id = subscribe(client, endpoint.url, max_count=("valuePositiveInt", 10))
        wait_for(lambda: status(client, subscription_id) == "active")
        transact(client, *(entry("POST", study("Patient/p1")) for _ in range(3)))
        (bundle,) = wait_for(lambda: endpoint.notifications("event-notification"))
        assert len(bundle["entry"]) == 4

    def test_heartbeat_does_not_count(self, client, endpoint):
        subscribe(client, endpoint.url, heartbeat_period=("valueUnsignedInt", 1))
        (bundle,) = wait_for(lambda: endpoint.notifications("heartbeat"))
        assert status_of(bundle)["events-since-subscription-start"] == "0"

    def test_switched_off_is_silent(self, client, endpoint):
        subscription_id = subscribe(client, endpoint.url)
        wait_for(lambda: status(client, subscription_id) == "active")
        saved(put(client, client.get(f"Subscription/{subscription_id}").json() | {"status": "off"}))
        saved(post(client, study("Patient/p1")))
        told = status_of(client.get(f"Subscription/{subscription_id}/$status").json())
        assert told["events-since-subscription-start"] == "0"

    def test_undelivered_event_survives_a_restart(self, tmp_path):
        with listening() as endpoint:
            with sandbox_ehr(tmp_path / "again") as server, server.client() as client:
                saved(put(client, patient() | {"id": "p1"}))
                subscription_id = subscribe(client, endpoint.url)
                wait_for(lambda: status(client, subscription_id) == "active")
                endpoint.answers = [503]
                saved(post(client, study("Patient/p1")))
                wait_for(lambda: endpoint.notifications("event-notification"))
            with sandbox_ehr(tmp_path / "again") as server, server.client() as client:
                wait_for(lambda: len(endpoint.notifications("event-notification")) == 2)
                assert client.get("ImagingStudy").json()["total"] == 1

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param({"criteria": "http://other.example/topic"}, id="unknown topic"),
            pytest.param({"criteria": "ImagingStudy?colour=red"}, id="unknown search parameter"),
            pytest.param({"status": "error"}, id="error is not the client's to say"),
        ],
    )
    def test_refuses(self, client, endpoint, change):
        resource = without_none(topic_subscription(endpoint.url)) | change
        assert post(client, resource).status_code in {400, 422}

    def test_refuses_endpoints_outside(self, client):
        resource = without_none(topic_subscription("http://elsewhere.example/hook"))
        assert post(client, resource).status_code == 422


class TestRestHook:
    @pytest.fixture(autouse=True)
    def _patient(self, client):
        saved(put(client, patient() | {"id": "p1"}))

    def subscribe(self, client, url, **channel):
        resource = {
            "resourceType": "Subscription",
            "status": "requested",
            "reason": "test",
            "criteria": "ImagingStudy?status=available",
            "channel": {"type": "rest-hook", "endpoint": url, **channel},
        }
        return saved(post(client, resource))["id"]

    def test_is_active_without_handshake_and_posts_nothing_but_the_call(self, client, endpoint):
        subscription_id = self.subscribe(client, endpoint.url)
        assert status(client, subscription_id) == "active"
        saved(post(client, study("Patient/p1", "registered")))
        saved(post(client, study("Patient/p1")))
        wait_for(lambda: endpoint.received)
        assert [(command, path, body) for command, path, _, body in endpoint.received] == [("POST", "/hook", None)]

    def test_payload_is_put_as_hapi_does(self, client, endpoint):
        self.subscribe(client, endpoint.url, payload="application/fhir+json")
        stored = saved(post(client, study("Patient/p1")))
        wait_for(lambda: endpoint.received)
        command, path, _, body = endpoint.received[0]
        assert (command, path) == ("PUT", f"/hook/ImagingStudy/{stored['id']}")
        assert body == stored

    def test_payload_is_posted_as_medplum_does(self, tmp_path, endpoint):
        with sandbox_ehr(tmp_path / "other", "--rest-hook", "post") as server, server.client() as client:
            saved(put(client, patient() | {"id": "p1"}))
            self.subscribe(client, endpoint.url, payload="application/fhir+json")
            stored = saved(post(client, study("Patient/p1")))
            wait_for(lambda: endpoint.received)
            command, path, _, body = endpoint.received[0]
            assert (command, path, body) == ("POST", "/hook", stored)


class TestPages:
    def test_pages_escape_what_was_sent(self, client, ehr):
        attack = "<script>alert(1)</script>"
        resource = saved(post(client, patient(name=[{"text": attack}])))
        for path in ("/", f"/patients/{resource['id']}", f"/resources/Patient/{resource['id']}", "/resources/Patient"):
            answer = client.get(ehr.home + path)
            assert answer.status_code == 200
            assert attack not in answer.text
            assert "default-src 'none'" in answer.headers["content-security-policy"]

    def test_presented_form_cannot_run(self, client, ehr):
        resource = {
            "resourceType": "DiagnosticReport",
            "status": "preliminary",
            "code": {"text": "MRI"},
            "presentedForm": [
                {"contentType": "text/html", "data": "PGI+aGk8L2I+"},
                {"contentType": "application/pdf", "data": "JVBERi0="},
                {"contentType": "image/svg+xml", "data": "PHN2Zy8+"},
            ],
        }
        report = saved(post(client, resource))
        page = client.get(f"{ehr.home}/reports/{report['id']}").text
        assert 'sandbox=""' in page
        forms = [client.get(f"{ehr.home}/reports/{report['id']}/forms/{index}") for index in range(3)]
        assert forms[0].text == "<b>hi</b>"
        assert forms[0].headers["content-security-policy"].startswith("sandbox;")
        assert forms[1].headers["content-type"] == "application/pdf"
        assert forms[2].headers["content-disposition"] == "attachment"
        assert client.get(f"{ehr.home}/reports/{report['id']}/forms/3").status_code == 404

    def test_pages_ask_for_the_password(self, ehr):
        assert httpx.get(ehr.home + "/", trust_env=False).status_code == 401
