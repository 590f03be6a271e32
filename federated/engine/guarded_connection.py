"""Connections that cannot be held open for nothing, nor by the hundred from one address."""

import asyncio
from collections import Counter
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol


def guarded(connections: int, head_within_s: float) -> type[asyncio.Protocol]:
    """The server's HTTP protocol (uvicorn's) with two limits that it lacks.

    Args:
        connections: Of one client address, at once.
        head_within_s: Seconds until a request's head is complete.
    """
    limits = {"most": connections, "head_within_s": head_within_s, "held": Counter[str]()}
    return type("GuardedProtocol", (_Guarded,), limits)


class _Guarded(H11Protocol):
    """One client's connection."""

    most: ClassVar[int]
    head_within_s: ClassVar[float]
    held: ClassVar[Counter[str]]
    _timer: asyncio.TimerHandle | None = None
    _address = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._address = self.client[0] if self.client is not None else ""
        self.held[self._address] += 1
        self._expect_head()
        if self.held[self._address] > self.most:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        self.held[self._address] -= 1
        if self.held[self._address] <= 0:
            del self.held[self._address]
        super().connection_lost(exc)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._cancel()

    def on_response_complete(self) -> None:
        self._expect_head()
        super().on_response_complete()

    def _expect_head(self) -> None:
        self._cancel()
        self._timer = self.loop.call_later(self.head_within_s, self.transport.abort)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
