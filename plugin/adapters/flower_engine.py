"""The rounds' engine as the coordinator runs it: Flower's server on loopback, and a door to it for admitted sites."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from federated.engine.app_bundle import build_bundle
from federated.engine.control import RunState
from federated.engine.gateway import Gateway
from federated.engine.node_key import canonical_node_key
from federated.engine.superlink import Superlink
from plugin.services.federation import AppState
from plugin.services.federation_folders import Coordinator


class FlowerEngine:
    """Implements plugin.services.federation.Engine; use it in a with block."""

    def __init__(self, folder: Path, coordinator: Coordinator, listen: str) -> None:
        """Prepare; nothing runs yet.

        Args:
            folder: For the engine's own files, emptied at every start.
            coordinator: Its port, certificate and key.
            listen: Address that the door is at, e.g. 127.0.0.1.
        """
        self._superlink = Superlink(folder)
        self._coordinator, self._listen = coordinator, listen
        self._known: frozenset[bytes] = frozenset()
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Start the server, then the door.

        Raises:
            EngineError: One of them does not start.
        """
        with ExitStack() as starting:
            starting.enter_context(self._superlink)
            gateway = Gateway(
                (self._superlink.address, self._superlink.ca),
                certificate=self._coordinator.certificate_file,
                key=self._coordinator.key_file,
                is_known=self._is_known,
                bells=self._superlink.bells,
                host=self._listen,
                port=self._coordinator.port,
            )
            starting.enter_context(gateway)
            self._open = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the door, then end the server and the apps."""
        self._open.__exit__(kind, fault, trace)

    @property
    def processes(self) -> Mapping[str, int]:
        """Process ids by role."""
        return self._superlink.processes

    def keep_running(self) -> bool:
        """Start again what ended by itself; whether that was needed."""
        return self._superlink.keep_running()

    def admit(self, node_keys: Mapping[str, bytes]) -> None:
        """Let exactly these nodes connect."""
        self._known = frozenset(canonical_node_key(pem) for pem in node_keys.values())
        self._superlink.control.register(node_keys)

    def submit(self, plan: Path) -> int:
        """Start the app of a run."""
        return self._superlink.control.submit(build_bundle(), {"plan": str(plan.absolute())})

    def state(self, app: int) -> AppState:
        """How an app does; one whose process is gone is ended, which the engine itself would notice a minute later."""
        control = self._superlink.control
        found = control.status(app)
        if found.state is RunState.RUNNING and not self._has_app_process():
            # Asked again: an app that came to its end has no process either.
            found = control.status(app)
            if not found.is_over:
                control.stop(app)
                return AppState(is_over=True, details="its process died")
        return AppState(found.is_over, found.details)

    def end(self, app: int) -> None:
        """End an app."""
        self._superlink.control.stop(app)

    def _has_app_process(self) -> bool:
        """Whether what starts the apps has a child that lives; it starts nothing else, and does not bury the dead."""
        try:
            children = psutil.Process(self._superlink.processes["apps"]).children()
            return any(child.status() != psutil.STATUS_ZOMBIE for child in children)
        except (KeyError, psutil.NoSuchProcess):
            return False

    def _is_known(self, key: bytes) -> bool:
        return key in self._known
