"""The sandbox PACS over HTTP: what a DICOMweb server must do (PS3.18)."""

import secrets
from datetime import date
from io import BytesIO

import httpx
import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian

from sandbox.patients import build_mr_instances, load_subject, plan_visit
from tests.servers.sandbox import sandbox_pacs

SUBJECT = load_subject("Brats18_TCIA03_265_1")
VISIT = plan_visit(SUBJECT, date(2026, 3, 2))
INSTANCES = [item for number, item in enumerate(build_mr_instances(SUBJECT, VISIT)) if number % 13 == 0]
MULTIPART = 'multipart/related; type="application/dicom"'
STUDY = VISIT.study_instance_uid
FAILED, STORED = "00081198", "00081199"


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    """A PACS that holds INSTANCES; tests add other studies and change nothing of this one."""
    with sandbox_pacs(tmp_path_factory.mktemp("pacs")) as server:
        with server.client() as client:
            assert stow(client, INSTANCES).status_code == 200
        yield server


@pytest.fixture
def client(pacs):
    with pacs.client() as client:
        yield client


def stow(client, contents, path="studies", content_type=None):
    boundary = secrets.token_hex(8)
    body = b"".join(
        f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + content + b"\r\n" for content in contents
    )
    headers = {"Content-Type": content_type or f"{MULTIPART}; boundary={boundary}"}
    return client.post(path, content=body + f"--{boundary}--\r\n".encode(), headers=headers)


def parts_of(answer):
    """The parts of a multipart answer, by the standard library's own parser."""
    from email import message_from_bytes
    from email.policy import HTTP

    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    return [part.get_payload(decode=True) for part in message_from_bytes(head + answer.content, policy=HTTP).walk()][1:]


