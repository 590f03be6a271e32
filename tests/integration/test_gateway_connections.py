"""What one address can take of the gateway's connections; nothing stands behind it."""

import socket
import ssl
import time
from pathlib import Path

import pytest

from federated.engine.bells import Bells
from federated.engine.fleet_gateway import GatewayLimits
from federated.engine.gateway import Gateway
from federated.errors import EngineError
from tests.servers.flower_engine import write_authority
from tests.servers.processes import free_port


@pytest.fixture
def files(tmp_path):
    write_authority(tmp_path)
    return tmp_path


def gateway(files: Path, **limits) -> Gateway:
    return Gateway(
        ("127.0.0.1:1", files / "ca.pem"),
        certificate=files / "gateway.pem",
        key=files / "gateway.key",
        is_known=lambda _key: False,
        bells=Bells(files),
        limits=GatewayLimits(**limits),
    )


def connect(files: Path, door: Gateway) -> ssl.SSLSocket:
    trust = ssl.create_default_context(cafile=str(files / "ca.pem"))
    plain = socket.create_connection(("127.0.0.1", door.port), 10)
    return trust.wrap_socket(plain, server_hostname="127.0.0.1")


def is_closed(connection: ssl.SSLSocket) -> bool:
    try:
        return connection.recv(1) == b""
    except (ssl.SSLError, ConnectionResetError):
        return True


def ask(connection: ssl.SSLSocket) -> bytes:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    return connection.recv(1000)


def test_an_address_holds_so_many_connections_and_no_more(files):
    with gateway(files, connections=3) as door:
        held = [connect(files, door) for _ in range(3)]
        with connect(files, door) as fourth:
            assert is_closed(fourth)
        assert b"404" in ask(held[0])
        held.pop().close()
        time.sleep(0.3)
        with connect(files, door) as again:
            assert b"404" in ask(again)
        for connection in held:
            connection.close()


def test_who_does_not_finish_a_request_is_cut_off(files):
    with gateway(files, head_within_s=1) as door, connect(files, door) as slow:
        assert b"404" in ask(slow)
        for piece in (b"POST /v1/fleet/pull-messages HT", b"TP/1.1\r\nHost:"):
            slow.sendall(piece)
            time.sleep(0.3)
        began = time.monotonic()
        assert is_closed(slow)
        assert time.monotonic() - began < 5


def test_an_endless_head_is_refused(files):
    with gateway(files) as door, connect(files, door) as rude:
        rude.sendall(b"GET / HTTP/1.1\r\nA: " + b"a" * 40_000)
        assert b"400" in rude.recv(1000)


def test_an_engine_that_is_away_is_said_to_be(files):
    with gateway(files) as door, connect(files, door) as outside:
        assert door.port > 0
        assert b"404" in ask(outside)


def test_a_port_that_is_taken_is_a_named_fault(files):
    with socket.socket() as other:
        other.bind(("127.0.0.1", port := free_port()))
        other.listen()
        door = gateway(files)
        door._wanted_port = port
        with pytest.raises(EngineError, match=str(port)):
            door.start()
