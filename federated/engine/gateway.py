"""The coordinator's only door, as a server: TLS 1.3, limits for each address, and fleet_gateway behind them."""

import asyncio
import logging
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
import uvicorn

from federated.engine.bells import Bells
from federated.engine.fleet_gateway import FleetGateway, GatewayLimits
from federated.engine.guarded_connection import guarded
from federated.errors import EngineError

_ENGINE_KEEPS_S: Final = 5.0
"""Seconds after which the engine's server closes an idle connection (uvicorn's default)."""
_log = logging.getLogger(__name__)


class Gateway:
    """The door as a server in a thread of its own; use it in a with block."""

    def __init__(
        self,
        superlink: tuple[str, Path],
        *,
        certificate: Path,
        key: Path,
        is_known: Callable[[bytes], bool],
        bells: Bells,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: GatewayLimits | None = None,
    ) -> None:
        """Prepare.

        Args:
            superlink: The engine's address and its authority's certificate.
            certificate: That the sites' CA signed for this host, PEM, with its chain.
            key: Of the certificate.
            is_known: Whether a public node key (canonical PEM) belongs to an admitted site; called in another thread.
            bells: Of the engine.
            host: Address to listen on.
            port: 0 for a free one.
            limits: Of a client address.
        """
        self._superlink, self._certificate, self._key = superlink, certificate, key
        self._is_known, self._bells, self._limits = is_known, bells, limits or GatewayLimits()
        self._host, self._wanted_port = host, port
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    @property
    def port(self) -> int:
        """That it listens on.

        Raises:
            EngineError: It does not.
        """
        if self._server is None or not self._server.started:
            raise EngineError("The gateway does not run.")
        return int(self._server.servers[0].sockets[0].getsockname()[1])

    def start(self, timeout_s: float = 20.0) -> None:
        """Listen.

        Raises:
            EngineError: It cannot, e.g. since the port is taken or the certificate cannot be read.
        """
        address, ca = self._superlink
        upstream = httpx.AsyncClient(
            base_url=f"https://{address}",
            verify=ssl.create_default_context(cafile=str(ca)),
            timeout=httpx.Timeout(30.0, connect=5.0),
            limits=httpx.Limits(max_connections=64, keepalive_expiry=_ENGINE_KEEPS_S / 2),
            trust_env=False,
            follow_redirects=False,
        )
        config = uvicorn.Config(
            FleetGateway(upstream, self._is_known, self._bells, self._limits),
            host=self._host,
            port=self._wanted_port,
            http=guarded(self._limits.connections, self._limits.head_within_s),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            ssl_certfile=self._certificate,
            ssl_keyfile=self._key,
            ssl_context_factory=_tls13,
            h11_max_incomplete_event_size=1 << 14,
            # Longer than the sites' agents keep an idle connection, so that it is they who close it.
            timeout_keep_alive=int(self._limits.head_within_s),
            timeout_graceful_shutdown=3,
        )
        self._server = server = uvicorn.Server(config)
        self._thread = threading.Thread(target=_run, args=(server, upstream), name="gateway", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + timeout_s
        while not server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self.stop()
                raise EngineError(
                    f"The gateway cannot listen on {self._host}:{self._wanted_port}: see its log for why."
                )
            time.sleep(0.02)

    def stop(self) -> None:
        """Close the door; harmless when it is closed."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(10)
        self._server = self._thread = None


def _run(server: uvicorn.Server, upstream: httpx.AsyncClient) -> None:
    async def serve() -> None:
        async with upstream:
            await server.serve()

    try:
        asyncio.run(serve())
    except (OSError, SystemExit) as fault:
        _log.error("The gateway ended: %s", fault)


def _tls13(_config: uvicorn.Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    context: Any = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context  # type: ignore[no-any-return]
