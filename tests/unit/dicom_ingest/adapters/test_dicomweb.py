import json
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from pydicom.dataset import Dataset

from dicom_ingest.adapters.dicomweb import BearerAuth, DicomWebArchive, DicomWebArchives, Limits
from dicom_ingest.errors import (
    ArchiveRefusedError,
    ArchiveUnavailableError,
    BrokenInstanceError,
    DicomIngestError,
    HostNotAllowedError,
    InstanceNotFoundError,
    SeriesNotFoundError,
    StudyNotFoundError,
    TooLargeError,
)
from dicom_ingest.instances import encode_instance
from tests.fakes.mr_series import make_series

BASE = "https://pacs.example/dicom-web"
SERIES = make_series(shape=(3, 4, 4))
STUDY_UID, SERIES_UID = SERIES[0].StudyInstanceUID, SERIES[0].SeriesInstanceUID
SERIES_PATH = f"/dicom-web/studies/{STUDY_UID}/series/{SERIES_UID}"
MULTIPART = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}

Handler = Callable[[httpx.Request], httpx.Response]


def archive(handler: Handler, limits: Limits | None = None, auth: httpx.Auth | None = None) -> DicomWebArchive:
    return DicomWebArchives(BASE, {BASE: auth}, limits, transport=httpx.MockTransport(handler)).at(None)


def envelope(*bodies: bytes) -> bytes:
    return b"".join(b"--b\r\nContent-Type: application/dicom\r\n\r\n" + body + b"\r\n" for body in bodies) + b"--b--"


def answers(status: int = 200, **options: object) -> Handler:
    return lambda _request: httpx.Response(status, **options)  # type: ignore[arg-type]


def fetch(handler: Handler, limits: Limits | None = None) -> list[Dataset]:
    return list(archive(handler, limits).fetch_instances(STUDY_UID, SERIES_UID))


ENCODED = [encode_instance(instance) for instance in SERIES]


class TestFetchInstances:
    def test_streams_the_instances_of_a_series(self) -> None:
        asked: list[httpx.Request] = []

        def handler(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            return httpx.Response(200, headers=MULTIPART, content=envelope(*ENCODED))

        assert fetch(handler) == SERIES
        assert [request.url.path for request in asked] == [SERIES_PATH]
        assert asked[0].headers["Accept"] == 'multipart/related; type="application/dicom"'

    def test_hands_out_an_instance_before_the_next_one_has_come(self) -> None:
        def stream() -> Iterator[bytes]:
            yield envelope(ENCODED[0])[:-2] + b"\r\n"
            raise httpx.ReadError("connection lost")

        instances = archive(answers(headers=MULTIPART, content=stream())).fetch_instances(STUDY_UID, SERIES_UID)
        assert next(instances) == SERIES[0]
        with pytest.raises(ArchiveUnavailableError, match="ReadError"):
            next(instances)

    @pytest.mark.parametrize("status", [406, 500])
    def test_takes_what_is_stored_from_an_archive_that_cannot_decompress(self, status: int) -> None:
        def handler(request: httpx.Request) -> httpx.Response:
            if "transfer-syntax=*" in request.headers["Accept"]:
                return httpx.Response(200, headers=MULTIPART, content=envelope(*ENCODED))
            return httpx.Response(status)

        assert fetch(handler) == SERIES

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (204, SeriesNotFoundError),
            (206, ArchiveUnavailableError),
            (302, ArchiveRefusedError),
            (400, ArchiveRefusedError),
            (401, ArchiveRefusedError),
            (403, ArchiveRefusedError),
            (404, SeriesNotFoundError),
            (406, ArchiveRefusedError),
            (410, SeriesNotFoundError),
            (429, ArchiveUnavailableError),
            (500, ArchiveUnavailableError),
            (503, ArchiveUnavailableError),
        ],
    )
    def test_each_status_has_its_error(self, status: int, error: type[DicomIngestError]) -> None:
        with pytest.raises(error):
            fetch(answers(status, headers={"Location": "https://elsewhere.example/"}, content=b"P0001"))

    @pytest.mark.parametrize(
        ("headers", "content", "error"),
        [
            pytest.param({"Content-Type": "text/html"}, b"<html>", ArchiveRefusedError, id="a web page"),
            pytest.param({"Content-Type": "multipart/related"}, b"", ArchiveRefusedError, id="no boundary"),
            pytest.param(MULTIPART, b"garbage" * 1000, ArchiveRefusedError, id="no multipart"),
            pytest.param(MULTIPART, b"--b--", SeriesNotFoundError, id="no part"),
            pytest.param(MULTIPART, envelope(b"garbage"), BrokenInstanceError, id="a part that is not DICOM"),
            pytest.param(MULTIPART, envelope(ENCODED[0][:-9]), BrokenInstanceError, id="a part cut off"),
            pytest.param(MULTIPART, envelope(*ENCODED)[:-40], ArchiveUnavailableError, id="stream cut off"),
            pytest.param(
                MULTIPART,
                envelope(encode_instance(make_series(key="other")[0])),
                ArchiveRefusedError,
                id="an instance of another study",
            ),
            pytest.param(
                {**MULTIPART, "Content-Encoding": "gzip"}, b"not gzip", ArchiveUnavailableError, id="broken gzip"
            ),
        ],
    )
    def test_a_malformed_answer_has_its_error(
        self, headers: dict[str, str], content: bytes, error: type[DicomIngestError]
    ) -> None:
        # The body as a stream: httpx decodes a whole one before it is asked for.
        with pytest.raises(error):
            fetch(answers(headers=headers, content=iter([content])))

    @pytest.mark.parametrize("limits", [Limits(part_bytes=1000), Limits(series_bytes=3000)], ids=["part", "series"])
    def test_limits_hold_while_streaming(self, limits: Limits) -> None:
        taken = 0

        def stream() -> Iterator[bytes]:
            nonlocal taken
            for instance in ENCODED * 100:
                taken += 1
                yield b"--b\r\n\r\n" + instance + b"\r\n"

        with pytest.raises(TooLargeError):
            fetch(answers(headers=MULTIPART, content=stream()), limits)
        assert taken < 5

    def test_an_archive_that_drips_is_given_up(self) -> None:
        def stream() -> Iterator[bytes]:
            while True:
                time.sleep(0.01)
                yield b"-"

        with pytest.raises(ArchiveUnavailableError, match="longer than"):
            fetch(answers(headers=MULTIPART, content=stream()), Limits(series_s=0.05))

    @pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError])
    def test_no_answer_is_worth_another_try(self, error: type[httpx.TransportError]) -> None:
        def handler(request: httpx.Request) -> httpx.Response:
            raise error("P0001")

        with pytest.raises(ArchiveUnavailableError) as caught:
            fetch(handler)
        assert "P0001" not in str(caught.value)

    @pytest.mark.parametrize("uid", ["../patients", "1.2?x=1", "", "1.2/instances"])
    def test_what_is_no_uid_is_never_asked_for(self, uid: str) -> None:
        def handler(request: httpx.Request) -> httpx.Response:
            raise AssertionError

        with pytest.raises(ArchiveRefusedError, match="Expected a UID"):
            list(archive(handler).fetch_instances(STUDY_UID, uid))


