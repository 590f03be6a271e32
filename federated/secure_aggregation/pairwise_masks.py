"""A secret for each pair of sites, and the mask that grows from it.

The secret is hybrid: X25519 and ML-KEM-768 (FIPS 203) both go into HKDF, so it holds as long as one of the two does.
The site whose name sorts lower makes ML-KEM's ciphertext. The mask is the keystream of AES-256 in counter mode:
measured beside ChaCha20, both by `cryptography`, it took 0.60 against 0.70 ms for a million numbers (with AES
instructions); a quantum search leaves half of its 256 bits. A seed makes one keystream only, so the counter can start
at 0.
"""

from typing import Final

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from federated.errors import SecureAggregationError
from federated.secure_aggregation.fixed_point import Ring
from federated.secure_aggregation.parties import KeyBook, transcript

SEED_BYTES: Final = 32
PRIVATE_BYTES: Final = 96
PUBLIC_BYTES: Final = 1216
CIPHERTEXT_BYTES: Final = 1088
_MLKEM_SEED, _MLKEM_PUBLIC = 64, 1184
_CHUNK: Final = 1 << 16
_PROBE: Final = x25519.X25519PrivateKey.from_private_bytes(bytes([1] * 32))
_ZEROS: Final = bytes(4 * _CHUNK)


class PairKey:
    """One site's private half of its pairs: ML-KEM seed and X25519 key, fresh for each round."""

    def __init__(self, raw: bytes) -> None:
        if len(raw) != PRIVATE_BYTES:
            raise SecureAggregationError(f"Expected a pair key of {PRIVATE_BYTES} bytes, got {len(raw)}.")
        self._mlkem = mlkem.MLKEM768PrivateKey.from_seed_bytes(raw[:_MLKEM_SEED])
        self._x25519 = x25519.X25519PrivateKey.from_private_bytes(raw[_MLKEM_SEED:])

    @classmethod
    def generate(cls) -> "PairKey":
        """A fresh one."""
        return cls(
            mlkem.MLKEM768PrivateKey.generate().private_bytes_raw()
            + x25519.X25519PrivateKey.generate().private_bytes_raw()
        )

    @property
    def raw(self) -> bytes:
        """96 bytes."""
        return self._mlkem.private_bytes_raw() + self._x25519.private_bytes_raw()

    @property
    def public(self) -> bytes:
        """1,216 bytes."""
        return self._mlkem.public_key().public_bytes_raw() + self._x25519.public_key().public_bytes_raw()

    def offer(self, book: KeyBook, site: str, higher: str) -> tuple[bytes, bytes]:
        """Make a pair's seed; the lower site does.

        Args:
            book: Everyone's keys, their signatures checked.
            site: Whose key this is.
            higher: The other site of the pair.

        Returns:
            The seed, 32 bytes; the ciphertext for the other site, 1,088 bytes.

        Raises:
            SecureAggregationError: The other site's key is none, or a weak one.
        """
        theirs, point = _read_public(book.keys[higher].masks)
        secret, ciphertext = theirs.encapsulate()
        return _seed(self._x25519.exchange(point), secret, ciphertext, book.pair_id(site, higher)), ciphertext

    def accept(self, book: KeyBook, site: str, lower: str, ciphertext: bytes) -> bytes:
        """The seed that the lower site offered; a changed ciphertext gives another one (FIPS 203, 6.3).

        Raises:
            SecureAggregationError: The other site's key or ciphertext cannot be right.
        """
        if len(ciphertext) != CIPHERTEXT_BYTES:
            raise SecureAggregationError(
                f"{lower}: expected a ciphertext of {CIPHERTEXT_BYTES} bytes, got {len(ciphertext)}."
            )
        shared = self._x25519.exchange(_read_public(book.keys[lower].masks)[1])
        return _seed(shared, self._mlkem.decapsulate(ciphertext), ciphertext, book.pair_id(lower, site))


def check_public(public: bytes) -> None:
    """Refuse what is no public half of a key, or a weak one.

    Raises:
        SecureAggregationError: It is not.
    """
    _read_public(public)


def add_mask(vector: Ring, seed: bytes, *, subtract: bool = False) -> None:
    """Add a seed's mask to a vector in place, modulo 2^32.

    Args:
        vector: uint32 (n,), writable.
        seed: 32 bytes.
        subtract: Whether to take it away instead.
    """
    stream = Cipher(algorithms.AES256(seed), modes.CTR(bytes(16))).encryptor()
    mask = np.empty(_CHUNK, "<u4")
    change = np.subtract if subtract else np.add
    for start in range(0, vector.size, _CHUNK):
        part = vector[start : start + _CHUNK]
        stream.update_into(memoryview(_ZEROS)[: 4 * part.size], mask[: part.size].data.cast("B"))
        change(part, mask[: part.size], out=part)


def _read_public(public: bytes) -> tuple[mlkem.MLKEM768PublicKey, x25519.X25519PublicKey]:
    if len(public) != PUBLIC_BYTES:
        raise SecureAggregationError(f"Expected a public key of {PUBLIC_BYTES} bytes, got {len(public)}.")
    try:
        theirs = mlkem.MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC])
        point = x25519.X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC:])
        _PROBE.exchange(point)  # fails for a point of low order, with which every secret would be 0
    except ValueError as fault:
        raise SecureAggregationError("Expected an ML-KEM-768 and an X25519 public key, got other bytes.") from fault
    return theirs, point


def _seed(x25519_secret: bytes, mlkem_secret: bytes, ciphertext: bytes, pair_id: bytes) -> bytes:
    info = transcript(b"qfl/pair-mask", pair_id, ciphertext)
    return HKDF(hashes.SHA256(), SEED_BYTES, salt=None, info=info).derive(x25519_secret + mlkem_secret)
