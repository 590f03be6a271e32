"""What passes the coordinator's door: the calls that a site's agent makes, and no others.

The engine serves its sites, its control interface (which asks nobody for a password) and its apps on one port. This app
stands before it. It answers 404 to all but a list of exact paths, knows the sites by their keys before it reads a
request's body, and forwards a fresh request made of a fixed path, the body and a few named headers. What a client wrote
as path, host or other header never reaches the engine.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import httpx
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from federated.engine.bells import Bells
from federated.engine.fleet_client import CALLS, FLEET
from federated.engine.held_calls import HeldCalls
from federated.engine.node_check import authenticate, check_reply
from federated.engine.payload import MAX_MESSAGE_BYTES
from federated.engine.protobuf_http import OVERHEAD_BYTES
from federated.errors import MessageError, SenderError

_PATHS: Final = {FLEET + name: name for name in CALLS}
_FORWARDED: Final = (FLEET_HTTP_PUBLIC_KEY_HEADER, TIMESTAMP_HEADER, FLEET_HTTP_SIGNATURE_HEADER)
_SMALL_BYTES: Final = 1 << 16
_BODY_WITHIN_S: Final = 120.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GatewayLimits:
    """What one client address may take; sites behind one proxy share an address.

    Attributes:
        requests_per_s: Requests a second, before they are read.
        connections: At once, idle ones too.
        head_within_s: Seconds for a connection's first request line and headers, and between two requests.
        message_bytes: Of a question or an answer.
    """

    requests_per_s: int = 400
    connections: int = 128
    head_within_s: float = 30.0
    message_bytes: int = MAX_MESSAGE_BYTES


class FleetGateway:
    """The door as an ASGI app."""

    def __init__(
        self,
        upstream: httpx.AsyncClient,
        is_known: Callable[[bytes], bool],
        bells: Bells,
        limits: GatewayLimits | None = None,
    ) -> None:
        """Prepare.

        Args:
            upstream: Client of the engine, with its base URL and authority.
            is_known: Whether a public node key (canonical PEM) belongs to an admitted site.
            bells: Shared with the run's app.
            limits: Of a client address.
        """
        self._upstream, self._is_known, self._bells = upstream, is_known, bells
        self._held = HeldCalls(bells.questions)
        self._limits = limits or GatewayLimits()
        self._rate = FixedWindowRateLimiter(MemoryStorage())
        self._per_second = RateLimitItemPerSecond(self._limits.requests_per_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        address = request.client.host if request.client is not None else ""
        if not await self._rate.hit(self._per_second, address):
            return _refusal(429)
        call = _call(request)
        if call is None:
            _log.info("Refused %s: not a call of a site.", address)
            return _refusal(404)
        try:
            node = authenticate(request.headers, self._is_known)
        except SenderError as fault:
            _log.warning("Refused %s from %s: %s", call, address, fault)
            return _refusal(401)
        return await self._forward(call, node, request)

    async def _forward(self, call: str, node: bytes, request: Request) -> Response:
        limit = OVERHEAD_BYTES + self._limits.message_bytes if call == "push-messages" else _SMALL_BYTES
        length = request.headers.get("content-length", "")
        if request.headers.get("content-type") != PROTOBUF_MEDIA_TYPE or "transfer-encoding" in request.headers:
            return _refusal(415)
        if not length.isdecimal():
            return _refusal(411)
        if len(length) > 12 or int(length) > limit:
            return _refusal(413)
        try:
            async with asyncio.timeout(_BODY_WITHIN_S):
                body = await request.body()
        except TimeoutError:
            return _refusal(408)
        headers = {name: request.headers[name] for name in _FORWARDED}
        if call == "push-messages":
            return await self._take_answer(body, headers)
        if call == "pull-messages":
            return await self._give_question(node, body, headers)
        return await self._ask(call, body, headers)

    async def _take_answer(self, body: bytes, headers: Mapping[str, str]) -> Response:
        try:
            check_reply(body)
        except MessageError as fault:
            _log.warning("Refused an answer: %s", fault)
            return _refusal(403)
        response = await self._ask("push-messages", body, headers)
        self._bells.answers.ring()
        return response

    async def _give_question(self, node: bytes, body: bytes, headers: Mapping[str, str]) -> Response:
        state = await self._held.wait(node)
        response = await self._ask("pull-messages", body, headers)
        # No message at all is no bytes at all.
        self._held.note(node, state, is_nothing=response.status_code == httpx.codes.OK and not response.body)
        return response

    async def _ask(self, call: str, body: bytes, headers: Mapping[str, str]) -> Response:
        sent = {"content-type": PROTOBUF_MEDIA_TYPE, "accept": PROTOBUF_MEDIA_TYPE, **headers}
        try:
            answer = await self._upstream.post(FLEET + call, content=body, headers=sent)
        except httpx.TimeoutException:
            return _refusal(504)
        except httpx.TransportError as fault:
            _log.warning("The engine does not answer (%s).", type(fault).__name__)
            return _refusal(503)
        # Errors of the engine can name keys and nodes: only their number goes out.
        if answer.status_code != httpx.codes.OK:
            return _refusal(answer.status_code)
        return Response(answer.content, media_type=PROTOBUF_MEDIA_TYPE)


def _call(request: Request) -> str | None:
    """Which call this is, by its exact bytes; None for any other request."""
    if request.method != "POST" or request.scope.get("query_string"):
        return None
    path = request.scope["path"]
    return _PATHS.get(path) if request.scope.get("raw_path") == path.encode() else None


def _refusal(status: int) -> Response:
    return Response(status_code=status)