class TestFetchInstance:
    def test_fetches_one(self) -> None:
        found = archive(answers(headers=MULTIPART, content=envelope(ENCODED[1]))).fetch_instance(
            STUDY_UID, SERIES_UID, SERIES[1].SOPInstanceUID
        )
        assert found == SERIES[1]

    @pytest.mark.parametrize(
        "handler",
        [answers(404), answers(headers=MULTIPART, content=envelope(ENCODED[0]))],
        ids=["unknown", "another instance"],
    )
    def test_says_when_there_is_none(self, handler: Handler) -> None:
        with pytest.raises(InstanceNotFoundError):
            archive(handler).fetch_instance(STUDY_UID, SERIES_UID, SERIES[1].SOPInstanceUID)


def listed(uid: str, modality: str = "MR", count: int | None = 3) -> dict[str, object]:
    item: dict[str, object] = {
        "0020000E": {"vr": "UI", "Value": [uid]},
        "00080060": {"vr": "CS", "Value": [modality]},
        "0008103E": {"vr": "LO", "Value": ["listed"]},
    }
    return {**item, "00201209": {"vr": "IS", "Value": [count]}} if count is not None else item


def qido(pages: dict[str, list[dict[str, object]]]) -> Handler:
    """Answers by the last word of the path; the second page of everything is empty."""

    def handler(request: httpx.Request) -> httpx.Response:
        offset = int(request.url.params.get("offset", "0"))
        return httpx.Response(200, json=pages[request.url.path.rpartition("/")[2]][offset : offset + 2])

    return handler


INSTANCE_ITEM = {"00080018": {"vr": "UI", "Value": ["1.2.3"]}}
METADATA = {"0008103E": {"vr": "LO", "Value": ["AX T1"]}, "7FE00010": {"vr": "OW", "BulkDataURI": "bulk"}}


