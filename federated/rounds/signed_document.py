"""A JSON document with its writer's signature: what people carry between coordinator and sites."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from federated.errors import ProvisioningError, SenderError
from governance.canonical import Canonical, canonical_bytes
from governance.errors import KeyFileError, NotCanonicalError, SignatureError
from governance.signatures import SigningKey, VerifyingKey


def sign_document(document: Mapping[str, Canonical], key: SigningKey, *, purpose: str) -> bytes:
    """Write a document with a signature over its canonical bytes, as JSON that people can read."""
    signature = key.sign(canonical_bytes(document), purpose=purpose)
    signed = {"document": document, "signature": encode(signature)}
    return (json.dumps(signed, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


@dataclass(frozen=True)
class SignedDocument:
    """A document that was read and is not verified yet.

    Attributes:
        fields: Of whoever, until verify has passed.
        what: Of which kind it should be, for errors.
    """

    fields: Mapping[str, Any]
    signature: bytes
    what: str

    def verify(self, key: VerifyingKey, *, purpose: str) -> None:
        """Check the signature.

        Raises:
            SenderError: It is not this key's signature of this document.
        """
        try:
            key.verify(self.signature, canonical_bytes(self.fields), purpose=purpose)
        except SignatureError as fault:
            raise SenderError(
                f"Expected a {self.what} that its sender signed, got one that was changed or that another key signed; "
                "ask for a fresh one."
            ) from fault

    def text(self, name: str) -> str:
        """A field that is text.

        Raises:
            ProvisioningError: It is missing, or something else.
        """
        value = self.fields.get(name)
        if not isinstance(value, str):
            raise ProvisioningError(f"Expected a {self.what} with {name}, got one without.")
        return value

    def bytes_of(self, name: str) -> bytes:
        """A field that is bytes.

        Raises:
            ProvisioningError: It is missing, or not in base64.
        """
        return decode(self.text(name), f"{self.what}'s {name}")

    def key_of(self, name: str) -> VerifyingKey:
        """A field that is an ML-DSA-65 public key.

        Raises:
            ProvisioningError: It is missing, or no such key.
        """
        return verifying_key(self.bytes_of(name), f"{self.what}'s {name}")


def read_document(data: bytes, *, what: str, limit: int) -> SignedDocument:
    """Read what sign_document wrote; the signature is still to be verified.

    Args:
        data: Of whoever.
        what: The kind of document, for errors.
        limit: Bytes that it may have.

    Raises:
        ProvisioningError: It is too long, or no signed document.
    """
    if len(data) > limit:
        raise ProvisioningError(f"Expected a {what} of at most {limit} bytes, got {len(data)}.")
    try:
        signed = json.loads(data)
        fields, signature = signed["document"], signed["signature"]
        canonical_bytes(fields)
    except (ValueError, KeyError, TypeError, RecursionError, NotCanonicalError) as fault:
        raise ProvisioningError(f"Expected a {what}, got something else ({type(fault).__name__}).") from fault
    if not isinstance(fields, dict):
        raise ProvisioningError(f"Expected a {what}, got a document of another form.")
    return SignedDocument(fields, decode(signature, f"{what}'s signature"), what)


def encode(data: bytes) -> str:
    """Bytes as base64 text."""
    return base64.b64encode(data).decode()


def decode(text: Any, what: str) -> bytes:
    """Bytes from base64 text.

    Raises:
        ProvisioningError: It is not that.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as fault:
        raise ProvisioningError(f"Expected the {what} in base64, got something else.") from fault


def verifying_key(raw: bytes, what: str) -> VerifyingKey:
    """A public key of whoever.

    Raises:
        ProvisioningError: The bytes are none.
    """
    try:
        return VerifyingKey(raw)
    except KeyFileError as fault:
        raise ProvisioningError(f"The {what}: {fault}") from fault
