"""What the gateway learns of a request before the engine sees it: whose key signed it, in whose name it replies."""

import binascii
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_HEADER, TIMESTAMP_TOLERANCE
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, verify_signature
from google.protobuf.message import DecodeError

from federated.errors import MessageError, SenderError

_HEADER_CHARACTERS: Final = 2048


def authenticate(
    headers: Mapping[str, str], is_known: Callable[[bytes], bool], *, now: datetime | None = None
) -> bytes:
    """Check that an admitted node signed the time of this request.

    The engine checks the same, but only after it has read and parsed the body.

    Returns:
        The node's public key, canonical PEM.

    Raises:
        SenderError: No key, an unknown one, or a signature that is wrong or of another time.
    """
    try:
        texts = [headers[name] for name in (FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER)]
        if any(len(text) > _HEADER_CHARACTERS for text in texts):
            raise SenderError("Expected a node's key and signature, got longer headers.")
        key, signature = (b64decode(text, validate=True) for text in texts)
        timestamp = headers[TIMESTAMP_HEADER]
        if not is_known(key):
            raise SenderError("Expected the key of an admitted site, got another one.")
        age_s = ((now or datetime.now(UTC)) - datetime.fromisoformat(timestamp)).total_seconds()
        if not -SYSTEM_TIME_TOLERANCE < age_s < TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE:
            raise SenderError(f"Expected a request of now, got one {age_s:.0f} s old; are the site's clocks right?")
        if not verify_signature(bytes_to_public_key(key), timestamp.encode("ascii"), signature):
            raise SenderError("Expected the node's signature, got another one.")
    except (KeyError, ValueError, TypeError, binascii.Error, UnsupportedAlgorithm) as fault:
        raise SenderError(f"Expected a signed request, got another one ({type(fault).__name__}).") from fault
    return key


def check_reply(body: bytes) -> None:
    """Check that a reply is given in the name of the node that sends it, and leaves nothing else with the engine.

    The engine knows who sends a reply, but takes the replying node's number from the reply itself (1.41.0).

    Raises:
        MessageError: It is none, or of another node, or announces objects.
    """
    request = PushMessagesRequest()
    try:
        request.ParseFromString(body)
    except DecodeError as fault:
        raise MessageError("Expected a reply, got other bytes.") from fault
    if len(request.messages_list) != 1 or len(request.message_object_trees) != 1:
        raise MessageError(f"Expected one reply, got {len(request.messages_list)}.")
    if request.messages_list[0].metadata.src_node_id != request.node.node_id:
        raise MessageError("Expected a reply in the sender's own name, got one in another's.")
    if request.message_object_trees[0].children:
        raise MessageError("Expected a reply that holds its content, got one that announces objects.")
