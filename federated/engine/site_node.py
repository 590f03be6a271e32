"""A site's node at the coordinator: how it comes online, stays so, and exchanges messages."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol, TypeVar

from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    DeactivateNodeRequest,
    DeactivateNodeResponse,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
    PushMessagesResponse,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest, SendNodeHeartbeatResponse
from flwr.proto.message_pb2 import Message
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest, GetRunResponse
from google.protobuf.message import Message as AnyMessage

from federated.engine.payload import MAX_MESSAGE_BYTES, payload_of, reply, tree
from federated.errors import EngineError, MessageError, RefusedCallError, UnknownCallerError

HEARTBEAT_S: Final = 10.0
"""The shortest that the engine allows; it counts a node as gone after two."""
_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer", bound=AnyMessage)


class Fleet(Protocol):
    """The calls of a FleetClient."""

    @property
    def public_key(self) -> bytes:
        """The node's public key, PEM."""

    def call(self, name: str, request: AnyMessage, expected: type[_Answer]) -> _Answer:
        """See FleetClient.call."""


class SiteNode:
    """This site as the coordinator's engine knows it, over however many connections."""

    def __init__(self, fleet: Fleet, number_file: Path | None = None, *, limit: int = MAX_MESSAGE_BYTES) -> None:
        """Prepare; nothing is sent yet.

        Args:
            fleet: Calls to the coordinator.
            number_file: Where to note the node's number; without it, a new process waits until the old one's node
                is counted as gone.
            limit: Bytes of a question or an answer.
        """
        self._fleet, self._number_file, self._limit = fleet, number_file, limit
        self._number = self._read_number()
        self._app: tuple[int, str] | None = None

    @contextmanager
    def online(self) -> Iterator[None]:
        """Be connected, with heartbeats, as long as the block lasts; a block without a fault says goodbye.

        Raises:
            EngineError: The coordinator does not answer, or does not let this site in.
        """
        if not self._number or not self._resume():
            self._number = self._activate()
            self._note_number()
        over = threading.Event()
        threading.Thread(target=self._beat, args=(over,), daemon=True, name="heartbeat").start()
        try:
            yield
        finally:
            over.set()
        self._leave()

    def next_question(self) -> Message | None:
        """The oldest question that waits; None where none does.

        Raises:
            EngineError: The coordinator does not answer, or does not know this node any more.
        """
        response = self._fleet.call("pull-messages", PullMessagesRequest(node=self._node), PullMessagesResponse)
        return response.messages_list[0] if response.messages_list else None

    def app_of(self, question: Message) -> str:
        """Digest of the app that asks.

        Raises:
            EngineError: The coordinator does not answer, or the run is over.
        """
        run = question.metadata.run_id
        if self._app is None or self._app[0] != run:
            request = GetRunRequest(node=self._node, run_id=run)
            self._app = (run, self._fleet.call("get-run", request, GetRunResponse).run.fab_hash)
        return self._app[1]

    def payload_of(self, question: Message) -> bytes:
        """The bytes of a question.

        Raises:
            MessageError: It holds none, or too many.
        """
        return payload_of(question, limit=self._limit)

    def send(self, question: Message, answer: bytes | str, *, seconds: float = 0.0) -> None:
        """Send an answer, or in words why there is none.

        Args:
            question: That it answers.
            answer: At most limit bytes, or words.
            seconds: That it took, for the engine's books.

        Raises:
            MessageError: It is too long.
            RefusedCallError: Nobody waits for it any more.
            EngineError: The coordinator does not answer.
        """
        if len(answer) > self._limit:
            raise MessageError(
                f"Expected an answer of at most {self._limit} bytes, got {len(answer)}; nothing was sent."
            )
        message = reply(question, answer)
        request = PushMessagesRequest(
            node=self._node,
            messages_list=[message],
            message_object_trees=[tree(message)],
            clientapp_runtime_list=[seconds],
        )
        taken = self._fleet.call("push-messages", request, PushMessagesResponse)
        # The engine says nothing of a reply that it throws away, but only a kept one is on its list.
        if message.metadata.message_id not in taken.objects_to_push:
            raise RefusedCallError("Expected the answer to be taken; its question's time was over.")

    @property
    def _node(self) -> Node:
        return Node(node_id=self._number)

    def _resume(self) -> bool:
        """Whether the coordinator still knows the number of before."""
        try:
            return self._heartbeat()
        except UnknownCallerError:
            return False

    def _activate(self) -> int:
        request = ActivateNodeRequest(public_key=self._fleet.public_key, heartbeat_interval=HEARTBEAT_S)
        try:
            return int(self._fleet.call("activate-node", request, ActivateNodeResponse).node_id)
        except UnknownCallerError as fault:
            raise EngineError(
                "The coordinator does not let this site in: it was not admitted, or the clocks differ by over 5 s."
            ) from fault
        except RefusedCallError as fault:
            raise EngineError(
                "The coordinator still counts this node as online; that ends within 20 s, unless another agent "
                "runs with the same key."
            ) from fault

    def _leave(self) -> None:
        request = DeactivateNodeRequest(node_id=self._number)
        try:
            self._fleet.call("deactivate-node", request, DeactivateNodeResponse)
        except EngineError as fault:
            _log.info("Left without saying so: %s", fault)

    def _heartbeat(self) -> bool:
        request = SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=HEARTBEAT_S)
        return bool(self._fleet.call("send-node-heartbeat", request, SendNodeHeartbeatResponse).success)

    def _beat(self, over: threading.Event) -> None:
        while not over.wait(HEARTBEAT_S / 2):
            try:
                self._heartbeat()
            except EngineError as fault:
                # The loop that asks for questions meets the same fault and connects again.
                _log.debug("No heartbeat: %s", fault)

    def _read_number(self) -> int:
        if self._number_file is None:
            return 0
        try:
            number = int(self._number_file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0
        return number if 0 < number < 1 << 64 else 0

    def _note_number(self) -> None:
        if self._number_file is not None:
            self._number_file.write_text(str(self._number), encoding="ascii")
