"""The coordinator's orders to its engine, on loopback: who may connect, what runs.

Flower's control interface asks nobody for a password. That is why it stays on loopback, behind no gateway.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

from flwr.app import UserConfig
from flwr.common.serde import user_config_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListNodesResponse,
    ListRunsRequest,
    ListRunsResponse,
    RegisterNodeRequest,
    RegisterNodeResponse,
    StartRunRequest,
    StartRunResponse,
    StopRunRequest,
    StopRunResponse,
    UnregisterNodeRequest,
    UnregisterNodeResponse,
)
from flwr.proto.fab_pb2 import Fab
from flwr.supercore.constant import NodeStatus
from google.protobuf.message import Message

from federated.engine.node_key import canonical_node_key
from federated.engine.protobuf_http import ProtobufHttp
from federated.errors import EngineError, ProvisioningError, RefusedCallError

_ANSWER_BYTES: Final = 16 << 20
_Answer = TypeVar("_Answer", bound=Message)


class RunState(StrEnum):
    """Of a submitted app."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


_RUNNING: Final = {"pending": RunState.WAITING, "starting": RunState.WAITING, "running": RunState.RUNNING}
_FINISHED: Final = {"completed": RunState.DONE, "stopped": RunState.STOPPED}


@dataclass(frozen=True)
class RunStatus:
    """How a submitted app does.

    Attributes:
        details: Why it failed, in the engine's words.
    """

    state: RunState
    details: str = ""

    @property
    def is_over(self) -> bool:
        """Whether it will not go on by itself."""
        return self.state not in (RunState.WAITING, RunState.RUNNING)


class Control:
    """Orders to one engine."""

    def __init__(self, address: str, ca: Path, bells: Path | None = None) -> None:
        """Prepare; nothing is sent yet.

        Args:
            address: 127.0.0.1:port.
            ca: Certificate of the loopback link's authority.
            bells: Folder of the bells, which an app is told.
        """
        self._bells = bells
        self._http = ProtobufHttp(address, ca, limit=_ANSWER_BYTES, use_proxies=False)

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def register(self, node_keys: Mapping[str, bytes]) -> None:
        """Let exactly these nodes connect; repeating it changes nothing.

        Args:
            node_keys: Public node key in PEM by site name.

        Raises:
            ProvisioningError: A key is none, or belonged to a site that was removed since the engine started.
            EngineError: The engine does not answer.
        """
        wanted = {canonical_node_key(pem): site for site, pem in node_keys.items()}
        known = {
            node.public_key: node
            for node in self._ask("list-nodes", ListNodesRequest(), ListNodesResponse).nodes_info
            if node.status != NodeStatus.UNREGISTERED
        }
        for key in known.keys() - wanted.keys():
            self._ask("unregister-node", UnregisterNodeRequest(node_id=known[key].node_id), UnregisterNodeResponse)
        for key in wanted.keys() - known.keys():
            try:
                self._ask("register-node", RegisterNodeRequest(public_key=key), RegisterNodeResponse)
            except RefusedCallError as fault:
                raise ProvisioningError(
                    f"{wanted[key]}: a node key that was removed is not taken again; restart the coordinator."
                ) from fault

    def submit(self, bundle: bytes, config: Mapping[str, str]) -> int:
        """Start an app.

        Args:
            bundle: Of app_bundle.build_bundle.
            config: Of the run, e.g. {"plan": path}; it is no place for secrets. "bells" is added.

        Returns:
            The run's number.

        Raises:
            EngineError: The engine does not answer, or does not take the app.
        """
        told: UserConfig = {**config} if self._bells is None else {**config, "bells": str(self._bells)}
        request = StartRunRequest(
            fab=Fab(hash_str=hashlib.sha256(bundle).hexdigest(), content=bundle),
            override_config=user_config_to_proto(told),
        )
        run = int(self._ask("start-run", request, StartRunResponse).run_id)
        if run == 0:
            raise EngineError("The engine did not start the app; its log says why.")
        return run

    def status(self, run: int) -> RunStatus:
        """How an app does.

        Raises:
            EngineError: The engine does not answer, or knows no such run.
        """
        found = self._ask("list-runs", ListRunsRequest(run_id=run), ListRunsResponse).run_dict
        if run not in found:
            raise EngineError(f"Expected run {run} in the engine's list, got none.")
        status = found[run].status
        if status.status in _RUNNING:
            return RunStatus(_RUNNING[status.status])
        return RunStatus(_FINISHED.get(status.sub_status, RunState.FAILED), status.details)

    def stop(self, run: int) -> None:
        """End an app; one that is over already stays as it is.

        Raises:
            EngineError: The engine does not answer.
        """
        if not self.status(run).is_over:
            self._ask("stop-run", StopRunRequest(run_id=run), StopRunResponse)

    def _ask(self, order: str, request: Message, expected: type[_Answer]) -> _Answer:
        return self._http.call(f"/v1/control/{order}", request, expected)
