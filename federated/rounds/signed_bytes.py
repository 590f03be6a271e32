"""Bytes with the signature of who wrote them in front: nothing of them is read before the signature is checked."""

from federated.errors import SenderError
from governance.errors import SignatureError
from governance.signatures import SIGNATURE_BYTES, SigningKey, VerifyingKey


def put_signature(body: bytes, key: SigningKey, *, purpose: str, context: bytes = b"") -> bytes:
    """Sign a body; the signature comes first, SIGNATURE_BYTES long.

    Args:
        body: What is signed.
        key: The sender's.
        purpose: As VerifyingKey.verify has it.
        context: What the body belongs to, as JSON, which shows where it ends; signed with it and not sent.
    """
    return key.sign(context + body, purpose=purpose) + body


def take_signature(message: bytes, key: VerifyingKey, *, purpose: str, sender: str, context: bytes = b"") -> bytes:
    """The body of what put_signature gave.

    Args:
        message: Of whoever; its length is already limited.
        key: Of who should have sent it.
        purpose: As it should have been signed.
        sender: For the error's text.
        context: As it should have been signed.

    Raises:
        SenderError: It is not signed, or not by this key as this in this context.
    """
    signature, body = message[:SIGNATURE_BYTES], message[SIGNATURE_BYTES:]
    try:
        key.verify(signature, context + body, purpose=purpose)
    except SignatureError as fault:
        raise SenderError(
            f"{sender}: expected a message that {sender} signed as {purpose}, got one that it did not; check that both "
            "sides have the federation's newest kit."
        ) from fault
    return body
