"""The coordinator's side of the transport: questions to named sites and their answers, through Flower's grid.

Who a node is follows from its registered key alone; what it says of itself is not asked for. An answer counts only if
it replies to an open question to that site and comes from that site's node.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx
from flwr.proto.message_pb2 import Message
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PushAppMessagesRequest
from flwr.serverapp import Grid
from flwr.supercore.constant import NodeStatus
from flwr.supercore.run import RunNotRunningException

from federated.engine.bells import Bells
from federated.engine.node_key import canonical_node_key
from federated.engine.payload import MAX_MESSAGE_BYTES, payload_of, question, tree
from federated.errors import EngineError, MessageError

_FAULTS: Final = (httpx.HTTPError, RunNotRunningException, ValueError)
_BATCH_BYTES: Final = 32 << 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Asked:
    site: str
    node: int
    payload: bytes
    at: float


class GridTransport:
    """Implements federated.rounds.ports.Transport over a ServerApp's grid."""

    def __init__(
        self,
        grid: Grid,
        node_keys: Mapping[str, bytes],
        bells: Bells | None = None,
        *,
        ttl_s: float = 60.0,
        again_s: float = 10.0,
        look_every_s: float = 0.1,
        limit: int = MAX_MESSAGE_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Bind a run's grid to the sites' names.

        Args:
            grid: That the engine gave the ServerApp.
            node_keys: Public node key in PEM by site name, from the signed roster.
            bells: Of the engine, in the folder that the run's configuration names; without them, questions and answers
                wait for each other's next look.
            ttl_s: Seconds after which a question that nobody answered is gone.
            again_s: Seconds after which the same question is sent again, as it may have been lost on the way.
            look_every_s: Least seconds between two looks for answers, as each costs the engine some ten milliseconds;
                up to ten times as many when no bell rings and nothing happens.
            limit: Bytes of a question or an answer.
            clock: Seconds, monotonic.

        Raises:
            ProvisioningError: A key is none.
        """
        # Flower's public push and pull move a message's content in objects, one call each; see payload.
        self._grid: Any = grid
        self._sites = {canonical_node_key(pem): site for site, pem in node_keys.items()}
        self._ttl_s, self._again_s, self._look_every_s = ttl_s, again_s, look_every_s
        self._limit, self._clock = limit, clock
        self._open: dict[str, _Asked] = {}
        self._given_up: dict[str, float] = {}
        self._bells, self._heard = bells, b""
        self._looked = self._happened = clock()

    def online(self) -> frozenset[str]:
        """See Transport."""
        return frozenset(self._nodes())

    def ask(self, requests: Mapping[str, bytes]) -> None:
        """See Transport. The same question again, while it may still be on its way, is not sent twice."""
        self._forget_expired()
        nodes, now = self._nodes(), self._clock()
        sending: list[_Asked] = []
        for site, payload in requests.items():
            if len(payload) > self._limit:
                raise MessageError(f"{site}: expected a question of at most {self._limit} bytes, got {len(payload)}.")
            if site not in nodes:
                _log.info("%s is not connected; the question was not sent.", site)
                self._close(site)
            elif not self._is_waiting(site, nodes[site], payload, now):
                sending.append(_Asked(site, nodes[site], payload, now))
        for batch in _batches(sending):
            self._push(batch)
            self._happened = now

    def answers(self) -> Mapping[str, bytes]:
        """See Transport."""
        self._forget_expired()
        now = self._clock()
        asking = [*self._open, *self._over(now)]
        if not asking or not self._is_time_to_look(now):
            return {}
        self._looked = now
        found = self._call("PullMessages", PullAppMessagesRequest(message_ids=asking))
        if found.messages_list:
            self._happened = now
        return dict(answer for message in found.messages_list for answer in self._read(message))

    def _is_time_to_look(self, now: float) -> bool:
        waited = now - self._looked
        if self._bells is None:
            # The wait adds at most a tenth to the time that nothing happened.
            return waited >= min(max(self._look_every_s, (now - self._happened) / 10), 10 * self._look_every_s)
        rang = self._bells.answers.state()
        if waited < self._look_every_s or (rang == self._heard and waited < 10 * self._look_every_s):
            return False
        self._heard = rang
        return True

    def _is_waiting(self, site: str, node: int, payload: bytes, now: float) -> bool:
        """Whether the same question went out a moment ago; other questions to the site are given up.

        Of several that are the same, an answer to any will do: a slow site would else never answer the latest.
        """
        mine = {name: asked for name, asked in self._open.items() if asked.site == site}
        same = {name for name, asked in mine.items() if asked.node == node and asked.payload == payload}
        for name in mine.keys() - same:
            self._give_up(name)
        return any(now - self._open[name].at < self._again_s for name in same)

    def _nodes(self) -> dict[str, int]:
        """Numbers of the nodes that are connected, by site."""
        try:
            nodes = list(self._grid.get_nodes())
        except _FAULTS as fault:
            raise EngineError(f"The engine does not say who is connected ({type(fault).__name__}).") from fault
        online = (node for node in nodes if node.status == NodeStatus.ONLINE)
        return {self._sites[node.public_key]: node.node_id for node in online if node.public_key in self._sites}

    def _push(self, batch: Sequence[_Asked]) -> None:
        run = self._grid.run.run_id
        messages = [question(run, asked.node, asked.payload, self._ttl_s) for asked in batch]
        request = PushAppMessagesRequest(messages_list=messages, message_object_trees=map(tree, messages))
        taken = set(self._call("PushMessages", request).message_ids)
        for message, asked in zip(messages, batch, strict=True):
            if message.metadata.message_id in taken:
                self._open[message.metadata.message_id] = asked
            else:
                _log.warning("%s: the engine did not take the question; the node may have left.", asked.site)
        if self._bells is not None:
            self._bells.questions.ring()

    def _read(self, message: Message) -> Iterator[tuple[str, bytes]]:
        """The site and its answer, where the message is one that is waited for."""
        name = message.metadata.reply_to_message_id
        self._given_up.pop(name, None)
        asked = self._open.get(name)
        if asked is None:
            return
        del self._open[name]
        try:
            payload = payload_of(message, limit=self._limit)
        except MessageError as fault:
            # The engine's own notices come this way too, e.g. that the node went away.
            _log.warning("%s: %s", asked.site, fault)
            return
        if message.metadata.src_node_id != asked.node:
            _log.warning("%s: expected an answer of its own node, got another node's.", asked.site)
            return
        self._close(asked.site)
        yield asked.site, payload

    def _call(self, name: str, request: Any) -> Any:
        try:
            return getattr(self._grid._runtime_client, name)(request)
        except _FAULTS as fault:
            raise EngineError(f"{name}: the engine does not answer ({type(fault).__name__}).") from fault

    def _close(self, site: str) -> None:
        for name in [name for name, asked in self._open.items() if asked.site == site]:
            self._give_up(name)

    def _give_up(self, name: str) -> None:
        self._given_up[name] = self._open.pop(name).at + self._ttl_s

    def _over(self, now: float) -> list[str]:
        """Given-up questions whose time is over: asked for once more, so that the engine throws their bytes away."""
        return [name for name, end in self._given_up.items() if end <= now]

    def _forget_expired(self) -> None:
        oldest = self._clock() - self._ttl_s
        for name in [name for name, asked in self._open.items() if asked.at <= oldest]:
            _log.info("%s did not answer in %.0f s.", self._open[name].site, self._ttl_s)
            self._give_up(name)


def _batches(sending: Sequence[_Asked]) -> Iterator[list[_Asked]]:
    batch: list[_Asked] = []
    size = 0
    for asked in sending:
        if batch and size + len(asked.payload) > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(asked)
        size += len(asked.payload)
    if batch:
        yield batch