def split_parts(answer):
    """The parts of a multipart answer, by its boundary."""
    boundary = answer.headers["content-type"].rpartition("boundary=")[2].encode()
    pieces = answer.content.split(b"--" + boundary)
    assert pieces[0] == b""
    assert pieces[-1] == b"--\r\n"
    return [piece.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n") for piece in pieces[1:-1]]


def changed(content, **attributes):
    dataset = dcmread(BytesIO(content))
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def uid(number):
    return f"2.25.{number}"


def reasons(answer):
    return [item["00081197"]["Value"][0] for item in answer.json().get(FAILED, {}).get("Value", [])]


class TestAccess:
    def test_refuses_without_password(self, pacs):
        for path in ("/studies", f"/studies/{STUDY}"):
            assert httpx.get(pacs.url + path, trust_env=False).status_code == 401
        assert httpx.get(pacs.home, trust_env=False).status_code == 401


class TestStore:
    def test_answers_with_what_was_stored(self, client):
        new = changed(INSTANCES[0], StudyInstanceUID=uid(100), SOPInstanceUID=uid(101))
        answer = stow(client, [new], f"studies/{uid(100)}")
        assert answer.status_code == 200
        (stored,) = answer.json()[STORED]["Value"]
        assert stored["00081155"]["Value"] == [uid(101)]
        assert client.get(stored["00081190"]["Value"][0]).status_code == 200

    def test_same_instance_again_is_harmless(self, client):
        assert stow(client, [INSTANCES[0]]).status_code == 200

    def test_same_instance_written_by_another_toolkit_is_the_same(self, client):
        dataset = dcmread(BytesIO(INSTANCES[0]))
        dataset.file_meta.ImplementationVersionName = "OTHER"
        buffer = BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        assert stow(client, [buffer.getvalue()]).status_code == 200

    def test_same_uid_with_other_content_is_refused_and_the_old_stays(self, client):
        answer = stow(client, [changed(INSTANCES[0], SeriesDescription="Other")])
        assert answer.status_code == 409
        assert reasons(answer) == [0x0111]
        path = f"studies/{STUDY}/series/{dcmread(BytesIO(INSTANCES[0])).SeriesInstanceUID}"
        assert INSTANCES[0] in split_parts(client.get(path))

    def test_takes_the_good_and_refuses_the_bad(self, client):
        good = changed(INSTANCES[1], StudyInstanceUID=uid(200), SOPInstanceUID=uid(201))
        answer = stow(client, [b"not DICOM", good])
        assert answer.status_code == 202
        assert reasons(answer) == [0xC000]
        assert len(answer.json()[STORED]["Value"]) == 1

    def test_refuses_an_instance_of_another_study(self, client):
        answer = stow(client, [INSTANCES[0]], f"studies/{uid(300)}")
        assert answer.status_code == 409
        assert reasons(answer) == [0xA900]

    def test_refuses_another_patient_in_a_study(self, client):
        answer = stow(client, [changed(INSTANCES[0], SOPInstanceUID=uid(401), PatientID="SOMEONE-ELSE")])
        assert reasons(answer) == [0xA900]

    @pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
    @pytest.mark.parametrize("bad", ["../../etc/passwd", "1.2.03", ""])
    def test_refuses_what_is_no_uid(self, client, bad):
        broken = changed(INSTANCES[0], SeriesInstanceUID=bad)
        assert reasons(stow(client, [broken])) == [0xC000]

    def test_refuses_other_media_types_and_broken_framing(self, client):
        assert stow(client, INSTANCES[:1], content_type="application/dicom").status_code == 415
        assert stow(client, INSTANCES[:1], content_type=f"{MULTIPART}; boundary=other").status_code == 400

    def test_cut_off_body_stores_what_was_whole(self, client):
        whole = changed(INSTANCES[0], StudyInstanceUID=uid(500), SOPInstanceUID=uid(501))
        body = b"--b\r\n\r\n" + whole + b"\r\n--b\r\n\r\n" + INSTANCES[1][:100]
        answer = client.post("studies", content=body, headers={"Content-Type": f"{MULTIPART}; boundary=b"})
        assert answer.status_code == 202
        assert len(answer.json()[STORED]["Value"]) == 1

    def test_content_that_looks_like_a_delimiter_is_kept(self, client):
        new = changed(INSTANCES[0], StudyInstanceUID=uid(600), SOPInstanceUID=uid(601), ImageComments="\r\n--bound")
        body = b"--boundary\r\n\r\n" + new + b"\r\n--boundary--"
        answer = client.post("studies", content=body, headers={"Content-Type": f"{MULTIPART}; boundary=boundary"})
        assert answer.status_code == 200
        assert split_parts(client.get(f"studies/{uid(600)}")) == [new]


class TestSearch:
    def test_study_with_counts(self, client):
        (study,) = client.get("studies", params={"StudyInstanceUID": STUDY}).json()
        assert study["00201206"]["Value"] == [4]
        assert study["00201208"]["Value"] == [len(INSTANCES)]
        assert study["00080061"]["Value"] == ["MR"]
        assert "0008103E" not in study

    @pytest.mark.parametrize(
        ("parameters", "count"),
        [
            pytest.param({"PatientID": VISIT.patient.patient_id, "StudyInstanceUID": STUDY}, 1, id="patient"),
            pytest.param({"00100020": "NOBODY"}, 0, id="tag without a match"),
            pytest.param({"StudyInstanceUID": STUDY, "StudyDate": "20260301-20260303"}, 1, id="date range"),
            pytest.param({"StudyInstanceUID": STUDY, "StudyDate": "-20260301"}, 0, id="open date range"),
            pytest.param({"StudyInstanceUID": STUDY, "ModalitiesInStudy": "MR"}, 1, id="modality"),
            pytest.param(
                {"StudyInstanceUID": STUDY, "PatientName": VISIT.patient.family_name.lower() + "*"}, 1, id="name"
            ),
            pytest.param({"StudyInstanceUID": f"{STUDY},{uid(9)}"}, 1, id="list of UIDs"),
        ],
    )
    def test_studies_by(self, client, parameters, count):
        answer = client.get("studies", params=parameters)
        assert answer.status_code == (200 if count else 204)
        assert len(answer.json() if count else []) == count

    def test_series_by_modality_and_description(self, client):
        answer = client.get(f"studies/{STUDY}/series", params={"Modality": "MR", "SeriesDescription": "AX T2*"}).json()
        assert sorted(series["0008103E"]["Value"][0] for series in answer) == ["AX T2", "AX T2 FLAIR"]
        assert all(series["00201209"]["Value"][0] > 0 for series in answer)
        assert client.get(f"studies/{STUDY}/series", params={"Modality": "SEG"}).status_code == 204

    def test_instances_with_included_fields_and_pages(self, client):
        answer = client.get(f"studies/{STUDY}/instances", params={"includefield": "EchoTime,00180080", "limit": 3})
        assert len(answer.json()) == 3
        assert {"00180081", "00180080"} <= set(answer.json()[0])
        everything = client.get(f"studies/{STUDY}/instances", params={"includefield": "all", "offset": 1}).json()
        assert len(everything) == len(INSTANCES) - 1
        assert "7FE00010" not in everything[0]

    @pytest.mark.parametrize("parameters", [{"NoSuchThing": "1"}, {"limit": "x"}])
    def test_refuses_what_it_does_not_understand(self, client, parameters):
        assert client.get("studies", params=parameters).status_code == 400


class TestRetrieve:
    def test_study_comes_back_byte_by_byte(self, client):
        answer = client.get(f"studies/{STUDY}", headers={"Accept": MULTIPART})
        assert sorted(split_parts(answer)) == sorted(INSTANCES)
        assert sorted(parts_of(answer)) == sorted(INSTANCES)

    def test_answer_is_streamed(self, client):
        with client.stream("GET", f"studies/{STUDY}") as answer:
            assert answer.headers["transfer-encoding"] == "chunked"

    def test_one_instance_alone(self, client):
        dataset = dcmread(BytesIO(INSTANCES[0]))
        path = f"studies/{STUDY}/series/{dataset.SeriesInstanceUID}/instances/{dataset.SOPInstanceUID}"
        assert client.get(path, headers={"Accept": "application/dicom"}).content == INSTANCES[0]
        assert split_parts(client.get(path)) == [INSTANCES[0]]
        (metadata,) = client.get(path + "/metadata").json()
        assert metadata["00080018"]["Value"] == [dataset.SOPInstanceUID]
        assert "7FE00010" not in metadata
        assert client.get(path + "/rendered").content.startswith(b"\x89PNG")

    def test_metadata_of_study_and_series(self, client):
        series = VISIT.series_instance_uids["T1ce"]
        assert len(client.get(f"studies/{STUDY}/metadata").json()) == len(INSTANCES)
        metadata = client.get(f"studies/{STUDY}/series/{series}/metadata").json()
        assert {item["00180010"]["Value"][0] for item in metadata} == {"Gadobutrol"}

    @pytest.mark.parametrize(
        ("accept", "status"),
        [
            pytest.param(MULTIPART + "; transfer-syntax=*", 200, id="any transfer syntax"),
            pytest.param(f"{MULTIPART}; transfer-syntax={ExplicitVRLittleEndian}", 200, id="the stored one"),
            pytest.param(MULTIPART + "; transfer-syntax=1.2.840.10008.1.2.4.80", 406, id="another one"),
            pytest.param("application/json", 406, id="no DICOM"),
            pytest.param("*/*", 200, id="anything"),
        ],
    )
    def test_accept(self, client, accept, status):
        assert client.get(f"studies/{STUDY}", headers={"Accept": accept}).status_code == status

    def test_unknown_is_not_found(self, client):
        assert client.get(f"studies/{uid(9)}").status_code == 404
        assert client.get(f"studies/{uid(9)}/metadata").status_code == 404
        assert client.get(f"studies/{STUDY}/series/{uid(9)}").status_code == 404


def test_restart_keeps_everything(tmp_path):
    with sandbox_pacs(tmp_path) as server, server.client() as client:
        stow(client, INSTANCES[:2])
    with sandbox_pacs(tmp_path) as server, server.client() as client:
        assert sorted(split_parts(client.get(f"studies/{STUDY}"))) == sorted(INSTANCES[:2])


def test_pages_escape_what_was_sent_and_show_pictures(pacs, client):
    attack = "<script>alert(1)</script>"
    stow(client, [changed(INSTANCES[0], StudyInstanceUID=uid(700), SOPInstanceUID=uid(701), StudyDescription=attack)])
    for path in ("/", f"/studies/{uid(700)}"):
        answer = client.get(pacs.home + path)
        assert answer.status_code == 200
        assert attack not in answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    series = VISIT.series_instance_uids["T2"]
    picture = client.get(f"{pacs.home}/studies/{STUDY}/series/{series}/picture")
    assert picture.content.startswith(b"\x89PNG")
    assert client.get(f"{pacs.home}/studies/{uid(9)}").status_code == 404
