"""A site's calls to the coordinator: HTTPS, outbound only, each signed with the site's node key."""

from base64 import b64encode
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from google.protobuf.message import Message

from federated.engine.payload import MAX_MESSAGE_BYTES
from federated.engine.protobuf_http import OVERHEAD_BYTES, ProtobufHttp

FLEET: Final = "/v1/fleet/"
CALLS: Final = (
    "activate-node",
    "deactivate-node",
    "send-node-heartbeat",
    "get-run",
    "pull-messages",
    "push-messages",
)
"""All that a site ever asks; the gateway forwards nothing else."""
_Answer = TypeVar("_Answer", bound=Message)


class FleetClient:
    """Signed calls to one coordinator; threads may share it."""

    def __init__(
        self,
        address: str,
        ca_file: Path,
        key: ec.EllipticCurvePrivateKey,
        *,
        limit: int = MAX_MESSAGE_BYTES,
        timeout_s: float = 30.0,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            address: host:port of the coordinator's gateway.
            ca_file: The federation's CA certificate.
            key: The site's node key.
            limit: Bytes of a message.
            timeout_s: To connect, and between two pieces of an answer.

        Raises:
            ProvisioningError: The CA certificate is missing or none.
        """
        self._http = ProtobufHttp(address, ca_file, limit=limit + OVERHEAD_BYTES, timeout_s=timeout_s)
        self._key = key
        self.public_key = public_key_to_bytes(key.public_key())

    def __enter__(self) -> Self:
        """Use it in a with block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close its connections."""
        self._http.close()

    def call(self, name: str, request: Message, expected: type[_Answer]) -> _Answer:
        """Ask once.

        Args:
            name: One of CALLS.
            request: Its protobuf.
            expected: The answer's type.

        Raises:
            UnknownCallerError: The node key is not registered, or the node has another number now.
            RefusedCallError: The coordinator does not do that now, e.g. since the run is over.
            EngineError: No answer, or one that cannot be read.
        """
        return self._http.call(FLEET + name, request, expected, self.headers())

    def headers(self) -> dict[str, str]:
        """Who calls, signed now."""
        # Flower signs the time only; TLS is what binds the signature to this request.
        timestamp = now().isoformat()
        signature = sign_message(self._key, timestamp.encode("ascii"))
        return {
            FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(self.public_key).decode("ascii"),
            TIMESTAMP_HEADER: timestamp,
            FLEET_HTTP_SIGNATURE_HEADER: b64encode(signature).decode("ascii"),
        }
