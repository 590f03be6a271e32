"""What the REST adapter sends and how it takes answers; the contract suite tests it on a real server."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from fhir_adapter.adapters.rest import FhirRestStore
from fhir_adapter.errors import (
    FhirConflictError,
    FhirNotFoundError,
    FhirRefusedError,
    FhirServerError,
    FhirTooLargeError,
    FhirUnavailableError,
)

BASE = "https://ehr.test/fhir"
PATIENT = {"resourceType": "Patient", "id": "1"}
BUNDLE = {"resourceType": "Bundle", "type": "transaction", "entry": [{"resource": PATIENT}]}

Answer = httpx.Response | Exception


class Server:
    """Answers from a script and keeps the requests."""

    def __init__(self, *answers: Answer) -> None:
        self.requests: list[httpx.Request] = []
        self._answers = list(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def store(self, base: str = BASE, **arguments: Any) -> FhirRestStore:
        return FhirRestStore(base, httpx.BasicAuth("plugin", "pass"), transport=httpx.MockTransport(self), **arguments)


def fhir(resource: object, status: int = 200, **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(
        status, content=json.dumps(resource), headers={"Content-Type": "application/fhir+json", **names}
    )


def page(*resources: Any, following: str | None = None) -> httpx.Response:
    links = [{"relation": "self", "url": f"{BASE}/x"}]
    if following:
        links.append({"relation": "next", "url": following})
    entries = [{"resource": resource} for resource in resources]
    return fhir({"resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries})


def outcome(status: int, text: str = "", **issue: Any) -> httpx.Response:
    issues = [{"severity": "error", "code": "invalid", "diagnostics": text, **issue}]
    return fhir({"resourceType": "OperationOutcome", "issue": issues}, status)


# Where requests go


@pytest.mark.parametrize("base", [BASE, f"{BASE}/", "https://EHR.test:443/fhir"])
@pytest.mark.parametrize("reference", ["Patient/1", f"{BASE}/Patient/1"])
def test_reads_below_its_base_with_its_credentials(base: str, reference: str):
    server = Server(fhir(PATIENT))

    assert server.store(base).read(reference) == PATIENT

    (request,) = server.requests
    assert str(request.url) == f"{BASE}/Patient/1"
    assert request.headers["Authorization"].startswith("Basic ")
    assert request.headers["Accept"] == "application/fhir+json"


def test_reads_a_version():
    server = Server(fhir(PATIENT))

    server.store().read("Patient/1/_history/3")

    assert str(server.requests[0].url) == f"{BASE}/Patient/1/_history/3"


@pytest.mark.parametrize(
    "reference",
    [
        "https://evil.test/fhir/Patient/1",
        "https://ehr.test.evil.test/fhir/Patient/1",
        "https://ehr.test/fhir2/Patient/1",
        "https://ehr.test/fhir/../other/Patient/1",
        "http://ehr.test/fhir/Patient/1",
        "https://ehr.test:8443/fhir/Patient/1",
        "https://ehr.test@evil.test/fhir/Patient/1",
        "//evil.test/Patient/1",
        "Patient/..",
        "Patient?identifier=1",
        "#contained",
    ],
)
def test_asks_no_other_server_whatever_a_resource_says(reference: str):
    server = Server()

    with pytest.raises(FhirRefusedError):
        server.store().read(reference)
    assert server.requests == []


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.test/fhir?page=2",
        "https://ehr.test/other?page=2",
        "https://ehr.test/fhir/../../other",
        "//evil.test/fhir",
        "https://ehr.test:8443/fhir?page=2",
        "https://ehr.test/fhirx?page=2",
        "http://[broken",
    ],
)
def test_asks_no_other_server_for_the_next_page(link: str):
    server = Server(page(PATIENT, following=link))

    with pytest.raises(FhirRefusedError):
        server.store().search("Patient", {})
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("link", "asked"),
    [
        (f"{BASE}?_getpages=1", f"{BASE}?_getpages=1"),
        (f"{BASE}/Patient?page=2", f"{BASE}/Patient?page=2"),
        ("Patient?page=2", f"{BASE}/Patient?page=2"),
        ("/fhir/Patient?page=2", f"{BASE}/Patient?page=2"),
        ("?_getpages=1", f"{BASE}/?_getpages=1"),
    ],
)
def test_follows_next_links_on_its_own_server(link: str, asked: str):
    server = Server(page(PATIENT, following=link), page({**PATIENT, "id": "2"}))

    assert [found["id"] for found in server.store().search("Patient", {})] == ["1", "2"]
    assert str(server.requests[1].url) == asked


def test_does_not_follow_redirects():
    server = Server(httpx.Response(307, headers={"Location": "https://evil.test/fhir/Patient/1"}))

    with pytest.raises(FhirRefusedError, match="Redirect"):
        server.store().read("Patient/1")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "base", ["ftp://ehr.test", "ehr.test/fhir", "https://", "https://user:pw@ehr.test/fhir", f"{BASE}?x=1", f"{BASE}#x"]
)
def test_refuses_a_base_that_is_no_plain_web_address(base: str):
    with pytest.raises(ValueError, match="http"):
        FhirRestStore(base)


@pytest.mark.parametrize(
    "path", ["https://evil.test/$status", "../$status", "Patient/1", "Subscription/1/$status#x", ""]
)
def test_refuses_operations_that_are_none(path: str):
    server = Server()

    with pytest.raises(FhirRefusedError):
        server.store().operation(path)
    assert server.requests == []


@pytest.mark.parametrize(
    "path", ["Subscription/1/$status", "Subscription/1/$events?eventsSinceNumber=3&content=id-only", "metadata"]
)
def test_calls_operations(path: str):
    server = Server(fhir(PATIENT))

    server.store().operation(path)

    assert str(server.requests[0].url) == f"{BASE}/{path}"


# Searching


def test_search_keeps_its_parameters_out_of_the_url():
    server = Server(page(PATIENT))

    server.store().search("Patient", {"identifier": "urn:x|1 2"})

    (request,) = server.requests
    assert (request.method, str(request.url)) == ("POST", f"{BASE}/Patient/_search")
    assert dict(httpx.QueryParams(request.content.decode())) == {"_count": "100", "identifier": "urn:x|1 2"}


def test_search_goes_by_get_where_the_server_takes_no_post():
    server = Server(outcome(405), page(PATIENT))

    assert server.store().search("Patient", {"identifier": "urn:x|1"}) == [PATIENT]

    assert server.requests[1].method == "GET"
    assert dict(server.requests[1].url.params) == {"_count": "100", "identifier": "urn:x|1"}


def test_search_gives_matches_only():
    included = {"resource": {"resourceType": "Patient", "id": "i"}, "search": {"mode": "include"}}
    warning = {"resource": {"resourceType": "OperationOutcome"}, "search": {"mode": "outcome"}}
    match = {"resource": PATIENT, "search": {"mode": "match"}}
    server = Server(fhir({"resourceType": "Bundle", "entry": [included, warning, match, {"fullUrl": "x"}]}))

    assert server.store().search("Patient", {}) == [PATIENT]


def test_search_stops_at_its_limit():
    server = Server(page(PATIENT, PATIENT, following="Patient?page=2"))

    assert len(server.store().search("Patient", {}, limit=1)) == 1
    assert len(server.requests) == 1
    assert b"_count=1" in server.requests[0].content


def test_search_does_not_run_in_circles():
    server = Server(*(page(following="Patient?page=1") for _ in range(200)))

    with pytest.raises(FhirTooLargeError, match="pages"):
        server.store().search("Patient", {})


@pytest.mark.parametrize("bundle", [{"entry": {}}, {"entry": [1]}, {"link": "x"}])
def test_refuses_a_searchset_that_is_none(bundle: dict[str, Any]):
    server = Server(fhir({"resourceType": "Bundle", **bundle}))

    with pytest.raises(FhirRefusedError, match="searchset"):
        server.store().search("Patient", {})


# Writing


def test_update_is_bound_to_a_version():
    server = Server(fhir(PATIENT), fhir(PATIENT))

    server.store().update(PATIENT, if_match="7")
    assert server.requests[0].headers["If-Match"] == 'W/"7"'
    server.store().update(PATIENT)
    assert "If-Match" not in server.requests[1].headers


def test_writes_utf_8_fhir_json():
    server = Server(fhir(PATIENT, 201))

    server.store().create({**PATIENT, "name": [{"text": "Zoë"}]})

    (request,) = server.requests
    assert request.headers["Content-Type"] == "application/fhir+json"
    assert json.loads(request.content)["name"] == [{"text": "Zoë"}]


@pytest.mark.parametrize("location", [f"{BASE}/Patient/9/_history/1", "Patient/9/_history/1", f"{BASE}/Patient/9"])
def test_reads_what_it_created_when_the_server_does_not_show_it(location: str):
    server = Server(httpx.Response(201, headers={"Location": location}), fhir({**PATIENT, "id": "9"}))

    assert server.store().create(PATIENT)["id"] == "9"
    assert str(server.requests[1].url) == f"{BASE}/Patient/9"


def test_reads_what_it_updated_when_the_server_does_not_show_it():
    server = Server(httpx.Response(200), fhir(PATIENT))

    assert server.store().update(PATIENT) == PATIENT
    assert str(server.requests[1].url) == f"{BASE}/Patient/1"


def test_does_not_follow_a_location_elsewhere():
    server = Server(httpx.Response(201, headers={"Location": "https://evil.test/fhir/Patient/9"}))

    with pytest.raises(FhirRefusedError):
        server.store().create(PATIENT)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [200, 202, 204])
def test_deletes(status: int):
    server = Server(httpx.Response(status))

    server.store().delete("Patient/1")

    assert server.requests[0].method == "DELETE"


# Transactions


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("412 Precondition Failed", FhirConflictError),
        ("404", FhirNotFoundError),
        ("422 Unprocessable", FhirRefusedError),
        ("500", FhirUnavailableError),
        ("oops", FhirUnavailableError),
    ],
)
def test_does_not_believe_a_transaction_with_a_failed_entry(status: str, error: type[FhirServerError]):
    answer = {"resourceType": "Bundle", "type": "transaction-response", "entry": [{"response": {"status": status}}]}

    with pytest.raises(error, match="entry 0"):
        Server(fhir(answer)).store().transact(BUNDLE)


@pytest.mark.parametrize("entries", [None, [], [{}], [{"response": {}}], [{"response": {"status": 200}}], {}, [7]])
def test_does_not_believe_a_transaction_that_does_not_say_what_became_of_each_entry(entries: Any):
    answer = {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}

    with pytest.raises(FhirRefusedError):
        Server(fhir(answer)).store().transact(BUNDLE)


def test_takes_a_transaction_whose_entries_all_succeeded():
    answer = {"resourceType": "Bundle", "entry": [{"response": {"status": "201 Created"}}]}

    assert Server(fhir(answer)).store().transact(BUNDLE) == answer


# Failures


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, FhirRefusedError),
        (401, FhirRefusedError),
        (403, FhirRefusedError),
        (404, FhirNotFoundError),
        (408, FhirUnavailableError),
        (409, FhirConflictError),
        (410, FhirNotFoundError),
        (412, FhirConflictError),
        (413, FhirRefusedError),
        (422, FhirRefusedError),
        (429, FhirUnavailableError),
        (500, FhirUnavailableError),
        (502, FhirUnavailableError),
        (503, FhirUnavailableError),
    ],
)
def test_each_status_has_its_error(status: int, error: type[FhirServerError]):
    with pytest.raises(error, match=f"HTTP {status}") as raised:
        Server(outcome(status)).store().read("Patient/1")

    assert type(raised.value) is error


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut off"),
        httpx.ReadError("reset"),
    ],
)
def test_no_answer_is_worth_another_try(failure: Exception):
    with pytest.raises(FhirUnavailableError, match=type(failure).__name__):
        Server(failure).store().read("Patient/1")


class CutOff(httpx.SyncByteStream):
    """A body that breaks off."""

    def __iter__(self) -> Iterator[bytes]:
        yield b'{"resourceType":'
        raise httpx.ReadError("reset")


def test_an_answer_that_breaks_off_is_worth_another_try():
    answer = httpx.Response(200, stream=CutOff(), headers={"Content-Type": "application/fhir+json"})

    with pytest.raises(FhirUnavailableError):
        Server(answer).store().read("Patient/1")


@pytest.mark.parametrize(
    ("header", "seconds"), [("120", 120.0), ("", None), ("Wed, 04 Mar 2026 10:00:00 GMT", None), ("-1", None)]
)
def test_notes_how_long_the_server_asks_to_wait(header: str, seconds: float | None):
    with pytest.raises(FhirUnavailableError) as raised:
        Server(fhir({}, 503, Retry_After=header)).store().read("Patient/1")

    assert raised.value.retry_after_s == seconds


def test_stops_reading_above_its_limit():
    with pytest.raises(FhirTooLargeError, match="100 bytes"):
        Server(fhir({**PATIENT, "text": "x" * 200})).store(max_bytes=100).read("Patient/1")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(httpx.Response(200, html="<html>Sign in</html>"), id="html"),
        pytest.param(httpx.Response(200, text="{}", headers={"Content-Type": "application/fhir+xml"}), id="xml"),
        pytest.param(fhir([]), id="list"),
        pytest.param(fhir({}), id="no-resource"),
        pytest.param(httpx.Response(200), id="nothing"),
        pytest.param(httpx.Response(200, text="{", headers={"Content-Type": "application/json"}), id="broken-json"),
        pytest.param(fhir({"resourceType": "Observation"}), id="another-type"),
    ],
)
def test_refuses_an_answer_that_is_not_the_resource(answer: httpx.Response):
    with pytest.raises(FhirRefusedError, match="Expected"):
        Server(answer).store().read("Patient/1")


def test_message_tells_what_the_server_said_without_what_it_quoted():
    answer = outcome(
        422, "Value \"Jane Doe\" or 19500101 is not valid for MRN '77'", expression=["Patient.name[0].family"]
    )

    with pytest.raises(FhirRefusedError) as raised:
        Server(answer).store().read("Patient/secret-id")

    message = str(raised.value)
    assert (
        message
        == "GET /Patient/...: HTTP 422. invalid Value ... or ... is not valid for MRN ... Patient.name[0].family"
    )


@pytest.mark.parametrize("body", [{}, {"issue": 7}, {"issue": [{"details": 1}]}, {"issue": [{"expression": 7}]}, []])
def test_an_outcome_that_is_none_does_not_hide_the_status(body: object):
    with pytest.raises(FhirRefusedError, match="HTTP 400"):
        Server(fhir(body, 400)).store().read("Patient/1")


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.read("Patient/secret-id"),
        lambda store: store.search("Patient", {"identifier": "secret-id"}),
        lambda store: store.delete("Patient/secret-id"),
        lambda store: store.update({"resourceType": "Patient", "id": "secret-id", "name": "secret-id"}),
    ],
    ids=["read", "search", "delete", "update"],
)
@pytest.mark.parametrize("answer", [outcome(500), httpx.ConnectError("refused")], ids=["refusal", "no-answer"])
def test_messages_name_no_patient(call: Callable[[FhirRestStore], object], answer: Answer):
    with pytest.raises(FhirUnavailableError) as raised:
        call(Server(answer).store())

    assert "secret-id" not in str(raised.value)
    assert "Patient" in str(raised.value)
