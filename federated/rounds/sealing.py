"""Bytes that only one reader opens: HPKE (RFC 9180) with the hybrid ML-KEM-768 + X25519 key agreement."""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519

from federated.errors import MessageError, ProvisioningError

_SUITE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
_MLKEM_SEED, _MLKEM_PUBLIC, _X25519 = 64, 1184, 32
OVERHEAD_BYTES: Final = 1136


class SealingKey:
    """A reader's private key: ML-KEM seed and X25519 key, 96 bytes."""

    def __init__(self, raw: bytes) -> None:
        """Read what raw gave.

        Raises:
            ProvisioningError: It is no such key.
        """
        if len(raw) != _MLKEM_SEED + _X25519:
            raise ProvisioningError(f"Expected a sealing key of {_MLKEM_SEED + _X25519} bytes, got {len(raw)}.")
        self._mlkem = mlkem.MLKEM768PrivateKey.from_seed_bytes(raw[:_MLKEM_SEED])
        self._x25519 = x25519.X25519PrivateKey.from_private_bytes(raw[_MLKEM_SEED:])

    @classmethod
    def generate(cls) -> "SealingKey":
        """A fresh one."""
        return cls(
            mlkem.MLKEM768PrivateKey.generate().private_bytes_raw()
            + x25519.X25519PrivateKey.generate().private_bytes_raw()
        )

    @property
    def raw(self) -> bytes:
        """96 bytes; keep them in a file that only its owner can read."""
        return self._mlkem.private_bytes_raw() + self._x25519.private_bytes_raw()

    @property
    def public(self) -> bytes:
        """1,216 bytes, for whoever seals."""
        return self._mlkem.public_key().public_bytes_raw() + self._x25519.public_key().public_bytes_raw()

    def open(self, sealed: bytes, *, context: bytes) -> bytes:
        """What was sealed for this key in this context.

        Raises:
            MessageError: It was sealed for another key or context, or was changed.
        """
        try:
            return _SUITE.decrypt(sealed, hpke.MLKEM768X25519PrivateKey(self._mlkem, self._x25519), info=context)
        except (InvalidTag, ValueError) as fault:
            raise MessageError("Expected bytes that were sealed for this reader and this round, got others.") from fault


def seal(public: bytes, payload: bytes, *, context: bytes) -> bytes:
    """Encrypt for one reader.

    Args:
        public: The reader's SealingKey.public.
        payload: What only the reader may see.
        context: What it belongs to, e.g. federation, run, round, stage and sender; opening asks for the same.

    Raises:
        ProvisioningError: public is not such a key.
    """
    if len(public) != _MLKEM_PUBLIC + _X25519:
        raise ProvisioningError(f"Expected a sealing key's public half of {_MLKEM_PUBLIC + _X25519} bytes.")
    try:
        key = hpke.MLKEM768X25519PublicKey(
            mlkem.MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC]),
            x25519.X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC:]),
        )
    except ValueError as fault:
        raise ProvisioningError("Expected a sealing key's public half, got other bytes.") from fault
    sealed: bytes = _SUITE.encrypt(payload, key, info=context)
    return sealed
