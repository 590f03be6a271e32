"""Signatures of tree heads after c2sp.org/tlog-cosignature, its ML-DSA-44 type (0x06).

A log and its witnesses sign the same message with the same algorithm; who it is says the key's name: the log's is the
origin line of its checkpoints. Everything here is the standard's: label, message, key id and line format; the context
of ML-DSA is empty, as the standard names none.
"""

import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from governance.errors import KeyFileError, NoteError, SignatureError
from governance.ledger.note import NoteSignature, check_name, key_id, parse_vkey, write_vkey

COSIGNATURE_TYPE: Final = 0x06
PUBLIC_KEY_BYTES: Final = 1312
SIGNATURE_BYTES: Final = 2420
_LABEL: Final = b"subtree/v1\n\0"


@dataclass(frozen=True)
class CosignerKey:
    """Who signed a tree head.

    Attributes:
        name: Of the log or of the witness.
        raw: 1,312 bytes.

    Raises:
        NoteError: The name is none.
        KeyFileError: The bytes are not an ML-DSA-44 public key.
    """

    name: str
    raw: bytes

    def __post_init__(self) -> None:
        """Check both."""
        check_name(self.name)
        if len(self.raw) != PUBLIC_KEY_BYTES:
            raise KeyFileError(f"Expected an ML-DSA-44 public key of {PUBLIC_KEY_BYTES} bytes, got {len(self.raw)}.")

    @classmethod
    def parse(cls, vkey: str) -> "CosignerKey":
        """Read a verifier key.

        Raises:
            NoteError: It is none, or of another signature type.
        """
        name, kind, raw = parse_vkey(vkey)
        if kind != COSIGNATURE_TYPE or len(raw) != PUBLIC_KEY_BYTES:
            raise NoteError(f"The verifier key of {name} is not of type 0x06, ML-DSA-44.")
        return cls(name, raw)

    @property
    def key_id(self) -> bytes:
        """Four bytes."""
        return key_id(self.name, COSIGNATURE_TYPE, self.raw)

    @property
    def vkey(self) -> str:
        """The key as one line of text."""
        return write_vkey(self.name, COSIGNATURE_TYPE, self.raw)

    def made(self, line: NoteSignature) -> bool:
        """Whether a signature line names this key."""
        return line.name == self.name and line.key_id == self.key_id

    def verify_tree(self, line: NoteSignature, origin: str, size: int, root: bytes) -> datetime:
        """Check a signature line of a checkpoint.

        Args:
            line: It names this key.
            origin: Of the log.
            size: Of the tree.
            root: 32 bytes.

        Returns:
            When it was signed, as the signer says.

        Raises:
            SignatureError: It is not this key's signature of this tree.
        """
        if not self.made(line) or len(line.signature) != 8 + SIGNATURE_BYTES:
            raise SignatureError(f"Expected an ML-DSA-44 signature by {self.name}, got another one.")
        (timestamp,) = struct.unpack(">Q", line.signature[:8])
        self._verify(line.signature[8:], signed_message(self.name, timestamp, origin, size, root), b"")
        try:
            return datetime.fromtimestamp(timestamp, UTC)
        except (ValueError, OverflowError, OSError) as fault:
            raise SignatureError(f"The signature by {self.name} names a time that does not exist.") from fault

    def verify(self, signature: bytes, message: bytes, *, purpose: str) -> None:
        """Check a signature of something other than a tree; see CosignerSigner.sign.

        Raises:
            SignatureError: It is not this key's signature of this message for this purpose.
        """
        self._verify(signature, message, purpose.encode())

    def _verify(self, signature: bytes, message: bytes, context: bytes) -> None:
        try:
            MLDSA44PublicKey.from_public_bytes(self.raw).verify(signature, message, context)
        except (InvalidSignature, ValueError) as fault:
            raise SignatureError(
                f"Expected a signature by {self.name} ({self.key_id.hex()}), got another one."
            ) from fault


class CosignerSigner:
    """The private key of a log or a witness; it never leaves the process but into its own file."""

    def __init__(self, name: str, key: MLDSA44PrivateKey) -> None:
        self._key = key
        self.public = CosignerKey(name, key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, name: str) -> "CosignerSigner":
        """A fresh one."""
        return cls(name, MLDSA44PrivateKey.generate())

    @classmethod
    def from_pem(cls, name: str, pem: bytes) -> "CosignerSigner":
        """Read what to_pem wrote.

        Raises:
            KeyFileError: It is not an unencrypted ML-DSA-44 private key in PEM.
        """
        try:
            key = load_pem_private_key(pem, None)
        except (ValueError, TypeError) as fault:
            raise KeyFileError("Expected an unencrypted ML-DSA-44 private key in PEM.") from fault
        if not isinstance(key, MLDSA44PrivateKey):
            raise KeyFileError(f"Expected an ML-DSA-44 private key, got {type(key).__name__}.")
        return cls(name, key)

    def to_pem(self) -> bytes:
        """PKCS #8, not encrypted: keep it in a file that only its owner can read."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign_tree(self, origin: str, size: int, root: bytes, *, now: datetime) -> NoteSignature:
        """Sign a tree head.

        Args:
            origin: Of the log.
            size: Of the tree.
            root: 32 bytes.
            now: The time, which is signed too, in seconds.
        """
        timestamp = int(now.timestamp())
        signature = self._key.sign(signed_message(self.public.name, timestamp, origin, size, root))
        return NoteSignature(self.public.name, self.public.key_id, struct.pack(">Q", timestamp) + signature)

    def sign(self, message: bytes, *, purpose: str) -> bytes:
        """Sign something other than a tree, with the purpose as ML-DSA's context, so that it is none of a tree."""
        return self._key.sign(message, purpose.encode())


def signed_message(name: str, timestamp: int, origin: str, size: int, root: bytes, start: int = 0) -> bytes:
    """The `cosigned_message` of c2sp.org/tlog-cosignature.

    Args:
        name: Of the signer.
        timestamp: Seconds since 1970.
        origin: Of the log.
        size: Leaf after the last one.
        root: Of the subtree, 32 bytes.
        start: First leaf; 0 for a tree.
    """
    names = [len(each).to_bytes() + each for each in (name.encode(), origin.encode())]
    return _LABEL + names[0] + struct.pack(">Q", timestamp) + names[1] + struct.pack(">QQ", start, size) + root
