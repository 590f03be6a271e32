"""A real PACS: Debian's Orthanc with its DICOMweb plugin, on free loopback ports with its own storage."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.servers.debian import require_debian
from tests.servers.missing import server_missing

_DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 30


@dataclass(frozen=True)
class OrthancServer:
    """A running Orthanc.

    Attributes:
        url: Of its DICOMweb services, without a trailing slash.
        root_url: Of its own REST API.
    """

    url: str
    root_url: str
    user: str
    password: str = field(repr=False)
    dicom_port: int


@contextmanager
def orthanc(folder: Path) -> Iterator[OrthancServer]:
    """Run an Orthanc that keeps its images below a folder, until the block ends."""
    executable = require_debian(["orthanc", "orthanc-dicomweb"], "Orthanc")
    if not _DICOMWEB_PLUGIN.exists():
        server_missing(f"{_DICOMWEB_PLUGIN} is missing: apt-get install orthanc-dicomweb")
    http_port, dicom_port = _free_ports(2)
    server = OrthancServer(
        url=f"http://127.0.0.1:{http_port}/dicom-web",
        root_url=f"http://127.0.0.1:{http_port}",
        user="tester",
        password="tester-pw",
        dicom_port=dicom_port,
    )
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "orthanc.json"
    configuration.write_text(json.dumps(_configuration(server, http_port, folder)))
    log = folder / "orthanc.log"
    with (
        log.open("wb") as output,
        subprocess.Popen([executable, configuration], stdout=output, stderr=output) as process,
    ):
        try:
            _wait_until_ready(server, process, log)
            yield server
        finally:
            # The SQLite index stays locked until the process is gone.
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_STOP_TIMEOUT_S)


def _configuration(server: OrthancServer, http_port: int, folder: Path) -> dict[str, object]:
    return {
        "Name": "TEST-PACS",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpServerEnabled": True,
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {server.user: server.password},
        "DicomServerEnabled": True,
        "DicomAet": "TESTPACS",
        "DicomPort": server.dicom_port,
        "DicomCheckCalledAet": False,
        # Never the gdcm plugin: it crashes Orthanc when a request needs transcoding.
        "Plugins": [str(_DICOMWEB_PLUGIN)],
        "DicomWeb": {
            "Enable": True,
            "Root": "/dicom-web/",
            "StudiesMetadata": "Full",
            "SeriesMetadata": "Full",
        },
        "OverwriteInstances": False,
        "KeepAlive": True,
    }


def _wait_until_ready(server: OrthancServer, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            answer = httpx.get(f"{server.url}/studies", auth=(server.user, server.password), timeout=5)
        except httpx.TransportError:
            time.sleep(0.1)
            continue
        if answer.status_code == httpx.codes.OK:
            return
        time.sleep(0.1)
    raise RuntimeError(f"Orthanc did not become ready: {log.read_text(errors='replace')[-2000:]}")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
