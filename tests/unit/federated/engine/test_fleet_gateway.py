"""The door, with a pretend engine behind it; no socket is opened."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import Message, Metadata, ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.supercore.primitives.asymmetric import public_key_to_bytes

from federated.engine.bells import Bells
from federated.engine.fleet_client import CALLS, FLEET, FleetClient
from federated.engine.fleet_gateway import FleetGateway, GatewayLimits

PROTOBUF = "application/protobuf"


class Door:
    """A gateway, what it forwarded, and a client."""

    def __init__(self, monkeypatch, folder, *, status=200, limits=None):
        self.forwarded: list[httpx.Request] = []
        self.status, self.fault, self.content = status, None, b"the engine's answer"
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.app = FleetGateway(
            httpx.AsyncClient(base_url="https://engine", transport=httpx.MockTransport(self._engine)),
            {public_key_to_bytes(self.key.public_key())}.__contains__,
            Bells(folder),
            limits,
        )
        self._monkeypatch = monkeypatch

    def _engine(self, request: httpx.Request) -> httpx.Response:
        if self.fault is not None:
            raise self.fault
        self.forwarded.append(request)
        return httpx.Response(self.status, content=self.content, headers={"x-secret": "1", "set-cookie": "a=b"})

    def headers(self, key=None, at=None) -> dict[str, str]:
        """Signed by a node."""
        client = object.__new__(FleetClient)
        client._key = key or self.key
        client.public_key = public_key_to_bytes(client._key.public_key())
        with self._monkeypatch.context() as patch:
            if at is not None:
                patch.setattr("federated.engine.fleet_client.now", lambda: at)
            return client.headers() | {"content-type": PROTOBUF}

    def post(self, path, content=b"body", headers=None, method="POST", times=1):
        """One request, or several from one address; the last answer."""

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="https://door") as client:
                for _ in range(times):
                    answer = await client.request(method, path, content=content, headers=headers or self.headers())
                return answer

        return asyncio.run(send())


@pytest.fixture
def door(monkeypatch, tmp_path):
    return Door(monkeypatch, tmp_path)


@pytest.mark.parametrize("call", [call for call in CALLS if call != "push-messages"])
def test_forwards_a_sites_calls_and_nothing_of_the_client_but_body_and_signature(door, call):
    sent = door.headers() | {"x-evil": "1", "cookie": "a=b", "host": "superlink", "authorization": "Basic eA=="}
    answer = door.post(FLEET + call, headers=sent)
    assert (answer.status_code, answer.content) == (200, b"the engine's answer")
    assert "x-secret" not in answer.headers
    assert "set-cookie" not in answer.headers
    (request,) = door.forwarded
    assert str(request.url) == "https://engine" + FLEET + call
    assert request.content == b"body"
    assert not {"x-evil", "cookie", "authorization", "x-forwarded-for"} & set(request.headers)
    assert request.headers["host"] == "engine"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", FLEET + "pull-messages"),
        ("POST", FLEET + "pull-messages?a=b"),
        ("POST", FLEET + "pull-messages/"),
        ("POST", FLEET + "%70ull-messages"),
        ("POST", FLEET + "register-node"),
        ("POST", FLEET + "get-fab"),
        ("POST", FLEET + "push-object"),
        ("POST", "/v1/control/start-run"),
        ("POST", "/v1/runtime/acquire-task"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/health"),
        ("GET", "/"),
    ],
)
def test_knows_no_other_place(door, method, path):
    answer = door.post(path, method=method)
    assert (answer.status_code, answer.content) == (404, b"")
    assert not door.forwarded


def test_refuses_before_the_body_whom_it_does_not_know(door):
    stranger = ec.generate_private_key(ec.SECP256R1())
    valid = door.headers()
    other = door.headers(stranger)
    cases = {
        "stranger": other,
        "unsigned": {"content-type": PROTOBUF},
        "another's signature": valid | {name: other[name] for name in other if "signature" in name},
        "another's key": other | {name: valid[name] for name in valid if "public-key" in name},
        "old": door.headers(at=datetime.now(UTC) - timedelta(seconds=310)),
        "of the future": door.headers(at=datetime.now(UTC) + timedelta(seconds=10)),
        "no time zone": door.headers(at=datetime.now()),  # noqa: DTZ005
        "garbage": valid | {name: "%%%" for name in valid if "flwr" in name},
        "endless": valid | {name: "A" * 5000 for name in valid if "public-key" in name},
    }
    for name, headers in cases.items():
        assert door.post(FLEET + "pull-messages", headers=headers).status_code == 401, name
    assert not door.forwarded


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        pytest.param({"content-type": "text/plain"}, 415, id="another type"),
        pytest.param({"content-length": "65537"}, 413, id="a long body"),
        pytest.param({"content-length": "9" * 40}, 413, id="a very long body"),
        pytest.param({"content-length": "-1"}, 411, id="a negative length"),
        pytest.param({"content-length": "\u0664"}, 411, id="a foreign digit"),
        pytest.param({"content-length": ""}, 411, id="no length"),
        pytest.param({"transfer-encoding": "chunked"}, 415, id="chunks"),
    ],
)
def test_reads_only_bodies_of_a_known_size(door, changed, status):
    headers = {**door.headers(), **changed}
    encoded = [(name.encode(), text.encode("utf-8")) for name, text in headers.items()]
    assert door.post(FLEET + "pull-messages", headers=encoded).status_code == status
    assert not door.forwarded


def reply(sender=5, name=5, replies=1, children=0):
    announced = ObjectTree(object_id="a" * 64, children=[ObjectTree(object_id="b" * 64)] * children)
    return PushMessagesRequest(
        node=Node(node_id=sender),
        messages_list=[Message(metadata=Metadata(src_node_id=name))] * replies,
        message_object_trees=[announced] * replies,
    ).SerializeToString()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(reply(), 200, id="in its own name"),
        pytest.param(reply(name=6), 403, id="in another's name"),
        pytest.param(reply(replies=2), 403, id="two"),
        pytest.param(reply(replies=0), 403, id="none"),
        pytest.param(reply(children=1), 403, id="with objects"),
        pytest.param(b"\xff\xff", 403, id="no protobuf"),
    ],
)
def test_a_site_replies_in_its_own_name_only(door, body, status):
    assert door.post(FLEET + "push-messages", content=body).status_code == status
    assert len(door.forwarded) == (status == 200)


def test_a_reply_may_be_large_up_to_the_limit(monkeypatch, tmp_path):
    door = Door(monkeypatch, tmp_path, limits=GatewayLimits(message_bytes=100_000))
    fits = reply() + b"\x9a\x06" + b"\xa0\x8d\x06" + bytes(100_000)  # an unknown field of 100,000 bytes
    assert door.post(FLEET + "push-messages", content=fits).status_code == 200
    assert door.post(FLEET + "push-messages", content=bytes(200_000)).status_code == 413


def test_errors_of_the_engine_go_out_as_a_number(monkeypatch, tmp_path):
    door = Door(monkeypatch, tmp_path, status=412)
    answer = door.post(FLEET + "activate-node")
    assert (answer.status_code, answer.content) == (412, b"")


@pytest.mark.parametrize(
    ("fault", "status"), [(httpx.ConnectError("x"), 503), (httpx.ReadTimeout("x"), 504)], ids=["away", "slow"]
)
def test_an_engine_that_does_not_answer_is_told_apart(door, fault, status):
    door.fault = fault
    assert door.post(FLEET + "pull-messages").status_code == status


def test_an_address_gets_no_more_than_its_share(monkeypatch, tmp_path):
    door = Door(monkeypatch, tmp_path, limits=GatewayLimits(requests_per_s=5))
    assert door.post("/", times=5).status_code == 404
    door = Door(monkeypatch, tmp_path, limits=GatewayLimits(requests_per_s=5))
    assert door.post("/", times=6).status_code == 429


def test_a_look_for_a_question_waits_for_the_bell(door, tmp_path):
    """Nothing waits for the node: its next looks reach the engine when the bell rings, or after two seconds."""
    door.content = b""
    bells = Bells(tmp_path)

    async def looks() -> list[float]:
        transport = httpx.ASGITransport(door.app)
        times = []
        async with httpx.AsyncClient(transport=transport, base_url="https://door") as client:

            async def look() -> None:
                began = time.monotonic()
                await client.post(FLEET + "pull-messages", content=b"body", headers=door.headers())
                times.append(time.monotonic() - began)

            await look()  # the engine says that there is nothing
            held = asyncio.create_task(look())
            await asyncio.sleep(0.3)
            assert len(door.forwarded) == 1
            bells.questions.ring()
            await held
            assert len(door.forwarded) == 2
            await look()  # nobody rings
            assert len(door.forwarded) == 3
        return times

    at_once, until_it_rang, in_vain = asyncio.run(looks())
    assert at_once < 0.2
    assert 0.3 <= until_it_rang < 0.6
    assert 1.9 < in_vain < 2.6


def test_a_look_is_not_held_while_questions_come(door):
    assert door.post(FLEET + "pull-messages", times=4).status_code == 200
    assert len(door.forwarded) == 4


def test_an_answer_rings(door, tmp_path):
    before = Bells(tmp_path).answers.state()
    door.post(FLEET + "push-messages", content=reply())
    assert Bells(tmp_path).answers.state() != before