class TestListSeries:
    def test_lists_all_pages_with_the_header_of_one_instance(self) -> None:
        pages = {
            "series": [listed("1.1"), listed("1.2"), listed("1.3")],
            "instances": [INSTANCE_ITEM],
            "metadata": [METADATA],
        }
        found = archive(qido(pages)).list_series(STUDY_UID)
        assert [series.series_instance_uid for series in found] == ["1.1", "1.2", "1.3"]
        assert {series.number_of_instances for series in found} == {3}
        assert {series.header.SeriesDescription for series in found} == {"AX T1"}
        assert all("PixelData" not in series.header for series in found)

    def test_stops_at_an_archive_that_does_not_know_pages(self) -> None:
        def handler(request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json=[listed("1.1", "SR"), listed("1.2", "SR")])

        assert len(archive(handler).list_series(STUDY_UID)) == 2

    def test_asks_no_header_of_a_series_that_is_not_mr(self) -> None:
        (series,) = archive(qido({"series": [listed("1.1", "CT")]})).list_series(STUDY_UID)
        assert (series.modality, series.header.SeriesDescription) == ("CT", "listed")

    def test_counts_instances_where_the_archive_does_not(self) -> None:
        instances = [{"00080018": {"vr": "UI", "Value": [f"1.{number}"]}} for number in range(1, 6)]
        pages = {"series": [listed("1.1", count=None)], "instances": instances, "metadata": [METADATA]}
        assert archive(qido(pages)).list_series(STUDY_UID)[0].number_of_instances == 5

    @pytest.mark.parametrize(
        "handler", [answers(404), answers(204), answers(json=[])], ids=["404", "204", "an empty list"]
    )
    def test_says_when_there_is_no_study(self, handler: Handler) -> None:
        with pytest.raises(StudyNotFoundError):
            archive(handler).list_series(STUDY_UID)

    @pytest.mark.parametrize(
        "content", [b"", b"<html>", b"{}", b"[1]", b'"x"', b"[" * 100_000], ids=lambda value: repr(value[:8])
    )
    def test_refuses_what_is_not_dicom_json(self, content: bytes) -> None:
        with pytest.raises(ArchiveRefusedError):
            archive(answers(content=content)).list_series(STUDY_UID)

    def test_refuses_a_series_whose_uid_is_none(self) -> None:
        with pytest.raises(ArchiveRefusedError):
            archive(qido({"series": [listed("../..")]})).list_series(STUDY_UID)

    def test_limits_the_answer(self) -> None:
        with pytest.raises(TooLargeError):
            archive(answers(json=[listed("1.1")] * 50), Limits(json_bytes=1000)).list_series(STUDY_UID)


STORED = {"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}}]}}
NOTHING = {"00081198": {"vr": "SQ"}, "00081199": {"vr": "SQ"}}


def failed(reason: int) -> dict[str, object]:
    return {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [reason]}}]}}


class TestStoreInstance:
    def store(self, handler: Handler) -> None:
        archive(handler).store_instance(ENCODED[0], STUDY_UID)

    def test_sends_one_part_to_the_study(self) -> None:
        def handler(request: httpx.Request) -> httpx.Response:
            assert request.method == "POST"
            assert request.url.path == f"/dicom-web/studies/{STUDY_UID}"
            assert request.headers["Accept"] == "application/dicom+json"
            assert request.headers["Content-Type"].startswith('multipart/related; type="application/dicom"; boundary=')
            assert ENCODED[0] in request.read()
            return httpx.Response(200, json=STORED)

        self.store(handler)

    @pytest.mark.parametrize(
        "handler",
        [
            pytest.param(answers(200, json=STORED), id="stored"),
            pytest.param(answers(202, json=[STORED]), id="stored, as a list"),
            pytest.param(answers(400, json=STORED), id="stored though it says 400"),
            pytest.param(answers(409, json=failed(0x0111)), id="it has this instance already"),
            pytest.param(answers(200), id="nothing said: reading back will tell"),
        ],
    )
    def test_is_done(self, handler: Handler) -> None:
        self.store(handler)

    @pytest.mark.parametrize(
        ("handler", "error", "message"),
        [
            pytest.param(answers(409, json=failed(272)), ArchiveRefusedError, "0110H", id="wrong study"),
            pytest.param(
                answers(200, json=failed(0xA900)), ArchiveRefusedError, "A900H", id="failed though it says 200"
            ),
            pytest.param(answers(202, json=STORED | failed(0xC000)), ArchiveRefusedError, "C000H", id="in part"),
            pytest.param(answers(409, json=failed(0xA700)), ArchiveUnavailableError, "resources", id="disk full"),
            pytest.param(answers(400, json=NOTHING), ArchiveRefusedError, "400", id="neither stored nor failed"),
            pytest.param(answers(400, content=b"P0001"), ArchiveRefusedError, "400", id="no JSON"),
            pytest.param(answers(401), ArchiveRefusedError, "credentials", id="401"),
            pytest.param(answers(503), ArchiveUnavailableError, "503", id="503"),
        ],
    )
    def test_has_its_error(self, handler: Handler, error: type[DicomIngestError], message: str) -> None:
        with pytest.raises(error, match=message) as caught:
            self.store(handler)
        assert "P0001" not in str(caught.value)


