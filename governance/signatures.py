"""Signatures that a quantum computer cannot forge: ML-DSA-65 (FIPS 204), each bound to its purpose."""

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from governance.errors import KeyFileError, SignatureError

SIGNATURE_BYTES: Final = 3309
PUBLIC_KEY_BYTES: Final = 1952


@dataclass(frozen=True)
class VerifyingKey:
    """Who signed it.

    Attributes:
        raw: 1,952 bytes.

    Raises:
        KeyFileError: They are not an ML-DSA-65 public key.
    """

    raw: bytes

    def __post_init__(self) -> None:
        """Check the length; every string of that length is a key."""
        if len(self.raw) != PUBLIC_KEY_BYTES:
            raise KeyFileError(f"Expected an ML-DSA-65 public key of {PUBLIC_KEY_BYTES} bytes, got {len(self.raw)}.")

    def verify(self, signature: bytes, message: bytes, *, purpose: str) -> None:
        """Check a signature.

        Args:
            signature: 3,309 bytes.
            message: What was signed.
            purpose: What it was signed as, e.g. "qfl/round-terms": a signature for one purpose is none for another.

        Raises:
            SignatureError: It is not this key's signature of this message for this purpose.
        """
        try:
            MLDSA65PublicKey.from_public_bytes(self.raw).verify(signature, message, purpose.encode())
        except (InvalidSignature, ValueError) as fault:
            raise SignatureError(f"Expected a signature as {purpose} by the expected key, got another one.") from fault


class SigningKey:
    """A private key; it never leaves the process but into its own file."""

    def __init__(self, key: MLDSA65PrivateKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> "SigningKey":
        """A fresh one."""
        return cls(MLDSA65PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes) -> "SigningKey":
        """Read what to_pem wrote.

        Raises:
            KeyFileError: It is not an unencrypted ML-DSA-65 private key in PEM.
        """
        try:
            key = load_pem_private_key(pem, None)
        except (ValueError, TypeError) as fault:
            raise KeyFileError("Expected an unencrypted ML-DSA-65 private key in PEM.") from fault
        if not isinstance(key, MLDSA65PrivateKey):
            raise KeyFileError(f"Expected an ML-DSA-65 private key, got {type(key).__name__}.")
        return cls(key)

    def to_pem(self) -> bytes:
        """PKCS #8, not encrypted: keep it in a file that only its owner can read."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def verifying_key(self) -> VerifyingKey:
        """Its public half."""
        return VerifyingKey(self._key.public_key().public_bytes_raw())

    def sign(self, message: bytes, *, purpose: str) -> bytes:
        """Sign a message for a purpose; see VerifyingKey.verify."""
        return self._key.sign(message, purpose.encode())
