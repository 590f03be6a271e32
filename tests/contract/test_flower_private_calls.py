"""What federated.engine uses of Flower beyond its public interface, and of the server behind the gateway.

A new release of Flower fails here first. Each test says what the code relies on, not all that Flower does.
"""

import hashlib
import inspect
import io
import zipfile
from importlib.metadata import version

import pytest
from flwr.cli.config_utils import get_fab_config
from flwr.cli.install import install_from_fab
from flwr.common import constant as common
from flwr.common.config import get_fused_config_from_dir
from flwr.proto import (
    control_pb2,
    error_pb2,
    fab_pb2,
    fleet_pb2,
    heartbeat_pb2,
    message_pb2,
    recorddict_pb2,
    run_pb2,
    runtime_pb2,
)
from flwr.server.superlink.linkstate import LinkStateFactory
from flwr.supercore import constant
from flwr.supercore.app_utils import start_parent_process_monitor
from flwr.supercore.cli.flower_superexec import _parse_args as superexec_parser
from flwr.supercore.date import now
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.primitives import asymmetric
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.supercore.protobuf.translation import PROTOBUF_REQUEST_TYPES
from flwr.supercore.run import RunNotRunningException
from flwr.superlink.cli.flower_superlink import _parse_args_run_superlink, flower_superlink
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.grid import HttpGrid
from flwr.superlink.servicer.fleet import fleet_handlers
from flwr.superlink.servicer.runtime import runtime_handlers
from uvicorn.protocols.http.h11_impl import H11Protocol

from federated.engine.app_bundle import app_digest, build_bundle
from federated.engine.fleet_client import CALLS, FLEET
from federated.engine.payload import payload_of, question, reply, tree
from federated.engine.site_node import HEARTBEAT_S

# The engine's migrations leave out what alembic will ask for.
pytestmark = pytest.mark.filterwarnings("ignore:No path_separator found:DeprecationWarning")

MESSAGES = {
    control_pb2: {
        "ListNodesRequest": [],
        "ListNodesResponse": ["nodes_info"],
        "ListRunsRequest": ["run_id"],
        "ListRunsResponse": ["run_dict"],
        "RegisterNodeRequest": ["public_key"],
        "RegisterNodeResponse": ["node_id"],
        "StartRunRequest": ["fab", "override_config"],
        "StartRunResponse": ["run_id"],
        "StopRunRequest": ["run_id"],
        "StopRunResponse": ["success"],
        "UnregisterNodeRequest": ["node_id"],
        "UnregisterNodeResponse": [],
    },
    error_pb2: {"Error": ["code", "reason"]},
    fab_pb2: {"Fab": ["hash_str", "content"]},
    fleet_pb2: {
        "ActivateNodeRequest": ["public_key", "heartbeat_interval"],
        "ActivateNodeResponse": ["node_id"],
        "DeactivateNodeRequest": ["node_id"],
        "PullMessagesRequest": ["node"],
        "PullMessagesResponse": ["messages_list", "message_object_trees"],
        "PushMessagesRequest": ["node", "messages_list", "message_object_trees", "clientapp_runtime_list"],
        "PushMessagesResponse": ["objects_to_push"],
    },
    heartbeat_pb2: {
        "SendNodeHeartbeatRequest": ["node", "heartbeat_interval"],
        "SendNodeHeartbeatResponse": ["success"],
    },
    message_pb2: {
        "Message": ["metadata", "content", "error"],
        "Metadata": [
            *("run_id", "message_id", "src_node_id", "dst_node_id", "reply_to_message_id"),
            *("ttl", "created_at", "message_type"),
        ],
        "ObjectTree": ["object_id", "children"],
    },
    recorddict_pb2: {
        "Array": ["dtype", "shape", "stype", "data"],
        "ArrayRecord": ["items"],
        "RecordDict": ["items"],
    },
    run_pb2: {"GetRunRequest": ["node", "run_id"], "GetRunResponse": ["run"], "Run": ["fab_hash", "status"]},
    runtime_pb2: {
        "PullAppMessagesRequest": ["message_ids"],
        "PullAppMessagesResponse": ["messages_list"],
        "PushAppMessagesRequest": ["messages_list", "message_object_trees"],
        "PushAppMessagesResponse": ["message_ids"],
    },
}
SIGNATURES = [
    (start_parent_process_monitor, ["parent_pid"]),
    (flower_superlink, []),
    (now, []),
    (asymmetric.public_key_to_bytes, ["public_key"]),
    (asymmetric.bytes_to_public_key, ["public_key_bytes"]),
    (asymmetric.sign_message, ["private_key", "message"]),
    (asymmetric.verify_signature, ["public_key", "message", "signature"]),
    (HttpGrid.get_nodes, ["self"]),
    (H11Protocol.connection_made, ["self", "transport"]),
    (H11Protocol.connection_lost, ["self", "exc"]),
    (H11Protocol.handle_events, ["self"]),
    (H11Protocol.on_response_complete, ["self"]),
]