@pytest.mark.parametrize(
    ("auth", "header"),
    [(httpx.BasicAuth("user", "pass"), "Basic dXNlcjpwYXNz"), (BearerAuth("token"), "Bearer token"), (None, None)],
    ids=["basic", "bearer", "none"],
)
def test_sends_the_credentials_of_the_base_url(auth: httpx.Auth | None, header: str | None) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers.get("Authorization") == header
        return httpx.Response(404)

    with pytest.raises(StudyNotFoundError):
        archive(handler, auth=auth).list_series(STUDY_UID)


class TestArchives:
    def asked(self, address: str | None, allowed: list[str], default: str = BASE) -> str:
        """The URL that is contacted for an address."""
        seen: list[str] = []

        def handler(request: httpx.Request) -> httpx.Response:
            seen.append(str(request.url))
            return httpx.Response(200, content=json.dumps([listed("1.1", "SR")]))

        archives = DicomWebArchives(default, dict.fromkeys(allowed), transport=httpx.MockTransport(handler))
        archives.at(address).list_series("1.1")
        archives.close()
        return seen[0].partition("/studies")[0]

    @pytest.mark.parametrize(
        ("address", "contacted"),
        [
            pytest.param(None, BASE, id="the default"),
            pytest.param(BASE, BASE, id="the same"),
            pytest.param(f"{BASE}/", BASE, id="trailing slash"),
            pytest.param("HTTPS://PACS.example/dicom-web", BASE, id="letter case of scheme and host"),
            pytest.param("https://pacs.example:443/dicom-web", BASE, id="default port"),
            pytest.param(f"{BASE}/aets/MAIN", f"{BASE}/aets/MAIN", id="below"),
            pytest.param("https://pacs.example//dicom-web", BASE, id="doubled slash"),
        ],
    )
    def test_allows(self, address: str | None, contacted: str) -> None:
        assert self.asked(address, [f"{BASE}/"]) == contacted

    @pytest.mark.parametrize(
        "address",
        [
            pytest.param("http://pacs.example/dicom-web", id="other scheme"),
            pytest.param("https://pacs.example:8443/dicom-web", id="other port"),
            pytest.param("https://evil.example/dicom-web", id="other host"),
            pytest.param("https://pacs.example.evil.example/dicom-web", id="host that begins alike"),
            pytest.param("https://pacs.example/dicom-web-evil", id="path that begins alike"),
            pytest.param("https://pacs.example/", id="above"),
            pytest.param("https://pacs.example/DICOM-WEB", id="letter case of the path"),
            pytest.param(f"{BASE}/../admin", id="dots"),
            pytest.param(f"{BASE}/./x", id="dot"),
            pytest.param(f"{BASE}/%2e%2e/admin", id="encoded dots"),
            pytest.param(f"{BASE}%2Fx", id="encoded slash"),
            pytest.param("https://user:pass@pacs.example/dicom-web", id="credentials"),
            pytest.param("https://pacs.example@evil.example/dicom-web", id="host as credentials"),
            pytest.param("https://pacs.example\\@evil.example/dicom-web", id="backslash"),
            pytest.param(f"{BASE}?x=1", id="query"),
            pytest.param(f"{BASE}#x", id="fragment"),
            pytest.param(f"{BASE}\n", id="line end"),
            pytest.param(f"{BASE}/a b", id="blank"),
            pytest.param("https://pаcs.example/dicom-web", id="Cyrillic a"),  # noqa: RUF001
            pytest.param("file:///etc/passwd", id="file"),
            pytest.param("//pacs.example/dicom-web", id="no scheme"),
            pytest.param("https:///dicom-web", id="no host"),
            pytest.param("https://pacs.example:x/dicom-web", id="malformed port"),
            pytest.param("https://[::1/dicom-web", id="malformed host"),
            pytest.param("", id="nothing"),
        ],
    )
    def test_refuses(self, address: str) -> None:
        with pytest.raises(HostNotAllowedError):
            self.asked(address, [BASE])

    def test_refuses_a_default_that_is_not_allowed(self) -> None:
        with pytest.raises(HostNotAllowedError):
            DicomWebArchives("https://other.example", {BASE: None})

    def test_the_nearest_base_url_gives_the_credentials(self) -> None:
        def handler(request: httpx.Request) -> httpx.Response:
            assert request.headers["Authorization"] == "Bearer inner"
            return httpx.Response(404)

        allowed = {BASE: BearerAuth("outer"), f"{BASE}/inner": BearerAuth("inner")}
        archives = DicomWebArchives(BASE, allowed, transport=httpx.MockTransport(handler))
        with pytest.raises(StudyNotFoundError):
            archives.at(f"{BASE}/inner/x").list_series("1.1")

    def test_reaches_hosts_by_ipv6(self) -> None:
        assert self.asked("http://[::1]:8042/x", ["http://[::1]:8042"], "http://[::1]:8042") == "http://[::1]:8042/x"
