"""Real peers for the whole loop: Orthanc as PACS, Medplum's router as EHR, PostgreSQL and Redis.

PACS and EHR stand behind proxies that a test can break.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import create_engine, text

from sandbox.patients import Subject, Visit, build_mr_instances, build_registration, load_subject, plan_visit
from tests.servers.fault_proxy import FaultProxy, fault_proxy
from tests.servers.medplum import MedplumServer, running_medplum
from tests.servers.orthanc import OrthancServer, orthanc
from tests.servers.postgres import postgres
from tests.servers.product import Product, product
from tests.servers.redis import redis

SUBJECT = "Brats18_TCIA02_370_1"
_numbers = itertools.count()


@dataclass
class Peers:
    """What stands around the product."""

    orthanc: OrthancServer
    medplum: MedplumServer
    pacs_proxy: FaultProxy
    ehr_proxy: FaultProxy
    postgres_url: str
    redis_url: str
    subject: Subject = field(default_factory=lambda: load_subject(SUBJECT))

    @property
    def pacs_url(self) -> str:
        """DICOMweb through the proxy."""
        return self.pacs_proxy.url + urlsplit(self.orthanc.url).path

    @property
    def ehr_url(self) -> str:
        """FHIR through the proxy."""
        return self.ehr_proxy.url + urlsplit(self.medplum.base_url).path

    def scan(self) -> Visit:
        """A new examination in the PACS; the EHR does not know of it yet."""
        visit = plan_visit(self.subject, date(2026, 1, 1) + timedelta(days=next(_numbers)))
        auth = (self.orthanc.user, self.orthanc.password)
        with httpx.Client(base_url=self.orthanc.root_url, auth=auth, trust_env=False, timeout=60) as scanner:
            for instance in build_mr_instances(self.subject, visit):
                scanner.post("/instances", content=instance).raise_for_status()
        return visit

    def announce(self, visit: Visit) -> None:
        """Tell the EHR of an examination, which tells its subscribers."""
        bundle = build_registration(self.subject, visit, self.pacs_url)
        answer = httpx.post(self.medplum.base_url, json=bundle, trust_env=False, timeout=30)
        assert answer.status_code == httpx.codes.OK, answer.text

    def results(self, visit: Visit) -> dict[str, list[str]]:
        """SOP instance UIDs of what is in the study beside MR, by modality."""
        found: dict[str, list[str]] = {}
        auth = (self.orthanc.user, self.orthanc.password)
        answer = httpx.get(
            f"{self.orthanc.url}/studies/{visit.study_instance_uid}/instances",
            params={"includefield": "00080060"},
            auth=auth,
            headers={"Accept": "application/dicom+json"},
            trust_env=False,
            timeout=30,
        )
        for instance in answer.json():
            modality = instance["00080060"]["Value"][0]
            if modality != "MR":
                found.setdefault(modality, []).append(instance["00080018"]["Value"][0])
        return found

    def reports(self, visit: Visit) -> list[dict[str, Any]]:
        """DiagnosticReports of the examination's ImagingStudy."""
        studies = {
            f"ImagingStudy/{study['id']}"
            for study in self.medplum.resources("ImagingStudy")
            if any(visit.study_instance_uid in one.get("value", "") for one in study["identifier"])
        }
        return [
            report
            for report in self.medplum.resources("DiagnosticReport")
            if {one["reference"] for one in report["imagingStudy"]} & studies
        ]


@pytest.fixture(scope="session")
def all_peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    folder = tmp_path_factory.mktemp("peers")
    with (
        orthanc(folder / "orthanc") as pacs,
        running_medplum() as ehr,
        postgres() as postgres_url,
        redis(folder / "redis") as redis_url,
        fault_proxy(pacs.root_url) as pacs_proxy,
        fault_proxy(ehr.base_url.removesuffix("/fhir")) as ehr_proxy,
    ):
        yield Peers(pacs, ehr, pacs_proxy, ehr_proxy, postgres_url, redis_url)


@pytest.fixture
def peers(all_peers: Peers) -> Iterator[Peers]:
    all_peers.medplum.reset()
    all_peers.pacs_proxy.clear()
    all_peers.ehr_proxy.clear()
    yield all_peers
    all_peers.pacs_proxy.clear()
    all_peers.ehr_proxy.clear()


@pytest.fixture
def qfl(peers: Peers, tmp_path: Path) -> Iterator[Product]:
    """The product on PostgreSQL and Redis, between Orthanc and Medplum; new for each test."""
    with product(tmp_path / "product", _settings(peers)) as running:
        yield running


@pytest.fixture(scope="module")
def _used_before(all_peers: Peers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with product(tmp_path_factory.mktemp("product") / "product", _settings(all_peers)) as running:
        yield running


@pytest.fixture
def busy_qfl(peers: Peers, _used_before: Product) -> Product:
    """The same, but with what the module's earlier tests left in it, as a hospital's has; its worker runs."""
    if not _used_before.is_running("worker"):  # a test that failed in between may have left it dead
        _used_before.start("worker")
    return _used_before


def _settings(peers: Peers) -> dict[str, str]:
    name = f"qfl{next(_numbers)}"
    engine = create_engine(peers.postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return {
        "QFL_DATABASE_URL": peers.postgres_url.rsplit("/", 1)[0] + f"/{name}",
        "QFL_BROKER_URL": peers.redis_url.rsplit("/", 1)[0] + f"/{next(_numbers) % 16}",
        "QFL_FHIR_URL": peers.ehr_url,
        "QFL_ARCHIVE_URL": peers.pacs_url,
        "QFL_ARCHIVE_USER": peers.orthanc.user,
        "QFL_ARCHIVE_PASSWORD": peers.orthanc.password,
    }
