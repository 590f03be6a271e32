"""The engine with real processes: SuperLink, its app, the gateway, and sites' agents, on loopback."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from flwr.proto.control_pb2 import ListNodesRequest, ListRunsRequest, RegisterNodeRequest, StartRunRequest
from flwr.proto.fab_pb2 import Fab
from flwr.proto.fleet_pb2 import PushMessagesRequest, PushMessagesResponse, RegisterNodeFleetRequest
from flwr.proto.message_pb2 import Message, Metadata, ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supernode.fleet_http_client import FleetHttpClient

from federated.engine.app_bundle import build_bundle
from federated.engine.control import RunState
from federated.engine.fleet_client import FleetClient
from federated.engine.node_key import read_node_key
from federated.errors import RefusedCallError
from tests.servers.flower_engine import ECHO, ROOT, Engine, engine, make_node_key
from tests.servers.processes import stop, wait_until

PEOPLE = ("site-1", "site-2")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A coordinator that admits three sites; two of them run, the third is for the tests."""
    with engine(tmp_path_factory.mktemp("engine"), 3) as made:
        for site in PEOPLE:
            made.start_agent(site)
        yield made
        made.echo(1000, 100, pause_s=0.1)
        started = [psutil.Process(pid) for pid in made.superlink.processes.values()]
        wait_until(lambda: _has_app(started), 60, made.explain)
        family = _family(started)
    assert psutil.wait_procs(family, timeout=5)[1] == [], "the end leaves no process behind"


def test_five_megabytes_go_both_ways_intact(running):
    run, out = running.echo(2, 5 << 20, [*PEOPLE])
    for line in running.wait_for_lines(out, 2, 120):
        assert set(line["digests"]) == set(PEOPLE)
        assert set(line["digests"].values()) == {line["question"]}
    wait_until(lambda: running.superlink.control.status(run).is_over, 30)
    assert running.superlink.control.status(run).state is RunState.DONE


def test_a_site_refuses_a_run_of_an_app_that_it_does_not_know(running):
    running.start_agent("site-3", digest="0" * 64)
    run, out = running.echo(1, 100, ["site-3"])
    wait_until(lambda: "Refused a run" in running.log("site-3"), 90, running.explain)
    assert out.read_text() == ""
    running.superlink.control.stop(run)
    stop(running.agents.pop("site-3"))


def test_a_key_that_was_not_admitted_does_not_connect(running):
    make_node_key(running.key_file("stranger"))
    agent = running.start_agent("stranger")
    wait_until(lambda: "does not let this site in" in running.log("stranger"), 60, running.explain)
    agent.terminate()
    assert agent.wait(10) == 0
    assert "Connected" not in running.log("stranger")


def test_an_agent_that_was_killed_answers_again_as_the_same_node(running):
    run, out = running.echo(30, 1000, [*PEOPLE], pause_s=0.2)
    before = running.wait_for_lines(out, 2, 90)[-1]
    killed = running.agents["site-1"]
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    number = (running.folder / "site-1.number").read_text()
    running.start_agent("site-1")
    seen = len(out.read_text().splitlines())
    after = running.wait_for_lines(out, seen + 3, 90)[-1]
    running.superlink.control.stop(run)
    assert after["answers"]["site-1"][:8] != before["answers"]["site-1"][:8], "another process answers"
    assert after["nodes"][number] == before["nodes"][number]
    assert (running.folder / "site-1.number").read_text() == number


def test_the_run_goes_on_after_the_engine_was_killed(running):
    run, out = running.echo(30, 1000, [*PEOPLE], pause_s=0.2)
    before = running.wait_for_lines(out, 2, 90)[-1]
    os.kill(running.superlink.processes["superlink"], signal.SIGKILL)
    wait_until(running.superlink.keep_running, 10)
    seen = len(out.read_text().splitlines())
    after = running.wait_for_lines(out, seen + 3, 120)[-1]
    assert after["pid"] == before["pid"], "the app was not started again"
    assert after["nodes"] == before["nodes"]
    running.superlink.control.stop(run)
    assert not running.superlink.keep_running()


