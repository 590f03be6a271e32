"""The loop with RabbitMQ as the queue, and with the queue gone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Peers
from tests.servers.product import Product, product
from tests.servers.rabbitmq import rabbitmq

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]


@pytest.fixture
def settings(peers: Peers, tmp_path: Path) -> Iterator[dict[str, str]]:
    return {
        "QFL_DATABASE_URL": f"sqlite:///{tmp_path}/qfl.db",
        "QFL_FHIR_URL": peers.ehr_url,
        "QFL_ARCHIVE_URL": peers.pacs_url,
        "QFL_ARCHIVE_USER": peers.orthanc.user,
        "QFL_ARCHIVE_PASSWORD": peers.orthanc.password,
    }


def published(peers: Peers, qfl: Product) -> None:
    visit = peers.scan()
    peers.announce(visit)
    assert qfl.run("analyse", visit.study_instance_uid).returncode == 0
    assert {modality: len(uids) for modality, uids in peers.results(visit).items()} == {"SEG": 1, "SR": 1}
    assert len(peers.reports(visit)) == 1


def test_a_study_goes_through_rabbitmq(peers: Peers, settings: dict[str, str], tmp_path: Path) -> None:
    with rabbitmq() as url, product(tmp_path / "product", {**settings, "QFL_BROKER_URL": url}) as qfl:
        published(peers, qfl)


def test_a_study_asked_for_while_the_queue_is_away_is_not_lost(
    peers: Peers, settings: dict[str, str], tmp_path: Path
) -> None:
    with rabbitmq() as url, product(tmp_path / "product", {**settings, "QFL_BROKER_URL": url}) as qfl:
        visit = peers.scan()
        peers.announce(visit)
        away = {**qfl.environment, "QFL_BROKER_URL": "amqp://guest:guest@127.0.0.1:9//"}
        present, qfl.environment = qfl.environment, away
        qfl.run("analyse", visit.study_instance_uid, "--no-wait")
        qfl.environment = present
        qfl.wait_for(visit.study_instance_uid, "awaiting-review")