def test_is_the_release_that_was_read():
    assert version("flwr") == "1.41.0"


@pytest.mark.parametrize(
    ("module", "name", "fields"),
    [
        pytest.param(module, name, fields, id=name)
        for module, messages in MESSAGES.items()
        for name, fields in messages.items()
    ],
)
def test_messages_have_the_fields_that_are_used(module, name, fields):
    assert set(fields) <= set(getattr(module, name).DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize(("call", "expected"), SIGNATURES, ids=lambda each: getattr(each, "__qualname__", ""))
def test_calls_take_the_arguments_that_are_given(call, expected):
    assert list(inspect.signature(call).parameters) == expected


def test_constants_are_what_the_code_assumes():
    assert constant.FLEET_HTTP_PUBLIC_KEY_HEADER
    assert constant.FLEET_HTTP_SIGNATURE_HEADER
    assert common.TIMESTAMP_HEADER
    assert PROTOBUF_MEDIA_TYPE == "application/protobuf"
    assert (constant.NodeStatus.ONLINE, constant.NodeStatus.UNREGISTERED) == ("online", "unregistered")
    assert common.SUPERLINK_NODE_ID == 1
    assert common.HEARTBEAT_MIN_INTERVAL == HEARTBEAT_S
    assert common.HEARTBEAT_PATIENCE == 2
    assert (common.SYSTEM_TIME_TOLERANCE, common.TIMESTAMP_TOLERANCE) == (5, 300)
    assert (common.Status.PENDING, common.Status.STARTING, common.Status.RUNNING) == ("pending", "starting", "running")
    assert (common.SubStatus.COMPLETED, common.SubStatus.STOPPED) == ("completed", "stopped")
    assert issubclass(RunNotRunningException, BaseException)


@pytest.mark.parametrize("call", CALLS)
def test_the_fleet_has_the_calls_that_the_gateway_forwards(call):
    assert ("POST", FLEET + call) in PROTOBUF_REQUEST_TYPES


@pytest.mark.parametrize(
    "order", ["list-nodes", "list-runs", "register-node", "unregister-node", "start-run", "stop-run"]
)
def test_the_control_interface_has_the_orders_that_are_given(order):
    assert ("POST", f"/v1/control/{order}") in PROTOBUF_REQUEST_TYPES


def test_the_grid_has_the_client_that_the_transport_uses():
    client = HttpGrid._runtime_client.fget.__annotations__["return"]
    assert "RuntimeHttpClient" in str(client)
    from flwr.supercore.runtime import RuntimeHttpClient

    for name in ("PushMessages", "PullMessages"):
        assert list(inspect.signature(getattr(RuntimeHttpClient, name)).parameters) == ["self", "request"]


def test_the_server_takes_the_options_that_it_is_started_with():
    parsed = _parse_args_run_superlink().parse_args(
        [
            *("--host", "127.0.0.1", "--port", "1", "--ssl-ca-certfile", "a", "--ssl-certfile", "b"),
            *("--ssl-keyfile", "c", "--enable-supernode-auth", "--disable-runtime-dependency-installation"),
            *("--isolation", "process", "--superexec-auth-secret-file", "d", "--database", "e"),
        ]
    )
    assert parsed.enable_supernode_auth
    assert not parsed.runtime_dependency_install


def test_the_starter_of_apps_takes_its_options_and_installs_nothing():
    parsed = superexec_parser().parse_args(
        [
            *("--runtime-api-address", "a", "--root-certificates", "b"),
            *("--superexec-auth-secret-file", "c", "--parent-pid", "1"),
        ]
    )
    assert not parsed.runtime_dependency_install


def test_the_bundle_is_an_app_that_the_server_takes(tmp_path):
    bundle = build_bundle("json:loads")
    config = get_fab_config(bundle)
    assert config["project"]["name"] == "qfl-rounds"
    installed = install_from_fab(bundle, tmp_path, skip_prompt=True)
    assert get_fused_config_from_dir(installed, {"plan": "somewhere"}) == {"plan": "somewhere", "bells": ""}
    assert (installed / "qfl_rounds.py").is_file()
    assert hashlib.sha256(build_bundle()).hexdigest() == app_digest()
    assert zipfile.is_zipfile(io.BytesIO(bundle))


@pytest.fixture(params=["memory", "file"])
def state(request, tmp_path):
    """The server's store, with a node that is online and a run that its app has begun."""
    manager = NoOpFederationManager()
    place = constant.FLWR_IN_MEMORY_DB_NAME if request.param == "memory" else str(tmp_path / "state.db")
    made = LinkStateFactory(place, manager, ObjectStoreFactory(place)).state()
    manager.linkstate = made
    node = made.create_node("<id:none>", "none", b"key", HEARTBEAT_S)
    made.activate_node(node, HEARTBEAT_S)
    run = made.create_run(
        *("qfl/qfl-rounds", "1.0.0", "f" * 64, {}, constant.NOOP_FEDERATION_ID, None, "<id:none>"),
        constant.TaskType.SERVER_APP,
    )
    (task,) = made.get_tasks(run_ids=[run])
    made.claim_task(task.task_id)
    made.activate_task(task.task_id)
    return made, node, run, task


def test_a_message_carries_its_content_in_itself_and_is_deleted_once_it_was_answered(state):
    """The heart of payload: no objects are needed, and nothing of a question stays."""
    made, node, run, task = state
    asked = question(run, node, b"a question", 60)
    pushed = runtime_pb2.PushAppMessagesRequest(messages_list=[asked], message_object_trees=[tree(asked)])
    assert list(runtime_handlers.push_messages(pushed, made, task).message_ids) == [asked.metadata.message_id]

    pulled = fleet_handlers.pull_messages(
        fleet_pb2.PullMessagesRequest(node={"node_id": node}), made, made.object_store
    ).messages_list[0]
    assert payload_of(pulled) == b"a question"

    answered = reply(pulled, b"an answer")
    given = fleet_pb2.PushMessagesRequest(
        node={"node_id": node}, messages_list=[answered], message_object_trees=[tree(answered)]
    )
    kept = fleet_handlers.push_messages(given, made)
    assert list(kept.objects_to_push) == [answered.metadata.message_id]

    looked = runtime_pb2.PullAppMessagesRequest(message_ids=[asked.metadata.message_id])
    (found,) = runtime_handlers.pull_messages(looked, made, task).messages_list
    assert payload_of(found) == b"an answer"
    assert found.metadata.src_node_id == node
    assert (made.num_message_ins(), made.num_message_res()) == (0, 0)


def test_a_reply_that_the_server_throws_away_is_not_on_its_list(state):
    made, node, run, _task = state
    stray = reply(question(run, node, b"never asked", 60), b"an answer")
    given = fleet_pb2.PushMessagesRequest(
        node={"node_id": node}, messages_list=[stray], message_object_trees=[tree(stray)]
    )
    assert list(fleet_handlers.push_messages(given, made).objects_to_push) == []