def test_sites_find_a_coordinator_that_came_back_with_nothing(running):
    old = {site: (running.folder / f"{site}.number").read_text() for site in PEOPLE}
    running.restart()
    run, out = running.echo(1, 1000, [*PEOPLE])
    line = running.wait_for_lines(out, 1, 120)[0]
    assert set(line["digests"]) == set(PEOPLE)
    assert not set(line["nodes"]) & set(old.values())
    wait_until(lambda: running.superlink.control.status(run).is_over, 30)


def test_a_removed_site_is_not_let_in_any_more(running):
    client = _client(running, "site-1")
    node = int((running.folder / "site-1.number").read_text())
    running.superlink.control.register({site: running.node_keys[site] for site in ("site-2", "site-3")})
    running.superlink.control.register({site: running.node_keys[site] for site in ("site-2", "site-3")})
    with client, pytest.raises(Exception, match="401"):
        client.call("push-messages", _reply(node, node), PushMessagesResponse)


ATTACKS = [
    "POST /v1/control/list-runs HTTP/1.1",
    "POST /v1/control/start-run HTTP/1.1",
    "POST /v1/control/register-node HTTP/1.1",
    "POST //v1/control/list-runs HTTP/1.1",
    "POST /v1//control/list-runs HTTP/1.1",
    "POST /v1/fleet/../control/list-runs HTTP/1.1",
    "POST /v1/fleet/pull-messages/../../control/list-runs HTTP/1.1",
    "POST /v1/fleet/%2e%2e/control/list-runs HTTP/1.1",
    "POST /v1/fleet/%2e%2e%2fcontrol/list-runs HTTP/1.1",
    "POST /v1/fleet/..%5ccontrol/list-runs HTTP/1.1",
    "POST /v1/fleet;/../control/list-runs HTTP/1.1",
    "POST /v1/fleet%2fpull-messages HTTP/1.1",
    "POST /v1/fleet/pull-messages/ HTTP/1.1",
    "POST /v1/fleet/./pull-messages HTTP/1.1",
    "POST /V1/FLEET/PULL-MESSAGES HTTP/1.1",
    "POST /v1/fleet/pull-messages?x=/v1/control/list-runs HTTP/1.1",
    "POST /v1/fleet/pull-messages#/v1/control/list-runs HTTP/1.1",
    "POST http://{superlink}/v1/control/list-runs HTTP/1.1",
    "POST https://{superlink}/v1/control/list-runs HTTP/1.1",
    "POST https://{superlink}/v1/fleet/pull-messages HTTP/1.1",
    "POST /v1/fleet/register-node HTTP/1.1",
    "POST /v1/fleet/unregister-node HTTP/1.1",
    "POST /v1/fleet/get-fab HTTP/1.1",
    "POST /v1/runtime/acquire-task HTTP/1.1",
    "POST /v1/runtime/pull-messages HTTP/1.1",
    "GET /v1/fleet/pull-messages HTTP/1.1",
    "PUT /v1/fleet/pull-messages HTTP/1.1",
    "GET /docs HTTP/1.1",
    "GET /openapi.json HTTP/1.1",
    "GET /health HTTP/1.1",
    "GET / HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "CONNECT {superlink} HTTP/1.1",
    "PRI * HTTP/2.0",
]


@pytest.mark.parametrize("line", ATTACKS)
@pytest.mark.parametrize("admitted", [False, True], ids=["outsider", "admitted site"])
def test_the_gateway_lets_nothing_else_through(running, line, admitted):
    head = line.format(superlink=running.superlink.address)
    host = running.superlink.address if admitted else running.address
    headers = {"Host": host, "Content-Type": "application/protobuf", "Content-Length": "0", "Connection": "close"}
    if admitted:
        headers |= _signed(running)
    answer = _raw(running, head + "\r\n" + "".join(f"{name}: {text}\r\n" for name, text in headers.items()) + "\r\n")
    status, _, rest = answer.partition(b"\r\n")
    assert status.split()[1] in {b"400", b"404"}, answer
    assert b"flwr" not in rest.lower()
    assert b"swagger" not in rest.lower()


