"""What every ImageArchive does: the fake in memory, and DICOMweb against a real Orthanc."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless

from dicom_ingest.adapters.dicomweb import DicomWebArchives
from dicom_ingest.comparison import check_stored
from dicom_ingest.errors import (
    ArchiveRefusedError,
    ArchiveUnavailableError,
    InstanceNotFoundError,
    SeriesNotFoundError,
    StoredDifferentlyError,
    StudyNotFoundError,
)
from dicom_ingest.instances import encode_instance
from dicom_ingest.model import MrContrast
from dicom_ingest.ports import ImageArchive
from dicom_ingest.segmentation import build_segmentation
from dicom_ingest.selection import choose_series
from dicom_ingest.structured_report import build_measurement_report
from dicom_ingest.volume import assemble_volume, order_slices
from tests.fakes.image_archive import InMemoryArchive
from tests.fakes.mr_series import make_series, make_study, study_uid
from tests.fakes.results import ALGORITHM, NOW, REGIONS, SEGMENTS, make_mask
from tests.servers.orthanc import OrthancServer, orthanc


@dataclass(frozen=True)
class Filled:
    """An archive, and how to put instances into it without our own code."""

    archive: ImageArchive
    put: Callable[[list[Dataset]], None]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture(params=["memory", pytest.param("orthanc", marks=pytest.mark.server)])
def filled(request: pytest.FixtureRequest) -> Iterator[Filled]:
    if request.param == "memory":
        memory = InMemoryArchive()

        def put(instances: list[Dataset]) -> None:
            for instance in instances:
                memory.add(encode_instance(instance))

        yield Filled(memory, put)
        return
    server: OrthancServer = request.getfixturevalue("server")
    credentials = httpx.BasicAuth(server.user, server.password)

    def upload(instances: list[Dataset]) -> None:
        # By Orthanc's own interface, which no part of ours uses.
        with httpx.Client(auth=credentials) as client:
            for instance in instances:
                client.post(f"{server.root_url}/instances", content=encode_instance(instance)).raise_for_status()

    archives = DicomWebArchives(server.url, {server.url: credentials})
    yield Filled(archives.at(None), upload)
    archives.close()


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """A study of its own for each test."""
    return str(request.node.nodeid)


def test_lists_the_series_of_a_study(filled: Filled, key: str) -> None:
    filled.put(make_study(key, shape=(4, 6, 5)))
    found = {series.series_instance_uid: series for series in filled.archive.list_series(study_uid(key))}
    expected = {each.SeriesInstanceUID: each for each in make_study(key, shape=(4, 6, 5))}
    assert found.keys() == expected.keys()
    for uid, series in found.items():
        assert series.study_instance_uid == study_uid(key)
        assert series.modality == "MR"
        assert series.number_of_instances == 4
        assert "PixelData" not in series.header
        for keyword in ("SeriesDescription", "EchoTime", "ScanningSequence", "FrameOfReferenceUID", "PatientName"):
            assert series.header[keyword].value == expected[uid][keyword].value


def test_lists_enough_to_choose_the_contrasts(filled: Filled, key: str) -> None:
    filled.put(make_study(key, shape=(4, 6, 5)))
    selection = choose_series(filled.archive.list_series(study_uid(key)))
    assert list(selection.chosen) == list(MrContrast)


def test_streams_a_series_from_which_the_volume_comes_out(filled: Filled, key: str) -> None:
    series = make_series(key=key, shape=(5, 7, 6), reverse=True)
    filled.put(series)
    received = list(filled.archive.fetch_instances(study_uid(key), series[0].SeriesInstanceUID))
    assert len(received) == 5
    assert (assemble_volume(received).voxels == assemble_volume(series).voxels).all()


def test_streams_a_compressed_series(filled: Filled, key: str) -> None:
    series, expected = make_series(key=key, shape=(3, 64, 64)), make_series(key=key, shape=(3, 64, 64))
    for instance in series:
        instance.compress(JPEGLSLossless, generate_instance_uid=False)
    filled.put(series)
    received = list(filled.archive.fetch_instances(study_uid(key), series[0].SeriesInstanceUID))
    assert (assemble_volume(received).voxels == assemble_volume(expected).voxels).all()


def test_other_series_of_the_study_stay_out_of_a_stream(filled: Filled, key: str) -> None:
    study = make_study(key, shape=(3, 6, 5))
    filled.put(study)
    received = filled.archive.fetch_instances(study_uid(key), study[0].SeriesInstanceUID)
    assert {each.SOPInstanceUID for each in received} == {each.SOPInstanceUID for each in study[:3]}


def test_unknown_study_series_and_instance_have_their_errors(filled: Filled, key: str) -> None:
    series = make_series(key=key, shape=(3, 6, 5))
    series_uid = series[0].SeriesInstanceUID
    with pytest.raises(StudyNotFoundError):
        filled.archive.list_series(study_uid(key))
    filled.put(series)
    with pytest.raises(SeriesNotFoundError):
        next(iter(filled.archive.fetch_instances(study_uid(key), "1.2.3")))
    with pytest.raises(InstanceNotFoundError):
        filled.archive.fetch_instance(study_uid(key), series_uid, "1.2.3")


def test_a_result_is_stored_and_reads_back_as_it_was_sent(filled: Filled, key: str) -> None:
    sources = make_series(key=key, shape=(6, 24, 20))
    filled.put(sources)
    segmentation = build_segmentation(
        order_slices(sources), make_mask((6, 24, 20)), SEGMENTS, ALGORITHM, key=key, series_number=900, now=NOW
    )
    report = build_measurement_report(sources, segmentation, REGIONS, ALGORITHM, key=key, series_number=901, now=NOW)
    for result in (segmentation, report):
        for _ in range(2):
            filled.archive.store_instance(encode_instance(result), study_uid(key))
        stored = filled.archive.fetch_instance(study_uid(key), result.SeriesInstanceUID, result.SOPInstanceUID)
        check_stored(result, stored)
    assert len(filled.archive.list_series(study_uid(key))) == 3


def test_other_content_under_a_stored_uid_is_found_by_reading_back(filled: Filled, key: str) -> None:
    first, second = make_series(key=key, shape=(3, 6, 5), seed=1)[0], make_series(key=key, shape=(3, 6, 5), seed=2)[0]
    filled.archive.store_instance(encode_instance(first), study_uid(key))
    filled.archive.store_instance(encode_instance(second), study_uid(key))
    stored = filled.archive.fetch_instance(study_uid(key), second.SeriesInstanceUID, second.SOPInstanceUID)
    with pytest.raises(StoredDifferentlyError, match="PixelData"):
        check_stored(second, stored)


def test_an_instance_of_another_study_is_refused(filled: Filled, key: str) -> None:
    instance = make_series(key=key, shape=(3, 6, 5))[0]
    with pytest.raises(ArchiveRefusedError):
        filled.archive.store_instance(encode_instance(instance), "1.2.3")


def test_bytes_that_are_not_dicom_are_refused(filled: Filled, key: str) -> None:
    with pytest.raises(ArchiveRefusedError):
        filled.archive.store_instance(b"garbage", study_uid(key))


@pytest.mark.server
def test_wrong_credentials_are_refused(server: OrthancServer) -> None:
    archives = DicomWebArchives(server.url, {server.url: httpx.BasicAuth("tester", "wrong")})
    with pytest.raises(ArchiveRefusedError, match="credentials"):
        archives.at(None).list_series("1.2.3")
    archives.close()


@pytest.mark.server
def test_an_archive_that_is_gone_is_worth_another_try(tmp_path: Path) -> None:
    with orthanc(tmp_path) as server:
        credentials = httpx.BasicAuth(server.user, server.password)
        archives = DicomWebArchives(server.url, {server.url: credentials})
        with pytest.raises(StudyNotFoundError):
            archives.at(None).list_series("1.2.3")
    with pytest.raises(ArchiveUnavailableError):
        archives.at(None).list_series("1.2.3")
    archives.close()
