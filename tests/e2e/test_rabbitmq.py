"""The loop with RabbitMQ as the queue, and with the queue gone."""

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Peers
from tests.servers.product import Product, product
from tests.servers.rabbitmq import rabbitmq

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def on_rabbitmq(all_peers: Peers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("rabbitmq")
    settings = {
        "QFL_DATABASE_URL": f"sqlite:///{folder}/qfl.db",
        "QFL_FHIR_URL": all_peers.ehr_url,
        "QFL_ARCHIVE_URL": all_peers.pacs_url,
        "QFL_ARCHIVE_USER": all_peers.orthanc.user,
        "QFL_ARCHIVE_PASSWORD": all_peers.orthanc.password,
    }
    with rabbitmq() as url, product(folder / "product", {**settings, "QFL_BROKER_URL": url}) as running:
        yield running


def test_a_study_goes_through_rabbitmq(peers: Peers, on_rabbitmq: Product) -> None:
    visit = peers.scan()
    peers.announce(visit)
    assert on_rabbitmq.run("analyse", visit.study_instance_uid).returncode == 0
    assert {modality: len(uids) for modality, uids in peers.results(visit).items()} == {"SEG": 1, "SR": 1}
    assert len(peers.reports(visit)) == 1


def test_a_study_asked_for_while_the_queue_is_away_is_not_lost(peers: Peers, on_rabbitmq: Product) -> None:
    visit = peers.scan()
    peers.announce(visit)
    away = {**on_rabbitmq.environment, "QFL_BROKER_URL": "amqp://guest:guest@127.0.0.1:9//"}
    present, on_rabbitmq.environment = on_rabbitmq.environment, away
    on_rabbitmq.run("analyse", visit.study_instance_uid, "--no-wait")
    on_rabbitmq.environment = present
    on_rabbitmq.wait_for(visit.study_instance_uid, "awaiting-review")