def test_a_smuggled_second_request_is_not_forwarded(running):
    inner = f"POST /v1/control/list-runs HTTP/1.1\r\nHost: {running.address}\r\nContent-Length: 0\r\n\r\n"
    head = "POST /v1/fleet/pull-messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/protobuf\r\n"
    for lengths in (
        f"Content-Length: {len(inner)}\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 0\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
    ):
        signed = "".join(f"{name}: {text}\r\n" for name, text in _signed(running).items())
        answer = _raw(running, head + lengths + signed + "Connection: close\r\n\r\n0\r\n\r\n" + inner)
        assert b" 200 " not in answer


def test_an_outsider_neither_submits_an_app_nor_registers_a_node(running, tmp_path):
    before = _inventory(running)
    stranger = make_node_key(tmp_path / "stranger.key")
    ca = running.ca.read_bytes()
    with ControlHttpClient.from_server_address(running.address, False, ca, interceptors=[]) as client:
        for order in (
            lambda: client.StartRun(StartRunRequest(fab=Fab(content=build_bundle(ECHO)))),
            lambda: client.RegisterNode(RegisterNodeRequest(public_key=stranger)),
            lambda: client.ListRuns(ListRunsRequest()),
            lambda: client.ListNodes(ListNodesRequest()),
        ):
            with pytest.raises(httpx.HTTPStatusError, match="404"):
                order()
    with (
        FleetHttpClient.from_server_address(running.address, False, ca, interceptors=[]) as fleet,
        pytest.raises(httpx.HTTPStatusError, match="404"),
    ):
        fleet.RegisterNode(RegisterNodeFleetRequest(public_key=stranger))
    assert _inventory(running) == before


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["run", "{app}", "outside"], id="run"),
        pytest.param(["list", "outside"], id="list"),
        pytest.param(["supernode", "register", "{key}", "outside"], id="register"),
    ],
)
def test_the_engines_own_command_does_nothing_from_outside(running, tmp_path, words):
    before = _inventory(running)
    (tmp_path / "config.toml").write_text(
        f'[superlink]\ndefault = "outside"\n[superlink.outside]\naddress = "{running.address}"\n'
        f'root-certificates = "{running.ca}"\n'
    )
    stranger = load_pem_public_key(make_node_key(tmp_path / "stranger.key"))
    (tmp_path / "stranger.pub").write_bytes(stranger.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    app = tmp_path / "app"
    app.mkdir()
    (app / "outside.py").write_text("from flwr.clientapp import ClientApp\nclient = ClientApp()\nserver = None\n")
    (app / "pyproject.toml").write_text(
        '[project]\nname = "app"\nversion = "1.0.0"\ndescription = "x"\nlicense = "Apache-2.0"\n'
        '[tool.flwr.app]\npublisher = "someone"\n'
        '[tool.flwr.app.components]\nserverapp = "outside:server"\nclientapp = "outside:client"\n'
    )
    told = subprocess.run(
        [Path(sys.executable).parent / "flwr", *[w.format(app=app, key=tmp_path / "stranger.pub") for w in words]],
        env=os.environ | {"FLWR_HOME": str(tmp_path), "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.returncode != 0, told.stdout
    assert "404" in told.stdout + told.stderr, "it was the gateway that said no"
    assert _inventory(running) == before


def test_what_the_gateway_keeps_out_would_have_worked_behind_it(running):
    """The finding that it guards against: the control interface asks nobody for a password."""
    ca = running.superlink.ca.read_bytes()
    with ControlHttpClient.from_server_address(running.superlink.address, False, ca, interceptors=[]) as client:
        assert client.ListNodes(ListNodesRequest()).nodes_info


def test_an_admitted_site_does_not_answer_in_anothers_name(running):
    nodes = {site: int((running.folder / f"{site}.number").read_text()) for site in PEOPLE}
    with _client(running, "site-2") as client, pytest.raises(RefusedCallError, match="403"):
        client.call("push-messages", _reply(nodes["site-2"], nodes["site-1"]), PushMessagesResponse)


def test_older_tls_is_refused(running):
    trust = ssl.create_default_context(cafile=str(running.ca))
    place = ("127.0.0.1", running.gateway.port)
    with socket.create_connection(place, 10) as plain, trust.wrap_socket(plain, server_hostname=place[0]) as secure:
        assert secure.version() == "TLSv1.3"
    trust.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(place, 10) as plain, pytest.raises(ssl.SSLError):
        trust.wrap_socket(plain, server_hostname=place[0])


def test_a_coordinator_that_was_killed_leaves_no_engine_behind(running):
    script = (
        "import json, os, sys, time\n"
        "from pathlib import Path\n"
        "from federated.engine.app_bundle import build_bundle\n"
        "from federated.engine.superlink import Superlink\n"
        "environment = os.environ | {'PYTHONPATH': os.getcwd()}\n"
        "superlink = Superlink(Path(sys.argv[1]), environment=environment, app_poll_s=0.2)\n"
        "superlink.start()\n"
        f"superlink.control.submit(build_bundle('{ECHO}'), {{'plan': sys.argv[2]}})\n"
        "print(json.dumps(dict(superlink.processes)), flush=True)\n"
        "time.sleep(600)\n"
    )
    plan = running.folder / "other.plan"
    plan.write_text(json.dumps({"node_keys": {"nobody": running.node_keys["site-1"].decode()}, "out": os.devnull}))
    words = [sys.executable, "-c", script, str(running.folder / "other"), str(plan)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=ROOT) as coordinator:
        try:
            started = [psutil.Process(pid) for pid in json.loads(coordinator.stdout.readline()).values()]
            wait_until(lambda: _has_app(started), 90, running.explain)
            family = _family(started)
        finally:
            coordinator.kill()
    assert psutil.wait_procs(family, timeout=30)[1] == []


def _family(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [*processes, *(child for process in processes for child in process.children(recursive=True))]


def _has_app(processes: list[psutil.Process]) -> bool:
    try:
        return any("flwr-serverapp" in " ".join(process.cmdline()) for process in _family(processes))
    except psutil.NoSuchProcess:
        return False


def _inventory(running: Engine) -> tuple[int, frozenset[bytes]]:
    """Runs and nodes that the engine knows, asked on loopback."""
    ca = running.superlink.ca.read_bytes()
    with ControlHttpClient.from_server_address(running.superlink.address, False, ca, interceptors=[]) as client:
        nodes = client.ListNodes(ListNodesRequest()).nodes_info
        return len(client.ListRuns(ListRunsRequest()).run_dict), frozenset(node.public_key for node in nodes)


def _client(running: Engine, site: str) -> FleetClient:
    return FleetClient(running.address, running.ca, read_node_key(running.key_file(site)))


def _reply(sender: int, name: int) -> PushMessagesRequest:
    metadata = Metadata(run_id=1, message_id="a" * 64, src_node_id=name, dst_node_id=1, ttl=60, created_at=time.time())
    return PushMessagesRequest(
        node=Node(node_id=sender),
        messages_list=[Message(metadata=metadata)],
        message_object_trees=[ObjectTree(object_id="a" * 64)],
    )


def _signed(running: Engine) -> dict[str, str]:
    """The headers of a call that an admitted site signed just now."""
    with _client(running, "site-2") as client:
        return client.headers()


def _raw(running: Engine, request: str) -> bytes:
    trust = ssl.create_default_context(cafile=str(running.ca))
    with (
        socket.create_connection(("127.0.0.1", running.gateway.port), 10) as plain,
        trust.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        secure.sendall(request.encode())
        answer = b""
        while piece := secure.recv(65536):
            answer += piece
        return answer
