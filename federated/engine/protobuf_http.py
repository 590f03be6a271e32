"""Flower's protocol, protobuf over HTTPS, as a client that does not trust the other side.

Flower's own client follows redirects, reads answers of any size, and a refusal ends its process. This one does none of
that, and believes one certificate authority only.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar

import httpx
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from google.protobuf.message import DecodeError, Message

from federated.errors import EngineError, ProvisioningError, RefusedCallError, UnknownCallerError

OVERHEAD_BYTES: Final = 1 << 16
"""What a call adds to the bytes that it carries, at most."""
_KEEP_S: Final = 2.5
_Answer = TypeVar("_Answer", bound=Message)


class ProtobufHttp:
    """Calls to one server; threads may share it."""

    def __init__(
        self, address: str, ca_file: Path, *, limit: int, timeout_s: float = 30.0, use_proxies: bool = True
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            address: host:port.
            ca_file: Certificate of the one authority that may vouch for the server.
            limit: Bytes of an answer.
            timeout_s: To connect, and between two pieces of an answer.
            use_proxies: Whether the proxies of the environment (HTTPS_PROXY) count.

        Raises:
            ProvisioningError: The authority's file is missing or holds no certificate.
        """
        try:
            trust = ssl.create_default_context(cafile=str(ca_file))
        except (OSError, ssl.SSLError) as fault:
            raise ProvisioningError(
                f"{ca_file.name}: expected a CA certificate in PEM ({type(fault).__name__})."
            ) from fault
        trust.minimum_version = ssl.TLSVersion.TLSv1_3
        self._http = httpx.Client(
            base_url=f"https://{address}",
            verify=trust,
            timeout=timeout_s,
            # An idle connection is closed on this side first: the other side's closing would cost a call.
            limits=httpx.Limits(keepalive_expiry=_KEEP_S),
            follow_redirects=False,
            trust_env=use_proxies,
        )
        self._limit = limit

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(
        self, path: str, request: Message, expected: type[_Answer], headers: Mapping[str, str] | None = None
    ) -> _Answer:
        """Ask once; it is for the caller to ask again.

        Raises:
            UnknownCallerError: The caller is not known.
            RefusedCallError: The server answers that it does not do that.
            EngineError: No answer, or one that cannot be read.
        """
        sent = {
            "content-type": PROTOBUF_MEDIA_TYPE,
            "accept": PROTOBUF_MEDIA_TYPE,
            "accept-encoding": "identity",
            **(headers or {}),
        }
        body = request.SerializeToString(deterministic=True)
        try:
            with self._http.stream("POST", path, content=body, headers=sent) as response:
                content = self._read(response)
        except httpx.HTTPError as fault:
            raise EngineError(f"{path}: the coordinator does not answer ({type(fault).__name__}).") from fault
        _check(path, response)
        answer: _Answer = expected()
        try:
            answer.ParseFromString(content)
        except DecodeError as fault:
            raise EngineError(f"{path}: expected an answer of the engine, got other bytes.") from fault
        return answer

    def _read(self, response: httpx.Response) -> bytes:
        content = bytearray()
        for piece in response.iter_raw():
            content += piece
            if len(content) > self._limit:
                raise EngineError(f"Expected an answer of at most {self._limit} bytes; this one is longer.")
        return bytes(content)


def _check(path: str, response: httpx.Response) -> None:
    if response.status_code == httpx.codes.OK:
        return
    message = f"{path}: expected an answer, got HTTP {response.status_code}."
    if response.status_code == httpx.codes.UNAUTHORIZED:
        raise UnknownCallerError(message)
    if response.is_client_error and response.status_code != httpx.codes.TOO_MANY_REQUESTS:
        raise RefusedCallError(message)
    raise EngineError(message)
