"""A coordinator's engine in memory: what a site's agent calls, and what a ServerApp's grid offers, on one store.

It behaves as Flower 1.41.0 does where we rely on it: numbers belong to keys, a node that is online is not activated
again, a question is given out once, a reply has to come from the node that was asked, and what was answered is deleted.
"""

import secrets
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from flwr.proto.control_pb2 import ListNodesResponse
from flwr.proto.error_pb2 import Error
from flwr.proto.fleet_pb2 import ActivateNodeResponse, PullMessagesResponse, PushMessagesResponse
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatResponse
from flwr.proto.message_pb2 import Message, Metadata
from flwr.proto.node_pb2 import NodeInfo
from flwr.proto.run_pb2 import GetRunResponse, Run
from flwr.proto.runtime_pb2 import PullAppMessagesResponse, PushAppMessagesResponse

from federated.errors import EngineError, RefusedCallError, UnknownCallerError

RUN = 77


@dataclass
class InMemoryEngine:
    """What the engine knows."""

    app: str = "a" * 64
    numbers: dict[bytes, int] = field(default_factory=dict)
    online: set[int] = field(default_factory=set)
    waiting: list[Message] = field(default_factory=list)
    given_out: dict[str, Message] = field(default_factory=dict)
    replies: dict[str, Message] = field(default_factory=dict)
    is_away: bool = False
    calls: list[str] = field(default_factory=list)

    def admit(self, key: bytes) -> int:
        """Register a key; its node's number."""
        self.numbers[key] = secrets.randbits(63) | 1
        return self.numbers[key]

    def forget(self) -> None:
        """What a start with an empty database does: the same keys, other numbers."""
        for key in self.numbers:
            self.admit(key)
        self.online, self.waiting, self.given_out, self.replies = set(), [], {}, {}

    def notice(self, question: str, reason: str) -> None:
        """Answer a question as the engine does by itself."""
        metadata = Metadata(message_id=secrets.token_hex(32), reply_to_message_id=question)
        self.replies[question] = Message(metadata=metadata, error=Error(code=3, reason=reason))


class InMemoryFleet:
    """A site's calls to it."""

    def __init__(self, engine: InMemoryEngine, public_key: bytes) -> None:
        self.engine, self.public_key = engine, public_key

    def call(self, name: str, request: Any, _expected: Any) -> Any:
        """Answer one call as the engine does."""
        engine = self.engine
        engine.calls.append(name)
        if engine.is_away:
            raise EngineError(f"{name}: away")
        number = engine.numbers.get(self.public_key)
        claimed = request.node.node_id if hasattr(request, "node") else getattr(request, "node_id", number)
        if number is None or claimed != number:
            raise UnknownCallerError(name)
        return getattr(self, "_" + name.replace("-", "_"))(request, number)

    def _activate_node(self, _request: Any, number: int) -> ActivateNodeResponse:
        if number in self.engine.online:
            raise RefusedCallError("412")
        self.engine.online.add(number)
        return ActivateNodeResponse(node_id=number)

    def _deactivate_node(self, _request: Any, number: int) -> None:
        self.engine.online.discard(number)

    def _send_node_heartbeat(self, _request: Any, number: int) -> SendNodeHeartbeatResponse:
        self.engine.online.add(number)
        return SendNodeHeartbeatResponse(success=True)

    def _get_run(self, _request: Any, _number: int) -> GetRunResponse:
        return GetRunResponse(run=Run(fab_hash=self.engine.app))

    def _pull_messages(self, _request: Any, number: int) -> PullMessagesResponse:
        for message in self.engine.waiting:
            if message.metadata.dst_node_id == number:
                self.engine.waiting.remove(message)
                self.engine.given_out[message.metadata.message_id] = message
                return PullMessagesResponse(messages_list=[message])
        return PullMessagesResponse()

    def _push_messages(self, request: Any, _number: int) -> PushMessagesResponse:
        message = request.messages_list[0]
        asked = self.engine.given_out.get(message.metadata.reply_to_message_id)
        if asked is None or asked.metadata.dst_node_id != message.metadata.src_node_id:
            return PushMessagesResponse()
        self.engine.replies[asked.metadata.message_id] = message
        return PushMessagesResponse(objects_to_push=[message.metadata.message_id])


class InMemoryGrid:
    """A ServerApp's way to it."""

    def __init__(self, engine: InMemoryEngine) -> None:
        self.engine = engine
        self.run = SimpleNamespace(run_id=RUN)
        self._runtime_client = self

    def get_nodes(self) -> Any:
        """Nodes that are registered."""
        if self.engine.is_away:
            raise ValueError("away")
        return ListNodesResponse(
            nodes_info=[
                NodeInfo(node_id=number, public_key=key, status="online" if number in self.engine.online else "offline")
                for key, number in self.engine.numbers.items()
            ]
        ).nodes_info

    def PushMessages(self, request: Any) -> PushAppMessagesResponse:
        """Take questions."""
        if self.engine.is_away:
            raise ValueError("away")
        self.engine.calls.append("PushMessages")
        self.engine.waiting += list(request.messages_list)
        return PushAppMessagesResponse(message_ids=[message.metadata.message_id for message in request.messages_list])

    def PullMessages(self, request: Any) -> PullAppMessagesResponse:
        """Give answers out, once."""
        if self.engine.is_away:
            raise ValueError("away")
        self.engine.calls.append("PullMessages")
        self.engine.calls += [f"asked for {name}" for name in request.message_ids]
        found = [self.engine.replies.pop(name) for name in request.message_ids if name in self.engine.replies]
        return PullAppMessagesResponse(messages_list=found)
